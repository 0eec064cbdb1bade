"""A project's tasks, filtered, a page at a time; a page costs about the same, however many there are.

First the keys of the page are read, then its rows. Keys come from an index that has them in the order
shown, from where the last page ended (keyset paging). Where a filter matches only few tasks, these are
looked at instead. QUEUED to a client is three states here, hence three reads that are merged.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from django.conf import settings
from django.db.models import Exists, F, OuterRef, Q, QuerySet

from ayni.hub.http import field_problem
from ayni.hub.network.bulk import parts
from ayni.hub.tasks.life import SHOWN, TaskState
from ayni.hub.tasks.models import Array, Task, TaskTag
from ayni.tes import paging
from ayni.tes.filters import Filters
from ayni.tes.models import State

INTERNAL: dict[State, list[int]] = {
    shown: [state.value for state, s in SHOWN.items() if s is shown] for shown in State
}
_FEW = 1000
Tag = tuple[str, str | None]
Key = tuple[str, int]  # name and number of a task; the name is "" where it does not count


@dataclass(frozen=True, slots=True)
class Page:
    tasks: list[Task]
    next_page_token: str


def page_of(
    project: int,
    filters: Filters,
    size: int,
    token: str = "",
    array: Array | None = None,
    related: Sequence[str] = (),
) -> Page:
    """As `numbers_of`, with the tasks themselves."""
    numbers, following = numbers_of(project, filters, size, token, array)
    rows = Task.objects.select_related(*related) if related else Task.objects.all()
    found = {t.pk: t for part in parts(numbers) for t in rows.filter(pk__in=part)}
    return Page([found[number] for number in numbers if number in found], following)


def numbers_of(
    project: int, filters: Filters, size: int, token: str = "", array: Array | None = None
) -> tuple[list[int], str]:
    """The numbers of a page's tasks, and the token of the next page.

    Newest first; by name where a prefix of it is asked for; an array's in their own order.

    Raises:
        ProblemError: 400, the token is not of this listing.
    """
    question = filters.fingerprint(f"{project}/{array.pk if array else None}")
    listing = _Listing(project, filters, array, _position(question, token) if token else None)
    keys = listing.keys(size + 1)
    shown = keys[:size]
    more = len(keys) > size
    following = paging.encode(page_secret(), question, list(shown[-1])) if more else ""
    return [number for _, number in shown], following


def after_prefix(prefix: str) -> str:
    """The first text beyond all that begin with `prefix`, by code point; "" if there is none."""
    for place in range(len(prefix) - 1, -1, -1):
        code = ord(prefix[place])
        if code < 0x10FFFF:
            following = 0xE000 if code == 0xD7FF else code + 1  # no surrogates in UTF-8
            return prefix[:place] + chr(following)
    return ""


class _Listing:
    """One question: which tasks, and after which key."""

    def __init__(
        self, project: int, filters: Filters, array: Array | None, position: Key | None
    ) -> None:
        self.filters = filters
        self.array = array
        self.position = position
        self.states = INTERNAL[filters.state] if filters.state else None
        self.by_name = bool(filters.name_prefix)
        self.ascending = self.by_name or array is not None
        self.all = Task.objects.filter(project=project)
        self.tags = TaskTag.objects.filter(project=project)
        if array is not None:  # its tasks are the numbers after its own
            last = array.pk + array.size
            self.all = self.all.filter(id__gt=array.pk, id__lte=last)
            self.tags = self.tags.filter(task_id__gt=array.pk, task_id__lte=last)

    def keys(self, count: int) -> list[Key]:
        """The first keys after the position, at most `count`."""
        if self.states == []:  # a state that is never shown
            return []
        if self.filters.tags or (self.by_name and self.states):
            few = self._few()
            if few is not None:
                return self._among(few)[:count]
        if self.by_name:
            return self._along_names(count)
        if any(value is not None for _, value in self.filters.tags):
            return self._along_tag(count)
        states: list[int | None] = [*self.states] if self.states else [None]
        found = [key for state in states for key in self._along_numbers(state, count)]
        found.sort(reverse=not self.ascending)
        return found[:count]

    # --- along an index -------------------------------------------------------------------

    def _along_numbers(self, state: int | None, count: int) -> list[Key]:
        rows = self.all if state is None else self.all.filter(state=state)
        if state is not None and self.array is not None:
            rows = Task.objects.filter(array=self.array, state=state)
        rows = _tagged(rows, self.filters.tags)
        if self.position is not None:
            number = self.position[1]
            rows = rows.filter(id__gt=number) if self.ascending else rows.filter(id__lt=number)
        ordered = rows.order_by("id" if self.ascending else "-id")
        return [("", number) for number in ordered.values_list("id", flat=True)[:count]]

    def _along_names(self, count: int) -> list[Key]:
        prefix = self.filters.name_prefix
        rows = self.all.filter(name__gte=prefix)
        if end := after_prefix(prefix):
            rows = rows.filter(name__lt=end)
        if self.states:
            # Not by the index of states: that one is not in the order of names.
            rows = rows.alias(plain=F("state") + 0).filter(plain__in=self.states)
        if self.position is not None:
            name, number = self.position
            rows = rows.filter(name__gte=name).filter(Q(name__gt=name) | Q(id__gt=number))
        rows = _tagged(rows, self.filters.tags)
        return list(rows.order_by("name", "id").values_list("name", "id")[:count])

    def _along_tag(self, count: int) -> list[Key]:
        first = next(tag for tag in self.filters.tags if tag[1] is not None)
        rows = self.tags.filter(key=first[0], value=first[1])
        if self.states:
            rows = rows.filter(task__state__in=self.states)
        if self.position is not None:
            number = self.position[1]
            rows = (
                rows.filter(task_id__gt=number)
                if self.ascending
                else rows.filter(task_id__lt=number)
            )
        for key, value in self.filters.tags:
            if (key, value) != first:
                rows = rows.filter(Exists(_tag(OuterRef("task_id"), key, value)))
        ordered = rows.order_by("task_id" if self.ascending else "-task_id")
        return [("", number) for number in ordered.values_list("task_id", flat=True)[:count]]

    # --- among few ------------------------------------------------------------------------

    def _few(self) -> list[int] | None:
        """All tasks that one of the filters matches, if these are few."""
        for key, value in self.filters.tags:
            rows = self.tags.filter(key=key)
            rows = rows if value is None else rows.filter(value=value)
            numbers = list(rows.values_list("task_id", flat=True)[: _FEW + 1])
            if len(numbers) <= _FEW:
                return numbers
        if self.states:
            numbers = []
            for state in self.states:
                rest = _FEW + 1 - len(numbers)
                some = self.all.filter(state=state).values_list("id", flat=True)
                numbers += some.order_by("-id")[:rest]
            if len(numbers) <= _FEW:
                return numbers
        return None

    def _among(self, numbers: Sequence[int]) -> list[Key]:
        found: list[Key] = []
        for part in parts(numbers):
            # Looked up by number alone, and only then filtered: no index may lure the planner away.
            rows = _tagged(Task.objects.filter(pk__in=part), self.filters.tags)
            for number, name, state in rows.values_list("id", "name", "state"):
                key = (name if self.by_name else "", number)
                if self._fits(number, name, state) and self._is_beyond(key):
                    found.append(key)
        found.sort(key=_by_bytes, reverse=not self.ascending)
        return found

    def _fits(self, number: int, name: str, state: int) -> bool:
        array = self.array
        return (
            name.startswith(self.filters.name_prefix)
            and (self.states is None or state in self.states)
            and (array is None or array.pk < number <= array.pk + array.size)
        )

    def _is_beyond(self, key: Key) -> bool:
        if self.position is None:
            return True
        here, there = _by_bytes(key), _by_bytes(self.position)
        return here > there if self.ascending else here < there


def _by_bytes(key: Key) -> tuple[bytes, int]:
    return key[0].encode(), key[1]


def _tag(task: OuterRef, key: str, value: str | None) -> QuerySet[TaskTag]:
    tag = TaskTag.objects.filter(task_id=task, key=key)
    return tag if value is None else tag.filter(value=value)


def _tagged(rows: QuerySet[Task], tags: Sequence[Tag]) -> QuerySet[Task]:
    for key, value in tags:
        rows = rows.filter(Exists(_tag(OuterRef("pk"), key, value)))
    return rows


def _position(question: str, token: str) -> Key:
    try:
        name, number = paging.decode(page_secret(), question, token)
    except paging.TokenError as error:
        raise field_problem("page_token", str(error)) from error
    return str(name), int(number)


def page_secret() -> bytes:
    secret: str = settings.SECRET_KEY
    return secret.encode()


# Every state that a client may ask for is one of ours or none.
assert {s for states in INTERNAL.values() for s in states} == {s.value for s in TaskState}
