"""The network as one object: `Network().submit("sort names.txt > sorted.txt", inputs=["names.txt"])`."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from functools import cached_property
from types import TracebackType
from typing import Any, Self, Unpack
from urllib.parse import quote

import httpx

from ayni.client import credentials, html, staging
from ayni.client.channels import Channel, ChannelInfo, make
from ayni.client.connection import Connection
from ayni.client.draft import Draft, Wishes, draft, run_name
from ayni.client.errors import AyniError, InvalidTask, NotFound
from ayni.client.handles import ArrayHandle, Handle, TaskHandle
from ayni.client.models import (
    ArrayInfo,
    Chances,
    Dataset,
    Me,
    Site,
    TaskInfo,
    Volume,
    clean_id,
)
from ayni.client.store import Store
from ayni.tes.arrays import expand
from ayni.tes.models import FINAL_STATES, State, Task, document

PAGE = 500  # tasks in one page of a listing
SHOWN = (State.QUEUED, State.INITIALIZING, State.RUNNING, *sorted(FINAL_STATES))


class Sites(list[Site]):
    """The network's sites; a table in a notebook."""

    def _repr_html_(self) -> str:
        return html.sites(self)


class Datasets(list[Dataset]):
    """Datasets that a project may read; a table in a notebook."""

    def _repr_html_(self) -> str:
        return html.datasets(self)


class Network:
    """A hub, seen with one token: one person in one project.

    Args:
        url: the hub's address. By default AYNI_HUB, else where `ayni login` went last.
        token: by default AYNI_TOKEN, else what `ayni login` stored.
        http_transport: for tests and unusual networks.

    Raises:
        NotSignedIn: no hub or no token is known.
    """

    def __init__(
        self,
        url: str | None = None,
        token: str | None = None,
        *,
        http_transport: httpx.BaseTransport | None = None,
    ) -> None:
        found = credentials.find(url, token)
        self.connection = Connection(found, http_transport=http_transport)
        self.store = Store(self.connection, lambda: self.project)

    # --- who and where ------------------------------------------------------------------------

    @cached_property
    def me(self) -> Me:
        """Whose token it is, and what it may do."""
        return Me.model_validate(self.connection.get("/me"))

    @property
    def project(self) -> str:
        """The name of the token's project."""
        return self.me.project.name

    def sites(self) -> Sites:
        """The sites, what they offer and how they are."""
        answer = self.connection.get("/sites")
        return Sites(Site.model_validate(site) for site in answer["sites"])

    def signing_key(self, site: str) -> str | None:
        """The public key that the hub has of a site; None: it has none. For `ayni.client.keys`."""
        return next((one.signing_key for one in self.sites() if one.name == site), None)

    def datasets(self) -> Datasets:
        """The datasets that this project may read, at sites and of its own."""
        answer = self.connection.get("/datasets")
        return Datasets(Dataset.model_validate(one) for one in answer["datasets"])

    def add_dataset(
        self,
        name: str,
        prefix: str,
        *,
        version: str,
        licence: str,
        title: str = "",
        release: str = "anything",
        release_limit: int = 0,
    ) -> Dataset:
        """Make a folder of the project's files a dataset. Saying it again brings the card up to date.

        Args:
            release: what may leave a task that reads it: nothing, aggregate or anything.
            release_limit: bytes a task, for aggregates.
        """
        card = {
            "name": name, "prefix": prefix, "version": version, "licence": licence,
            "title": title, "release": release, "release_limit": release_limit,
        }  # fmt: skip
        answer = self.connection.post("/datasets", {"datasets": [card]})
        return Dataset.model_validate(answer["datasets"][0])

    # --- channels -----------------------------------------------------------------------------

    def channels(self) -> list[ChannelInfo]:
        """The project's channels."""
        answer = self.connection.get("/channels")
        return [ChannelInfo.model_validate(one) for one in answer["channels"]]

    def channel(self, name: str) -> Channel:
        """A channel by its name; the hub is asked when something of it is wanted.

        Raises:
            AyniError: no channel can have this name.
        """
        if not re.fullmatch(r"[a-z0-9][a-z0-9-]{0,62}", name):
            raise AyniError(
                f"{name[:80]!r} is no name of a channel; `ayni channels list` lists them"
            )
        return Channel(self, name)

    def make_channel(
        self, name: str, schema: Mapping[str, Any], *, retention: int = 30, charter: str = ""
    ) -> Channel:
        """Make a channel; the same again is the same channel.

        Args:
            schema: what may be said on it; see docs/users/channels.md.
            retention: days that messages are kept.
            charter: plain text or Markdown (data, licences, who may hold the results, how a party
                leaves) that each site's operator must accept before a task uses the channel there.

        Raises:
            BadRequest: the message names the field of the schema, or what is wrong with the charter.
            Conflict: there is one of this name with another schema, retention or charter.
        """
        return make(self, name, schema, retention, charter)

    def volumes(self) -> list[Volume]:
        """What sites keep for the project between its tasks."""
        answer = self.connection.get("/volumes")
        return [Volume.model_validate(one) for one in answer["volumes"]]

    def remove_volume(self, site: str, name: str) -> Volume:
        """Have a site delete a volume, as soon as it hears of this.

        Raises:
            NotFound: there is none.
            AyniError: a task mounts it.
        """
        return Volume.model_validate(
            self.connection.delete(f"/volumes/{quote(site)}/{quote(name)}")
        )

    # --- sending ------------------------------------------------------------------------------

    def submit(
        self,
        command: str | Sequence[str] | Task | Mapping[str, Any],
        *,
        progress: bool = False,
        **wishes: Unpack[Wishes],
    ) -> TaskHandle:
        """Send one task.

        Args:
            command: words, or one text as a line for the shell, or a TES task.
            progress: show bars while local inputs are sent.
            wishes: `image`, `cores`, `mem`, `time`, `inputs`, `outputs`, `after`, `name`, `env`,
                `site`, `zones`, `gpus`, `network`, `notify`, `tags` and more: see `Wishes`.

        Raises:
            InvalidTask: it is not well formed; nothing was sent.
            AyniError: what the hub has against it.
        """
        return self.task(self.send(draft(command, **wishes), progress=progress).id)

    def map(
        self,
        command: str | Sequence[str] | Task | Mapping[str, Any],
        parameters: int | Iterable[Mapping[str, Any]],
        *,
        progress: bool = False,
        **wishes: Unpack[Wishes],
    ) -> ArrayHandle:
        """Send an array: one task to each mapping of parameters, or so many that differ by index.

        `{{name}}` and `{{index}}` stand in the command, inputs and outputs for each task's own.
        """
        made = (
            draft(command, count=parameters, **wishes)
            if isinstance(parameters, int)
            else draft(command, parameters=parameters, **wishes)
        )
        return self.array(self.send(made, progress=progress).id)

    def can_run(
        self,
        command: str | Sequence[str] | Task | Mapping[str, Any],
        **wishes: Unpack[Wishes],
    ) -> Chances:
        """Where such a task could run, and what would refuse it. Nothing is sent or made."""
        return self.chances(draft(command, **wishes))

    def send(self, made: Draft, *, progress: bool = False) -> Handle:
        """Send a draft: first its local inputs, then itself."""
        staged = staging.plan(made.options.inputs, made.rows, self.project)
        task = self._task(made, staged)
        body: dict[str, Any] = {"after": list(made.after), "notify": list(made.notify)}
        if made.array:
            request = made.request(task)
            body |= request.model_dump(mode="json", exclude_none=True, exclude={"task"})
        body["task"] = document(task)
        staging.send(staged, self.store, progress)
        answer = self.connection.create("/arrays" if made.array else "/tasks", body)
        handle = ArrayHandle if made.array else TaskHandle
        return handle(self, clean_id(str(answer["id"])))

    def chances(self, made: Draft) -> Chances:
        """As `can_run`, of a draft; of an array's first task."""
        task = document(self.preview(made))
        if made.array:
            task = expand(task, 0, made.rows[0])
        return Chances.model_validate(self.connection.post("/sites/for", {"task": task}))

    def preview(self, made: Draft) -> Task:
        """The TES task that `send` would send. Local inputs are read, since their URLs tell their
        content, but not sent."""
        return self._task(made, staging.plan(made.options.inputs, made.rows, self.project))

    def _task(self, made: Draft, staged: Sequence[staging.Staged]) -> Task:
        name = made.options.name or (made.base.name if made.base else None)
        name = name or (made.options.command[0] if made.options.command else None)
        results = f"ayni://{self.project}/results/{run_name(name, datetime.now(UTC))}"
        return made.task(results, {one.source: one.url for one in staged})

    # --- looking ------------------------------------------------------------------------------

    def task(self, id: str) -> TaskHandle:
        """A task by its id; the hub is asked when something of it is wanted."""
        return TaskHandle(self, clean_id(id))

    def array(self, id: str) -> ArrayHandle:
        """An array by its id; the hub is asked when something of it is wanted."""
        return ArrayHandle(self, clean_id(id))

    def find(self, id: str) -> TaskHandle | ArrayHandle:
        """A task or an array, whichever has the id.

        Raises:
            NotFound: neither.
        """
        try:
            return self.task(id).refresh()
        except NotFound:
            try:
                return self.array(id).refresh()
            except NotFound as error:
                raise NotFound(
                    f"there is no task or array {id} in project {self.project}",
                    status=404,
                    problem=error.problem,
                ) from error

    def tasks(
        self,
        *,
        state: State | str | None = None,
        name: str | None = None,
        array: str | ArrayHandle | None = None,
        tag: tuple[str, str] | None = None,
        limit: int | None = None,
    ) -> Iterator[TaskHandle]:
        """The project's tasks, the newest first; pages are fetched as they are needed.

        Args:
            name: what their names begin with.
            tag: key and value; an empty value matches any.

        Raises:
            InvalidTask: there is no such state.
        """
        query: dict[str, Any] = {
            "state": _state(state),
            "name_prefix": name,
            "array": array.id if isinstance(array, Handle) else array,
            "tag_key": tag[0] if tag else None,
            "tag_value": tag[1] or None if tag else None,
        }
        for row in self._pages("/tasks", "tasks", query, limit):
            info = TaskInfo.model_validate(row)
            yield TaskHandle(self, info.id, info)

    def arrays(self, *, limit: int | None = None) -> Iterator[ArrayHandle]:
        """The project's arrays, the newest first."""
        for row in self._pages("/arrays", "arrays", {}, limit):
            info = ArrayInfo.model_validate(row)
            yield ArrayHandle(self, info.id, info)

    def _pages(
        self, path: str, key: str, query: Mapping[str, Any], limit: int | None
    ) -> Iterator[dict[str, Any]]:
        token: str | None = None
        left = limit
        while left is None or left > 0:
            size = PAGE if left is None else min(PAGE, left)
            answer = self.connection.get(path, page_size=size, page_token=token, **query)
            rows = answer[key][:left]
            yield from rows
            left = None if left is None else left - len(rows)
            if not (token := answer.get("next_page_token")):
                return

    # --- the rest -----------------------------------------------------------------------------

    def close(self) -> None:
        self.connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<Network {self.connection.hub}>"

    def _repr_html_(self) -> str:
        return html.me(self.me)


def _state(state: State | str | None) -> str | None:
    try:
        return State(state.upper()).value if state else None
    except ValueError as error:
        known = ", ".join(s.value for s in SHOWN)
        raise InvalidTask(f"state: {state!r} is none of {known}") from error
