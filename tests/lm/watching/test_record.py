"""What a run's folder remembers, read while its coordinator is at work."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ayni.errors import UserError
from ayni.lm.files import add_lines
from ayni.lm.outer.messages import Record
from ayni.lm.watching.record import LOSSES, History, Report, mean_by_language, read_reports
from tests.lm.outer.net import Net, rules

NAMES = st.sampled_from(["es", "quy", "ayr", "gn-PY"])
NUMBERS = st.floats(0, 1e6)


def report(base: int = 1, at: float = 5.0, loss: float = 3.0, site: str = "a") -> Report:
    return Report(site, base, at, {"es": loss, "quy": 2 * loss}, {"es": 30, "quy": 10}, 7.5)


@given(st.builds(
    Report, NAMES, st.integers(0, 1 << 53), NUMBERS,
    st.dictionaries(NAMES, NUMBERS), st.dictionaries(NAMES, st.integers(0, 1 << 53)), NUMBERS,
))  # fmt: skip
def test_a_report_comes_back_as_it_was(one: Report) -> None:
    assert Report.from_json(one.to_json()) == one


@pytest.mark.parametrize(
    "line", ["", "{", "[]", "3", '{"site": 1}', '{"site":"a","base":1,"at":1,"losses":[1]}',
             '{"site":"a","base":1,"at":"x","losses":{}}'],
)  # fmt: skip
def test_what_is_no_report_is_refused(line: str) -> None:
    with pytest.raises(ValueError):
        Report.from_json(line)


def test_reports_of_before_there_were_seconds_are_read() -> None:
    line = json.dumps({"site": "a", "base": 1, "at": 2.0, "losses": {"es": 3.0}})
    assert Report.from_json(line).trained == 0


def test_of_a_round_told_twice_the_last_counts_and_torn_lines_are_passed_over(
    tmp_path: Path,
) -> None:
    path = tmp_path / LOSSES
    add_lines(path, [report(1).to_json(), report(2).to_json()[:30]])
    path.write_bytes(path.read_bytes()[:-1])  # a kill
    add_lines(path, [report(1, loss=2.0).to_json(), report(3).to_json()])
    assert [(one.base, one.losses["es"]) for one in read_reports(tmp_path)] == [(1, 2.0), (3, 3.0)]


def test_a_mean_weighs_by_tokens() -> None:
    other = Report("b", 1, 5.0, {"es": 6.0}, {"es": 10}, 1.0)
    assert mean_by_language([report(), other]) == {"es": pytest.approx(3.75), "quy": 6.0}


def test_a_history_is_read_beside_a_coordinator_and_counts_tokens_on(tmp_path: Path) -> None:
    net = Net(tmp_path, rules())  # its journal stays open, and locked
    for _ in range(3):
        net.round()
    add_lines(tmp_path / LOSSES, [report(2, at=net.now + 1).to_json()])
    history = History.read(tmp_path)
    assert [history.point(version).step for version in range(4)] == [0, 5, 10, 15]
    tokens = [history.point(version).tokens for version in range(4)]
    assert tokens[0] == 0 and tokens == sorted(set(tokens))
    rows = list(history.rows())
    assert [row.at for row in rows] == sorted(row.at for row in rows)
    (loss,) = (row for row in rows if row.what == "loss" and row.language == "es")
    assert (loss.value, loss.site, loss.step, loss.tokens) == (3.0, "a", 10, tokens[2])
    assert sum(row.value for row in rows if row.what == "tokens") == tokens[3]
    cosines = {row.site for row in rows if row.what == "cosine"}
    assert cosines == {"a b", "a c", "b c", "a before", "b before", "c before"}


def test_where_no_run_is_the_error_says_so(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="name the folder of its coordinator"):
        History.read(tmp_path / "none")


def test_what_a_site_does_to_the_others_losses_is_the_difference() -> None:
    """The books hold it where versions are compared with what they were without a site."""
    data = {"fragment": "all", "version": 3, "without": "b", "site": "a", "loss": 3.0, "other": 3.5}
    record = Record(key="compared/all/3/b/a", what="compared", at=9.0, data=data)
    (row,) = History([record], []).rows()
    assert (row.what, row.site, row.value) == ("effect", "b", 0.5)
