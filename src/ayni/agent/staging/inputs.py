"""Before the jobs: their folders and their inputs, for many attempts at a time."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from ayni.agent.channels import spool
from ayni.agent.datasets import Datasets
from ayni.agent.executors.base import Bind
from ayni.agent.staging.beneath import Maker, Root
from ayni.agent.staging.cache import Cache
from ayni.agent.staging.errors import StagingError
from ayni.agent.staging.filling import Filling, Listing, Settings, Tools, disk_error, listing_key
from ayni.agent.staging.folders import Folders
from ayni.agent.staging.https import Web
from ayni.agent.staging.hub import HubFiles, Question
from ayni.agent.supervisor import sharing
from ayni.agent.volumes import Mounted, Volumes
from ayni.protocol import release
from ayni.protocol.messages import Assignment
from ayni.tes.shape import channel_ways
from ayni.tes.urls import SCHEME
from ayni.tes.volumes import mounts_of
from ayni.transfer import Stopped, TransferError

_STAGED = "staged.json"  # in the attempt's folder, where there is something to note


@dataclass(frozen=True, slots=True)
class Prepared:
    """A folder that is ready for its job.

    Attributes:
        binds: what the executor mounts: inputs, read-only, and volumes.
        size: bytes of inputs that were put there, or mounted from the cache.
        rule: what may leave the job.
        leases: of the volumes that it writes to.
        datasets: that it reads, or that are in its volumes.
    """

    attempt: str
    folder: Path
    binds: tuple[Bind, ...] = ()
    size: int = 0
    rule: release.Rule = release.FREE
    leases: tuple[Path, ...] = ()
    datasets: tuple[str, ...] = ()


Result = tuple[str, Prepared | StagingError]


class Stager:
    """Prepares attempts. One to an agent; `prepare` may be called by several threads."""

    def __init__(
        self,
        settings: Settings,
        folders: Folders,
        datasets: Datasets,
        hub: HubFiles,
        cache: Cache,
        web: Web,
        volumes: Volumes,
        admit: Callable[[Assignment], None] = lambda assignment: None,
        maker_of: Callable[[str, str], Maker | None] = lambda project, attempt: None,
    ) -> None:
        """
        Args:
            admit: raises where an attempt may not use its channels (yet); may ask the hub.
            maker_of: by project and attempt, who makes the files of a job that is not to have ours.
        """
        self.settings = settings
        self._folders = folders
        self._datasets = datasets
        self._volumes = volumes
        self._hub = hub
        self._admit = admit
        self._maker_of = maker_of
        self._attempts = ThreadPoolExecutor(settings.transfers, thread_name_prefix="ayni-stage")
        self._files = ThreadPoolExecutor(settings.transfers, thread_name_prefix="ayni-input")
        self._tools = Tools(settings, datasets, hub, cache, web, self._files)

    def close(self) -> None:
        """Wait for what is under way; set the `stop` events first to make that short."""
        self._attempts.shutdown(cancel_futures=True)
        self._files.shutdown(cancel_futures=True)

    def prepare(
        self,
        assignments: Sequence[Assignment],
        stops: Mapping[str, threading.Event] = {},
    ) -> Iterator[Result]:
        """Make the folders and bring the inputs.

        Args:
            assignments: each is told once.
            stops: by attempt, an event that ends its staging with an error.

        Yields:
            (attempt, Prepared or why not), as they become ready. Those for which nothing must be
            fetched come first and at once; the others keep none of each other waiting.
        """
        heavy = []
        for assignment in assignments:
            if self.must_fetch(assignment):
                heavy.append(assignment)
            else:
                yield self._whole(assignment, {}, stops.get(assignment.attempt))
        if not heavy:
            return
        found = self._ask(heavy)
        jobs = [
            self._attempts.submit(self._whole, a, found.get(a.attempt, {}), stops.get(a.attempt))
            for a in heavy
        ]
        for job in as_completed(jobs):
            yield job.result()

    def must_fetch(self, assignment: Assignment) -> bool:
        """Whether something must come from elsewhere, so that it may take its time."""
        own = f"{SCHEME}{self.settings.site}/"
        return any(use.charter for use in assignment.channels) or any(
            entry.get("content") is None and not (entry.get("url") or "").startswith(own)
            for entry in assignment.task.get("inputs") or ()
        )

    def _ask(self, assignments: Sequence[Assignment]) -> dict[str, Listing]:
        """What the hub has at each URL of a task's own project: attempt → URL → files."""
        questions = [
            Question(a.attempt, entry["url"], entry.get("type") or "FILE")
            for a in assignments
            for entry in a.task.get("inputs") or ()
            if entry.get("content") is None
            and (entry.get("url") or "").startswith(f"{SCHEME}{a.who.project}/")
        ]
        found: dict[str, Listing] = {}
        for question, files in zip(questions, self._hub.inputs(questions), strict=True):
            found.setdefault(question.attempt, {})[listing_key(question.url, question.type)] = files
        return found

    def _whole(
        self, assignment: Assignment, found: Listing, stop: threading.Event | None
    ) -> Result:
        """All of one attempt; every error is told as its result."""
        attempt = assignment.attempt
        try:
            return attempt, self._prepare(assignment, found, stop)
        except StagingError as error:
            failed = error
        except Stopped:
            failed = StagingError("stopped", "staging was stopped", retryable=True)
        except TransferError as error:
            failed = StagingError(error.code, str(error), retryable=error.retryable)
        except OSError as error:
            failed = disk_error(error)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            # A hub that sends what is no task must not take the other attempts along.
            failed = StagingError("task", f"the task cannot be understood: {type(error).__name__}")
        return attempt, failed

    def _prepare(
        self, assignment: Assignment, found: Listing, stop: threading.Event | None
    ) -> Prepared:
        task = assignment.task
        inputs, outputs = task.get("inputs") or (), task.get("outputs") or ()
        channels = _channels(assignment)
        self._admit(assignment)
        mounted = self._mount(assignment, len(outputs))
        folder = self._folders.make(assignment.attempt)
        volumes = task.get("volumes") or ()
        if not (inputs or outputs or volumes or channels or mounted.binds):
            return Prepared(assignment.attempt, folder, rule=mounted.rule)
        if channels:  # whose folders are the agent's, to put into and to take from
            with Root(folder / "root") as root:
                spool.make(folder, root, channels)
        maker = self._maker_of(assignment.who.project, assignment.attempt)
        if maker is not None:
            sharing.admit(str(folder), maker.group)
        with Root(folder / "root", maker) as root:
            filling = Filling(self._tools, assignment, folder, root, found, stop)
            for bind in mounted.binds:
                filling.mount(bind)
            for index, entry in enumerate(inputs):
                with _about(f"inputs[{index}]"):
                    filling.put_input(entry)
            for index, entry in enumerate(outputs):
                with _about(f"outputs[{index}]"):
                    filling.make_way(entry)
            for index, path in enumerate(volumes):
                with _about(f"volumes[{index}]"):
                    filling.make_volume(path)
        prepared = Prepared(
            assignment.attempt,
            folder,
            tuple(filling.binds),
            filling.size,
            mounted.rule,
            mounted.leases,
            mounted.datasets,
        )
        if prepared.binds:
            _save(prepared)
        return prepared

    def _mount(self, assignment: Assignment, outputs: int) -> Mounted:
        """The attempt's volumes, once it is sure that it may run under the rule of all that it reads."""
        network, nodes = bool(assignment.shape.get("network")), assignment.shape.get("nodes") or 1
        sends = [f"{assignment.who.project}/{c.name}" for c in assignment.channels if c.sends]

        def judge(rule: release.Rule) -> None:
            if no := release.forbidden(
                rule, outputs=outputs, network=network, nodes=nodes, sends=sends
            ):
                raise StagingError(release.CODE, no.message).about(no.field)

        rule = rule_for(assignment, self._datasets)
        judge(rule)
        return self._volumes.mount(
            assignment.attempt,
            assignment.who.project,
            mounts_of(assignment.shape),
            rule,
            [use.name for use in assignment.datasets],
            judge,
        )


def _channels(assignment: Assignment) -> list[str]:
    """The channels that the task uses, all of which must be there."""
    there = {use.name for use in assignment.channels}
    for way in channel_ways(assignment.shape.get("channels") or ()):
        if way.name not in there:
            raise StagingError(
                "channel", f"channel {way.name} was deleted; make it again and send the task anew"
            )
    return sorted(there)


@contextmanager
def _about(field: str) -> Iterator[None]:
    """Names the field of the task in whatever error comes out."""
    try:
        yield
    except StagingError as error:
        raise error.about(field) from error


def rule_for(
    assignment: Assignment, datasets: Datasets, inherited: Iterable[str] = ()
) -> release.Rule:
    """What may leave an attempt: as the hub says, or as this site's own cards say if that is stricter.

    Args:
        assignment: names the datasets that it reads.
        datasets: this site's.
        inherited: more of them, that are in its volumes.
    """
    rules = [release.rule_of(use) for use in assignment.datasets]
    for name in {*inherited, *(use.name for use in assignment.datasets)}:
        if (dataset := datasets.get(name)) is not None:
            rules.append(release.rule_of(dataset.status))
    return release.strictest(rules)


def rule_now(assignment: Assignment, folder: Path, datasets: Datasets) -> release.Rule:
    """What may leave an attempt that is under way: the stricter of what held when it was prepared and
    what holds now."""
    prepared = load(assignment.attempt, folder)
    return release.strictest((prepared.rule, rule_for(assignment, datasets, prepared.datasets)))


def _save(prepared: Prepared) -> None:
    """Note what the outputs' side must know, after a restart too."""
    binds = [[str(b.source), b.target, b.writable] for b in prepared.binds]
    staged = {
        "binds": binds,
        "size": prepared.size,
        "rule": asdict(prepared.rule),
        "leases": [str(lease) for lease in prepared.leases],
        "datasets": list(prepared.datasets),
    }
    (prepared.folder / _STAGED).write_text(json.dumps(staged))


def load(attempt: str, folder: Path) -> Prepared:
    """What `prepare` said of an attempt, for an agent that has started again."""
    try:
        staged = json.loads((folder / _STAGED).read_bytes())
    except FileNotFoundError:
        return Prepared(attempt, folder)
    binds = tuple(Bind(Path(source), target, write) for source, target, write in staged["binds"])
    kept = staged["rule"]
    rule = release.from_json(kept)
    leases = tuple(Path(lease) for lease in staged.get("leases", ()))
    datasets = tuple(staged.get("datasets", ()))
    return Prepared(attempt, folder, binds, staged["size"], rule, leases, datasets)
