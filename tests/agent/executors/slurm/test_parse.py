"""What Slurm prints, as records: every recorded answer, and what nobody has recorded yet."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ayni.agent.executors.slurm import parse
from tests.agent.executors.slurm import answers

QUEUES = answers.names("squeue")
BOOKS = answers.names("sacct")
CLUSTERS = ("bogota", "mexico", "santiago")


@pytest.mark.parametrize("name", QUEUES)
def test_every_recorded_queue_is_read(name):
    text = answers.squeue(name)
    found = parse.squeue(text)
    whole = [line for line in text.splitlines() if line.count("|") == parse.SQUEUE.count("|")]
    assert [row.id for row in found] == [line.partition("|")[0] for line in whole]
    assert all(row.submitted and row.cores for row in found)


def test_what_is_said_of_a_job_that_is_not_submitted_is_read():
    assert parse.would_start(answers.text("test-only-free")) == 1795706891.0
    assert parse.would_start(answers.text("test-only-full")) == 1795707191.0
    for name in ("partition-unknown", "too-many-cores", "qos-too-many"):
        assert parse.would_start(answers.text(f"test-only-{name}")) is None
    assert parse.would_start("sbatch: Job 1 to start at Unknown using 1 processors") is None


@pytest.mark.parametrize("name", BOOKS)
def test_every_recorded_account_is_read(name):
    text = answers.sacct(name)
    found = parse.sacct(text)
    ids = {line.split("|")[0] for line in text.splitlines() if "pipe |" not in line}
    assert set(found) == {job for job in ids if "." not in job}
    assert all(account.submitted for account in found.values())


def test_a_waiting_element_of_an_array_is_a_row_of_its_own():
    rows = {row.id: row for row in parse.squeue(answers.squeue("squeue-array-under-way"))}
    waits, runs = rows["1000012_2"], rows["1000012_1"]
    assert (waits.state, waits.reason, waits.node) == ("PENDING", "JobArrayTaskLimit", "")
    assert waits.start is None
    assert (runs.state, runs.node, runs.start) == ("RUNNING", "santiago-n1", 1795691799.0)


def test_a_foreseen_start_is_a_time():
    rows = {row.id: row for row in parse.squeue(answers.squeue("squeue-start"))}
    assert rows["1000043"].start == 1795692633.0
    assert rows["1000041"].start is None


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("squeue-requeue-hold", "job requeued in held state"),
        ("squeue-waits-for-unavailable-node", "ReqNodeNotAvail, UnavailableNodes:bogota-n3"),
    ],
)
def test_a_reason_may_have_blanks_and_commas(name, reason):
    assert reason in [row.reason for row in parse.squeue(answers.squeue(name))]


def test_a_name_with_the_delimiter_hides_no_other_job():
    text = answers.squeue("squeue-waiting")
    found = {row.id for row in parse.squeue(text)}
    assert "1000045" not in found  # it cannot be read, and none of ours has such a name
    assert len(found) == len(text.splitlines()) - 1


@pytest.mark.parametrize(
    ("name", "job", "state", "exit_code", "signal"),
    [
        ("sacct-completed", "1000004", "COMPLETED", 0, 0),
        ("sacct-failed-exit-3", "1000005", "FAILED", 3, 0),
        ("sacct-failed-signal", "1000006", "FAILED", 0, 11),
        ("sacct-timeout", "1000003", "TIMEOUT", 0, 0),
        ("sacct-out-of-memory", "1000009", "OUT_OF_MEMORY", 0, 125),
        ("sacct-node-silent", "3000006", "NODE_FAIL", 0, 0),
        ("sacct-preempted-cancel", "2000006", "PREEMPTED", 0, 0),
        ("sacct-cancelled", "1000019", "CANCELLED", 0, 0),
        ("sacct-requeue-hold", "1000024", "REQUEUED", 0, 0),
    ],
)
def test_an_end_is_told_as_it_was(name, job, state, exit_code, signal):
    account = parse.sacct(answers.sacct(name))[job]
    assert (account.state, account.exit_code, account.signal) == (state, exit_code, signal)


def test_who_canceled_a_job_is_known():
    assert parse.sacct(answers.sacct("sacct-cancelled"))["1000019"].by == "995"
    assert parse.sacct(answers.sacct("sacct-cancelled-by-root"))["1000022"].by == "0"


@pytest.mark.parametrize(
    ("name", "job", "state"),
    [
        ("sacct-requeued-then-completed", "1000023", "COMPLETED"),
        ("sacct-requeued-waits", "1000023", "PENDING"),
        ("sacct-preempted-while-waiting", "1000027", "PENDING"),
        ("sacct-node-down", "3000005", "COMPLETED"),
    ],
)
def test_the_last_run_of_a_requeued_job_counts(name, job, state):
    assert parse.sacct(answers.sacct(name))[job].state == state


def test_what_a_job_was_given_and_used_is_in_bytes_and_seconds():
    account = parse.sacct(answers.sacct("sacct-completed"))["1000004"]
    assert (account.cores, account.nodes, account.elapsed) == (2, 1, 4)
    assert account.memory == 64 << 20
    assert account.peak_memory == 10911744  # as sacct --noconvert says it
    assert account.cpu == pytest.approx(0.732)
    assert account.started == 1795691775.0
    assert account.ended == 1795691779.0


@pytest.mark.parametrize(
    ("said", "joules"),
    [("", None), (",energy=91421", 91421), (",energy=0", None), (f",energy={2**64 - 2}", None)],
)
def test_energy_is_what_was_measured_of_the_job(said, joules):
    text = answers.sacct("sacct-gpu").replace("gres/gpu=2,mem=64M", f"gres/gpu=2{said},mem=64M")
    assert parse.sacct(text)["2000008"].energy == joules


def test_gpus_and_nodes_are_counted_once():
    gpus = parse.sacct(answers.sacct("sacct-gpu"))
    assert [gpus[job].gpus for job in ("2000008", "2000009")] == [2, 1]
    assert parse.sacct(answers.sacct("sacct-mpi-two-nodes"))["1000047"].nodes == 2


def test_an_end_without_its_beginning_is_not_taken_for_the_record():
    early = parse.sacct(answers.sacct("sacct-incomplete-for-a-moment"))["1000009"]
    late = parse.sacct(answers.sacct("sacct-out-of-memory"))["1000009"]
    assert not early.is_whole
    assert late.is_whole


def test_a_job_that_ended_while_the_accounting_was_down_has_no_end_yet():
    found = parse.sacct(answers.sacct("sacct-while-slurmdbd-was-down"))["2000011"]
    assert found.state == "COMPLETED"
    assert not found.is_whole


def test_a_state_that_nobody_knows_is_kept():
    line = answers.squeue("squeue-running").replace("RUNNING", "SIGNALING")
    assert parse.squeue(line)[0].state == "SIGNALING"
    line = answers.sacct("sacct-completed").replace("COMPLETED", "SG by chance", 1)
    assert parse.sacct(line)["1000004"].state == "SG"


@pytest.mark.parametrize("name", CLUSTERS)
def test_the_nodes_of_every_cluster_are_usable(name):
    found = parse.nodes(answers.text(f"scontrol-show-nodes-{name}"))
    assert len(found) == 4
    assert all(node.usable and node.cores and node.memory and node.partitions for node in found)


def test_a_node_is_read_with_its_gpus_and_what_is_in_use():
    node = parse.nodes(answers.text("scontrol-show-node-gpu-in-use"))[0]
    assert (node.gpus, node.used_gpus) == (2, 2)
    assert (node.cores, node.used_cores) == (16, 1)
    assert (node.memory, node.used_memory) == (64 << 30, 64 << 20)


def test_a_node_that_is_drained_down_or_silent_is_not_usable():
    found = {n.name: n for n in parse.nodes(answers.text("scontrol-show-nodes-drained-and-silent"))}
    assert [name for name in sorted(found) if not found[name].usable] == ["bogota-n1", "bogota-n3"]
    assert found["bogota-n1"].reason.startswith("mantenimiento: cambio de disco")
    assert not parse.nodes(answers.text("scontrol-show-node-down"))[0].usable


def test_partitions_have_their_limits():
    found = {p.name: p for p in parse.partitions(answers.text("scontrol-show-partitions-mexico"))}
    assert {name: p.max_walltime for name, p in found.items()} == {
        "main": 12 * 3600,
        "large": 24 * 3600,
        "spare": 3600,
    }
    assert [name for name, p in found.items() if p.default] == ["main"]
    assert all(p.up for p in found.values())


def test_a_qos_is_read_with_its_limit():
    found = parse.qos(answers.text("sacctmgr-show-qos-limits"))
    assert {name: one.max_wall for name, one in found.items()} == {
        "normal": None, "short": 600, "small": None, "spare": None,
    }  # fmt: skip
    assert "DenyOnLimit" in found["short"].flags


def test_an_association_is_read_with_what_it_allows_and_with_the_limits_of_its_account():
    found = {a.account: a for a in parse.associations(answers.text("sacctmgr-show-user-limited"))}
    assert {name: a.max_wall for name, a in found.items()} == {
        "ayni": None, "fisica": 1800, "lenguas": 300,
    }  # fmt: skip
    assert [name for name, a in found.items() if a.is_default] == ["ayni"]
    assert found["fisica"].default_qos == "normal"
    assert found["fisica"].qos == {"normal", "short", "small", "spare"}


def test_a_user_without_an_account_has_no_association():
    assert parse.associations("|||||\n\n") == []


def test_a_partition_is_read_with_its_qos():
    found = parse.partitions(answers.text("scontrol-show-partition-with-qos"))
    assert {p.name: p.qos for p in found} == {"main": "", "large": "", "spare": "short"}


def test_the_configuration_is_a_table():
    config = parse.config(answers.text("scontrol-show-config-bogota"))
    assert (config["MaxArraySize"], config["MaxJobCount"]) == ("101", "2000")


@given(st.lists(answers.JUNK, max_size=27).map("|".join), st.sampled_from(QUEUES))
def test_a_line_of_junk_hides_no_job_in_the_queue(junk, name):
    text = answers.squeue(name)
    known = parse.squeue(text)
    assert [row for row in parse.squeue(f"{text}\n{junk}") if row in known][: len(known)] == known


@given(st.lists(answers.JUNK, min_size=15, max_size=15), st.integers(0, 8))
def test_junk_in_any_column_stops_no_parser(fields, at):
    line = "|".join(field.replace("|", "").replace("\n", "") for field in fields)
    parse.sacct(line)
    columns = answers.squeue("squeue-running").split("|")
    columns[at] = fields[at].replace("|", "")
    parse.squeue("|".join(columns))
    assert parse.sacct(f"{line}\n{answers.sacct('sacct-completed')}")["1000004"].cores == 2


@given(answers.JUNK)
def test_junk_in_a_record_stops_no_parser(junk):
    line = answers.text("scontrol-show-node-down")
    for name in ("CPUEfctv", "RealMemory", "Gres", "State", "AllocTRES"):
        parse.nodes(f"{line.rstrip()} {name}={junk}")
    parse.partitions(f"PartitionName=main MaxTime={junk} State={junk}")
    parse.qos(f"{junk}|{junk}|{junk}")
    parse.associations(f"ayni|ayni|{junk}|{junk}|{junk}|{junk}")
    assert len(parse.nodes(line)) == 1


@pytest.mark.parametrize("state", ["RUNNING", "COMPLETING", "CONFIGURING", "RESIZING", "SUSPENDED"])
def test_a_job_that_has_its_nodes_is_not_one_that_waits(state):
    assert state not in parse.WAITING | parse.OVER


# --- reservations


def test_reservations_have_their_times_nodes_and_flags():
    course, maintenance = parse.reservations(answers.text("scontrol-show-reservations"))
    assert (course.name, course.begin, course.end) == ("curso", 1795692047, 1795695647)
    assert course.nodes == {"bogota-n1"}
    assert maintenance.nodes == {f"bogota-n{n}" for n in range(1, 5)}
    assert "MAINT" in maintenance.flags and "MAINT" not in course.flags
    assert parse.reservations(answers.text("scontrol-show-no-reservations")) == []
