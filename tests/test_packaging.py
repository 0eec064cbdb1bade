"""What is packed, and what is declared: every library in the extra of the part that imports it."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from importlib.metadata import packages_distributions
from pathlib import Path
from typing import Any

import pytest
from hatchling.builders.wheel import WheelBuilder

ROOT = Path(__file__).parents[1]
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
EXTRAS: dict[str, list[str]] = PROJECT["optional-dependencies"]

#: The parts with an extra of their own; every other part must do with the base.
OWN_EXTRA = {"hub": "hub", "agent": "agent", "demo": "demo", "lm": "lm"}
#: Used, but imported nowhere in our code.
USED_OTHERWISE = {
    "tzdata": "the data of zoneinfo, where the machine has none",
    "django-htmx": "named in INSTALLED_APPS",
    "django-stubs": "a plugin of mypy",
    "mypy": "a command",
    "pytest-django": "a plugin of pytest",
    "pytest-xdist": "a plugin of pytest",
    "ruff": "a command",
    "types-pyyaml": "for mypy",
}
#: Comes with another library, which asks for exactly one version of it.
COMES_WITH = {"pydantic-core": "pydantic"}
#: Imported only by live tests; their distributions need not be installed here.
LIVE_ONLY = {"playwright": "playwright", "requests": "requests", "tes": "py-tes"}

#: A test looks with it where it happens to be installed, and is skipped elsewhere.
WHERE_IT_IS = {"google"}  # protobuf


def bare(requirement: str) -> str:
    """The library's name: `psycopg[binary]>=3.2` is psycopg."""
    return re.split(r"[\[<>=!~;, ]", requirement, maxsplit=1)[0].lower()


def declared(extra: str) -> set[str]:
    """The libraries that an extra brings, with those of the extras that it includes and the base."""
    found = {bare(line) for line in PROJECT["dependencies"]}
    for line in EXTRAS.get(extra, []):
        if own := re.fullmatch(r"ayni\[(.+)]", line):
            for other in own[1].split(","):
                found |= declared(other)
        else:
            found.add(bare(line))
    return found


def libraries(folder: Path) -> Iterator[tuple[str, Path]]:
    """Every library that the Python files in a folder import, by the name it is installed by."""
    known = packages_distributions()
    for path in folder.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(), str(path))):
            names: list[str] = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and not node.level and node.module:
                names = [node.module]
            for name in names:
                root = name.partition(".")[0]
                ours = root in ("ayni", "tests", "bench")
                if ours or root in sys.stdlib_module_names or root in WHERE_IT_IS:
                    continue
                library = LIVE_ONLY.get(root) or known.get(root, [root])[0]
                library = library.lower().replace("_", "-")
                yield COMES_WITH.get(library, library), path


def parts() -> list[str]:
    folders = (ROOT / "src" / "ayni").iterdir()
    return sorted(folder.name for folder in folders if any(folder.glob("**/*.py")))


@pytest.mark.parametrize("part", parts())
def test_what_a_part_imports_is_declared_in_its_extra(part: str) -> None:
    allowed = declared(OWN_EXTRA.get(part, "base"))
    for library, path in libraries(ROOT / "src" / "ayni" / part):
        more = declared("lm") if of_the_model(path) else set()
        assert library in allowed | more, f"{path.relative_to(ROOT)} imports {library}"


#: Run in environments of their own (dev/peers.sh, bench/outer_exchange).
APART = (ROOT / "bench/slurm/peers.py", ROOT / "bench/outer_exchange/flower_app")


def test_what_the_tests_and_benches_import_is_declared() -> None:
    for folder in ("tests", "bench"):
        for library, path in libraries(ROOT / folder):
            if any(path.is_relative_to(one) for one in APART):
                continue
            extra = "live" if path.is_relative_to(ROOT / "tests" / "live") else "dev"
            allowed = declared(extra) | (declared("lm") if of_the_model(path) else set())
            assert library in allowed, f"{path.relative_to(ROOT)} imports {library}"


def of_the_model(path: Path) -> bool:
    """What is skipped, or says what it needs, where the extra `lm` is missing."""
    places = ("tests/lm", "tests/joint", "bench/joint_model", "bench/gpu", "src/ayni/demo/model")
    return any(path.is_relative_to(ROOT / place) for place in places)


def test_nothing_is_declared_that_nobody_uses() -> None:
    used = {library for folder in ("src", "tests") for library, _ in libraries(ROOT / folder)}
    assert declared("live") - used - set(USED_OTHERWISE) == set()


def test_the_agent_brings_no_web_server() -> None:
    assert declared("agent").isdisjoint({"django", "django-ninja", "granian", "psycopg", "numpy"})


def test_every_requirement_has_a_lower_and_an_upper_bound() -> None:
    for line in [*PROJECT["dependencies"], *(one for extra in EXTRAS.values() for one in extra)]:
        if not line.startswith("ayni["):
            assert "==" in line or (">=" in line and "<" in line), line


def packed() -> set[str]:
    """The files that the wheel takes, by hatch's own choice."""
    chosen = WheelBuilder(str(ROOT)).recurse_included_files()
    return {file.distribution_path for file in chosen}


def test_the_wheel_has_every_file_of_the_package() -> None:
    source = ROOT / "src"
    ours = {
        path.relative_to(source).as_posix()
        for path in (source / "ayni").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert packed() == ours


def test_the_wheel_has_what_is_read_at_run_time_and_by_type_checkers() -> None:
    files = packed()
    for needed in (
        "ayni/py.typed",  # else nobody's type checker looks at ours
        "ayni/demo/atlas/profile.py",
        "ayni/demo/atlas/languages.tsv",
        "ayni/hub/portal/data/land.json",
        "ayni/hub/portal/static/portal/ayni.css",
        "ayni/hub/portal/templates/portal/base.html",
        *(f"ayni/hub/locale/{language}/LC_MESSAGES/django.mo" for language in ("es", "pt", "en")),
    ):
        assert needed in files


@pytest.mark.parametrize(
    "library, left_out", [("django", ["demo", "hub"]), ("numpy", ["demo", "lm"])]
)
def test_a_part_whose_library_is_missing_is_named_in_the_help(
    library: str, left_out: list[str]
) -> None:
    code = f"""
import importlib.abc, sys
class Missing(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name == {library!r}:
            raise ModuleNotFoundError(name, name=name)
sys.meta_path.insert(0, Missing())
from ayni.cli import frame
print(frame.build().info.epilog)
"""
    answer = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    missing = ", ".join(f"{part} (needs {library})" for part in left_out)
    assert answer.stdout == f"Not installed here: {missing}.\n"


def test_commands_load_no_slow_library_before_it_is_needed() -> None:
    slow = ["django.conf", "gflanguages", "granian", "ninja", "numpy", "obstore", "psycopg"]
    code = (
        "import sys; from ayni.cli import frame; frame.build(); "
        f"print([name for name in {slow!r} if name in sys.modules])"
    )
    answer = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert answer.stdout == "[]\n"
