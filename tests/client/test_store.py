"""Project files, through the real hub and its file server."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest

from ayni.client import AyniError, Network, NotFound
from ayni.client.store import ToSend
from tests.client.conftest import Run, World


def _fill(folder: Path) -> Path:
    (folder / "deep").mkdir(parents=True)
    (folder / "a.txt").write_text("a")
    (folder / "deep" / "b.txt").write_text("bb")
    (folder / "empty").write_bytes(b"")
    (folder / "loop").symlink_to(folder)
    return folder


def test_a_folder_goes_there_and_comes_back_the_same(network: Network, tmp_path: Path) -> None:
    source = _fill(tmp_path / "maps")
    sent = network.store.put(source, "data/")
    names = ["data/maps/a.txt", "data/maps/deep/b.txt", "data/maps/empty"]
    assert [file.path for file in sent] == names
    assert [file.path for file in network.store.ls("data/")] == names
    got = network.store.get("data/maps", tmp_path / "back")
    assert sorted(path.relative_to(tmp_path / "back").as_posix() for path in got) == [
        "a.txt", "deep/b.txt", "empty",
    ]  # fmt: skip
    assert (tmp_path / "back" / "deep" / "b.txt").read_text() == "bb"


@pytest.mark.parametrize(
    ("to", "path"),
    [("", "a.txt"), ("x/", "x/a.txt"), ("x/y.txt", "x/y.txt"), ("ayni://langs/z", "z")],
)
def test_a_name_that_ends_in_a_slash_is_a_folder_to_put_into(
    network: Network, tmp_path: Path, to: str, path: str
) -> None:
    source = tmp_path / "a.txt"
    source.write_text("a")
    [sent] = network.store.put(source, to)
    assert sent.path == path


def test_a_file_that_is_here_already_is_not_fetched_again(world: World, tmp_path: Path) -> None:
    with world.network() as network:
        (tmp_path / "a").write_text("content")
        network.store.put(tmp_path / "a")
        network.store.get("a", tmp_path / "b")
        before = len(world.wire.requests)
        network.store.get("a", tmp_path / "b")
    asked = [request.url.path for request in world.wire.requests[before:]]
    assert asked == ["/api/v1/files"]


def test_an_upload_that_was_stopped_goes_on_where_it_was(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C after the first block: the second time only the others travel."""
    source = tmp_path / "large"
    block = 16 << 20
    source.write_bytes(bytes(block) + b"\1" * block + b"\2")
    puts: list[str] = []
    real = world.wire.handle_request

    def watched(request: httpx.Request) -> httpx.Response:
        if request.method == "PUT":
            if puts:
                raise KeyboardInterrupt
            puts.append(request.url.path)
        return real(request)

    with world.network() as network:
        monkeypatch.setattr(world.wire, "handle_request", watched)
        with pytest.raises(KeyboardInterrupt):
            network.store.send([ToSend(source, "large")])
        monkeypatch.undo()
        before = len(world.wire.requests)
        network.store.put(source, "large")
        again = [r.url.path for r in world.wire.requests[before:] if r.method == "PUT"]
        assert len(again) == 2
        assert puts[0] not in again
        [stored] = network.store.ls("large")
        assert stored.size == 2 * block + 1


def test_another_projects_files_are_refused_before_anything_is_asked(network: Network) -> None:
    with pytest.raises(AyniError, match="not of this token's project"):
        network.store.get("ayni://other/x")


@pytest.mark.parametrize("path", ["../x", "a/../../x", "a\x00b", "a\\b", "x" * 2000])
def test_a_path_that_leaves_the_project_is_refused(network: Network, path: str) -> None:
    with pytest.raises(AyniError):
        network.store.rm(path)


def test_what_is_not_there_is_said(network: Network) -> None:
    for ask in (
        lambda: network.store.get("nothing"),
        lambda: network.store.rm("nothing"),
        lambda: network.store.rm("nothing", recursive=True),
    ):
        with pytest.raises(NotFound, match="nothing"):
            ask()


# --- the commands --------------------------------------------------------------------------------


def test_put_ls_get_rm_from_the_command_line(cli: Run) -> None:
    _fill(Path("maps"))
    assert cli("store", "put", "maps", "data/").out.splitlines() == [
        "ayni://langs/data/maps/a.txt",
        "ayni://langs/data/maps/deep/b.txt",
        "ayni://langs/data/maps/empty",
    ]
    level = cli("store", "ls", "data/maps/").out
    assert "data/maps/deep/" in level
    assert "b.txt" not in level
    listed = cli("store", "ls", "-r", "--json").json["files"]
    assert [(file["path"], file["size"]) for file in listed] == [
        ("data/maps/a.txt", 1), ("data/maps/deep/b.txt", 2), ("data/maps/empty", 0),
    ]  # fmt: skip
    assert cli("store", "get", "data/maps/a.txt", "here.txt").out == "here.txt\n"
    assert Path("here.txt").read_text() == "a"
    assert cli("store", "rm", "data/maps/a.txt").code == 0
    assert cli("store", "rm", "-r", "data/", "--json").json == {"removed": 2}


@pytest.mark.parametrize(
    "arguments",
    [
        ("put", "nowhere"),
        ("put", "here", "there", "no-folder"),
        ("get", "../up"),
        ("get", "nothing"),
        ("rm", "-r", "/"),
        ("rm", "nothing"),
        ("ls", "ayni://other/"),
        ("put",),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(cli: Run, arguments: tuple[str, ...]) -> None:
    for name in ("here", "there"):
        Path(name).write_text(name)
    result = cli("store", *arguments)
    assert result.code == 2
    assert "Traceback" not in result.err
    assert arguments == ("put",) or result.err.count("\n") == 1
