"""Who may import whom: the walls of the house (docs/developers, DESIGN)."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

SRC = Path(__file__).parents[1] / "src" / "ayni"

#: Each part of Ayni and the other parts that it may import. `channel`, `errors`, `signatures`,
#: `terminal` and the version: everybody.
MAY: dict[str, set[str]] = {
    "errors": set(),
    "channel": set(),
    "signatures": set(),
    "terminal": set(),
    "tes": set(),
    "protocol": {"tes"},
    "broker": {"tes"},
    "transfer": {"tes"},
    "hub": {"broker", "protocol", "tes"},
    "agent": {"protocol", "tes", "transfer"},
    "client": {"tes", "transfer"},
    "lm": {"client"},
    "cli": set(),
    "demo": {"client", "lm"},
    "__main__": {"cli"},
}
PURE = ("tes", "protocol", "broker")
#: Modules of the standard library that do nothing to the world.
HARMLESS = {
    "__future__", "abc", "base64", "binascii", "bisect", "collections", "contextlib",
    "dataclasses", "datetime", "enum", "fnmatch", "functools", "hashlib", "heapq", "hmac",
    "itertools", "json", "math", "operator", "re", "statistics", "string", "types", "typing",
    "unicodedata", "urllib", "zoneinfo",
}  # fmt: skip
#: What the agent must run without: its extra brings no Django and no torch.
NOT_AT_A_SITE = {"django", "ninja", "granian", "obstore", "psycopg", "torch", "numpy", "orjson"}


def imports(path: Path) -> Iterator[str]:
    """Every module that a file imports, wherever in it."""
    package = ["ayni", *path.relative_to(SRC).parent.parts]
    for node in ast.walk(ast.parse(path.read_text(), str(path))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            module = ".".join([*base, node.module or ""]).rstrip(".")
            yield from (f"{module}.{alias.name}" for alias in node.names)


def files(part: str) -> list[Path]:
    place = SRC / part
    return sorted(place.rglob("*.py")) if place.is_dir() else [place.with_suffix(".py")]


def parts() -> list[str]:
    found = {p.stem for p in SRC.iterdir() if p.suffix == ".py" or (p / "__init__.py").exists()}
    return sorted(found - {"__init__", "__pycache__"})


@pytest.mark.parametrize("part", parts())
def test_a_part_imports_only_those_below_it(part: str) -> None:
    assert part in MAY, f"{part} is new: say here what it may import"
    for path in files(part):
        for name in imports(path):
            root, _, rest = name.partition(".")
            other = rest.partition(".")[0]
            if root == "ayni" and other not in (
                "",
                "__version__",
                "channel",
                "errors",
                "signatures",
                "terminal",
                part,
            ):
                assert other in MAY[part], f"{path.relative_to(SRC)} imports {name}"


@pytest.mark.parametrize("part", PURE)
def test_the_pure_parts_do_nothing_to_the_world(part: str) -> None:
    for path in files(part):
        for name in imports(path):
            root = name.partition(".")[0]
            allowed = root in HARMLESS or root in ("ayni", "pydantic", "pydantic_core")
            assert allowed, f"{path.relative_to(SRC)} imports {name}"
            assert not name.startswith("urllib.request"), f"{path} opens addresses"
        calls = {
            node.func.id
            for node in ast.walk(ast.parse(path.read_text()))
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
        }
        assert not calls & {"open", "exec", "eval", "input"}, path.relative_to(SRC)


def test_the_agent_runs_where_no_hub_is_installed() -> None:
    for part in ("agent", "transfer", "client", "cli", "protocol", "tes"):
        for path in files(part):
            for name in imports(path):
                assert name.partition(".")[0] not in NOT_AT_A_SITE, f"{path} imports {name}"


def test_supervisors_are_light() -> None:
    """They are forked for every job: the standard library and each other, nothing more."""
    for path in files("agent"):
        if "supervisor" not in path.parts:
            continue
        for name in imports(path):
            root = name.partition(".")[0]
            inner = name.startswith("ayni.agent.supervisor")
            assert inner or root in sys.stdlib_module_names, f"{path.name} imports {name}"


#: Whose bits depend on the processor, on threads or on the version of a library.
NOT_THE_SAME_EVERYWHERE = {
    "dot", "matmul", "einsum", "inner", "linalg", "mean", "nansum", "prod", "std", "sum", "tensordot",
    "trace", "var", "vdot",
}  # fmt: skip


def test_the_outer_loop_gives_the_same_bits_on_any_machine() -> None:
    """NumPy, pydantic, BLAKE3 and the standard library; no BLAS, no reductions whose order is not ours."""
    for path in files("lm/outer"):
        for name in imports(path):
            root = name.partition(".")[0]
            ours = name.startswith(("ayni.lm.outer", "ayni.errors"))
            assert (
                ours or root in ("blake3", "numpy", "pydantic") or root in sys.stdlib_module_names
            ), f"{path.name} imports {name}"
        for node in ast.walk(ast.parse(path.read_text())):
            assert not isinstance(getattr(node, "op", None), ast.MatMult), f"{path.name} uses @"
            if isinstance(node, ast.Attribute):
                assert node.attr not in NOT_THE_SAME_EVERYWHERE, f"{path.name} uses {node.attr}"
