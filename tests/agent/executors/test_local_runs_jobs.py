"""What a job's life looks like on the local executor."""

from __future__ import annotations

import json
from dataclasses import replace

from ayni.agent.executors.base import Command, EndReason, JobState
from ayni.agent.supervisor import files


def test_a_job_runs_its_command_and_says_how_it_ended(any_site):
    job = any_site.job("sh", "-c", "echo out; echo err >&2; exit 3")
    status = any_site.run(job)
    assert status.state is JobState.ENDED
    assert status.reason is EndReason.EXITED
    assert [result.exit_code for result in status.results] == [3]
    assert any_site.out(job) == "out\n"
    assert any_site.err(job) == "err\n"
    assert status.started <= status.results[0].started <= status.results[0].ended <= status.ended


def test_usage_is_what_was_consumed(any_site):
    code = "x = bytearray(60 << 20); [i * i for i in range(3_000_000)]"
    status = any_site.run(any_site.job("python3", "-c", code))
    assert status.usage.peak_memory > 60 << 20
    assert 0 < status.usage.cpu <= status.usage.wall * 4
    assert status.usage.cores == 1


def test_commands_run_in_order_until_one_fails(any_site):
    job = any_site.job("true")
    commands = tuple(Command(("sh", "-c", text)) for text in ("echo a", "exit 7", "echo c"))
    status = any_site.run(replace(job, commands=commands))
    assert [result.exit_code for result in status.results] == [0, 7]
    assert not (job.folder / "logs" / "2.stdout").exists()


def test_a_command_whose_error_is_ignored_does_not_stop_the_job(any_site):
    job = any_site.job("true")
    commands = (Command(("false",), ignore_error=True), Command(("echo", "on")))
    status = any_site.run(replace(job, commands=commands))
    assert [result.exit_code for result in status.results] == [1, 0]
    assert any_site.out(job, 1) == "on\n"


def test_a_command_that_is_not_there_ends_with_127(site):
    job = site.job("no-such-command")
    status = site.run(job)
    assert (status.reason, status.results[0].exit_code) == (EndReason.EXITED, 127)
    assert "no-such-command" in site.err(job)


def test_a_file_that_cannot_be_executed_ends_with_126(site):
    job = site.job("/work/data")
    (job.folder / "root" / "work").mkdir()
    (job.folder / "root" / "work" / "data").write_text("no program")
    assert site.run(job).results[0].exit_code == 126


def test_a_killed_payload_is_an_exit_with_137(any_site):
    job = any_site.job("sh", "-c", "kill -9 $$")
    status = any_site.run(job)
    assert (status.state, status.reason) == (JobState.ENDED, EndReason.EXITED)
    assert status.results[0].exit_code == 137


def test_streams_are_files_of_the_task_and_logs_as_well(any_site):
    job = any_site.job(
        "sh", "-c", "cat; echo bad >&2", stdin="/data/in", stdout="/out/o", stderr="/out/deep/e"
    )
    data = job.folder / "root" / "data"
    data.mkdir()
    (data / "in").write_text("hello")
    assert any_site.run(job).results[0].exit_code == 0
    assert (job.folder / "root" / "out" / "o").read_text() == any_site.out(job) == "hello"
    assert (job.folder / "root" / "out" / "deep" / "e").read_text() == any_site.err(job) == "bad\n"


def test_a_later_command_reads_what_an_earlier_one_printed(any_site):
    job = any_site.job("true")
    commands = (
        Command(("echo", "one"), stdout="/work/first"),
        Command(("tr", "a-z", "A-Z"), stdin="/work/first", stdout="/work/second"),
    )
    any_site.run(replace(job, commands=commands))
    assert (job.folder / "root" / "work" / "second").read_text() == "ONE\n"


def test_a_stdin_that_is_not_there_is_the_users_error(any_site):
    job = any_site.job("cat", stdin="/data/none")
    status = any_site.run(job)
    assert (status.reason, status.results[0].exit_code) == (EndReason.EXITED, 1)
    assert "'/data/none'" in any_site.err(job)


def test_a_command_starts_in_work_or_where_the_task_says(any_site):
    at_home = any_site.job("sh", "-c", 'echo "$PWD" "$HOME"')
    elsewhere = any_site.job("pwd", workdir="/scratch/deep")
    any_site.run(at_home, elsewhere)
    words = any_site.out(at_home).split()
    assert words[0] == words[1]
    assert words[0].endswith("/work")
    assert any_site.out(elsewhere).strip().endswith("/scratch/deep")


def test_the_same_command_line_works_with_and_without_a_sandbox(any_site):
    job = any_site.job("sh", "-c", 'cat "$AYNI_ROOT/data/x" > "$AYNI_ROOT/work/y"')
    (job.folder / "root" / "data").mkdir()
    (job.folder / "root" / "data" / "x").write_text("same")
    assert any_site.run(job).results[0].exit_code == 0
    assert (job.folder / "root" / "work" / "y").read_text() == "same"


def test_a_command_sees_its_own_variables_and_none_of_the_agents(any_site, monkeypatch):
    monkeypatch.setenv("AGENT_SECRET", "s3cret")
    job = any_site.job("env", env={"GREETING": "hola mundo", "AYNI_ATTEMPT": "forged"})
    any_site.run(job)
    variables = dict(line.split("=", 1) for line in any_site.out(job).splitlines())
    assert variables["GREETING"] == "hola mundo"
    assert variables["AYNI_ATTEMPT"] == job.id
    assert "AGENT_SECRET" not in variables


def test_arguments_arrive_as_they_are(any_site):
    words = ["a b", "$HOME", "`id`", ";|&<>*?", "'\"\\", "", "ñandú\n", "--", "-x"]
    job = any_site.job("python3", "-c", "import json,sys; print(json.dumps(sys.argv[1:]))", *words)
    any_site.run(job)
    assert json.loads(any_site.out(job)) == words


def test_output_may_be_any_bytes(any_site):
    job = any_site.job("printf", r"\000\377\376 \303\050")
    any_site.run(job)
    assert (job.folder / "logs" / "0.stdout").read_bytes() == b"\0\xff\xfe \xc3\x28"


def test_poll_tells_each_change_once(site):
    job = site.job("true")
    site.submit(job)
    told = []

    def ended():
        told.extend(site.executor.poll())
        return [status for status in told if status.state is JobState.ENDED]

    site.until(ended)
    states = [status.state for status in told]
    assert states == sorted(set(states), key=[*JobState].index)
    assert site.executor.poll() == []


def test_jobs_wait_for_free_cores_in_order(new_site):
    site = new_site(cores=1)
    first = site.job("sleep", "60")
    second = site.job("true")
    site.submit(first, second)
    site.until(lambda: site.executor.partitions()[0].pending == 1)
    assert site.executor.partitions()[0].free_cores == 0
    assert site.executor.states([second.id])[second.id].state is JobState.PENDING
    site.executor.cancel([first.id])
    assert site.wait(second).results[0].exit_code == 0
    assert site.wait(first).started <= site.wait(second).started


def test_jobs_wait_for_free_memory(new_site):
    site = new_site(memory=300 << 20)
    first, second = site.job("sleep", "60"), site.job("true")  # 256 MiB each
    site.submit(first, second)
    site.until(lambda: site.executor.partitions()[0].pending == 1)
    site.executor.cancel([first.id])
    assert site.wait(second).results[0].exit_code == 0


def test_forgetting_an_ended_job_removes_its_traces(site):
    job = site.job("true")
    site.run(job)
    site.until(lambda: [s for s in site.executor.poll() if s.state is JobState.ENDED])
    site.executor.forget([job.id])
    assert site.executor.states([job.id]) == {}
    assert list((site.folder / "state" / "jobs").iterdir()) == []


def test_a_supervisor_takes_one_job_after_another_and_none_is_dropped(new_site):
    site = new_site(cores=1)
    jobs = [site.job("sh", "-c", f"exit {number % 3}") for number in range(70)]
    statuses = site.run(*jobs)
    assert [status.results[0].exit_code for status in statuses] == [n % 3 for n in range(70)]
    supervisors = {files.claimed_by(str(job.folder)).pid for job in jobs}
    assert 1 < len(supervisors) < len(jobs)


def test_what_one_job_used_is_not_counted_for_the_next(new_site):
    site = new_site(cores=1)
    big = site.job("python3", "-c", "x = bytearray(100 << 20); [i * i for i in range(3_000_000)]")
    small = site.job("true")
    first, second = site.run(big, small)
    assert first.usage.peak_memory > 100 << 20
    assert second.usage.peak_memory < 50 << 20
    assert second.usage.cpu < first.usage.cpu


def test_canceling_a_job_does_not_touch_the_next_of_its_supervisor(new_site):
    site = new_site(cores=1)
    jobs = [site.job("sleep", "0.02") for _ in range(30)]
    site.submit(*jobs)
    ended = site.until(lambda: [s.id for s in site.executor.poll() if s.state is JobState.ENDED])
    site.executor.cancel(ended)
    statuses = [site.wait(job) for job in jobs]
    assert {status.reason for status in statuses} == {EndReason.EXITED}


def test_many_jobs_of_many_cores_all_end(new_site):
    site = new_site(cores=8)
    jobs = [site.job("true") for _ in range(60)]
    assert {status.results[0].exit_code for status in site.run(*jobs)} == {0}
