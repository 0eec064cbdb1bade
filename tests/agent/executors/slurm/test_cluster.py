"""A cluster as the agent and the pools see it, from what three real ones said."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from ayni.agent.executors.base import Command, ExecutorUnavailable, Job, Limits
from ayni.agent.executors.slurm import parse
from ayni.agent.executors.slurm.cluster import Cluster
from ayni.agent.executors.slurm.pools import OVERHEAD, Key
from ayni.agent.runtimes.base import PlanError
from tests.agent.executors.slurm import answers

GIB = 1 << 30
KEY = Key("x", "", "spare", 1, GIB, 600, 10.0, 0)


class RecordedSlurm:
    """One of the clusters, as it was recorded."""

    def __init__(self, name: str, nodes: str = "", reservations: str = "no-reservations") -> None:
        self._name = name
        self._reservations = f"scontrol-show-{reservations}"
        self._nodes = nodes or f"scontrol-show-nodes-{name}"
        self.looks = 0

    def nodes(self) -> list[parse.Node]:
        self.looks += 1
        return parse.nodes(answers.text(self._nodes))

    def partitions(self) -> list[parse.Partition]:
        return parse.partitions(answers.text(f"scontrol-show-partitions-{self._name}"))

    def reservations(self) -> list[parse.Reservation]:
        return parse.reservations(answers.text(self._reservations))

    def config(self) -> dict[str, str]:
        return parse.config(answers.text(f"scontrol-show-config-{self._name}"))


def cluster(name: str = "santiago", nodes: str = "", allowed=None, clock=lambda: 0.0) -> Cluster:
    return Cluster(RecordedSlurm(name, nodes), allowed, clock)  # type: ignore[arg-type]


def job(**changes) -> Job:
    limits = Limits(cores=1, memory=GIB, walltime=600)
    return replace(Job("a", Path("/x"), (Command(("true",)),), "host", limits), **changes)


def test_partitions_are_told_with_their_nodes_and_limits():
    found = {info.name: info for info in cluster().infos({})}
    assert set(found) == {"main", "large", "spare"}
    main = found["main"]
    assert (main.nodes, main.cores_per_node, main.gpus_per_node) == (3, 4, 0)
    assert main.memory_per_node == 8 * GIB - OVERHEAD
    assert main.max_walltime == 2 * 3600 - 120  # of which the pilot has a little
    assert (main.free_cores, main.free_memory) == (12, 24 * GIB)
    assert found["large"].gpus_per_node == 1


def test_only_allowed_partitions_are_told():
    assert [info.name for info in cluster(allowed=["large"]).infos({})] == ["large"]


def test_a_site_without_any_allowed_partition_is_not_available():
    with pytest.raises(ExecutorUnavailable, match="may be used"):
        cluster(allowed=["debug"]).infos({})


def test_nodes_that_are_drained_or_silent_are_not_free_and_count_as_taken_by_others():
    found = cluster("bogota", "scontrol-show-nodes-drained-and-silent").infos({})
    main = next(info for info in found if info.name == "main")
    assert (main.nodes, main.free_cores, main.foreign_cores) == (3, 2, 4)


def test_cores_in_use_are_others_unless_our_own_jobs_hold_them():
    whole = cluster("mexico", "scontrol-show-node-gpu-in-use")
    assert [i.foreign_cores for i in whole.infos({}) if i.name == "large"] == [1]
    assert [i.foreign_cores for i in whole.infos({"large": 1}) if i.name == "large"] == [0]


@pytest.mark.parametrize(("name", "most"), [("santiago", 1000), ("mexico", 500), ("bogota", 100)])
def test_arrays_stay_below_what_the_cluster_states(name, most):
    found = cluster(name)
    found.infos({})
    assert found.most_elements == most


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"partition": "debug"}, "the site has no partition debug"),
        ({"limits": Limits(cores=5, memory=GIB, walltime=60)}, "cores: 5 asked for"),
        ({"limits": Limits(memory=8 * GIB, walltime=60)}, "memory: "),
        ({"limits": Limits(memory=GIB, walltime=7200)}, "walltime: 7200"),
        ({"gpus": 1}, "gpus: 1"),
        ({"nodes": 4}, "nodes: 4"),
    ],
)
def test_what_can_never_run_is_refused_by_name(changes, words):
    with pytest.raises(PlanError, match=words):
        cluster().check(job(**{"partition": "main", **changes}))


def test_what_fits_is_not_refused():
    cluster().check(job(partition="main", limits=Limits(cores=4, memory=7 * GIB, walltime=7000)))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"nodes": 4}, "nodes: 4 asked for, this site has 3"),
        ({"tasks_per_node": 3}, "tasks_per_node: 3 asked for, with 2 cores a node"),
        ({"network": False}, "over the network: ask for it"),
    ],
)
def test_ranks_that_cannot_be_are_refused_by_name(changes, words):
    ranks = {"nodes": 2, "tasks_per_node": 2, "network": True, "limits": Limits(cores=2)}
    cluster().check(job(partition="main", **ranks))
    with pytest.raises(PlanError, match=words):
        cluster().check(job(partition="main", **{**ranks, **changes}))


def test_room_is_of_the_nodes_on_which_a_task_fits():
    whole = cluster().room(KEY)
    assert (whole.nodes, whole.cores, whole.memory) == (4, 16, 32 * GIB)
    wide = cluster().room(replace(KEY, gpus=1))
    assert (wide.nodes, wide.cores, wide.gpus) == (1, 16, 1)
    # Of mexico's two large nodes only one has GPUs.
    assert cluster("mexico").room(replace(KEY, partition="large", gpus=2)).nodes == 1


def test_there_is_no_room_where_every_fitting_node_is_down():
    found = cluster("bogota", "scontrol-show-node-down")
    assert found.room(replace(KEY, partition="main")) is None
    assert found.room(replace(KEY, partition="debug")) is None


def test_the_controller_is_asked_now_and_then_and_not_for_each_job():
    now = [0.0]
    slurm = RecordedSlurm("santiago")
    found = Cluster(slurm, None, lambda: now[0])  # type: ignore[arg-type]
    for _ in range(100):
        found.check(job(partition="main"))
    assert slurm.looks == 1
    now[0] = 60.0
    found.infos({})
    assert slurm.looks == 2


# --- maintenance that Slurm knows of

#: When `scontrol-show-reservations-active` was recorded: two of main's three nodes are in maintenance.
RECORDED = 1795707250.0
ALL, WEEKLY = 1795710841.0, 1795721641.0  # when that of all nodes, and that of `large`, begin


def bogota(now: float = RECORDED, nodes: str = "", reservation: str | None = None) -> Cluster:
    slurm = RecordedSlurm("bogota", nodes, "reservations-active")
    return Cluster(slurm, None, lambda: 0.0, reservation, lambda: now)  # type: ignore[arg-type]


def windows(found: Cluster) -> dict[str, list[tuple[float, float, str]]]:
    return {i.name: [(w.begin, w.end, w.why) for w in i.windows] for i in found.infos({})}


def test_maintenance_of_all_nodes_of_a_partition_is_its_window_and_ends_batch_jobs_before():
    whole = (ALL - 120, 1795718041.0, "Slurm reservation mudanza")
    weekly = (WEEKLY - 120, 1795723441.0, "Slurm reservation nube")
    assert windows(bogota()) == {"main": [whole], "large": [whole, weekly]}


def test_maintenance_of_some_nodes_takes_their_capacity_while_it_lasts():
    main = next(info for info in bogota().infos({}) if info.name == "main")
    assert (main.nodes, main.free_cores, main.foreign_cores) == (3, 2, 4)
    assert bogota().room(replace(KEY, partition="main")).nodes == 1
    after = bogota(now=1795709041.0)
    main = next(info for info in after.infos({}) if info.name == "main")
    assert (main.free_cores, main.foreign_cores) == (6, 0)


def test_maintenance_of_all_nodes_that_are_not_down_closes_the_partition():
    found = bogota(nodes="scontrol-show-nodes-drained-and-silent")  # one node of main is left
    assert [why for _, _, why in windows(found)["main"]] == [
        "Slurm reservation switches", "Slurm reservation mudanza",
    ]  # fmt: skip
    assert found.room(replace(KEY, partition="main")) is None
    assert bogota(now=ALL).room(replace(KEY, partition="main")) is None


def test_a_batch_job_asks_for_no_more_time_than_there_is_before_maintenance():
    key = replace(KEY, partition="main")
    assert bogota().room(key).max_walltime == 3591
    assert bogota(now=ALL - 900).room(key).max_walltime == 900


def test_maintenance_that_is_over_or_that_our_own_jobs_run_in_is_none():
    assert windows(bogota(now=1795723441.0)) == {"main": [], "large": []}
    assert [why for _, _, why in windows(bogota(reservation="mudanza"))["large"]] == [
        "Slurm reservation nube"
    ]


def test_a_reservation_for_people_is_no_maintenance():
    slurm = RecordedSlurm("bogota", "", "reservations")
    found = Cluster(slurm, None, lambda: 0.0, None, lambda: 1795692050.0)  # type: ignore[arg-type]
    assert [why for _, _, why in windows(found)["main"]] == ["Slurm reservation mantenimiento"]
