"""How many batch jobs a pool gets, and of what size, whatever the site and the tasks."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from ayni.agent.executors.slurm import pools
from ayni.agent.executors.slurm.pools import Batch, Key, Room
from ayni.agent.supervisor import pilot

KEY = Key("fisica: Ana <ana@x>", "", "main", 1, 1 << 30, 600, 10.0, 0)
ROOM = Room(8, 32 << 30, 0, 8, 32 << 30, 0, 4, 7200)
COUNTS = st.integers(0, 5000)
MEASURED = st.none() | st.floats(0, 1e5)


@st.composite
def worlds(draw):
    """A partition, and a task that it can run: what `Cluster.check` lets pass."""
    cores, memory = draw(st.integers(1, 256)), draw(st.integers(1, 2048)) << 30
    gpus, walltime = draw(st.integers(0, 8)), draw(st.integers(180, 10**7))
    room = Room(
        cores,
        memory,
        gpus,
        draw(st.integers(0, cores)),
        draw(st.integers(0, memory)),
        draw(st.integers(0, gpus)),
        draw(st.integers(1, 500)),
        walltime // 60 * 60,  # Slurm counts limits in minutes
    )
    key = replace(
        KEY,
        cores=draw(st.integers(1, cores)),
        memory=draw(st.integers(1, memory - pools.OVERHEAD)),
        gpus=draw(st.integers(0, gpus)),
        walltime=draw(st.integers(1, room.max_walltime - 120)),
        grace=draw(st.floats(0, 60)),
    )
    return key, room


def ask(key: Key = KEY, room: Room = ROOM, **changes) -> Batch | None:
    values = {"waiting": 100, "pending": 0, "running": 0, "seen": None, "most": 1000, **changes}
    return pools.batch(key, room, **values)


@given(worlds(), COUNTS, COUNTS, COUNTS, MEASURED, st.integers(1, 1000))
def test_a_batch_job_fits_a_node_and_the_partition_s_time(
    world, waiting, pending, running, seen, most
):
    key, room = world
    batch = ask(key, room, waiting=waiting, pending=pending, running=running, seen=seen, most=most)
    if batch is None:
        return
    assert 1 <= batch.count <= most
    assert batch.cores == batch.slots * key.cores <= room.cores
    assert batch.slots * key.memory < batch.memory <= room.memory
    assert batch.gpus == batch.slots * key.gpus <= room.gpus
    assert -(-batch.walltime // 60) * 60 <= room.max_walltime


@given(worlds(), COUNTS, COUNTS, COUNTS, MEASURED)
def test_a_pilot_has_the_time_for_at_least_one_task(world, waiting, pending, running, seen):
    key, room = world
    batch = ask(key, room, waiting=waiting, pending=pending, running=running, seen=seen)
    if batch is not None:
        assert batch.walltime - pilot._RESERVE > key.walltime + key.grace


@given(worlds(), COUNTS, COUNTS, COUNTS, MEASURED)
def test_no_batch_job_is_asked_for_that_would_find_no_task(world, waiting, pending, running, seen):
    key, room = world
    batch = ask(key, room, waiting=waiting, pending=pending, running=running, seen=seen)
    if batch is not None:
        assert (batch.count - 1) * batch.slots < waiting - pending
    else:
        assert waiting <= pending or running > 0


@settings(max_examples=50)
@given(worlds(), st.integers(1, 2_000), MEASURED)
def test_the_waiting_tasks_of_a_pool_get_their_batch_jobs_in_a_few_steps(world, waiting, seen):
    key, room = world
    pending = steps = 0
    while (batch := ask(key, room, waiting=waiting, pending=pending, seen=seen)) is not None:
        pending += batch.count * batch.slots
        steps += 1
        assert steps <= 40 + waiting // room.nodes  # packed: so many to a node at once
    assert pending >= waiting


def test_unknown_tasks_ramp_up_by_doubling():
    asked, pending = [], 0
    while (batch := ask(waiting=100, pending=pending)) is not None:
        asked.append(batch.count)
        pending += batch.count
    assert asked == [8, 8, 16, 32, 36]


def test_tasks_that_are_known_to_be_long_are_asked_for_at_once():
    batch = ask(seen=500.0)
    assert (batch.count, batch.slots) == (100, 1)


def test_short_tasks_share_batch_jobs_that_fill_nodes_and_linger():
    batch = ask(seen=1.0)
    assert (batch.count, batch.slots, batch.cores) == (4, 8, 8)
    assert batch.linger > 0
    assert batch.walltime == 2 * KEY.walltime


def test_beside_batch_jobs_that_are_stuck_smaller_ones_are_asked_for_that_fit_between_others():
    assert (ask(seen=1.0, pending=32).slots, ask(seen=1.0, pending=32).count) == (8, 4)
    batch = ask(seen=1.0, pending=32, stuck=True)
    assert (batch.count, batch.slots) == (16, 1)


def test_few_short_tasks_are_spread_over_the_nodes():
    batch = ask(seen=1.0, waiting=4)
    assert (batch.count, batch.slots) == (4, 1)


def test_short_tasks_take_what_is_free_now_rather_than_a_whole_node():
    assert ask(room=replace(ROOM, free_cores=3), seen=1.0).slots == 3
    assert ask(room=replace(ROOM, free_cores=0), seen=1.0).slots == 8


def test_running_pilots_of_short_tasks_do_the_rest():
    full = replace(ROOM, free_cores=0)
    assert ask(room=full, seen=1.0, waiting=80, running=8) is None
    assert ask(seen=1.0, waiting=800, running=8) is not None


def test_cores_that_are_free_are_not_left_idle_beside_running_pilots():
    part = replace(ROOM, free_cores=3)
    batch = ask(room=part, seen=1.0, waiting=80, running=8)
    assert (batch.count, batch.slots) == (1, 3)
    assert ask(room=part, seen=1.0, waiting=80, running=8, pending=3) is None, "one at a time"
    assert ask(room=part, seen=1.0, waiting=80, running=8, pending=8, stuck=True).slots == 3
    assert ask(room=part, seen=1.0, waiting=16, running=8) is None, "over before it has begun"


@given(COUNTS, COUNTS)
def test_surplus_is_what_waits_for_nobody(waiting, pending):
    extra = pools.surplus(waiting=waiting, pending=pending)
    assert extra == max(0, pending - waiting)


@given(st.text(max_size=30), st.text(max_size=30), st.integers(1, 64))
def test_a_pool_s_name_is_the_same_after_a_restart_and_another_for_other_tasks(a, b, cores):
    key = replace(KEY, owner=a, share=b, cores=cores)
    assert Key.from_json(key.as_json()).name == key.name
    assert replace(key, cores=cores + 1).name != key.name
    if a != b:
        assert replace(key, owner=b, share=a).name != key.name


def test_tasks_of_several_ranks_are_never_side_by_side_in_a_batch_job():
    key = replace(KEY, nodes=2, tasks_per_node=2, cores=2)
    found = pools.batch(key, ROOM, waiting=6, pending=0, running=0, seen=1.0, most=100)
    assert found is not None
    assert (found.slots, found.cores) == (1, 2)
