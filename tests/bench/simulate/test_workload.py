from __future__ import annotations

import gzip
from pathlib import Path

import pytest
from bench.simulate.command import log_sites
from bench.simulate.profiles import alliance
from bench.simulate.workload import LogError, deal, from_log, parse_swf, peak, read_swf


def line(
    submit: int, run: int, procs: int, user: int, *, wait: int = 0, limit: int = -1, partition: int = -1
) -> str:  # fmt: skip
    return f"1 {submit} {wait} {run} {procs} -1 -1 {procs} {limit} -1 1 {user} 1 -1 -1 {partition} -1 -1"


def test_a_line_becomes_a_job_and_a_limit_is_never_below_the_run_time() -> None:
    log = parse_swf(["; MaxProcs: 128", line(5, 100, 8, 3, limit=60), line(1, 50, 4, 2, limit=600)])
    assert log.procs == 128
    assert [(j.submit, j.run, j.cores, j.limit, j.user) for j in log.jobs] == [
        (1, 50, 4, 600, 2),
        (5, 100, 8, 100, 3),
    ]


def test_where_no_limit_is_known_the_next_usual_one_is_taken() -> None:
    log = parse_swf([line(0, 100, 1, 1), line(0, 3601, 1, 1), line(0, 999_999, 1, 1)])
    assert [j.limit for j in log.jobs] == [900, 7200, 999_999]


def test_broken_lines_and_jobs_that_never_ran_are_skipped_and_counted() -> None:
    lines = [
        "",
        "1 2 3",
        "one two three " * 6,
        "1 nan 0 10 1 -1 -1 1 -1 -1 1 1 1 -1 -1 -1 -1 -1",
        "1 1e999 0 10 1 -1 -1 1 -1 -1 1 1 1 -1 -1 -1 -1 -1",
        line(0, -1, 4, 1),
        line(0, 10, -1, 1),
        line(-5, 10, 1, 1),
        line(7, 0, 1, 1),
    ]
    log = parse_swf(lines)
    assert log.skipped == 7
    assert [(j.submit, j.run) for j in log.jobs] == [(7, 1)]  # it ran for less than a second


def test_a_compressed_log_is_read_as_a_plain_one(tmp_path: Path) -> None:
    text = "\n".join(line(n, 10, 1, n % 3) for n in range(20))
    plain, packed = tmp_path / "log.swf", tmp_path / "log.swf.gz"
    plain.write_text(text)
    packed.write_bytes(gzip.compress(text.encode()))
    assert read_swf(plain).jobs == read_swf(packed).jobs
    assert read_swf(plain, most=5).jobs == read_swf(plain).jobs[:5]


def test_what_is_no_log_is_named(tmp_path: Path) -> None:
    (tmp_path / "other.txt").write_text("to be or not to be\n")
    (tmp_path / "cut.swf.gz").write_bytes(gzip.compress(line(0, 1, 1, 1).encode())[:-9])
    for name in ("none.swf", "other.txt", "cut.swf.gz"):
        with pytest.raises(LogError, match=name.replace(".", r"\.")):
            read_swf(tmp_path / name)


def test_users_are_dealt_as_cards_in_the_order_of_their_first_task() -> None:
    log = parse_swf([line(n, 1, 1, user) for n, user in enumerate([70, 5, 70, 9, 6])])
    assert deal(log, 3) == {70: 0, 5: 1, 9: 2, 6: 0}


def test_a_grids_partitions_become_sites_as_large_as_they_were_seen() -> None:
    log = parse_swf(
        [
            line(0, 100, 4, 1, partition=7),
            line(10, 100, 4, 1, partition=7),
            line(20, 10, 2, 1, partition=9),
            line(30, 10, 2, 2, partition=9),
        ]
    )
    sites = log_sites(log, alliance())
    assert [(s.name, s.nodes) for s in sites] == [("partition-007", 8), ("partition-009", 2)]
    assert deal(log, len(sites)) == {1: 0, 2: 1}  # where most of a user's tasks went


def test_the_most_cores_in_use_counts_from_the_start_not_the_submission() -> None:
    jobs = parse_swf([line(0, 10, 3, 1), line(0, 10, 3, 1, wait=10), line(5, 1, 1, 1)]).jobs
    assert peak(jobs) == 4


def test_submissions_are_moved_together_until_the_sites_are_loaded_as_asked() -> None:
    log = parse_swf(["; MaxProcs: 10", *(line(100 + 100 * n, 50, 5, n) for n in range(41))])
    workload = from_log(log, [10, 10], load=0.5)
    area = (workload.needs()[:, 0] * workload.run).sum()
    assert workload.submit[0] == 0
    assert area / (20 * workload.submit[-1]) == pytest.approx(0.5, rel=0.01)
