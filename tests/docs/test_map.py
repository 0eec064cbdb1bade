"""The map of the house names every room."""

from __future__ import annotations

import re

from tests.docs.pages import ROOT

SRC = ROOT / "src" / "ayni"


def test_the_map_names_every_folder_of_modules_and_every_module_that_lies_in_none() -> None:
    text = (ROOT / "docs/developers/map.md").read_text()
    named = {name.rstrip("/") for name in re.findall(r"`([\w./]+?)(?::\w+)?`", text)}
    inner = {path.parent for path in SRC.glob("*/*/__init__.py")}
    loose = {path for path in [*SRC.glob("*.py"), *SRC.glob("*/*.py")] if path.stem[:2] != "__"}
    lost = {path.relative_to(SRC).as_posix() for path in inner | loose} - named
    assert not lost, "name them in docs/developers/map.md"
