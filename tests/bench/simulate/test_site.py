from __future__ import annotations

from bench.simulate.policies import home
from bench.simulate.profiles import SiteSpec
from bench.simulate.site import Partition
from bench.simulate.workload import Workload
from hypothesis import given

from tests.bench.simulate.worlds import Need, earliest, minus, plus, silent, within, worlds


def by_the_book(workload: Workload, size: Need, mine: list[int]) -> dict[int, int]:
    """EASY as it is described, one second after the other and one task after the other."""
    needs = [workload.shapes[s].need for s in workload.shape.tolist()]
    limits = [workload.shapes[s].limit for s in workload.shape.tolist()]
    submits, runs = workload.submit.tolist(), workload.run.tolist()
    free, running, queue, start = size, [], [], {}  # type: ignore[var-annotated]
    now = 0
    while len(start) < len(mine):
        for task in [t for t in running if start[t] + runs[t] == now]:
            running.remove(task)
            free = plus(free, needs[task])
        queue += [t for t in mine if submits[t] == now]
        reserved, spare = None, (0, 0, 0)
        for task in list(queue):
            if not within(needs[task], free):
                if reserved is None:
                    ends = [(start[t] + limits[t], needs[t]) for t in running]
                    reserved, spare = earliest(needs[task], free, ends)
                continue
            if reserved is not None and now + limits[task] > reserved:
                if not within(needs[task], spare):
                    continue
                spare = minus(spare, needs[task])
            start[task] = now
            running.append(task)
            queue.remove(task)
            free = minus(free, needs[task])
        now += 1
    return start


@given(worlds(most_sites=1))
def test_a_partition_schedules_as_easy_backfill_is_described(
    world: tuple[Workload, list[SiteSpec]],
) -> None:
    workload, sites = world
    schedule = home(workload, sites, 0, silent)
    for kind, size in sites[0].sizes().items():
        mine = [t for t, s in enumerate(workload.shape) if workload.shapes[s].kind == kind]
        assert {t: int(schedule.start[t]) for t in mine} == by_the_book(workload, size, mine)


@given(worlds(exact=True, most_sites=1))
def test_backfill_never_delays_the_oldest_beyond_its_reservation(
    world: tuple[Workload, list[SiteSpec]],
) -> None:
    workload, sites = world
    runs, started = workload.run.tolist(), [-1] * len(workload)
    needs = {n: s.need for n, s in enumerate(workload.shapes)}
    promised: dict[int, int] = {}
    for kind, size in sites[0].sizes().items():
        partition = Partition(0, size, needs, runs, runs, started)

        def note(partition: Partition = partition) -> None:
            if partition.queue.length:
                _, oldest = min(waiting[0] for waiting in partition.queue.classes.values())
                assert partition.reserved is not None
                promised.setdefault(oldest, partition.reserved)

        for task, shape in enumerate(workload.shape.tolist()):
            if workload.shapes[shape].kind == kind:
                for _ in partition.advance(int(workload.submit[task])):
                    pass
                note()
                partition.submit(int(workload.submit[task]), shape, task)
                note()
        for _ in partition.advance(1 << 40):
            pass
    assert all(started[task] <= moment for task, moment in promised.items())


def test_a_task_that_is_withdrawn_makes_way_for_those_behind_it() -> None:
    needs = {0: (2, 1, 0), 1: (3, 1, 0), 2: (1, 1, 0)}
    started = [-1] * 3
    partition = Partition(0, (3, 9, 0), needs, [10, 10, 100], [10, 10, 100], started)
    assert partition.submit(0, 0, 0)
    assert not partition.submit(0, 1, 1)
    assert not partition.submit(0, 2, 2)  # it would delay the one before it
    assert partition.withdraw(5, 1, 1)
    assert started == [0, -1, 5]
    assert not partition.withdraw(6, 1, 1)
    assert not partition.withdraw(6, 2, 2)  # it runs
