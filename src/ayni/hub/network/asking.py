"""Charters that wait for the answer of sites' operators: who must be asked, and what their agents are told.

A site is asked as soon as a task waits that it might run, also while it is full, closed or passed over for
another: the answer takes a person. One that would never take the task learns nothing of its charter.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from django.db import transaction

from ayni.broker.jury import Jury
from ayni.hub.channels.models import Asking, Channel
from ayni.hub.network import bulk, reads, wake
from ayni.hub.network.models import Site
from ayni.hub.network.world import MOST_GROUPS, Loader, World
from ayni.hub.tasks.ids import made_at
from ayni.hub.tasks.models import Group
from ayni.protocol.attempts import WITHDRAWABLE
from ayni.protocol.charters import MAX_CHANNELS, MAX_QUESTIONS, CharterQuestion, CharterStatus

MOST = 100  # channels of which one site is asked at once; others follow when these are answered
MOST_OF_PROJECT = MAX_CHANNELS  # of these, so that no project keeps others' from being asked

Key = tuple[int, int]  # site and channel
_WAITING = frozenset(state.value for state in WITHDRAWABLE)
_UNKNOWN = """
SELECT a.channel_id, a.digest, q.name, c.name, p.email, a.since
FROM channels_asking a JOIN channels_channel c ON c.id = a.channel_id
JOIN calls_project q ON q.id = c.project_id JOIN accounts_person p ON p.id = a.person_id
WHERE a.site_id = %s AND NOT a.known ORDER BY a.since, a.id
"""


@dataclass(frozen=True, slots=True)
class _Ask:
    project: int
    digest: str
    person: int
    since: float
    known: bool


@dataclass(frozen=True, slots=True)
class _Wait:
    """Of whom tasks of a group wait, and since when."""

    person: int
    since: float


# --- who is asked -----------------------------------------------------------------------------


def refresh(loader: Loader, now: float) -> None:
    """Ask the sites that might run what waits, and no others any more.

    Args:
        loader: the broker's.
        now: Unix seconds.
    """
    waits = _waits(now)
    world = loader.load_groups(now, list(waits)) if waits else None
    wanted = _wanted(world, waits, loader) if world else {}
    with transaction.atomic():
        rows = {(row.site_id, row.channel_id): row for row in Asking.objects.all()}
        wanted = _bounded(wanted, rows.keys())
        Asking.objects.filter(
            pk__in=[r.pk for key, r in rows.items() if key not in wanted]
        ).delete()
        Asking.objects.bulk_create(
            Asking(
                site_id=site, channel_id=channel, person_id=ask.person, digest=ask.digest,
                since=datetime.fromtimestamp(ask.since, UTC), known=ask.known,
            )
            for (site, channel), ask in wanted.items()
            if (site, channel) not in rows
        )  # fmt: skip
        _mark({row.pk: wanted[key].known for key, row in rows.items() if key in wanted})
    wake.site(*{site for (site, channel) in wanted.keys() - rows.keys()})


def _waits(now: float) -> dict[int, _Wait]:
    """Groups of which tasks wait, at the hub or at a site, that use a channel with a charter."""
    projects = set(Channel.objects.exclude(charter="").values_list("project", flat=True))
    if not projects:
        return {}
    since = {group: now for _, _, group, state, _ in reads.live() if state in _WAITING}
    since |= {group: made_at(first) for group, (_, first) in reads.queued().items()}
    rows = Group.objects.filter(project__in=projects, shape__has_key="channels").order_by("id")
    waiting = [(g, p) for g, p in rows.values_list("id", "person") if g in since]
    return {group: _Wait(person, since[group]) for group, person in waiting[:MOST_GROUPS]}


def _wanted(world: World, waits: Mapping[int, _Wait], loader: Loader) -> dict[Key, _Ask]:
    """Every site that has yet to accept a charter of what it might run; who waits longest asks."""
    groups = sorted(
        (g for g in world.groups if g.awaiting), key=lambda g: (waits[g.id].since, g.id)
    )
    told = _told({site for group in groups for site in group.awaiting})
    rows = Channel.objects.filter(project__in={world.group_projects[g.id] for g in groups})
    channels = {(c, name): pk for pk, c, name in rows.values_list("pk", "project", "name")}
    jury = Jury(world.sites, loader.settings)
    found: dict[Key, _Ask] = {}
    for group in groups:
        project, wait = world.group_projects[group.id], waits[group.id]
        for site, said in zip(world.sites, jury.judge(group).sites, strict=True):
            states = told.get(site.name)
            if states is None or said.final or site.name not in group.awaiting:
                continue
            for name, digest in world.charters[group.id].items():
                state = states.get((group.project, digest))
                if state != "accepted":
                    ask = _Ask(project, digest, wait.person, wait.since, state is not None)
                    found.setdefault((world.site_ids[site.name], channels[project, name]), ask)
    return found


def _told(sites: Collection[str]) -> dict[str, dict[tuple[str, str], str]]:
    """What agents say of charters, by site, project and digest; without agents that know of none."""
    rows = Site.objects.filter(name__in=sites).values_list("name", "status__charters")
    return {
        site: {(one["project"], one["digest"]): one["state"] for one in told}
        for site, told in rows
        if told is not None
    }


def _bounded(wanted: Mapping[Key, _Ask], known: Collection[Key]) -> dict[Key, _Ask]:
    """As much as a site is asked at once: what it was asked before, then what waits longest."""
    kept: dict[Key, _Ask] = {}
    count: Counter[tuple[int, int | None]] = Counter()
    for key, ask in sorted(
        wanted.items(), key=lambda one: (one[0] not in known, one[1].since, one[0])
    ):
        site = key[0]
        if count[site, None] < MOST and count[site, ask.project] < MOST_OF_PROJECT:
            kept[key] = ask
            count[site, None] += 1
            count[site, ask.project] += 1
    return kept


# --- what agents are told ---------------------------------------------------------------------


def questions(site: int) -> list[CharterQuestion]:
    """The charters that the site is asked and that its agent has not said that it has; the first of them."""
    found: dict[tuple[str, str], list[tuple[int, str, str, datetime | str]]] = {}
    for channel, digest, project, *rest in bulk.select(_UNKNOWN, [site]):
        found.setdefault((project, digest), []).append((channel, *rest))
    first = dict(list(found.items())[:MAX_QUESTIONS])
    rows = Channel.objects.filter(pk__in=[asks[0][0] for asks in first.values()])
    texts = dict(rows.values_list("pk", "charter")) if first else {}
    return [
        CharterQuestion(
            project=project,
            channels=[name for _, name, _, _ in asks],
            person=asks[0][2],
            since=_seconds(asks[0][3]),
            text=texts[asks[0][0]],
        )
        for (project, _), asks in first.items()
        if asks[0][0] in texts  # not deleted meanwhile
    ]


def heard(site: int, told: Collection[CharterStatus] | None) -> None:
    """An agent says which charters it has; within the sync's transaction."""
    known = {(one.project, one.digest) for one in told or ()}
    rows = Asking.objects.filter(site=site).values_list("pk", "channel__project__name", "digest")
    _mark({pk: (project, digest) in known for pk, project, digest in rows})


def _mark(known: Mapping[int, bool]) -> None:
    for value in (True, False):
        rows = [pk for pk, one in known.items() if one is value]
        Asking.objects.filter(pk__in=rows, known=not value).update(known=value)


def _seconds(moment: datetime | str) -> float:
    read = bulk.read_moment(moment)
    return read.timestamp() if read else 0.0
