"""When one more task would start in a partition."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from ayni.broker.place import place
from ayni.broker.room import Room, rooms_of
from ayni.broker.types import Settings, Site
from ayni.tes.shape import Shape
from tests.broker.worlds import NOW, group, partition, partitions, site

shapes = st.builds(Shape, images=st.just(("host",)), cores=st.integers(1, 4))
seconds = st.floats(0, 1e6)


def room(here: Site) -> Room:
    [found] = rooms_of([here]).values()
    return found


rooms = st.builds(lambda p: room(site("andes", p)), partitions("main"))


def having_waited(before: Room, waited: float) -> Room:
    return room(replace(before.site, waited={before.partition.name: waited}))


@given(rooms, shapes, seconds, st.floats(0.1, 1e5), st.integers(0, 50))
def test_a_queue_that_is_counted_and_learnt_counts_once(
    before: Room, shape: Shape, waited: float, service: float, ahead: int
) -> None:
    counted = before.start_in(shape, service, ahead)
    expected = having_waited(before, waited).start_in(shape, service, ahead)
    if before.fits(shape) > ahead:
        assert counted == expected == 0.0, "it would start at once, whatever others waited"
    else:
        assert counted > 0.0
        assert max(counted, waited) == expected


@given(rooms, shapes, seconds, st.floats(0.1, 1e5), st.integers(0, 50), st.integers(0, 9))
def test_nobody_starts_sooner_for_having_more_before_them(
    before: Room, shape: Shape, waited: float, service: float, ahead: int, more: int
) -> None:
    here = having_waited(before, waited)
    assert here.start_in(shape, service, ahead) <= here.start_in(shape, service, ahead + more)


@given(rooms, shapes, seconds, st.integers(1, 20))
def test_what_was_placed_makes_the_next_wait_no_shorter(
    before: Room, shape: Shape, waited: float, count: int
) -> None:
    here = having_waited(before, waited)
    start = here.start_in(shape, 60.0)
    here.take(shape, count)
    assert here.start_in(shape, 60.0) >= start


@given(seconds)
def test_a_site_with_free_cores_is_not_passed_over_for_what_others_waited_there(
    waited: float,
) -> None:
    once_busy = site("andes", waited={"main": waited})
    far = group(data={"andes": 10**9})  # 80 s to move
    [decision] = place([far], [once_busy, site("bravo")], [], NOW, Settings())
    assert decision.site == "andes"


def test_of_two_full_sites_the_one_with_the_shorter_queue_is_better_however_it_is_known() -> None:
    full = partition(live=4, used_cores=4)
    both = [site("andes", full, waited={"main": 7200.0}), site("bravo", full)]
    [decision] = place([group(service=60.0)], both, [], NOW, Settings())
    assert decision.site == "bravo"
