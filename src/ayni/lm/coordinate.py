"""A run's coordinator, outside the sites: channels in, the outer loop, channels out.

All that it must remember is in the journal, in the store of blobs and in the channel to the sites, which
it reads back when it starts: killed anywhere, it goes on where it was when it is started again.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import Any

from ayni.client.channels import ChannelMessage
from ayni.errors import NoRoom, UserError, is_full
from ayni.lm import wire
from ayni.lm.config import Run, keep
from ayni.lm.files import add_lines, written
from ayni.lm.inbox import Inbox
from ayni.lm.lines import Lines
from ayni.lm.outer.coordinator import Coordinator
from ayni.lm.outer.files import FolderStore, is_address
from ayni.lm.outer.fragments import split
from ayni.lm.outer.journal import Journal
from ayni.lm.outer.lineage import referenced
from ayni.lm.outer.machine import Origin, begin
from ayni.lm.outer.messages import Contributed, Event, Head, Joined, Left, Record
from ayni.lm.outer.perform import BlobError, store_vector
from ayni.lm.outer.state import State
from ayni.lm.outer.watch import Tallies, standings
from ayni.lm.room import Room
from ayni.lm.steering import LAST, READ, Answer, clock
from ayni.lm.tasks import SiteTask
from ayni.lm.watching.alarms import Watch
from ayni.lm.watching.record import LOSSES, Report, read_reports
from ayni.lm.watching.status import Pulse, status
from ayni.lm.watching.told import Told

log = logging.getLogger(__name__)
STATUS, ALARMS = "status.json", "alarms.jsonl"
_AT_ONCE = 100  # messages between two commits
_OLD = 3600.0  # seconds after which a blob that nobody knows goes


class Coordination:
    """One run, coordinated. `step` does all that can be done now."""

    def __init__(
        self,
        run: Run,
        folder: Path,
        connect: Callable[[int], Lines],
        members: Mapping[str, str] | None = None,
        tasks: Callable[[], Mapping[str, SiteTask]] = dict,
    ) -> None:
        """Go on, or begin.

        Args:
            connect: gives the channels of a model of so many values.
            members: of the alliance, to which the sites belong; for the books.
            tasks: gives the sites' tasks; without it nothing is known of them but what they say.

        Raises:
            UserError: the folder is another run's, or another coordinator is at work in it.
        """
        self.run, self.folder = run, folder
        keep(run, folder)
        self.store = FolderStore(folder / "blobs")
        self.journal = Journal(folder)
        self._courier = ThreadPoolExecutor(1, thread_name_prefix="update")
        self._coming: dict[str, Future[int]] = {}  # blobs that are being sent to the sites
        self.coordinator = Coordinator(
            self.journal,
            self.store,
            lambda: first(run, self.store),
            self._send_ahead,
            {LAST: clock()},
        )
        lanes = self.coordinator.state.lanes.values()
        self.lines = connect(sum(lane.count for lane in lanes))
        self.journal.commit(self.coordinator.state, _belonging(members or {}))
        self._ask_tasks = tasks
        self._tasks: Mapping[str, SiteTask] = {}
        self._over: set[str] = set()  # tasks of which it was heard that they ended
        self._tallies = Tallies()
        self._read = 0  # of the books
        self._pulse, self._watch = Pulse(), Watch()
        self._alarms = Told(folder / ALARMS)
        self._reported: set[tuple[str, int]] = set()  # sites, and versions
        for report in read_reports(folder):
            self._reported.add((report.site, report.base))
            self._pulse.report(report)
            self._alarms.tell(self._watch.report(report))
        self._inbox = Inbox(self.lines.up, self.store, self._of_site)
        self._inbox.last = self.coordinator.cursor.get("up", 0)
        self._room = Room(self.lines.up, self.lines.down, history=run.history)
        self._told: dict[str, Head] = {}  # by fragment
        self._read_back()
        self.store.sweep(referenced(self.coordinator.state), time.time() - _OLD)

    def close(self) -> None:
        self._courier.shutdown(cancel_futures=True)
        self.journal.close()

    @property
    def done(self) -> bool:
        """Whether the run is over and the sites have been told."""
        heads = self.coordinator.heads()
        told = all(h.status == "done" and self._told.get(h.fragment) == h for h in heads)
        return bool(heads) and told

    def step(self) -> None:
        """Hear what was said, do what is to be done, tell the sites.

        Raises:
            AyniError: the network cannot be reached now; nothing is lost.
            NoRoom: the disk is full: make room and call again. Sites finish their rounds and wait.
            UserError: this place cannot go on, for the reason that it names.
        """
        try:
            self._tasks = self._ask_tasks()
            self._room.make(self.coordinator.state, self.coordinator.cursor.get("up", 0))
            events, cursor, answers = self._listen()
            events += self._left()
            self.coordinator.hear(time.time(), events, cursor)
            self._inbox.taken()
            for answer in answers:
                self.lines.wishes.send(wire.ANSWER, answer)
            self.coordinator.work()
            for head in self.coordinator.heads():
                self._tell(head)
        except OSError as error:
            raise (NoRoom if is_full(error) else UserError)(
                f"{self.folder}: cannot be read or written ({error.strerror}); make room there: the "
                "run goes on from its last round"
            ) from error
        except BlobError as error:
            told = f"{self.store.folder}: {error}; bring it back from a backup, and go on"
            raise UserError(told) from error

    def wait(self, seconds: float) -> None:
        """Until a site says something, but no longer: clocks run on, and people may wish."""
        next(self.lines.up.receive(self._inbox.last, timeout=seconds), None)

    # --- hearing ---------------------------------------------------------------------------

    def _listen(self) -> tuple[list[Event], dict[str, int], list[Answer]]:
        """What was said, how far it was read, and what people are to be answered."""
        events: list[Event] = []
        cursor = {"up": 0, READ: 0, **self.coordinator.cursor}
        said, cursor["up"] = self._inbox.take(cursor["up"])
        for one in said:
            if isinstance(one, Report):
                self._note_losses(one)
            else:
                events.append(one)
        wishes = islice(self.lines.wishes.messages(cursor[READ]), _AT_ONCE)
        wished, answers = self.lines.steering.hear(wishes, cursor)
        return [*events, *wished], cursor, answers

    def _left(self) -> list[Left]:
        """The sites whose task is over before the run is, once all that they said was heard."""
        new = [(s, t) for s, t in self._tasks.items() if t.final and t.id not in self._over]
        if not new or self.done or next(self.lines.up.messages(self._inbox.last), None):
            return []
        self._over.update(task.id for _, task in new)
        return [Left(site=s, task=task.id, reason=task.said[:500]) for s, task in new]

    def _of_site(self, message: ChannelMessage) -> Event | Report:
        """What a site says. Its signature says who it is; what it says is believed as far as it fits."""
        site = message.sender.site
        known = message.sender.task is not None and site in {one.site for one in self.run.sites}
        try:
            if site is None or not known:
                raise ValueError("it is no task of a site of this run")
            self.lines.check(message)
            if message.kind == wire.LOSSES:
                return Report.of(site, message.body, time.time())
            event = wire.heard(message.kind, message.body, run=self.run.run, site=site)
            self._check(event, message)
            return event
        except ValueError as error:
            return wire.rejected(message, str(error))

    def _check(self, event: Event, message: ChannelMessage) -> None:
        """Raises ValueError: what is said does not fit what came, or what this run's sites train."""
        if isinstance(event, Contributed):
            came = message.blob.sha256 if message.blob else None
            if came != event.blob or not is_address(event.blob):
                raise ValueError("contributed: the blob that it names did not come with it")
        if isinstance(event, Joined) and event.tokens_per_step > self.run.tokens_per_step:
            raise ValueError(
                f"joined: {event.tokens_per_step} tokens a step, where the run's batch has "
                f"{self.run.tokens_per_step}"
            )

    def _note_losses(self, report: Report) -> None:
        """Once for each version that there is: what is said again changes nothing."""
        key = report.site, report.base
        known = max(lane.next for lane in self.coordinator.state.lanes.values())
        if report.base >= known or key in self._reported:
            return
        self._reported.add(key)
        add_lines(self.folder / LOSSES, [report.to_json()])
        self._pulse.report(report)
        self._alarms.tell(self._watch.report(report))

    # --- telling ---------------------------------------------------------------------------

    def _read_back(self) -> None:
        for message in self.lines.down.messages():
            if message.kind == wire.BLOB:
                self._room.add(message.body["ref"], message.blob.size if message.blob else 0)
            elif message.kind == wire.HEAD:
                head = wire.heard_head(message.body, run=self.run.run)
                self._told[head.fragment] = head
        self._room.look()

    def _tell(self, head: Head) -> None:
        """A head, after all that it names."""
        if self._told.get(head.fragment) == head:
            return
        changes = [variant.change for variant in head.variants]
        for ref in (head.snapshot, *(link.update for link in head.chain), *changes):
            if ref is not None and not self._room.has(ref):
                coming = self._coming.pop(ref, None)
                self._room.add(ref, self._offer(ref) if coming is None else coming.result())
        self.lines.down.send(wire.HEAD, wire.said_head(head))
        self._told[head.fragment] = head
        self.store.sweep(referenced(self.coordinator.state), time.time() - _OLD)

    def _send_ahead(self, ref: str) -> None:
        """Send an update while the weights after it are still being made."""
        if not self._room.has(ref) and ref not in self._coming:
            self._coming[ref] = self._courier.submit(self._offer, ref, next=True)

    def _offer(self, ref: str, **of_it: Any) -> int:
        """Let the sites have a blob; its bytes. `of_it`: what else is said."""
        path = self.store.path(ref)
        self.lines.down.send(wire.BLOB, {"ref": ref, **of_it}, path)
        return path.stat().st_size

    # --- watching --------------------------------------------------------------------------

    def status(self) -> dict[str, Any]:
        """Where the run is, who is late and why, what each site brought, what is alarming."""
        self._read_books()
        state, now = self.coordinator.state, time.time()
        if not state.paused and not self.done:
            self._alarms.tell(self._watch.silent(standings(state, now), state.sites, now))
        return status(
            state,
            self._tallies.of,
            self._pulse,
            self._alarms.last,
            offered=self._room.offered,
            sites=[one.site for one in self.run.sites],
            tasks=self._tasks,
            now=now,
        )

    def _read_books(self) -> None:
        for number, record in self.journal.books(after=self._read):
            self._tallies.take(record)
            self._pulse.record(record)
            self._alarms.tell(self._watch.record(record))
            self._read = number

    def write_status(self) -> dict[str, Any]:
        """Put the status where `ayni lm status` finds it."""
        found = self.status()
        with written(self.folder / STATUS) as file:
            file.write(json.dumps({**found, "at": time.time()}, indent=2).encode())
        return found


def first(run: Run, store: FolderStore) -> State:
    """The state of a run that has not begun: its model's first weights, in the store."""
    from ayni.lm.model_commands import need_torch

    need_torch()
    from ayni.lm.inner import model
    from ayni.lm.parameters import chunks

    net = model.named(model.start(run.model, seed=run.training.seed))
    parts = split({name: t.numel() for name, t in net.items()}, run.outer.fragments)
    if len(parts) != run.outer.fragments:
        raise UserError(
            f"outer.fragments: the model's layers make {len(parts)} fragments and not "
            f"{run.outer.fragments}; write {len(parts)}"
        )
    origins = {}
    for fragment, names in parts.items():
        found = ((name, net[name].detach().float().numpy()) for name in names)
        ref, digest = store_vector(store, chunks(found))
        origins[fragment] = Origin(sum(net[name].numel() for name in names), ref, digest)
    return begin(run.outer, origins, time.time())


def _belonging(members: Mapping[str, str]) -> list[Record]:
    """Records of who belongs to whom; the journal keeps the first of each, and changes."""
    return [
        Record(
            key=f"member/{site}/{member}",
            what="member",
            at=time.time(),
            data={"site": site, "member": member},
        )
        for site, member in sorted(members.items())
    ]


def read_status(folder: Path) -> dict[str, Any]:
    """What the coordinator wrote last.

    Raises:
        UserError: there is none.
    """
    try:
        found: dict[str, Any] = json.loads((folder / STATUS).read_text())
    except (OSError, ValueError) as error:
        raise UserError(
            f"{folder} has no status of a run: ask where its coordinator runs, and name its folder "
            "with --folder"
        ) from error
    return found
