"""What the site's environment modules set. The module system here is a shell function of ours."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from ayni.agent import config, engine, modules
from ayni.agent.doctor import Level, machine
from ayni.errors import UserError

MODULE = """
export MODULEPATH=/opt/modules MANPATH=/usr/man
module() {
    [ "$1" = load ] || return 1
    shift
    for name in "$@"; do
        case "$name" in
            gcc/12)
                export PATH="%(tree)s/gcc/bin:$PATH" CC=gcc LD_LIBRARY_PATH="%(tree)s/gcc/lib"
                export LD_LIBRARY_PATH="$LD_LIBRARY_PATH" TEXT='two
lines' MANPATH="%(tree)s/man:$MANPATH" ;;
            mpi) export PATH="%(tree)s/mpi/bin:$PATH" LD_LIBRARY_PATH="%(tree)s/mpi/lib:$LD_LIBRARY_PATH" ;;
            quiet) return 0 ;;
            *) echo "Unable to locate a modulefile for '$name'" >&2; return 1 ;;
        esac
        export LOADEDMODULES="$LOADEDMODULES:$name" _LMFILES_="x"
    done
    echo noise
}
"""


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    (tmp_path / "gcc" / "lib").mkdir(parents=True)
    return tmp_path


@pytest.fixture
def shell(tree: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[str, ...]:
    """A shell that knows `module`."""
    profile = tree / "profile"
    profile.write_text(MODULE % {"tree": tree})
    words = ("env", f"BASH_ENV={profile}", "bash")
    load = modules.load
    monkeypatch.setattr(modules, "load", lambda names: load(names, words))
    return words


Load = Callable[[tuple[str, ...]], modules.Loaded]


@pytest.mark.usefixtures("shell")
def test_what_modules_set_is_found_and_nothing_of_the_module_system_s_own(tree: Path) -> None:
    found = modules.load(("gcc/12", "mpi"))
    assert found.path == (f"{tree}/mpi/bin", f"{tree}/gcc/bin")
    assert dict(found.env) == {
        "CC": "gcc",
        "LD_LIBRARY_PATH": f"{tree}/mpi/lib:{tree}/gcc/lib",
        "TEXT": "two\nlines",
    }


@pytest.mark.usefixtures("shell")
@pytest.mark.parametrize(
    ("names", "words"),
    [
        (("nada",), "modules nada cannot be loaded here: Unable to locate"),
        (("quiet",), "cannot be loaded"),
    ],
)
def test_a_module_that_is_not_there_is_told(names: tuple[str, ...], words: str) -> None:
    with pytest.raises(UserError, match=words):
        modules.load(names)


def test_a_site_without_modules_is_told() -> None:
    with pytest.raises(UserError, match="module"):
        modules.load(("gcc/12",), ("bash", "--noprofile", "--norc"))
    with pytest.raises(UserError, match="cannot be run"):
        modules.load(("gcc/12",), ("/no/bash",))
    assert modules.load(()) == modules.Loaded(), "no shell is asked where no module is named"


def site(text: str) -> config.Config:
    return config.parse(f'hub = "http://hub"\n[images.host]\n{text}', Path("/etc/ayni/agent.toml"))


@pytest.mark.usefixtures("shell")
def test_an_image_has_what_its_modules_set_and_its_own_words_go_before(tree: Path) -> None:
    found = site('modules = ["gcc/12"]\npath = ["/opt/bin"]\nenv = { CC = "mycc" }')
    image = engine.images(found)["host"]
    assert image.path == ("/opt/bin", f"{tree}/gcc/bin")
    assert (image.env["CC"], image.env["LD_LIBRARY_PATH"]) == ("mycc", f"{tree}/gcc/lib")


@pytest.mark.usefixtures("shell")
@pytest.mark.parametrize(
    ("text", "level", "words"),
    [
        ('modules = ["gcc/12"]', Level.WARN, "which its tasks do not see"),
        ('modules = ["gcc/12"]\nprefixes = ["{tree}"]', Level.OK, "host"),
        ('modules = ["nada"]', Level.FAIL, "modules nada cannot be loaded here"),
    ],
)
def test_doctor_looks_at_modules(tree: Path, text: str, level: Level, words: str) -> None:
    [check] = machine.images(site(text.replace("{tree}", str(tree))))
    assert check.level is level
    assert words in check.message
