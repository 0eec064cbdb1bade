"""The texts of `make joint`: what is fetched is laid out as the demonstration does it."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("regex")

from ayni.demo import udhr
from tests.demo.model.test_holdings import archive
from tests.joint.texts import prepare


@pytest.mark.parametrize("whole", [True, False], ids=["fetched", "passages"])
def test_each_site_has_shards_under_one_tokenizer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, whole: bool
) -> None:
    monkeypatch.setattr(udhr, "fetch", lambda folder: archive(tmp_path / "udhr.tgz"))
    found = prepare(tmp_path, whole=whole)
    assert sorted(found.shards) == ["bogota", "mexico", "santiago"]
    assert all((folder / "manifest.json").is_file() for folder in found.shards.values())
    assert found.words >= 257
