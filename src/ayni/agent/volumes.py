"""The site's volumes: room of a project that outlives its tasks and never leaves here.

At most one attempt writes to a volume; any number may read beside it. All attempts of the site go through
this table, so it alone decides; the lease on the disk is for those that the table cannot see end: an
attempt that is called lost may still have a process on a node that does not answer.

Whoever read restricted data taints what it may write: the rule of the data holds for all who mount the
volume from then on. It is noted before the first of its commands starts, and only while nobody else has
the volume, since others could read more than they were judged by.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Collection, Iterable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from ayni.agent.executors.base import Bind
from ayni.agent.sections import VolumesSection
from ayni.agent.staging.errors import StagingError, Waits
from ayni.agent.supervisor import disk, files
from ayni.agent.volume_files import CODE, Key, Volume, VolumeFiles
from ayni.protocol import volumes
from ayni.protocol.messages import MAX_VOLUMES, GateStatus, VolumesOffer, VolumeStatus
from ayni.protocol.release import FREE, Rule, strictest
from ayni.tes.urls import valid_name
from ayni.tes.volumes import Mount

log = logging.getLogger(__name__)

FENCE = (
    90.0  # seconds that a lease is another's before its new holder starts: see supervisor._LEASES
)
AGAIN = 2.0  # seconds until a volume that is in use is asked for again
_MEASURE = 60.0  # seconds between two measurements of a volume, at least …
_SHARE = 100  # … and so many times what the last one took

Judge = Callable[[Rule], None]


class InUse(Waits):
    """The volume is another's for now."""

    def __init__(self, message: str, seconds: float = AGAIN) -> None:
        super().__init__(CODE, message, seconds)


@dataclass(frozen=True, slots=True)
class Mounted:
    """What an attempt was given.

    Attributes:
        leases: files that name it for as long as it may write.
        rule: what may leave it, its volumes counted.
        datasets: that it reads or that are in its volumes.
    """

    binds: tuple[Bind, ...] = ()
    leases: tuple[Path, ...] = ()
    rule: Rule = FREE
    datasets: tuple[str, ...] = ()


@dataclass(slots=True)
class _Measured:
    """When a volume is to be measured again: monotonic seconds."""

    due: float = 0.0
    dirty: bool = True


@dataclass
class Volumes:
    """All volumes of a site. Its methods may be called by several threads.

    Attributes:
        base: the folder, on the disk that compute nodes share.
        rules: the operator's.
        discard: takes a folder away for good.
        rule_of: what a dataset says today; None if there is no such dataset any more.
        group_of: the group of the local user who runs a project's tasks, where there are such.
        unwanted: ids that the hub asked to be removed.
    """

    base: Path
    rules: VolumesSection
    discard: Callable[[Path], None]
    rule_of: Callable[[str], Rule | None] = lambda name: None
    group_of: Callable[[str], int | None] = lambda project: None
    wall: Callable[[], float] = time.time
    clock: Callable[[], float] = time.monotonic
    unwanted: frozenset[str] = frozenset()
    _known: dict[Key, Volume] = field(default_factory=dict)
    _mounts: dict[str, dict[Key, bool]] = field(default_factory=dict)  # attempt → key → writes
    _measured: dict[Key, _Measured] = field(default_factory=dict)
    _lock: threading.RLock = field(default_factory=threading.RLock)

    def __post_init__(self) -> None:
        self._files = VolumeFiles(self.base)
        self._files.make_base()
        self._known.update(self._files.look())

    # --- for attempts -------------------------------------------------------------------------

    def mount(
        self,
        attempt: str,
        project: str,
        mounts: Sequence[Mount],
        rule: Rule = FREE,
        datasets: Collection[str] = (),
        judge: Judge = lambda rule: None,
    ) -> Mounted:
        """Give an attempt its volumes, all of them or none. Asked again, it gets the same.

        Args:
            attempt: which is about to run.
            project: whose volumes these are.
            mounts: what it asks for.
            rule: what may leave it, by the datasets that it reads.
            datasets: their names.
            judge: told the rule with the volumes counted; raises if the attempt cannot be under it.

        Raises:
            InUse: another attempt has one of them.
            StagingError: it cannot have them.
            OSError: the disk refuses.
        """
        if not mounts:
            return Mounted(rule=rule)
        if not valid_name(project):
            raise StagingError(CODE, f"{project[:80]!r} is no name of a project")
        with self._lock:
            wanted = {Key(project, mount.name): mount for mount in mounts}
            there = {key: self._find(key, mount) for key, mount in wanted.items()}
            rule = strictest([*(self._rule(v) for v in there.values() if v), rule])
            names = {*datasets, *(name for v in there.values() if v for name in v.datasets)}
            judge(rule)
            for key, mount in wanted.items():
                self._may(attempt, key, mount, there[key], rule)
            self._take(attempt, wanted, there, rule, tuple(sorted(names)))
            leases = self._lease(attempt, [key for key, mount in wanted.items() if mount.write])
            binds = tuple(Bind(self._files.data(k), m.path, m.write) for k, m in wanted.items())
            return Mounted(binds, leases, rule, tuple(sorted(names)))

    def recall(self, attempt: str, binds: Iterable[Bind]) -> None:
        """After a restart: an attempt that was given these before, and has perhaps begun."""
        with self._lock:
            for bind in binds:
                folder = bind.source.parent
                key = Key(folder.parent.name, folder.name)
                if folder.parent.parent == self.base and key in self._known:
                    self._mounts.setdefault(attempt, {})[key] = bind.writable

    def release(self, attempt: str, *, sure: bool = True) -> None:
        """An attempt is over.

        Args:
            attempt: its id; one that has none is passed over.
            sure: nothing of it can be running any more. Else its leases stay, and whoever takes them
                over waits until it must have seen that.
        """
        with self._lock:
            for key, writes in self._mounts.pop(attempt, {}).items():
                if key not in self._known:
                    continue
                with suppress(OSError):  # what cannot be noted now was noted when it was mounted
                    self._note(key, replace(self._known[key], used=self.wall()))
                self._measured.setdefault(key, _Measured()).dirty |= writes
                if writes and sure:
                    with suppress(OSError):
                        self._files.lease(key).unlink(missing_ok=True)

    def _find(self, key: Key, mount: Mount) -> Volume | None:
        volume = self._known.get(key)
        if volume is None and not mount.write:
            raise StagingError(
                CODE, f"there is no volume {key.name} here; a task that may write to it makes it"
            )
        if volume is not None and self._is_going(key, volume):
            raise InUse(f"volume {key.name} is being deleted")
        group = None if volume is None else self.group_of(key.project)
        if group is not None and self._files.data(key).stat().st_gid != group:
            raise StagingError(
                CODE, f"volume {key.name} is another local user's here; tell the site's operator"
            )
        return volume

    def _may(self, attempt: str, key: Key, mount: Mount, volume: Volume | None, rule: Rule) -> None:
        """Whether it may have a volume now.

        Raises:
            InUse, StagingError: it may not.
        """
        if not mount.write:
            return
        others = [a for a, has in self._mounts.items() if key in has and a != attempt]
        if writer := next((a for a in others if self._mounts[a][key]), None):
            raise InUse(f"waits for volume {key.name}: attempt {writer} writes to it")
        if others and volume is not None and rule != self._rule(volume):
            raise InUse(
                f"waits for volume {key.name}: attempt {others[0]} reads it under another rule"
            )
        if self._used(key.project) >= (quota := self.rules.quota_of(key.project)):
            reason = volumes.full(key.project, quota)
            raise StagingError(reason.code, reason.message)

    def _take(
        self,
        attempt: str,
        wanted: dict[Key, Mount],
        there: dict[Key, Volume | None],
        rule: Rule,
        datasets: tuple[str, ...],
    ) -> None:
        """Note who has what, and under which rule, before anything can be written."""
        now = self.wall()
        for key, mount in wanted.items():
            volume = there[key] or self._files.make(key, self.group_of(key.project), now)
            if mount.write:
                volume = replace(volume, rule=rule, datasets=datasets)
            self._note(key, replace(volume, used=now))
            self._mounts.setdefault(attempt, {})[key] = mount.write

    def _lease(self, attempt: str, keys: Iterable[Key]) -> tuple[Path, ...]:
        """Leases in the attempt's name.

        Raises:
            InUse: the last holder may not have seen yet that it is another's.
        """
        leases = []
        wait = 0.0
        for key in keys:
            path = self._files.lease(key)
            held = files.read_json(str(path))
            if not isinstance(held, dict) or held.get("attempt") != attempt:
                after = self.wall() + FENCE if held is not None else 0.0
                held = {"attempt": attempt, "after": after}
                files.write_json(str(path), held)
                path.chmod(0o644)
            wait = max(wait, float(held["after"]) - self.wall())
            leases.append(path)
        if wait > 0:
            raise InUse("waits until the volume's last writer must have ended", min(wait, FENCE))
        return tuple(leases)

    # --- what there is ------------------------------------------------------------------------

    def offer(self) -> VolumesOffer:
        """What the hub is told."""
        with self._lock:
            names = sorted(self._known, key=lambda key: (key.project, key.name))[:MAX_VOLUMES]
            held = [self._status(key, self._known[key]) for key in names]
            projects = {key.project for key in self._known}
            full = [p for p in sorted(projects) if self._used(p) >= self.rules.quota_of(p)]
        return self.rules.offer(full=full, held=held)

    def _status(self, key: Key, volume: Volume) -> VolumeStatus:
        rule = self._rule(volume)
        return VolumeStatus(
            id=volume.id,
            project=key.project,
            name=key.name,
            size=volumes.told_size(volume.size, rule),
            created=int(volume.created),
            used=int(volume.used),
            mounted=self._is_mounted(key),
            release=rule.release.value,
            release_limit=rule.limit,
            dataset=rule.dataset,
            gates=[GateStatus(**asdict(gate)) for gate in rule.gates],
        )

    def _rule(self, volume: Volume) -> Rule:
        """As noted, or as the datasets' cards say today if that is stricter."""
        today = (self.rule_of(name) for name in volume.datasets)
        return strictest([volume.rule, *(rule for rule in today if rule is not None)])

    def _used(self, project: str) -> int:
        return sum(v.size for key, v in self._known.items() if key.project == project)

    def _is_mounted(self, key: Key) -> bool:
        return any(key in has for has in self._mounts.values())

    # --- now and then -------------------------------------------------------------------------

    def sweep(self) -> None:
        """Delete what is unwanted or was not used for too long, if no attempt has it."""
        with self._lock:
            for key, volume in list(self._known.items()):
                if self._is_mounted(key):
                    continue
                old = self.wall() - volume.used > self.rules.retention
                if old or self._is_going(key, volume):
                    log.info("volume %s of project %s goes", key.name, key.project)
                    self.discard(self._files.folder(key))
                    del self._known[key]
                    self._measured.pop(key, None)

    def measure(self) -> None:
        """Measure what was written to, each as seldom as it takes long: at most a hundredth of the time."""
        for key in list(self._known):
            state = self._measured.setdefault(key, _Measured())
            begun = self.clock()
            if begun < state.due or not (state.dirty or self._is_written(key)):
                continue
            state.dirty = self._is_written(key)
            try:
                size = disk.measure(self._files.data(key))
            except OSError as error:  # it has just gone, or is away
                log.warning("volume %s cannot be measured: %s", key.name, error)
                continue
            finally:
                state.due = self.clock() + max(_MEASURE, _SHARE * (self.clock() - begun))
            with self._lock:
                if key in self._known:
                    self._note(key, replace(self._known[key], size=size))

    def over(self) -> list[str]:
        """The attempts that write to a volume of a project that holds more than it may."""
        with self._lock:
            return [
                attempt
                for attempt, has in self._mounts.items()
                for project in {key.project for key, writes in has.items() if writes}
                if self._used(project) > self.rules.quota_of(project)
            ]

    def _is_written(self, key: Key) -> bool:
        with self._lock:
            return any(has.get(key, False) for has in self._mounts.values())

    def _is_going(self, key: Key, volume: Volume) -> bool:
        return volume.id in self.unwanted or self._files.is_to_go(key)

    def _note(self, key: Key, volume: Volume) -> None:
        self._files.note(key, volume)
        self._known[key] = volume
