"""What a site offers: how deep a queue it wants, and what of its partitions is the network's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ayni.agent import config
from ayni.agent.closures import Closures
from ayni.agent.datasets import Datasets
from ayni.agent.executors.base import ExecutorUnavailable, ExpectedStart, Fault, PartitionInfo
from ayni.agent.offer import Offer, Pace, partition_status, settle, settle_starts
from ayni.agent.staging.folders import Folders
from ayni.protocol.messages import MAX_ASSIGNMENTS, PartitionStatus, StartStatus
from ayni.protocol.policy import Window
from ayni.tes.size import Size

INFO = PartitionInfo("local", 1, 8, 1 << 30, 2, 86400, 5, 1 << 29, 1)


def test_long_tasks_want_a_short_queue() -> None:
    assert Pace().depth(0.0, slots=4) == 4
    assert Pace().depth(0.0, slots=100_000) == 64


def test_short_tasks_want_as_many_waiting_as_end_in_two_seconds() -> None:
    pace = Pace()
    for tenth in range(20):
        pace.ended(tenth / 10, [0.025] * 15)
    assert pace.depth(2.0, slots=4) == 320
    assert pace.depth(9.0, slots=4) == 4, "and not for long after"


def test_a_few_short_tasks_show_that_more_are_wanted() -> None:
    pace = Pace()
    pace.ended(0.1, [1 / 64] * 4)
    assert pace.depth(0.2, slots=2) == 32, "eight times as many at once, if they run so briefly"
    pace.ended(0.6, [1 / 64] * 32)
    assert pace.depth(0.7, slots=2) == 256


def test_long_tasks_that_end_together_want_no_longer_queue() -> None:
    pace = Pace()
    pace.ended(0.1, [3600.0] * 4)
    assert pace.depth(0.2, slots=4) == 4


_RUNS = st.lists(st.floats(-10, 1e6), max_size=50)  # less than nothing: the clock was set back


@given(st.lists(_RUNS, max_size=20), st.integers(0, 10_000))
def test_the_depth_stays_in_its_bounds(ends: list[list[float]], slots: int) -> None:
    pace = Pace()
    for number, runs in enumerate(ends):
        pace.ended(float(number), runs)
    assert 1 <= pace.depth(float(len(ends)), slots) <= MAX_ASSIGNMENTS


def test_a_depth_that_hardly_changed_is_no_news() -> None:
    assert settle(0, 4) == 4
    assert settle(100, 120) == 100
    assert settle(100, 126) == 126
    assert settle(100, 60) == 100
    assert settle(100, 49) == 49


SIZE = Size(1, 1, 0, 3600)
OTHER = Size(4, 4, 0, 3600)


def moments(
    *seen: ExpectedStart, before: Sequence[StartStatus] = (), now: float = 0.0
) -> list[float]:
    return [one.at for one in settle_starts(before, seen, now)]


def test_starts_are_told_anew_only_where_they_are_off_by_a_quarter_of_the_time_left() -> None:
    before = settle_starts([], [ExpectedStart(SIZE, 4000.0)], 0.0)
    assert [one.at for one in before] == [4000.0]
    assert moments(ExpectedStart(SIZE, 4900.0), before=before) == [4000.0]
    assert moments(ExpectedStart(SIZE, 6000.0), before=before) == [6000.0]
    assert moments(ExpectedStart(SIZE, 2000.0), before=before) == [2000.0]
    assert moments(ExpectedStart(SIZE, 3975.0), before=before, now=3900.0) == [4000.0]
    assert moments(ExpectedStart(SIZE, 5000.0), before=before, now=9000.0) == [4000.0], (
        "both are past"
    )


def test_a_start_that_became_a_bound_is_news_and_one_that_is_gone_is_not_told() -> None:
    before = settle_starts([], [ExpectedStart(SIZE, 4000.0), ExpectedStart(OTHER, 4000.0)], 0.0)
    [now] = settle_starts(before, [ExpectedStart(OTHER, 4010.0, at_least=True)], 0.0)
    assert (now.cores, now.at, now.at_least) == (4, 4010.0, True)


def test_the_policys_longest_time_bounds_the_partition() -> None:
    loaded = config.parse(
        'hub = "http://hub"\n[policy]\nmax_walltime = "1h"\n[partition]\nname = "main"', Path("/a")
    )
    status = partition_status(loaded, INFO, depth=9)
    assert (status.name, status.max_walltime, status.depth) == ("main", 3600, 9)
    assert (status.cores, status.memory, status.gpus) == (8, 1 << 30, 2)
    assert status.foreign_cores == 0


# --- what is ill ------------------------------------------------------------------------------

MUNGE = Fault("munge", "munge does not work", "start it")
DATABASE = Fault("accounting", "slurmdbd does not answer", "start it")


class Ill:
    """An executor of which some things are known to be ill."""

    def __init__(self) -> None:
        self.known: list[Fault] = []
        self.silent: ExecutorUnavailable | None = None

    def faults(self) -> list[Fault]:
        return self.known

    def partitions(self) -> list[PartitionInfo]:
        if self.silent is not None:
            raise self.silent
        return [INFO]


@pytest.fixture
def ill() -> Ill:
    return Ill()


@pytest.fixture
def offer(ill: Ill, tmp_path: Path) -> Offer:
    loaded = config.parse('hub = "http://hub"\nstate = "state"', tmp_path / "agent.toml")
    folders = Folders(tmp_path / "work", reserve=0)
    return Offer(loaded, ill, Datasets(tmp_path / "store"), folders, "none")  # type: ignore[arg-type]


def told(offer: Offer) -> list[str]:
    return [note.code for note in offer.status().health]


def test_what_is_ill_is_told_with_its_remedy_until_it_is_well(offer: Offer, ill: Ill) -> None:
    assert told(offer) == []
    ill.known = [MUNGE, DATABASE]
    assert offer.is_news(0.0)
    assert told(offer) == ["munge", "accounting"]
    assert [note.remedy for note in offer.status().health] == ["start it", "start it"]
    ill.known = []
    assert offer.is_news(0.0)
    assert told(offer) == []


def test_an_executor_that_cannot_be_asked_is_named_by_what_is_known_of_it(
    offer: Offer, ill: Ill
) -> None:
    ill.silent = ExecutorUnavailable("the spawner does not answer")
    offer.is_news(0.0)
    assert told(offer) == ["executor"]
    ill.known = [DATABASE]
    assert told(offer) == ["accounting", "executor"]
    ill.known = [MUNGE]
    assert told(offer) == ["munge"], "that is why"
    ill.silent, ill.known = None, []
    offer.is_news(0.0)
    assert told(offer) == []


def test_a_disk_is_told_once_though_two_looks_find_it_full(offer: Offer, tmp_path: Path) -> None:
    offer.disks.look()
    assert told(offer) == ["state"], "the state folder is not there"
    (tmp_path / "state").mkdir()
    offer.folders.reserve = 1 << 62
    offer.disks.look()
    assert told(offer) == ["disk"]
    offer.folders.reserve = 0
    assert told(offer) == []


def test_a_work_disk_that_is_away_is_told_and_ends_nothing(offer: Offer, tmp_path: Path) -> None:
    (tmp_path / "work").rename(tmp_path / "away")
    [note] = offer.status().health
    assert (note.code, "cannot be used" in note.message) == ("disk", True)


# --- what is announced ------------------------------------------------------------------------

SOON, LATER = Window(begin=2e9, end=2e9 + 60), Window(begin=3e9, end=3e9 + 60, why="switches")


def partitioned(name: str, *windows: Window) -> PartitionStatus:
    info = replace(INFO, windows=windows)
    loaded = config.parse(f'hub = "http://hub"\n[partition]\nname = "{name}"', Path("/a"))
    return partition_status(loaded, info, depth=1)


def announced(offer: Offer) -> list[str]:
    return [note.message for note in offer.status().health if note.code == "maintenance"]


def test_maintenance_of_a_partition_keeps_its_tasks_away_and_no_others(offer: Offer) -> None:
    offer.partitions = [partitioned("main", SOON), partitioned("large")]
    found = offer.against("main", 61, SOON.begin - 60)
    assert found is not None and found.code == "maintenance"
    assert offer.against("main", 60, SOON.begin - 60) is None
    assert offer.against("large", 61, SOON.begin - 60) is None
    offer.closures = Closures(draining="moving")
    found = offer.against("large", 61, SOON.begin - 60)
    assert found is not None and found.code == "draining"


def test_maintenance_is_announced_for_the_partitions_that_it_closes(offer: Offer) -> None:
    offer.partitions = [partitioned("main", LATER, SOON), partitioned("large")]
    [words] = announced(offer)
    assert words == "partition main: maintenance from 2033-05-18 03:33 UTC to 2033-05-18 03:34 UTC"
    offer.partitions = [partitioned("main", SOON), partitioned("large", SOON)]
    assert [words.partition(" from")[0] for words in announced(offer)] == ["maintenance"]
    offer.partitions = [partitioned("main", LATER), partitioned("large", SOON)]
    offer.closures = Closures(windows=[LATER])
    assert [words.partition(" from")[0] for words in announced(offer)] == [
        "partition large: maintenance", "partition main: maintenance",
    ]  # fmt: skip
    assert "switches" in announced(offer)[1]
