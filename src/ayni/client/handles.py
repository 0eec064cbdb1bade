"""A task or an array in one's hand: its state, its logs, why it is where it is, what it left."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Self

from ayni.client import html, outputs, tail
from ayni.client.connection import LONG_PATIENCE
from ayni.client.errors import Conflict, TaskFailed
from ayni.client.models import ArrayInfo, Attempt, LogPage, Output, TaskInfo, Why
from ayni.tes.models import State, Task, document

if TYPE_CHECKING:
    from ayni.client.network import Network

TES = "/ga4gh/tes/v1"

#: Called with the handle whenever something changed.
OnChange = Callable[["Handle"], None]


class Handle:
    """What tasks and arrays have in common."""

    kind = ""  # "task" or "array", as in the API's paths

    def __init__(self, network: Network, id: str) -> None:
        self._network = network
        self.id = id

    @property
    def path(self) -> str:
        return f"/{self.kind}s/{self.id}"

    @property
    def final(self) -> bool:
        """Whether it had ended when the hub was last asked."""
        raise NotImplementedError

    @property
    def ok(self) -> bool:
        """Whether it has ended, and well."""
        raise NotImplementedError

    def refresh(self, wait: float = 0.0) -> Self:
        """Ask the hub. With `wait`, it answers when something changes, or after so many seconds."""
        raise NotImplementedError

    def wait(self, timeout: float | None = None, progress: bool | OnChange = False) -> Self:
        """Until it has ended. A hub that restarts meanwhile is waited for.

        Args:
            timeout: seconds; None waits as long as it takes.
            progress: True shows a bar; a function is called with this handle at every change.

        Raises:
            WaitTimeout: it goes on.
        """
        from ayni.client.waiting import wait_all

        wait_all([self], timeout=timeout, progress=progress)
        return self

    def check(self) -> Self:
        """
        Raises:
            TaskFailed: it has ended, and not well.
        """
        if self.final and not self.ok:
            raise TaskFailed(f"{self.kind} {self.id} did not end well: {self.summary()}")
        return self

    def summary(self) -> str:
        """Its state in a few words."""
        raise NotImplementedError

    def cancel(self) -> Self:
        """End it. What has ended already is left as it is."""
        self._network.connection.post(f"{self.path}/cancel")
        return self.refresh()

    def __hash__(self) -> int:
        return hash(self.id)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Handle) and other.id == self.id

    def __repr__(self) -> str:
        return f"<{self.kind} {self.id}: {self.summary()}>"


class TaskHandle(Handle):
    """One task."""

    kind = "task"

    def __init__(self, network: Network, id: str, info: TaskInfo | None = None) -> None:
        super().__init__(network, id)
        self._info = info

    @property
    def info(self) -> TaskInfo:
        """What the hub said when it was last asked."""
        if self._info is None:
            self.refresh()
        assert self._info is not None
        return self._info

    def refresh(self, wait: float = 0.0) -> Self:
        seen = self._info.state.value if self._info is not None and wait else None
        answer = self._network.connection.get(
            self.path, wait=wait, seen=seen, patience=LONG_PATIENCE if wait else None
        )
        self._info = TaskInfo.model_validate(answer)
        return self

    @property
    def final(self) -> bool:
        return self._info is not None and self._info.final

    @property
    def ok(self) -> bool:
        return self._info is not None and self._info.state is State.COMPLETE

    @property
    def state(self) -> State:
        """The state now."""
        return (self if self.final else self.refresh()).info.state

    @property
    def name(self) -> str:
        return self.info.name or ""

    @property
    def attempts(self) -> list[Attempt]:
        return self.refresh().info.attempts

    @property
    def outputs(self) -> list[Output]:
        """The files it left."""
        return self.refresh().info.outputs

    def summary(self) -> str:
        info = self.info
        at = f" at {info.site}" if info.site else ""
        reason = f", {info.reason.message}" if info.reason and info.reason.message else ""
        return f"{info.state.value}{at}{reason}"

    def log(self, *, stderr: bool = False, command: int = 0, attempt: int | None = None) -> LogPage:
        """The end of a log, at most 64 KiB, with what is known of the rest."""
        return tail.page(self._network.connection, self.id, stderr, command, attempt)

    def logs(self, *, stderr: bool = False, command: int = 0) -> str:
        """The end of a log: at most 64 KiB. What may not leave the site is told in words."""
        found = self.log(stderr=stderr, command=command)
        return f"[{found.withheld.message}]" if found.withheld else found.text

    def follow(self, *, stderr: bool = False, command: int = 0) -> Iterator[str]:
        """The log as it grows, until it is whole."""
        return tail.follow(self._network.connection, self.id, stderr, command)

    def why(self) -> Why:
        """Where it went or why it waits, for every site."""
        return Why.model_validate(self._network.connection.get(f"{self.path}/why"))

    def fetch(self, folder: str | Path | None = None, progress: bool = False) -> list[Path]:
        """Bring its outputs here; those in foreign stores are left where they are.

        Args:
            folder: by default one named by the id.
        """
        files = outputs.of_task(self.outputs, self._network.project)
        return self._network.store.bring(files, Path(folder or self.id), progress=progress)

    def document(self) -> Task:
        """The TES task as it was sent, with an array's placeholders filled in."""
        answer = self._network.connection.get(f"{TES}/tasks/{self.id}", view="FULL")
        return Task.model_validate(answer).submitted()

    def rerun(self) -> TaskHandle:
        """A new task from the same document.

        Raises:
            Conflict: it has not ended yet.
        """
        if not self.refresh().final:
            raise Conflict(f"task {self.id} has not ended; cancel it first, or wait for it")
        body = {"task": document(self.document()), "after": [], "notify": []}
        return self._network.task(self._network.connection.create("/tasks", body)["id"])

    def _repr_html_(self) -> str:
        return html.task(self.info)


class ArrayHandle(Handle):
    """Many tasks of one shape."""

    kind = "array"

    def __init__(self, network: Network, id: str, info: ArrayInfo | None = None) -> None:
        super().__init__(network, id)
        self._info = info

    @property
    def info(self) -> ArrayInfo:
        """What the hub said when it was last asked."""
        if self._info is None:
            self.refresh()
        assert self._info is not None
        return self._info

    def refresh(self, wait: float = 0.0) -> Self:
        seen = self._info.version if self._info is not None and wait else None
        answer = self._network.connection.get(
            self.path, wait=wait, seen=seen, patience=LONG_PATIENCE if wait else None
        )
        self._info = ArrayInfo.model_validate(answer)
        return self

    @property
    def final(self) -> bool:
        return self._info is not None and self._info.final

    @property
    def ok(self) -> bool:
        return self._info is not None and self._info.complete >= self._info.size

    @property
    def counts(self) -> dict[str, int]:
        """How many tasks are in each state now."""
        return (self if self.final else self.refresh()).info.counts

    def __len__(self) -> int:
        return self.info.size

    def tasks(self, state: State | str | None = None) -> Iterator[TaskHandle]:
        """Its tasks, in no promised order; `state` narrows."""
        return self._network.tasks(array=self, state=state)

    def summary(self) -> str:
        info = self.info
        states = ", ".join(f"{n} {state}" for state, n in sorted(info.counts.items()) if n)
        return f"{info.size} tasks: {states or 'none made yet'}"

    def rerun(self) -> ArrayHandle:
        """A new array of those tasks that did not end well.

        Raises:
            Conflict: there are none.
        """
        answer = self._network.connection.create(f"{self.path}/rerun", {})
        return self._network.array(answer["id"])

    def fetch(self, folder: str | Path | None = None, progress: bool = False) -> list[Path]:
        """Bring what its tasks left, each task's files beneath a folder of its index.

        Args:
            folder: by default one named by the id.
        """
        template = self.refresh().info.template or {}
        files = outputs.of_array(template, self._network.store.ls, self._network.project)
        return self._network.store.bring(files, Path(folder or self.id), progress=progress)

    def _repr_html_(self) -> str:
        return html.array(self.info)
