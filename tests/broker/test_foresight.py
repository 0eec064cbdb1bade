"""What is expected of a start, and how it is known."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from ayni.broker.foresight import Foresight, Source, Start, Told, expected
from ayni.broker.outlook import outlook
from ayni.broker.place import place
from ayni.broker.room import rooms_of
from ayni.broker.types import Decision, Settings, Site, Verdict
from ayni.tes.shape import Shape
from ayni.tes.size import Size
from tests.broker.worlds import NOW, group, partition, partitions, site

SMALL = Size(1, 1, 0, 3600)
LARGE = Size(4, 8, 0, 3600)
LONG = Size(1, 1, 0, 86400)
HOUR = 3600.0
FULL = partition(live=4, used_cores=4)

seconds = st.floats(0, 1e6)
sizes = st.sampled_from([SMALL, LARGE, LONG, Size(16, 64, 2, 60)])
tolds = st.builds(Told, seconds, st.booleans())
foresights = st.builds(
    Foresight, st.dictionaries(sizes, tolds), st.dictionaries(sizes, seconds), seconds
)


def foreseeing(name: str, *partitions: object, **known: object) -> Site:
    return site(name, *partitions, foresight={"main": Foresight(**known)})  # type: ignore[arg-type]


def start(known: Foresight, size: Size = SMALL, **said: object) -> Start:
    return expected(known, size, **{"free": False, "counted": 60.0, "lately": 0.0, **said})  # type: ignore[arg-type]


# --- one size tells of others


def test_the_schedulers_word_holds_for_its_size() -> None:
    known = Foresight({SMALL: Told(60.0), LARGE: Told(HOUR)})
    assert known.of_scheduler(SMALL) == Told(60.0)
    assert known.of_scheduler(LARGE) == Told(HOUR)


def test_a_larger_task_starts_no_sooner_than_a_smaller_one() -> None:
    known = Foresight({SMALL: Told(60.0), LONG: Told(HOUR)})
    assert known.of_scheduler(Size(4, 8, 0, 86400)) == Told(HOUR, at_least=True)


def test_a_smaller_task_starts_no_later_than_a_larger_one() -> None:
    known = Foresight({LARGE: Told(HOUR), LONG: Told(60.0)})
    assert known.of_scheduler(SMALL) == Told(60.0)


def test_what_is_neither_smaller_nor_larger_tells_nothing() -> None:
    assert Foresight({LARGE: Told(HOUR)}).of_scheduler(LONG) is None
    assert Foresight().of_scheduler(SMALL) is None


# --- the longest holds


def test_where_there_is_room_a_task_starts_as_fast_as_others_did() -> None:
    assert start(Foresight(at_once=2.0), free=True, counted=0.0) == Start(2.0, Source.FREE)


def test_a_scheduler_that_says_later_is_believed_though_cores_are_free() -> None:
    known = Foresight({SMALL: Told(HOUR)})
    assert start(known, free=True, counted=0.0) == Start(HOUR, Source.SCHEDULER)


def test_the_scheduler_knows_better_than_what_was_learnt() -> None:
    known = Foresight({SMALL: Told(300.0)}, {SMALL: HOUR})
    assert start(known, lately=HOUR) == Start(300.0, Source.SCHEDULER)


def test_a_bound_of_the_schedulers_does_not_outdo_what_was_learnt() -> None:
    known = Foresight({SMALL: Told(300.0, at_least=True)}, {SMALL: HOUR})
    assert start(known) == Start(HOUR, Source.HISTORY)


def test_what_waits_there_of_the_networks_counts_at_least() -> None:
    known = Foresight({SMALL: Told(0.0)}, {SMALL: 10.0})
    assert start(known, counted=HOUR) == Start(HOUR, Source.QUEUE)


def test_of_an_unseen_size_the_partitions_waits_tell() -> None:
    assert start(Foresight({}, {LARGE: HOUR}), lately=600.0) == Start(600.0, Source.HISTORY)


@given(foresights, sizes, seconds, seconds)
def test_room_never_makes_a_start_later(
    known: Foresight, size: Size, counted: float, lately: float
) -> None:
    free = expected(known, size, free=True, counted=0.0, lately=lately)
    full = expected(known, size, free=False, counted=counted, lately=lately)
    assert free.seconds <= full.seconds


@given(foresights, partitions("main"), st.integers(0, 50), st.integers(0, 9))
def test_nobody_starts_sooner_for_having_more_before_them(
    known: Foresight, there: object, ahead: int, more: int
) -> None:
    [room] = rooms_of([site("andes", there, foresight={"main": known})]).values()  # type: ignore[arg-type]
    shape = Shape(images=("host",))
    assert room.start_in(shape, 60.0, ahead) <= room.start_in(shape, 60.0, ahead + more)


# --- the broker uses it


def decision(*sites: Site, **wants: object) -> Decision:
    [one] = place([group(**wants)], sites, [], NOW, Settings())  # type: ignore[arg-type]
    return one


def test_of_two_full_sites_the_one_whose_scheduler_says_sooner_is_chosen() -> None:
    late = foreseeing("andes", FULL, told={SMALL: Told(2 * HOUR)})
    soon = foreseeing("bravo", FULL, told={SMALL: Told(600.0)})
    given_to = decision(late, soon, service=60.0)
    assert (given_to.site, given_to.start) == ("bravo", Start(600.0, Source.SCHEDULER))
    chosen = next(r for r in given_to.reasons if r.verdict is Verdict.CHOSEN)
    assert chosen.message == "was given 1 task, expected to start in about 10 min"
    assert chosen.parameters == {"count": 1, "start_in": 600, "by": "scheduler"}
    other = next(r for r in given_to.reasons if r.site == "andes")
    assert other.parameters["start_in"] == 2 * HOUR
    assert other.parameters["by"] == "scheduler"


def test_free_cores_that_the_scheduler_keeps_for_others_do_not_attract() -> None:
    kept = foreseeing("andes", told={SMALL: Told(HOUR)})
    assert decision(kept, site("bravo")).site == "bravo"


def test_a_site_whose_free_cores_turned_out_to_be_none_is_passed_over() -> None:
    slow = foreseeing("andes", at_once=600.0)
    assert decision(slow, site("bravo")).site == "bravo"


def test_bytes_to_move_count_beside_the_wait() -> None:
    waiting = foreseeing("andes", FULL, told={SMALL: Told(60.0)})
    moved = decision(waiting, site("bravo"), data={"andes": 10**10})  # 800 s to bravo
    assert (moved.site, moved.move) == ("andes", 0.0)


def test_of_several_tasks_the_mean_start_is_kept_and_the_first_is_told() -> None:
    here = site("andes", partition(cores=2, depth=8))
    given_to = decision(here, queued=4, service=100.0)
    assert given_to.count == 4
    assert given_to.start is not None
    assert 0 < given_to.start.seconds < 100.0
    assert given_to.reasons[0].message == "was given 4 tasks, the first expected to start at once"


def test_the_outlook_names_every_site_the_soonest_first() -> None:
    sites = [
        foreseeing("andes", FULL, told={SMALL: Told(HOUR)}),
        site("bravo"),
        site("caribe", partition(max_walltime=60)),
        foreseeing("darien", FULL, waited={SMALL: 600.0}),
    ]
    seen = outlook(group(service=60.0), sites, Settings())
    told = [(one.site, one.partition, one.start and one.start.by) for one in seen]
    assert told == [
        ("bravo", "main", Source.FREE),
        ("darien", "main", Source.HISTORY),
        ("andes", "main", Source.SCHEDULER),
        ("caribe", None, None),
    ]
    assert seen[2].start_in == HOUR
