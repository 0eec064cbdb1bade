"""The site's own store of datasets."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from ayni.agent.datasets import Card, DatasetError, Datasets
from ayni.agent.datasets_commands import register
from ayni.errors import UserError


def card(**more: Any) -> Card:
    return Card(**{"version": "2026-01", "licence": "CC-BY-4.0", **more})


@pytest.fixture
def data(tmp_path: Path) -> Path:
    (tmp_path / "census" / "sub").mkdir(parents=True)
    (tmp_path / "census" / "a.csv").write_text("1,2\n")
    (tmp_path / "census" / "sub" / "b.csv").write_text("3\n")
    return tmp_path / "census"


@pytest.fixture
def store(tmp_path: Path) -> Datasets:
    return Datasets(tmp_path / "store")


def test_a_dataset_is_offered_by_its_card_alone(store: Datasets, data: Path) -> None:
    rule = {"release": "aggregate", "release_limit": "256KiB"}
    store.add(data, "census", card(title="Censo", residency="member", **rule))
    [status] = store.cards()
    assert status.model_dump(exclude={"sha256"}) == {
        "name": "census", "version": "2026-01", "title": "Censo", "licence": "CC-BY-4.0",
        "size": 6, "files": 2, "residency": "member", "release": "aggregate",
        "release_limit": 256 << 10, "channels": [], "channel_limit": 0, "inner_network": False,
    }  # fmt: skip
    assert "a.csv" not in status.model_dump_json()


def test_the_hash_is_that_of_sha256sum_over_the_manifest(store: Datasets, data: Path) -> None:
    lines = [
        f"{hashlib.sha256((data / path).read_bytes()).hexdigest()}  {path}\n"
        for path in ("a.csv", "sub/b.csv")
    ]
    assert (
        store.add(data, "census", card()).sha256
        == hashlib.sha256("".join(lines).encode()).hexdigest()
    )


def test_another_process_finds_the_same(store: Datasets, data: Path) -> None:
    added = store.add(data, "census", card(title='a "title" with \\ and ñ'))
    again = Datasets(store.folder)
    assert again.cards() == []
    assert again.scan() == [added]
    assert [entry.path for entry in again.manifest("census")] == ["a.csv", "sub/b.csv"]


def test_only_what_changed_is_read_again(
    store: Datasets, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = store.add(data, "census", card())
    read: list[str] = []

    def hashed(path: Path) -> str:
        read.append(path.name)
        return hashlib.sha256(path.read_bytes()).hexdigest()

    monkeypatch.setattr("ayni.agent.datasets._hash", hashed)
    assert store.scan() == [before]
    assert read == []
    (data / "a.csv").write_text("changed\n")
    [after] = store.scan()
    assert read == ["a.csv"]
    assert after.sha256 != before.sha256
    (data / "a.csv").rename(data / "c.csv")
    assert store.scan()[0].sha256 != after.sha256


def test_a_dataset_that_takes_long_is_looked_at_rarely_unless_its_card_changed(
    store: Datasets, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ayni.agent.datasets._LONG", 0.0)
    monkeypatch.setattr("ayni.agent.datasets._SHARE", 1e9)
    before = store.add(data, "census", card())
    (data / "new.csv").write_text("4\n")
    assert store.scan() == [before]
    Datasets(store.folder).add(data, "census", card(version="2026-02"))  # by a command, say
    [after] = store.scan()
    assert (after.files, after.card.version) == (3, "2026-02")


def test_files_may_lie_in_the_store_itself(store: Datasets) -> None:
    folder = store.folder / "own"
    folder.mkdir(parents=True)
    (folder / "f").write_text("x")
    (store.folder / "own.toml").write_text('version = "1"\nlicence = "CC0"\n')
    assert [d.folder for d in store.scan()] == [folder]
    store.add(folder, "own", card(version="2"))
    assert store.scan()[0].card == card(version="2")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("version = 1", "version"),
        ('licence = "x"', "version"),
        ('version = "1"\nlicence = "x"\nresidence = "site"', "residence"),
        ('version = "1"\nlicence = "x"\nrelease = "all"', "release"),
        ('version = "1"\nlicence = "x"\nrelease = "aggregate"', "needs release_limit"),
        (
            'version = "1"\nlicence = "x"\nrelease = "aggregate"\nrelease_limit = -1',
            "release_limit",
        ),
        ('version = "1"\nlicence = "x"\npath = "relative"', "must be absolute"),
        ('version = "1"\nlicence = "a\\u0000b"', "licence"),
        ("version = ", "cannot be read"),
        ("\xff", "cannot be read"),
    ],
)
def test_a_card_that_is_wrong_is_a_problem_and_not_an_offer(
    store: Datasets, data: Path, text: str, words: str
) -> None:
    store.add(data, "census", card())
    (store.folder / "bad.toml").write_bytes(text.encode("latin-1"))
    assert [d.name for d in store.scan()] == ["census"]
    assert words in store.problems["bad"]


def test_a_dataset_whose_files_are_gone_is_a_problem(store: Datasets, data: Path) -> None:
    store.add(data, "census", card())
    data.rename(data.with_name("elsewhere"))
    assert store.scan() == []
    assert "census" in store.problems


@pytest.mark.parametrize("name", ["../x", "A", "a/b", "", ".x", "a" * 64, "a b"])
def test_a_name_that_no_url_can_hold_is_refused(store: Datasets, data: Path, name: str) -> None:
    with pytest.raises(DatasetError, match=r"^name: "):
        store.add(data, name, card())


def test_links_inside_are_files_and_links_outside_are_refused(
    store: Datasets, data: Path, tmp_path: Path
) -> None:
    (data / "again.csv").symlink_to("sub/b.csv")
    (data / "folder").symlink_to("sub")
    assert store.add(data, "census", card()).files == 3
    assert store.find("census", "again.csv") == data / "sub" / "b.csv"
    (tmp_path / "secret").write_text("s")
    for target in ("../secret", str(tmp_path / "secret"), str(data / "a.csv"), "..", "/", "none"):
        (data / "bad").symlink_to(target)
        with pytest.raises(DatasetError, match="link"):
            store.add(data, "census", card(version="2"))
        (data / "bad").unlink()
    assert store.scan()[0].card.version == "2026-01"  # what was wrong changed nothing


def test_special_files_and_unspeakable_names_are_refused(store: Datasets, data: Path) -> None:
    os.mkfifo(data / "fifo")
    with pytest.raises(DatasetError, match="neither a file nor a folder"):
        store.add(data, "census", card())
    (data / "fifo").unlink()
    for name in (b"\xff", b"a\nb", b"back\\slash"):
        place = Path(os.fsdecode(bytes(data) + b"/" + name))
        place.write_text("x")
        with pytest.raises(DatasetError, match="rename it") as caught:
            store.add(data, "census", card())
        str(caught.value).encode()
        place.unlink()
    assert not (store.folder / "census.toml").exists()


def test_an_empty_folder_a_file_and_the_store_itself_are_no_datasets(
    store: Datasets, tmp_path: Path
) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_text("x")
    for path in (tmp_path / "empty", tmp_path / "file", tmp_path / "none", tmp_path):
        with pytest.raises(DatasetError):
            store.add(path, "census", card())


@pytest.mark.parametrize(
    "inner", ["..", "../census", "sub/../../secret", "none", "a.csv/x", "sub\0", "a\\b", "x" * 5000]
)
def test_a_path_never_leaves_its_dataset(
    store: Datasets, data: Path, tmp_path: Path, inner: str
) -> None:
    (tmp_path / "secret").write_text("s")
    store.add(data, "census", card())
    with pytest.raises(DatasetError, match="has no"):
        store.find("census", inner)
    assert store.find("census", "/sub//b.csv") == data / "sub" / "b.csv"
    assert store.find("census", "") == data


def test_a_link_made_after_the_scan_leads_nowhere(
    store: Datasets, data: Path, tmp_path: Path
) -> None:
    store.add(data, "census", card())
    (tmp_path / "secret").write_text("s")
    (data / "late").symlink_to(tmp_path / "secret")
    (data / "loop").symlink_to("loop")
    for name in ("late", "loop"):
        with pytest.raises(DatasetError):
            store.find("census", name)


def test_a_dataset_taken_away_keeps_its_files(store: Datasets, data: Path) -> None:
    store.add(data, "census", card())
    assert store.remove("census") == data
    assert store.cards() == store.scan() == []
    assert (data / "a.csv").exists()
    with pytest.raises(DatasetError, match="no dataset 'census'"):
        store.remove("census")
    with pytest.raises(DatasetError, match="has no dataset"):
        store.find("census", "a.csv")


def test_a_manifest_that_was_spoilt_is_made_anew(store: Datasets, data: Path) -> None:
    added = store.add(data, "census", card())
    for spoilt in ("", "[[1]]", "{}", "[null]", "no json"):
        (store.folder / ".manifests" / "census.json").write_text(spoilt)
        assert store.scan() == [added]


# --- commands ---


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "agent.toml"
    path.write_text('hub = "https://hub.example.org"\nstate = "state"\n')
    return path


def command(*args: object) -> Any:
    app = typer.Typer()
    register(app)
    result = CliRunner().invoke(app, [str(arg) for arg in args])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def test_add_ls_and_rm(data: Path, config: Path) -> None:
    facts = ["--version", "1", "--licence", "CC0", "--release", "aggregate"]
    added = command("add", data, *facts, "--release-limit", "256KiB", "--config", config)
    assert added.output.startswith("census 1: 2 files, 6 B")
    listed = command("ls", "--config", config)
    assert "census" in listed.output
    assert "256 KiB" in listed.output
    assert '"release_limit": 262144' in command("ls", "--json", "--config", config).output
    removed = command("rm", "census", "--config", config)
    assert str(data) in removed.output
    assert "no datasets" in command("ls", "--config", config).output


def test_programs_are_told_what_was_added_and_removed(data: Path, config: Path) -> None:
    more = ["--config", config, "--json"]
    added = json.loads(command("add", data, "--version", "1", "--licence", "CC0", *more).stdout)
    assert added["datasets"] == json.loads(command("ls", *more).stdout)["datasets"]
    assert [card["name"] for card in added["datasets"]] == ["census"]
    removed = json.loads(command("rm", "census", *more).stdout)
    assert removed == {"removed": "census", "folder": str(data)}


def test_ls_says_what_is_not_offered(data: Path, config: Path) -> None:
    command("add", data, "--version", "1", "--licence", "CC0", "--config", config)
    os.mkfifo(data / "fifo")
    assert "census is not offered" in command("ls", "--config", config).output


@pytest.mark.parametrize(
    ("facts", "words"),
    [
        (["--release", "all"], "--release"),
        (["--release", "aggregate"], "release_limit"),
        (["--release-limit", "many"], "--release-limit"),
        (["--name", "A B"], "name"),
        (["--residency", "moon"], "--residency"),
    ],
)
def test_a_mistake_is_named_in_one_line(
    data: Path, config: Path, facts: list[str], words: str
) -> None:
    with pytest.raises(UserError) as caught:
        command("add", data, "--version", "1", "--licence", "x", *facts, "--config", config)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)
