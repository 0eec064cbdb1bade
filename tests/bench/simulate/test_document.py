from __future__ import annotations

from pathlib import Path

from bench.__main__ import document
from bench.simulate.document import kept, put


def test_a_section_takes_the_place_of_the_one_of_its_name(tmp_path: Path) -> None:
    path = tmp_path / "performance.md"
    path.write_text("# Performance\n\nfigures\n")
    put(path, "hundred", "### before")
    put(path, "alliance", "### small")
    put(path, "hundred", "### new")
    text = path.read_text()
    assert text.startswith("# Performance\n\nfigures\n")
    assert "### before" not in text
    assert text.count("## Simulations") == 1
    assert text.index("## Simulations") < text.index("### small") < text.index("### new")


def test_the_other_benchmarks_leave_the_simulations_where_they_were(tmp_path: Path) -> None:
    path = tmp_path / "performance.md"
    assert kept(path) == ""
    put(path, "hundred", "### a hundred sites")
    path.write_text(document([], "a machine", kept(path)))
    before = path.read_text()
    assert "### a hundred sites" in before
    path.write_text(document([], "a machine", kept(path)))
    assert path.read_text() == before
