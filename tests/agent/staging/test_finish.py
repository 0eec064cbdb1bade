"""What leaves an attempt at its end."""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import Any

import pytest

from ayni.agent.staging.finish import Ended, Finished
from ayni.agent.staging.inputs import Prepared
from ayni.protocol.attempts import AttemptState
from ayni.protocol.messages import LOG_TAIL, Assignment, DatasetUse
from tests.agent.staging.conftest import BLOCK, Site, assignment

OUT = {"url": "ayni://clima/r", "path": "/out", "type": "DIRECTORY"}


def run(
    site: Site,
    wanted: Assignment,
    files: dict[str, bytes] | None = None,
    logs: dict[str, bytes] | None = None,
    **ended: Any,
) -> Ended:
    """Prepare an attempt and do what its job would have done."""
    prepared = site.prepare(wanted)
    assert isinstance(prepared, Prepared), prepared
    for path, data in (files or {}).items():
        place = prepared.folder / "root" / path.lstrip("/")
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(data)
    for name, data in (logs or {}).items():
        (prepared.folder / "logs" / name).write_bytes(data)
    return Ended(wanted, prepared.folder, **{"succeeded": True, **ended})


def finish(site: Site, *ended: Ended) -> dict[str, Finished]:
    return {result.attempt: result for result in site.finisher.finish(ended)}


def finish_one(site: Site, *args: Any, **more: Any) -> Finished:
    [result] = finish(site, run(site, *args, **more)).values()
    return result


def test_outputs_are_sent_hashed_and_reported(site: Site) -> None:
    big = os.urandom(3 * BLOCK)
    result = finish_one(site, assignment(outputs=[OUT]), {"/out/a": b"1", "/out/d/big": big})
    assert result.error is None
    assert {(o.url, o.path, o.size) for o in result.outputs} == {
        ("ayni://clima/r/a", "/out/a", 1),
        ("ayni://clima/r/d/big", "/out/d/big", len(big)),
    }
    assert site.hub.received("a1", "ayni://clima/r/d/big") == big
    for output in result.outputs:
        assert output.upload is not None
        assert site.hub.uploads[output.upload]["sha256"] == output.sha256


def test_an_empty_output_is_an_output(site: Site) -> None:
    result = finish_one(site, assignment(outputs=[OUT]), {"/out/empty": b""})
    assert [(o.size, o.upload is not None) for o in result.outputs] == [(0, True)]


def test_the_outputs_of_many_attempts_are_declared_together(site: Site) -> None:
    ended = [
        run(site, assignment(f"a{n}", outputs=[OUT]), {"/out/n": b"%d" % n}) for n in range(30)
    ]
    site.hub.calls.clear()
    results = finish(site, *ended)
    assert all(r.error is None and len(r.outputs) == 1 for r in results.values())
    assert site.hub.calls == [("uploads", 30)] * 2
    assert site.hub.received("a7", "ayni://clima/r/n") == b"7"


def test_silent_attempts_without_outputs_ask_nobody(site: Site) -> None:
    ended = [run(site, assignment(f"a{n}")) for n in range(20)]
    results = finish(site, *ended)
    assert len(results) == 20
    assert site.server.asked == []


def test_finishing_again_after_a_crash_sends_nothing_twice(site: Site) -> None:
    ended = run(site, assignment(outputs=[OUT]), {"/out/a": b"1"})
    [first] = finish(site, ended).values()
    puts = [path for method, path, _ in site.server.asked if method == "PUT"]
    [second] = finish(site, ended).values()
    assert second.outputs == first.outputs
    assert [path for method, path, _ in site.server.asked if method == "PUT"] == puts


def test_a_missing_output_is_the_commands_fault_and_its_logs_are_kept(site: Site) -> None:
    wanted = assignment(outputs=[{"url": "ayni://clima/x", "path": "/out/x"}])
    result = finish_one(site, wanted, logs={"0.stderr": b"sorry\n"})
    assert result.error is not None
    assert result.error.state is AttemptState.EXECUTOR_ERROR
    assert result.outputs == []
    assert [log.tail for log in result.logs] == ["sorry\n"]


def test_of_a_failed_attempt_only_logs_are_kept(site: Site) -> None:
    result = finish_one(
        site,
        assignment(outputs=[OUT]),
        {"/out/half": b"x"},
        {"0.stdout": b"log"},
        succeeded=False,
    )
    assert (result.error, result.outputs) == (None, [])
    assert [log.tail for log in result.logs] == ["log"]
    assert site.server.asked == []


def test_a_log_that_outgrows_its_tail_is_kept_in_full(site: Site) -> None:
    log = b"".join(b"%d\n" % n for n in range(LOG_TAIL // 4))
    result = finish_one(site, assignment(), logs={"0.stdout": log, "0.stderr": b"short"})
    by_stream = {r.stream: r for r in result.logs}
    assert by_stream["stderr"].upload is None
    assert by_stream["stdout"].upload is not None
    assert by_stream["stdout"].tail == log[-LOG_TAIL:].decode()
    assert site.hub.received("a1", "log:0.stdout") == log


def test_a_log_that_the_hub_does_not_take_is_not_worth_the_attempt(site: Site) -> None:
    problem = {"code": "quota", "message": "the project is full", "retryable": False}
    site.hub.refuse["log:0.stdout"] = problem
    wanted = assignment(outputs=[OUT])
    result = finish_one(site, wanted, {"/out/a": b"1"}, {"0.stdout": b"x" * (LOG_TAIL + 1)})
    assert result.error is None
    assert len(result.outputs) == 1
    assert result.logs[0].upload is None
    assert result.lines == ["only the end of command 0's stdout could be kept: the project is full"]


def test_one_output_that_the_hub_refuses_fails_its_attempt_only(site: Site) -> None:
    problem = {"code": "quota", "message": "the project is full", "retryable": False}
    site.hub.refuse["ayni://clima/r/bad"] = problem
    results = finish(
        site,
        run(site, assignment("a1", outputs=[OUT]), {"/out/good": b"1", "/out/bad": b"2"}),
        run(site, assignment("a2", outputs=[OUT]), {"/out/good": b"1"}),
    )
    error = results["a1"].error
    assert error is not None
    assert (error.code, error.message, error.retryable) == ("quota", "the project is full", False)
    assert results["a1"].outputs == []
    assert len(results["a2"].outputs) == 1


def test_a_hub_that_is_away_is_no_fault_of_the_task(site: Site) -> None:
    ended = run(site, assignment(outputs=[OUT]), {"/out/a": b"1"})
    site.server.page("/agent/v1/uploads", status=503)
    [result] = finish(site, ended).values()
    assert result.error is not None
    assert result.error.retryable
    assert result.error.state is AttemptState.SYSTEM_ERROR


def test_sending_can_be_stopped(site: Site) -> None:
    ended = run(site, assignment(outputs=[OUT]), {"/out/a": b"1"})
    stop = threading.Event()
    stop.set()
    [result] = site.finisher.finish([ended], stop)
    assert result.error is not None
    assert (result.error.code, result.error.retryable) == ("stopped", True)
    assert result.outputs == []


def test_mounted_inputs_do_not_come_back_as_outputs(site: Site) -> None:
    site.add_dataset("censo", {"a.csv": b"1"}, release="anything")
    wanted = assignment(
        datasets=[DatasetUse(name="censo", release="anything")],
        inputs=[{"url": "ayni://norte/censo/a.csv", "path": "/out/a.csv"}],
        outputs=[OUT],
    )
    # What the sandbox leaves in the root where the mount was:
    result = finish_one(site, wanted, {"/out/a.csv": b"", "/out/made": b"2"})
    assert [o.path for o in result.outputs] == ["/out/made"]


def test_a_link_swapped_in_between_finding_and_sending_gives_nothing_away(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "secret").write_text("secret")
    ended = run(site, assignment(outputs=[OUT]), {"/out/a": b"1"})
    found = ended.folder / "root" / "out" / "a"
    describe = site.mover.describe

    def swap(source: Any, **more: Any) -> Any:
        found.unlink()
        found.symlink_to(tmp_path / "secret")
        return describe(source, **more)

    monkeypatch.setattr(site.mover, "describe", swap)
    [result] = finish(site, ended).values()
    assert result.error is not None
    assert result.outputs == []
    assert b"secret" not in site.server.got.values()


def test_a_folder_in_disorder_is_its_own_attempts_matter(site: Site) -> None:
    """Without a sandbox a job may do this to its own folder."""
    ended = [run(site, assignment(f"a{n}", outputs=[OUT]), {"/out/a": b"1"}) for n in range(4)]
    (ended[0].folder / "staged.json").write_text("{")
    (ended[1].folder / "staged.json").write_text("[]")
    (ended[2].folder / "root").rename(ended[2].folder / "gone")
    results = finish(site, *ended)
    for name in ("a0", "a1", "a2"):
        assert results[name].error is not None
        assert results[name].outputs == []
    assert len(results["a3"].outputs) == 1


# --- foreign URLs ---


def test_an_output_to_a_foreign_url_is_put_there(site: Site) -> None:
    target = site.server.url + "/bucket/key?sig=secret"
    wanted = assignment(outputs=[{"url": target, "path": "/out/x"}])
    result = finish_one(site, wanted, {"/out/x": b"data"})
    assert result.error is None
    [output] = result.outputs
    assert (output.url, output.upload, output.size) == (target, None, 4)
    assert site.server.got["/bucket/key?sig=secret"] == b"data"
    assert site.hub.uploads == {}


def test_a_foreign_url_that_refuses_fails_the_attempt_and_tells_no_secret(site: Site) -> None:
    target = site.server.page("/bucket/key", status=403) + "?sig=secret"
    wanted = assignment(outputs=[{"url": target, "path": "/out/x"}])
    result = finish_one(site, wanted, {"/out/x": b"data"}, {"0.stdout": b"log"})
    assert result.error is not None
    assert "answered 403" in result.error.message
    assert "secret" not in result.error.message + str(result.lines)
    assert [log.tail for log in result.logs] == ["log"]


# --- release ---


def restricted(release: str, limit: int = 0, **task: Any) -> Assignment:
    uses = [DatasetUse(name="censo", release=release, release_limit=limit)]
    reads = [{"url": "ayni://norte/censo/a.csv", "path": "/data/a.csv"}]
    return assignment(datasets=uses, inputs=reads, **task)


@pytest.fixture
def census(site: Site) -> Site:
    site.add_dataset("censo", {"a.csv": b"TOP SECRET"}, release="aggregate", release_limit=1000)
    return site


def test_aggregates_within_the_limit_leave(census: Site) -> None:
    wanted = restricted("aggregate", 1000, outputs=[OUT])
    result = finish_one(census, wanted, {"/out/mean": b"4.2"}, {"0.stdout": b"done\n"})
    assert result.error is None
    assert [o.path for o in result.outputs] == ["/out/mean"]
    assert [log.tail for log in result.logs] == ["done\n"]


@pytest.mark.parametrize(
    ("files", "logs"),
    [
        ({"/out/a": b"x" * 1001}, {}),
        ({"/out/a": b"x" * 600}, {"0.stdout": b"x" * 500}),
        ({}, {"0.stdout": b"x" * 600, "0.stderr": b"x" * 600}),
        ({f"/out/{'x' * 100}{n}": b"" for n in range(10)}, {}),
        ({"/out/a": b"1"}, {"0.stdout": b"x" * (LOG_TAIL + 1)}),
    ],
)
def test_over_the_limit_not_a_byte_leaves(
    census: Site, files: dict[str, bytes], logs: dict[str, bytes]
) -> None:
    wanted = restricted("aggregate", 1000, outputs=[OUT])
    result = finish_one(census, wanted, files, logs)
    assert result.error is not None
    assert (result.error.code, result.error.retryable) == ("release", False)
    assert result.error.state is AttemptState.SYSTEM_ERROR
    assert (result.outputs, result.logs) == ([], [])
    assert census.server.asked == []


def test_a_sparse_giant_is_over_the_limit(census: Site) -> None:
    ended = run(census, restricted("aggregate", 1000, outputs=[OUT]))
    with (ended.folder / "root" / "out" / "sparse").open("wb") as file:
        file.truncate(10 << 30)
    [result] = finish(census, ended).values()
    assert result.error is not None
    assert result.error.code == "release"


def test_the_sites_own_limit_holds_even_if_the_hub_says_more(census: Site) -> None:
    wanted = restricted("anything", outputs=[OUT])
    result = finish_one(census, wanted, {"/out/a": b"x" * 2000})
    assert result.error is not None
    assert result.error.code == "release"


def test_the_rule_of_the_start_holds_when_the_dataset_was_taken_away(census: Site) -> None:
    ended = run(census, restricted("anything", outputs=[OUT]), {"/out/a": b"x" * 2000})
    census.datasets.remove("censo")
    [result] = finish(census, ended).values()
    assert result.error is not None
    assert result.error.code == "release"


def test_from_nothing_not_even_a_log_leaves(site: Site) -> None:
    site.add_dataset("censo", {"a.csv": b"TOP SECRET"})
    for succeeded in (True, False):
        result = finish_one(
            site,
            restricted("nothing", attempt=f"a{succeeded:d}"),
            logs={"0.stdout": b"TOP SECRET"},
            succeeded=succeeded,
        )
        assert (result.outputs, result.logs, result.error) == ([], [], None)
        assert result.lines == [
            "outputs and logs stay at the site: dataset censo lets nothing leave"
        ]
    assert site.server.asked == []


def test_a_failed_attempt_over_the_limit_keeps_its_logs_at_the_site(census: Site) -> None:
    result = finish_one(
        census, restricted("aggregate", 1000), logs={"0.stdout": b"x" * 2000}, succeeded=False
    )
    assert (result.logs, result.error) == ([], None)
    assert "logs stay at the site" in result.lines[0]


def test_an_attempt_that_will_be_tried_again_gives_nothing_away(census: Site) -> None:
    """Or each try would have the whole limit anew."""
    wanted = restricted("aggregate", 1000)
    result = finish_one(census, wanted, logs={"0.stdout": b"x"}, succeeded=False, final=False)
    assert result.logs == []
    free = finish_one(
        census, assignment("a2"), logs={"0.stdout": b"x"}, succeeded=False, final=False
    )
    assert len(free.logs) == 1


def test_logs_stay_when_outputs_could_not_be_sent(census: Site) -> None:
    ended = run(
        census,
        restricted("aggregate", 1000, outputs=[OUT]),
        {"/out/a": b"1"},
        {"0.stdout": b"x"},
    )
    census.server.page("/agent/v1/uploads", status=503)
    [result] = finish(census, ended).values()
    assert result.error is not None
    assert result.logs == []


def test_names_of_files_are_not_told_in_the_system_log(census: Site) -> None:
    ended = run(census, restricted("aggregate", 1000, outputs=[OUT]))
    (ended.folder / "root" / "out" / "TOP-SECRET").symlink_to("/none")
    [result] = finish(census, ended).values()
    assert "SECRET" not in str(result)


def test_names_of_files_are_not_told_in_errors(census: Site) -> None:
    problem = {"code": "quota", "message": "no room for TOP-SECRET", "retryable": False}
    census.hub.refuse["ayni://clima/r/TOP-SECRET"] = problem
    wanted = restricted("aggregate", 1000, outputs=[OUT])
    result = finish_one(census, wanted, {"/out/TOP-SECRET": b"1"})
    assert result.error is not None
    assert result.error.code == "quota"
    assert "SECRET" not in result.error.message
