from __future__ import annotations

from bench.simulate.central import by_list
from bench.simulate.profiles import SiteSpec
from bench.simulate.workload import Shape, Workload, in_order
from hypothesis import given, settings

from tests.bench.simulate.worlds import Need, earliest, minus, plus, silent, within, worlds

World = tuple[Workload, list[SiteSpec]]


class Plain:
    """The central list of one kind of partition as it is described, a second and a task at a time."""

    def __init__(self, workload: Workload, sizes: dict[int, Need], mine: list[int]) -> None:
        shapes = workload.shape.tolist()
        self.submits, self.runs = workload.submit.tolist(), workload.run.tolist()
        self.needs = [workload.shapes[s].need for s in shapes]
        self.classes = [(s, r.bit_length()) for s, r in zip(shapes, self.runs, strict=True)]
        self.sizes, self.free, self.mine = sizes, dict(sizes), mine
        self.start: dict[int, int] = {}
        self.site: dict[int, int] = {}
        self.queue: list[int] = []
        self.reserved: dict[int, tuple[int, Need]] = {}  # by site: when, and what is left free then

    def run(self) -> None:
        now = 0
        while len(self.start) < len(self.mine):
            for site in self.sizes:
                ended = [t for t in self.start if self.site[t] == site and self.end(t) == now]
                for task in ended:
                    self.free[site] = plus(self.free[site], self.needs[task])
                if ended:
                    self.go_through(site, now)
            for task in self.mine:
                if self.submits[task] == now:
                    self.submit(task, now)
            now += 1

    def end(self, task: int) -> int:
        return self.start[task] + self.runs[task]

    def submit(self, task: int, now: int) -> None:
        for site in sorted(self.sizes, key=lambda s: (-self.free[s][0], s)):
            if self.starts(task, site, now):
                return
        self.queue.append(task)
        for site, size in self.sizes.items():
            if within(self.needs[task], size) and site not in self.reserved:
                self.reserve(task, site, now)

    def go_through(self, site: int, now: int) -> None:
        self.reserved.pop(site, None)
        passed = set()  # classes whose oldest could not start
        for task in list(self.queue):
            if not within(self.needs[task], self.sizes[site]) or self.classes[task] in passed:
                continue
            if self.starts(task, site, now):
                self.queue.remove(task)
                continue
            passed.add(self.classes[task])
            if site not in self.reserved:
                self.reserve(task, site, now)
        if not self.queue:
            self.reserved.clear()

    def starts(self, task: int, site: int, now: int) -> bool:
        need = self.needs[task]
        if not within(need, self.free[site]):
            return False
        if site in self.reserved:
            when, spare = self.reserved[site]
            if now + self.runs[task] > when:
                if not within(need, spare):
                    return False
                self.reserved[site] = when, minus(spare, need)
        self.free[site] = minus(self.free[site], need)
        self.start[task], self.site[task] = now, site
        return True

    def reserve(self, task: int, site: int, now: int) -> None:
        running = [(self.end(t), self.needs[t]) for t in self.start
                   if self.site[t] == site and self.end(t) > now]  # fmt: skip
        self.reserved[site] = earliest(self.needs[task], self.free[site], running)


@settings(max_examples=200, deadline=None)
@given(worlds() | worlds(most_sites=2, fewest=20, span=6))
def test_the_list_does_what_is_said_of_it(world: World) -> None:
    workload, sites = world
    schedule = by_list(workload, sites, 0, silent)
    for kind in ("cpu", "gpu"):
        sizes = {n: site.sizes()[kind] for n, site in enumerate(sites)}
        mine = [t for t, s in enumerate(workload.shape) if workload.shapes[s].kind == kind]
        plain = Plain(workload, sizes, mine)
        plain.run()
        assert {t: int(schedule.start[t]) for t in mine} == plain.start
        assert {t: int(schedule.site[t]) for t in mine} == plain.site


def test_a_task_starts_where_most_is_free_and_a_short_one_may_pass_a_wide_one() -> None:
    narrow, wide = Shape("cpu", 1, 1, 0, 1, 100), Shape("cpu", 1, 1, 0, 5, 100)
    sites = [SiteSpec("small", "cl", 2, node_cores=1), SiteSpec("large", "mx", 5, node_cores=1)]
    # The wide one waits for the first; of the two behind it, one is over by then.
    rows = [(0, 50, 0, 0), (1, 10, 1, 0), (2, 48, 0, 0), (3, 60, 0, 0)]
    workload = in_order(iter(rows), [narrow, wide], [0])
    schedule = by_list(workload, sites, 0, silent)
    assert schedule.site.tolist() == [1, 1, 1, 0]
    assert schedule.start.tolist() == [0, 50, 2, 3]


def test_what_a_wide_task_leaves_free_is_given_once() -> None:
    one, four, wide = (Shape("cpu", 1, 1, 0, nodes, 200) for nodes in (1, 4, 5))
    sites = [SiteSpec("only", "cl", 6, node_cores=1)]
    # From 50 on the wide one leaves one core free: of the two long ones behind it one may pass.
    rows = [(0, 50, 1, 0), (1, 10, 2, 0), (2, 100, 0, 0), (3, 100, 0, 0)]
    workload = in_order(iter(rows), [one, four, wide], [0])
    assert by_list(workload, sites, 0, silent).start.tolist() == [0, 50, 2, 60]
