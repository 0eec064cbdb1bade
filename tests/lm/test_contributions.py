"""`ayni lm contributions`: what each site brought, from the coordinator's books."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from ayni.cli.frame import build
from ayni.errors import UserError
from ayni.lm.outer.messages import Compared, RollBack
from ayni.lm.outer.watch import parts
from tests.lm.outer.net import Net, rules
from tests.lm.test_config import GOOD


@pytest.fixture
def net(tmp_path: Path) -> Iterator[Net]:
    """Two rounds of three sites, the second one compared; and a third, rolled back."""
    net = Net(tmp_path / "run", rules(leave_one_out=2))
    for _ in range(3):
        net.take()
        net.bring("a", "b", core_seconds=7200, gpu_seconds=1800)
        net.bring("c")
        if net.version == 2:
            for site, other in (("a", 2.5), ("c", 2.25), ("b", 9.0)):
                net.hear(compared(2, "b", site, other))
    net.hear(RollBack(order="one", to=2))
    yield net
    net.hub.journal.close()


def compared(version: int, without: str, site: str, other: float | None) -> Compared:
    return Compared(
        site=site, fragment="all", version=version, without=without, loss=2.0, other=other
    )


def ayni(*arguments: object) -> Result:
    return CliRunner().invoke(build(), ["lm", "contributions", *map(str, arguments)])


def test_the_books_say_tokens_hours_bytes_weight_and_effect(net: Net) -> None:
    found = parts(record for _, record in net.hub.journal.books())
    assert [(p.version, p.site, p.stands) for p in found] == [
        (version, site, version < 3) for version in (1, 2, 3) for site in "abc"
    ]
    assert {(p.site, p.core_seconds, p.gpu_seconds) for p in found} == {
        ("a", 7200, 1800), ("b", 7200, 1800), ("c", 0, 0),
    }  # fmt: skip
    effects = {(p.version, p.site): p.effect for p in found if p.effect is not None}
    assert effects == {(2, "b"): pytest.approx((2.5 - 2.0 + 2.25 - 2.0) / 2)}


def test_nobody_compares_itself_nor_what_was_not_put_up(net: Net) -> None:
    before = len(net.books("compared"))
    net.hear(
        compared(2, "a", "a", 9.0),
        compared(1, "b", "a", 9.0),
        compared(2, "x", "a", 9.0),
        compared(2, "b", "x", 9.0),
        compared(99, "b", "a", 9.0),
        compared(2, "b", "a", 9.0),
    )
    assert len(net.books("compared")) == before == 2


def test_the_table_is_by_site_member_or_round(net: Net, tmp_path: Path) -> None:
    toml = tmp_path / "run.toml"
    toml.write_text(GOOD)
    done = ayni(toml, "--folder", tmp_path / "run", "--json")
    assert done.exit_code == 0, (done.output, done.exception)
    found = json.loads(done.stdout)
    (b,) = (one for one in found["sites"] if one["site"] == "b")
    assert (b["rounds"], b["tokens"], b["core_seconds"]) == (2, 1000, 14400)
    assert b["weight"] == pytest.approx(2 / 3) and b["effect"] == pytest.approx(0.375)
    assert len(found["rounds"]) == 9 and not found["rounds"][-1]["stands"]
    for by, words in {
        "site": ("SITE", "4.00", "+0.3750"),
        "member": ("MEMBER", "8.00"),
        "round": ("VERSION", "2.00", "+0.3750"),
    }.items():
        text = ayni(toml, "--folder", tmp_path / "run", "--by", by).stdout
        assert all(word in text for word in words), text


def test_a_folder_without_a_run_is_refused(tmp_path: Path) -> None:
    toml = tmp_path / "run.toml"
    toml.write_text(GOOD)
    assert isinstance(ayni(toml).exception, UserError)
