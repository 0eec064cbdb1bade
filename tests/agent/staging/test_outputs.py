"""Which files are outputs."""

from __future__ import annotations

import os
import socket
from pathlib import Path
from typing import Any

import pytest

from ayni.agent.staging import outputs
from ayni.agent.staging.beneath import Root
from ayni.agent.staging.errors import StagingError
from ayni.agent.staging.outputs import Search
from ayni.protocol.attempts import AttemptState


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "secret").write_text("secret of the site")
    (tmp_path / "root" / "out").mkdir(parents=True)
    return tmp_path / "root"


def put(root: Path, *paths: str) -> None:
    for path in paths:
        place = root / path.lstrip("/")
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(path)


def find(root: Path, *wanted: dict[str, Any], **more: Any) -> dict[str, str]:
    """URL → path of what is found."""
    with Root(root) as beneath:
        return {found.url: found.path for found in Search(beneath, **more).find(wanted)}


def lines(root: Path, *wanted: dict[str, Any], **more: Any) -> list[str]:
    with Root(root) as beneath:
        search = Search(beneath, **more)
        search.find(wanted)
        return search.lines


def output(path: str, url: str = "ayni://clima/o", **more: str) -> dict[str, Any]:
    return {"path": path, "url": url, **more}


def directory(path: str = "/out", **more: str) -> dict[str, Any]:
    return output(path, type="DIRECTORY", **more)


def wild(path: str, prefix: str, **more: str) -> dict[str, Any]:
    return output(path, path_prefix=prefix, **more)


def refused(root: Path, *wanted: dict[str, Any], **more: Any) -> StagingError:
    with pytest.raises(StagingError) as caught:
        find(root, *wanted, **more)
    assert not caught.value.retryable
    return caught.value


# --- TES 1.1 ---


def test_a_file_goes_to_its_url(root: Path) -> None:
    put(root, "/out/a.txt")
    assert find(root, output("/out/a.txt")) == {"ayni://clima/o": "/out/a.txt"}


def test_a_file_that_was_not_made_is_the_commands_fault(root: Path) -> None:
    error = refused(root, output("/out/a.txt"))
    assert error.message == "outputs[0]: the commands did not make '/out/a.txt'"
    assert error.state is AttemptState.EXECUTOR_ERROR


def test_a_folder_in_the_place_of_a_file_says_the_remedy(root: Path) -> None:
    assert "set its type to DIRECTORY" in refused(root, output("/out")).message


def test_a_directory_goes_with_all_that_is_in_it(root: Path) -> None:
    put(root, "/out/a", "/out/d/.hidden", "/out/d/e/b", "/elsewhere")
    (root / "out" / "empty").mkdir()
    assert find(root, directory(url="ayni://clima/r/")) == {
        "ayni://clima/r/a": "/out/a",
        "ayni://clima/r/d/.hidden": "/out/d/.hidden",
        "ayni://clima/r/d/e/b": "/out/d/e/b",
    }


def test_a_directory_that_is_gone_is_the_commands_fault(root: Path) -> None:
    assert "did not make" in refused(root, directory("/gone")).message
    put(root, "/file")
    assert "not a folder" in refused(root, directory("/file")).message


def test_the_standards_example_of_wildcards(root: Path) -> None:
    """TES 1.1, tesOutput.path_prefix: the prefix is taken off, the rest goes beneath the URL."""
    put(root, "/tmp/work/sample_1.vcf", "/tmp/work/sample_2.vcf", "/tmp/work/sample_2.log")
    put(root, "/tmp/work/deeper/sample_3.vcf")
    wanted = wild("/tmp/work/*.vcf", "/tmp/work", url="ayni://clima/vcf")
    assert find(root, wanted) == {
        "ayni://clima/vcf/sample_1.vcf": "/tmp/work/sample_1.vcf",
        "ayni://clima/vcf/sample_2.vcf": "/tmp/work/sample_2.vcf",
    }


@pytest.mark.parametrize(
    ("pattern", "prefix", "names"),
    [
        ("/out/*/x", "/out", ["a/x", "b/x"]),
        ("/out/?/x", "/out/", ["a/x", "b/x"]),
        ("/out/[ab]/*", "/out", ["a/x", "a/y", "b/x"]),
        ("/out/a/[!x]", "/out/a", ["y"]),
        ("/out/a/*", "/out/a/", ["x", "y"]),
        ("/out/a/.*", "/out/a/", [".h"]),
        ("/*/a/x", "/", ["out/a/x"]),
        ("/out/*", "/out", ["top"]),
        ("/out/a/x*", "/out/a/x", [""]),
        ("/o[u]t/a/x", "/", ["out/a/x"]),
        ("/out/*/none", "/out", []),
        ("/none/*", "/none", []),
        ("/out/top/*", "/out", []),
    ],
)
def test_wildcards(root: Path, pattern: str, prefix: str, names: list[str]) -> None:
    put(root, "/out/a/x", "/out/a/y", "/out/a/.h", "/out/b/x", "/out/top")
    found = find(root, wild(pattern, prefix, url="ayni://clima/w"))
    assert sorted(found) == [f"ayni://clima/w/{name}".rstrip("/") for name in names]


def test_wildcards_of_type_directory_match_folders(root: Path) -> None:
    put(root, "/out/run1/a", "/out/run2/b/c", "/out/run3")
    found = find(root, wild("/out/run*", "/out", type="DIRECTORY", url="ayni://clima/w"))
    assert sorted(found) == ["ayni://clima/w/run1/a", "ayni://clima/w/run2/b/c"]


def test_no_match_is_no_error_but_said(root: Path) -> None:
    assert lines(root, wild("/out/*.txt", "/out")) == ["nothing matches the output '/out/*.txt'"]


def test_the_same_file_may_go_to_two_urls_and_two_files_not_to_one(root: Path) -> None:
    put(root, "/out/a", "/out/b")
    both = find(root, output("/out/a", "ayni://clima/1"), output("/out/a", "ayni://clima/2"))
    assert sorted(both) == ["ayni://clima/1", "ayni://clima/2"]
    assert len(find(root, output("/out/a"), output("/out/a"))) == 1
    assert "two files" in refused(root, output("/out/a"), output("/out/b")).message


def test_urls_of_the_web_are_written_as_such(root: Path) -> None:
    put(root, "/out/a b?#%.txt", "/out/ñ")
    found = find(root, directory(url="https://s3.example/b/"))
    assert sorted(found) == [
        "https://s3.example/b/%C3%B1",
        "https://s3.example/b/a%20b%3F%23%25.txt",
    ]
    error = refused(root, directory(url="https://s3.example/b?sig=secret"))
    assert "secret" not in error.message


# --- hostile jobs ---


def test_links_out_of_the_root_are_passed_over_and_said(root: Path, tmp_path: Path) -> None:
    put(root, "/out/good")
    for name, target in {
        "abs": tmp_path / "secret",
        "rel": "../../secret",
        "etc": "/etc/passwd",
        "folder": tmp_path,
        "self": "self",
    }.items():
        (root / "out" / name).symlink_to(target)
    assert find(root, directory()) == {"ayni://clima/o/good": "/out/good"}
    assert len(lines(root, directory())) == 5
    assert find(root, wild("/out/*", "/out")) == {"ayni://clima/o/good": "/out/good"}


@pytest.mark.parametrize("target", ["/etc/passwd", "../../secret", "/", "/proc/self/environ"])
def test_an_output_that_is_a_link_out_of_the_root_is_refused(root: Path, target: str) -> None:
    (root / "out" / "x").symlink_to(target)
    assert refused(root, output("/out/x")).state is AttemptState.EXECUTOR_ERROR


def test_an_output_beneath_a_link_out_of_the_root_is_refused(root: Path, tmp_path: Path) -> None:
    (root / "out").rmdir()
    (root / "out").symlink_to(tmp_path)
    assert refused(root, output("/out/secret"))
    assert refused(root, directory())
    assert find(root, wild("/out/*", "/out")) == {}
    assert find(root, wild("/*/secret", "/")) == {}


def test_links_within_the_root_count_as_what_they_point_at(root: Path) -> None:
    put(root, "/data/run7/result")
    (root / "out" / "result").symlink_to("/data/run7/result")
    (root / "out" / "rel").symlink_to("../data/run7/result")
    (root / "latest").symlink_to("/data/run7")
    with Root(root) as beneath:
        found = Search(beneath).find([directory(), output("/latest/result", "ayni://clima/l")])
    assert {f.place for f in found} == {"/data/run7/result"}
    assert len(found) == 3
    assert find(root, directory("/latest")) == {"ayni://clima/o/result": "/latest/result"}


def test_links_to_folders_make_no_circle(root: Path) -> None:
    put(root, "/out/a")
    (root / "out" / "loop").symlink_to("/out")
    (root / "out" / "up").symlink_to("..")
    assert list(find(root, directory()).values()) == ["/out/a"]
    found = find(root, wild("/out/*/*/*/a", "/out"))
    assert all(path.endswith("/a") for path in found.values())


def test_special_files_are_passed_over_and_never_opened(root: Path) -> None:
    put(root, "/out/good")
    os.mkfifo(root / "out" / "fifo")
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(root / "out" / "sock"))
        assert list(find(root, directory())) == ["ayni://clima/o/good"]
        assert sorted(lines(root, directory())) == [
            "'/out/fifo' is a FIFO", "'/out/sock' is a socket",
        ]  # fmt: skip
        assert "is a FIFO, not a file" in refused(root, output("/out/fifo")).message
        assert list(find(root, wild("/out/*", "/out"))) == ["ayni://clima/o/good"]
        (root / "out" / "link").symlink_to("fifo")
        assert list(find(root, directory())) == ["ayni://clima/o/good"]


def test_hard_links_are_files(root: Path) -> None:
    put(root, "/out/a")
    os.link(root / "out" / "a", root / "out" / "b")
    assert len(find(root, directory())) == 2


@pytest.mark.parametrize("name", [b"\xff\xfe", b"a\nb", b"a\x01b", b"back\\slash", b"\x7f"])
def test_a_name_that_no_url_can_hold_is_refused_not_lost(root: Path, name: bytes) -> None:
    (root / "out" / os.fsdecode(name)).write_text("x")
    error = refused(root, directory())
    assert "cannot be kept" in error.message
    assert error.message.isprintable()
    error.message.encode()
    if name != b"back\\slash":
        assert refused(root, directory(url="https://s3.example/b"))


def test_a_path_longer_than_a_url_may_be_is_refused(root: Path) -> None:
    put(root, "/out/" + "/".join(["d" * 100] * 11))
    assert "longer than" in refused(root, directory()).message


def test_a_tree_without_end_is_refused(root: Path) -> None:
    (root / "out" / "/".join(["d"] * 150)).mkdir(parents=True)
    assert "deeper than" in refused(root, directory()).message


def test_sparse_giants_count_in_full(root: Path) -> None:
    with (root / "out" / "sparse").open("wb") as file:
        file.truncate(10 << 30)
    error = refused(root, directory(), room=1 << 30)
    assert error.code == "disk"
    assert "larger than the task has room for" in error.message
    assert find(root, directory(), room=11 << 30)


def test_outputs_together_have_the_tasks_room(root: Path) -> None:
    for name in ("a", "b"):
        (root / "out" / name).write_bytes(b"x" * 60)
    assert refused(root, directory(), room=100).code == "disk"
    assert len(find(root, directory(), room=120)) == 2


def test_floods_of_files_are_refused(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outputs, "MAX_FILES", 10)
    monkeypatch.setattr(outputs, "MAX_SEEN", 50)
    put(root, *(f"/out/{n}" for n in range(11)))
    assert "more than 10 output files" in refused(root, directory()).message
    put(root, *(f"/many/{n}/x" for n in range(60)))
    assert "looked at" in refused(root, wild("/many/*/none", "/many")).message
    assert "looked at" in refused(root, wild("/*/*/*", "/")).message


def test_floods_of_names_are_refused(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outputs, "MAX_NAMES", 1 << 20)
    folder = "/out/" + "d" * 200
    put(root, *(f"{folder}/{n:03}{'x' * 200}" for n in range(50)))
    assert len(find(root, directory())) == 50
    monkeypatch.setattr(outputs, "MAX_NAMES", 30_000)
    assert "names of the output files" in refused(root, directory()).message


def test_what_is_passed_over_does_not_flood_the_log(root: Path) -> None:
    for n in range(200):
        (root / "out" / str(n)).symlink_to("/none")
    found = lines(root, directory())
    assert len(found) == 51
    assert found[-1] == "… and 150 lines more of this kind"


def test_inputs_that_are_still_mounted_are_no_outputs(root: Path) -> None:
    """Beneath the folder there is an empty file or folder where the mount was."""
    put(root, "/out/made", "/out/ref.fa")
    (root / "out" / "db").mkdir()
    (root / "out" / "to-ref").symlink_to("ref.fa")
    mounts = ["/out/ref.fa", "/out/db"]
    assert list(find(root, directory(), mounts=mounts)) == ["ayni://clima/o/made"]
    assert lines(root, directory(), mounts=mounts) == ["'/out/to-ref' is a link to an input"]
    assert "is an input" in refused(root, output("/out/ref.fa"), mounts=mounts).message
    assert "is an input" in refused(root, directory("/out/db"), mounts=mounts).message
    assert list(find(root, wild("/out/*", "/out"), mounts=mounts)) == ["ayni://clima/o/made"]


def test_where_names_may_not_leave_neither_lines_nor_errors_hold_them(root: Path) -> None:
    for n in range(3):
        (root / "out" / f"patient-{n}").symlink_to("/none")
    assert lines(root, directory(), names=False) == ["not every file could be kept"]
    (root / "out" / "patient\n9").write_text("x")
    assert "patient" not in refused(root, directory(), names=False).message
    put(root, "/w/1/x", "/w/2/x")
    (root / "w" / "patient-10").symlink_to("1")
    assert "patient" not in str(lines(root, wild("/w/*/x", "/w"), names=False))
