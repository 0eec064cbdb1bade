"""What an attempt finds in its folder."""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import Any

import pytest

from ayni.agent.executors.base import Bind
from ayni.agent.staging.errors import StagingError
from ayni.agent.staging.inputs import Prepared, load
from ayni.agent.supervisor import sharing
from ayni.protocol.messages import DatasetUse
from tests.agent.staging.conftest import BLOCK, Site, assignment, names


def content(path: str, text: str = "x") -> dict[str, Any]:
    return {"path": path, "content": text}


def url(url: str, path: str = "/data/in", type: str = "FILE") -> dict[str, Any]:
    return {"url": url, "path": path, "type": type}


def use(name: str, release: str = "anything", limit: int = 0) -> DatasetUse:
    return DatasetUse(name=name, release=release, release_limit=limit)


def good(site: Site, **task: Any) -> Prepared:
    result = site.prepare(assignment(**task))
    if isinstance(result, StagingError):
        raise result
    assert isinstance(result, Prepared)
    return result


def bad(site: Site, **task: Any) -> StagingError:
    result = site.prepare(assignment(**task))
    assert isinstance(result, StagingError)
    return result


def files(prepared: Prepared) -> dict[str, bytes]:
    root = prepared.folder / "root"
    return {f"/{p.relative_to(root)}": p.read_bytes() for p in root.rglob("*") if p.is_file()}


# --- content ---


def test_content_becomes_a_file_at_its_path(site: Site) -> None:
    prepared = good(
        site, inputs=[content("/data/a.txt", "¡hola!\n"), content("//data/./b//c/", "")]
    )
    assert files(prepared) == {"/data/a.txt": "¡hola!\n".encode(), "/data/b/c": b""}
    assert prepared.size == 8
    assert prepared.binds == ()


@pytest.mark.parametrize(
    "path",
    [
        "/usr/bin/python3", "/proc/self/mem", "/dev/sda", "/etc/passwd", "/etc", "/bin/sh",
        "/lib/x86_64-linux-gnu/libc.so.6", "/lib64/ld.so", "/sbin/init", "/sys/x", "/run/x",
        "/boot/x", "//usr/x", "/./usr/x", "/usr", "/var/run/x", "/",
    ],
)  # fmt: skip
def test_places_of_the_system_are_refused(site: Site, path: str) -> None:
    error = bad(site, inputs=[content(path)])
    assert error.code == "path"
    assert error.message.startswith("inputs[0]: ")
    assert not error.retryable
    assert ("belongs to the system" in error.message) or path == "/"


@pytest.mark.parametrize(
    "path",
    [
        "../../etc/cron.d/x", "/data/../../../etc/passwd", "/..", "/data/..", "data/x", "",
        "/a\0b", "/" + "x" * 300, "/" + "a/" * 3000, "/\ud800",
    ],
)  # fmt: skip
def test_a_path_that_leaves_the_folder_or_is_none_is_refused(
    site: Site, tmp_path: Path, path: str
) -> None:
    before = sorted(p.name for p in tmp_path.iterdir())
    assert bad(site, inputs=[content(path)]).code == "path"
    assert sorted(p.name for p in tmp_path.iterdir()) == before


def test_names_that_look_dangerous_are_only_names(site: Site) -> None:
    names = ["$(rm -rf ~)", "; true", "a b", "-rf", "*", "\\", "a\nb", "~", "ñandú", "%2e%2e"]
    prepared = good(site, inputs=[content(f"/data/{name}", name) for name in names])
    assert files(prepared) == {f"/data/{name}": name.encode() for name in names}


@pytest.mark.parametrize(
    "paths", [("/d/a", "/d/a"), ("/d/a", "/d/a/b"), ("/d/a/b", "/d/a"), ("/d/a", "//d/a/")]
)
def test_two_inputs_at_one_place_are_refused(site: Site, paths: tuple[str, str]) -> None:
    error = bad(site, inputs=[content(path) for path in paths])
    assert error.message.startswith("inputs[1]: ")


def test_content_that_is_no_unicode_is_refused(site: Site) -> None:
    assert "Unicode" in bad(site, inputs=[content("/data/a", "\ud800")]).message


def test_content_that_looks_like_a_url_is_text(site: Site) -> None:
    entry = {"path": "/data/a", "content": "x", "url": "https://example.org/"}
    assert files(good(site, inputs=[entry])) == {"/data/a": b"x"}


# --- https ---


def test_an_https_input_is_fetched(site: Site) -> None:
    there = site.server.page("/a.csv", b"1,2\n")
    prepared = good(site, inputs=[url(there + "?sig=secret", "/data/a.csv")])
    assert files(prepared) == {"/data/a.csv": b"1,2\n"}
    assert prepared.size == 4


@pytest.mark.parametrize(
    "there",
    [
        "https://169.254.169.254/", "http://localhost:8000/", "https://[::1]/", "file:///etc/passwd",
        "https://example.org/", "s3://bucket/key", "gs://b/k", "ftp://h/x", "/etc/passwd", "x",
        "ayni://", "ayni://../x", "ayni://clima/../x", "ayni:/clima/x",
    ],
)  # fmt: skip
def test_a_url_that_no_site_reads_is_refused(site: Site, there: str) -> None:
    error = bad(site, inputs=[url(there)])
    assert error.message.startswith("inputs[0]: ")
    assert not error.retryable


def test_https_knows_no_directories(site: Site) -> None:
    error = bad(site, inputs=[url(site.server.page("/d"), type="DIRECTORY")])
    assert "type: https knows no directories" in error.message
    assert site.server.asked == []


def test_an_https_input_larger_than_the_site_takes_is_refused(site: Site) -> None:
    site.with_settings(max_https=10)
    assert bad(site, inputs=[url(site.server.page("/big", b"x" * 11))]).code == "too_large"


def test_inputs_together_have_the_tasks_room(site: Site) -> None:
    site.with_settings(disk=100)
    page = site.server.page("/a", b"x" * 60)
    error = bad(site, inputs=[url(page, "/data/a"), content("/data/b", "x" * 60)])
    assert (error.code, error.retryable) == ("disk", False)
    assert "resources.disk_gb" in error.message
    assert good(
        site, attempt="a2", disk=200, inputs=[url(page, "/data/a"), content("/data/b", "x" * 60)]
    )


# --- project files ---


def test_a_project_file_is_copied_when_it_is_small(site: Site) -> None:
    site.hub.files["ayni://clima/in/a.csv"] = b"1,2\n"
    prepared = good(site, inputs=[url("ayni://clima/in/a.csv", "/data/a.csv")])
    assert files(prepared) == {"/data/a.csv": b"1,2\n"}
    assert prepared.binds == ()
    assert names(prepared.folder / "inputs") == []
    found = prepared.folder / "root" / "data" / "a.csv"
    found.write_bytes(b"changed by the task")
    again = good(site, attempt="a2", inputs=[url("ayni://clima/in/a.csv", "/data/a.csv")])
    assert files(again) == {"/data/a.csv": b"1,2\n"}


def test_a_large_project_file_is_mounted_from_outside_the_root(site: Site) -> None:
    site.with_settings(copy_up_to=1000)
    data = os.urandom(2 * BLOCK)
    site.hub.files["ayni://clima/big"] = data
    prepared = good(site, inputs=[url("ayni://clima/big", "/data/big")])
    [bind] = prepared.binds
    assert (bind.target, bind.writable) == ("/data/big", False)
    assert bind.source.read_bytes() == data
    assert not bind.source.is_relative_to(prepared.folder / "root")
    assert (prepared.folder / "root" / "data").is_dir()
    assert files(prepared) == {}
    assert load("a1", prepared.folder) == prepared


def test_without_a_sandbox_every_task_has_its_own_copy(site: Site) -> None:
    site.with_settings(copy_up_to=10, sandboxed=False)
    site.hub.files["ayni://clima/big"] = b"x" * 5000
    prepared = good(site, inputs=[url("ayni://clima/big", "/data/big")])
    assert prepared.binds == ()
    assert (prepared.folder / "root" / "data" / "big").stat().st_nlink == 1


class Noting:
    """Makes what it is asked for, as a local user would, and remembers it."""

    group = os.getgid()

    def __init__(self, root: Path) -> None:
        self.root = root
        self.made: set[str] = set()

    def make_folders(self, names: list[str]) -> None:
        self.made.add("/" + "/".join(names))
        (self.root / "/".join(names)).mkdir(parents=True, exist_ok=True)

    def create(self, names: list[str]) -> int:
        self.make_folders(names[:-1])
        self.made.add("/" + "/".join(names))
        return os.open(self.root / "/".join(names), os.O_RDWR | os.O_CREAT | os.O_EXCL)


def test_all_that_a_local_user_s_job_finds_in_its_root_is_made_as_that_user(site: Site) -> None:
    maker = Noting(site.folders.path("a1") / "root")
    site.with_settings(maker, copy_up_to=1000)
    site.hub.files |= {"ayni://clima/small": b"1,2\n", "ayni://clima/big": b"x" * 2000}
    prepared = good(
        site,
        inputs=[
            content("/data/a.txt", "hola"),
            url(site.server.page("/web", b"fetched"), "/web/b.txt"),
            url("ayni://clima/small", "/data/small"),
            url("ayni://clima/big", "/data/big"),
        ],
        outputs=[{"path": "/out/x", "url": "ayni://clima/x"}],
        volumes=["/scratch"],
    )
    root = prepared.folder / "root"
    there = {f"/{path.relative_to(root)}" for path in root.rglob("*")}
    assert there == {
        "/data",
        "/data/a.txt",
        "/data/small",
        "/out",
        "/scratch",
        "/web",
        "/web/b.txt",
    }
    assert there <= maker.made
    assert (root / "web" / "b.txt").read_bytes() == b"fetched"
    assert [bind.target for bind in prepared.binds] == ["/data/big"], "the site's one copy of it"
    assert site.folders.path("a1").stat().st_mode & 0o7777 == sharing.KEEP


def test_a_project_directory_comes_with_all_its_files(site: Site) -> None:
    site.with_settings(copy_up_to=100)
    site.hub.files |= {
        "ayni://clima/d/a": b"a",
        "ayni://clima/d/sub/b": b"b",
        "ayni://clima/d/big": b"x" * 200,
        "ayni://clima/other": b"no",
    }
    prepared = good(site, inputs=[url("ayni://clima/d", "/data/d", "DIRECTORY")])
    assert files(prepared) == {"/data/d/a": b"a", "/data/d/sub/b": b"b"}
    assert [bind.target for bind in prepared.binds] == ["/data/d/big"]
    assert prepared.size == 202


@pytest.mark.parametrize("inner", ["../../../etc/cron.d/x", "a/../../x", "a\0b", "/etc/../x", "."])
def test_a_hub_that_lies_about_names_puts_nothing_elsewhere(
    site: Site, tmp_path: Path, inner: str
) -> None:
    site.hub.files[f"ayni://clima/d/{inner}"] = b"evil"
    error = bad(site, inputs=[url("ayni://clima/d", "/data/d", "DIRECTORY")])
    assert error.code == "input"
    assert not [p for p in tmp_path.rglob("*") if p.is_file() and p.read_bytes() == b"evil"]


def test_one_question_to_the_hub_serves_many_attempts(site: Site) -> None:
    site.hub.files |= {f"ayni://clima/{n}": b"%d" % n for n in range(20)}
    wanted = [
        assignment(f"a{n}", inputs=[url(f"ayni://clima/{n}"), content("/data/c")])
        for n in range(20)
    ]
    results = dict(site.stager.prepare(wanted))
    assert len(results) == 20
    assert site.hub.calls == [("inputs", 20)]
    for n in range(20):
        found = results[f"a{n}"]
        assert isinstance(found, Prepared)
        assert files(found)["/data/in"] == b"%d" % n


def test_what_the_hub_puts_off_is_asked_again(site: Site) -> None:
    site.hub.files |= {f"ayni://clima/{n}": b"%d" % n for n in range(6)}
    site.hub.most = 2
    wanted = [assignment(f"a{n}", inputs=[url(f"ayni://clima/{n}")]) for n in range(6)]
    results = dict(site.stager.prepare(wanted))
    assert all(isinstance(result, Prepared) for result in results.values())
    assert site.hub.calls == [("inputs", 6), ("inputs", 4), ("inputs", 2)]
    site.hub.most = 0
    error = bad(site, attempt="b", inputs=[url("ayni://clima/0")])
    assert (error.code, error.retryable) == ("busy", True)


def test_those_that_fetch_nothing_do_not_wait_for_those_that_do(site: Site) -> None:
    site.hub.files["ayni://clima/x"] = b"x"
    wanted = [assignment("slow", inputs=[url("ayni://clima/x")]), assignment("quick")]
    assert [attempt for attempt, _ in site.stager.prepare(wanted)] == ["quick", "slow"]


def test_one_that_fails_does_not_hinder_the_others(site: Site) -> None:
    site.hub.files["ayni://clima/x"] = b"x"
    wanted = [
        assignment("a", inputs=[url("ayni://clima/missing")]),
        assignment("b", inputs=[url("ayni://clima/x")]),
        assignment("c", inputs=[url("https://10.0.0.1/")]),
    ]
    results = dict(site.stager.prepare(wanted))
    assert {k: isinstance(v, Prepared) for k, v in results.items()} == {
        "a": False, "b": True, "c": False,
    }  # fmt: skip


def test_the_hubs_problem_reaches_the_user_in_its_words(site: Site) -> None:
    site.hub.refuse["ayni://clima/x"] = {
        "code": "gone",
        "message": "was removed",
        "retryable": True,
    }
    error = bad(site, inputs=[url("ayni://clima/x")])
    assert (error.code, error.message, error.retryable) == ("gone", "inputs[0]: was removed", True)


@pytest.mark.parametrize("status", [500, 503, 401])
def test_a_hub_that_does_not_answer_is_the_sites_matter(site: Site, status: int) -> None:
    site.server.page("/agent/v1/inputs", status=status)
    error = bad(site, inputs=[url("ayni://clima/x")])
    assert (error.code, error.retryable) == ("hub", True)


@pytest.mark.parametrize(
    "body", [b"no json", b"[]", b'{"results": []}', b'{"results": [{"files": [{"size": -1}]}]}']
)
def test_a_hub_that_talks_nonsense_is_the_sites_matter(site: Site, body: bytes) -> None:
    site.server.page("/agent/v1/inputs", body)
    error = bad(site, inputs=[url("ayni://clima/x")])
    assert (error.code, error.retryable) == ("hub", True)


@pytest.mark.parametrize("there", ["ayni://otro/secret", "ayni://sur/censo/a.csv"])
def test_what_is_neither_of_the_project_nor_of_this_site_is_refused(site: Site, there: str) -> None:
    site.hub.files[there] = b"secret"
    assert (
        "neither of the task's own project nor of this site"
        in bad(site, inputs=[url(there)]).message
    )
    assert site.hub.calls == [] or sum(n for _, n in site.hub.calls) == 0


def test_staging_can_be_stopped(site: Site) -> None:
    site.hub.files["ayni://clima/x"] = b"x" * 1000
    stop = threading.Event()
    stop.set()
    [(_, result)] = site.stager.prepare([assignment(inputs=[url("ayni://clima/x")])], {"a1": stop})
    assert isinstance(result, StagingError)
    assert (result.code, result.retryable) == ("stopped", True)


@pytest.mark.parametrize(
    "inputs", [[{}], [{"path": 5, "content": "x"}], [{"path": "/a", "content": 5}]]
)
def test_a_hub_that_sends_what_is_no_task_hinders_no_other(site: Site, inputs: Any) -> None:
    broken = assignment("broken")
    broken.task["inputs"] = inputs
    results = dict(site.stager.prepare([broken, assignment("good")]))
    assert isinstance(results["broken"], StagingError)
    assert isinstance(results["good"], Prepared)


# --- datasets ---


def test_a_dataset_is_mounted_where_it_lies(site: Site) -> None:
    site.add_dataset("censo", {"2024/a.csv": b"1", "b.csv": b"2"})
    prepared = good(
        site,
        datasets=[use("censo")],
        inputs=[
            url("ayni://norte/censo", "/data/all", "DIRECTORY"),
            url("ayni://norte/censo/2024", "/data/year", "DIRECTORY"),
            url("ayni://norte/censo/b.csv", "/data/b.csv"),
        ],
    )
    top = site.folder / "data" / "censo"
    assert prepared.binds == (
        Bind(top, "/data/all"),
        Bind(top / "2024", "/data/year"),
        Bind(top / "b.csv", "/data/b.csv"),
    )
    assert prepared.size == 0
    assert site.server.asked == []
    assert load("a1", prepared.folder) == prepared


@pytest.mark.parametrize(
    ("there", "kind"),
    [
        ("ayni://norte/censo/none.csv", "FILE"),
        ("ayni://norte/otro/a.csv", "FILE"),
        ("ayni://norte/", "DIRECTORY"),
        ("ayni://norte/censo", "FILE"),
        ("ayni://norte/censo/a.csv", "DIRECTORY"),
        ("ayni://norte/censo/../secret/a.csv", "FILE"),
        ("ayni://norte/censo/out", "FILE"),
    ],
)
def test_what_a_dataset_does_not_hold_is_refused(site: Site, there: str, kind: str) -> None:
    site.add_dataset("censo", {"a.csv": b"1"})
    (site.folder / "secret").write_text("s")
    (site.folder / "data" / "censo" / "out").symlink_to(site.folder / "secret")  # after the scan
    error = bad(site, datasets=[use("censo"), use("otro"), use("")], inputs=[url(there, type=kind)])
    assert error.code == "input"
    assert str(site.folder) not in error.message


def test_a_dataset_that_the_hub_did_not_name_is_not_read(site: Site) -> None:
    """Its release would not hold."""
    site.add_dataset("censo", {"a.csv": b"1"}, release="nothing")
    error = bad(site, inputs=[url("ayni://norte/censo/a.csv")])
    assert "did not say" in error.message


def test_the_sites_own_card_holds_even_if_the_hub_says_more(site: Site) -> None:
    site.add_dataset("censo", {"a.csv": b"1"}, release="nothing")
    task: dict[str, Any] = {
        "datasets": [use("censo", "anything")],
        "inputs": [url("ayni://norte/censo/a.csv")],
        "outputs": [{"url": "ayni://clima/o", "path": "/out/o"}],
    }
    assert bad(site, **task).code == "release"


def test_a_task_that_reads_restricted_data_gets_no_network(site: Site) -> None:
    site.add_dataset("censo", {"a.csv": b"1"}, release="aggregate", release_limit=100)
    reads = [url("ayni://norte/censo/a.csv")]
    error = bad(site, datasets=[use("censo")], inputs=reads, network=True)
    assert "no network" in error.message
    wide = {"network": True, "nodes": 2}
    assert "no network" in bad(site, datasets=[use("censo")], inputs=reads, **wide).message


def test_a_task_over_two_nodes_has_their_network_where_the_site_s_own_card_says_so(
    site: Site,
) -> None:
    site.add_dataset("censo", {"a.csv": b"1"}, release="nothing", inner_network=True)
    reads = [url("ayni://norte/censo/a.csv")]
    told = use("censo", "nothing")
    agrees = told.model_copy(update={"inner_network": True})
    good(site, datasets=[agrees], inputs=reads, network=True, nodes=2)
    error = bad(site, datasets=[told], inputs=reads, network=True, nodes=2)
    assert "no network" in error.message, "the stricter of the two holds"


@pytest.mark.parametrize(
    "other",
    [
        {"inputs": [content("/data/d/x")]},
        {"inputs": [content("/data/d")]},
        {"outputs": [{"url": "ayni://clima/o", "path": "/data/d/out.txt"}]},
        {"outputs": [{"url": "ayni://clima/o", "path": "/data/d", "type": "DIRECTORY"}]},
        {"volumes": ["/data/d/tmp"]},
    ],
)
def test_nothing_is_put_into_what_is_mounted(site: Site, other: dict[str, Any]) -> None:
    site.add_dataset("censo", {"a.csv": b"1"}, release="anything")
    mounted = url("ayni://norte/censo", "/data/d", "DIRECTORY")
    task = {**other, "inputs": [mounted, *other.get("inputs", [])]}
    error = bad(site, datasets=[use("censo")], **task)
    assert "read-only" in error.message


def test_a_mount_does_not_hide_an_input(site: Site) -> None:
    site.add_dataset("censo", {"a.csv": b"1"})
    mounted = url("ayni://norte/censo", "/data", "DIRECTORY")
    error = bad(site, datasets=[use("censo")], inputs=[content("/data/x"), mounted])
    assert "another input is there already" in error.message


# --- folders ---


def test_folders_for_outputs_and_volumes_are_made(site: Site) -> None:
    prepared = good(
        site,
        outputs=[
            {"url": "ayni://clima/f", "path": "/out/a/file.txt"},
            {"url": "ayni://clima/d", "path": "/out/dir", "type": "DIRECTORY"},
            {"url": "ayni://clima/w", "path": "/out/w/*/x.txt", "path_prefix": "/out/w"},
            {"url": "ayni://clima/top", "path": "/top.txt"},
        ],
        volumes=["/scratch/a"],
    )
    root = prepared.folder / "root"
    assert sorted(str(p.relative_to(root)) for p in root.rglob("*")) == [
        "out", "out/a", "out/dir", "out/w", "scratch", "scratch/a",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("target", "more"),
    [
        ("s3://bucket/x", {}),
        ("ayni://otro/x", {}),
        ("ayni://norte/censo/x", {}),
        ("https://10.0.0.1/x", {}),
        ("https://not.listed.example/x", {}),
        ("file:///tmp/x", {}),
    ],
)
def test_an_output_that_can_go_nowhere_is_refused_before_the_job(
    site: Site, target: str, more: dict[str, Any]
) -> None:
    error = bad(site, outputs=[{"url": target, "path": "/out/x", **more}])
    assert error.message.startswith("outputs[0]: ")


def test_a_presigned_url_is_for_one_file(site: Site) -> None:
    target = site.server.url + "/b/k?X-Amz-Signature=secret"
    assert good(site, outputs=[{"url": target, "path": "/out/x"}])
    for output in (
        {"url": target, "path": "/out", "type": "DIRECTORY"},
        {"url": target, "path": "/out/*", "path_prefix": "/out"},
    ):
        error = bad(site, attempt="a2", outputs=[output])
        assert "presigned URL is for one file" in error.message
        assert "secret" not in error.message


@pytest.mark.parametrize("path", ["/usr/x", "/etc/*", "/../x", "x"])
def test_outputs_and_volumes_have_no_place_in_the_system(site: Site, path: str) -> None:
    output = {"url": "ayni://clima/o", "path": path, "path_prefix": "/"}
    assert bad(site, outputs=[output]).code == "path"
    if "*" not in path:
        assert bad(site, volumes=[path]).message.startswith("volumes[0]: ")


def test_places_that_the_site_uses_itself_are_refused(site: Site) -> None:
    site.with_settings(reserved=("/opt/conda",))
    assert bad(site, inputs=[content("/opt/conda/bin/python")]).code == "path"
    assert good(site, attempt="a2", inputs=[content("/opt/data")])


def test_a_task_without_files_costs_three_folders_and_no_question(site: Site) -> None:
    results = dict(site.stager.prepare([assignment(f"a{n}") for n in range(50)]))
    assert all(isinstance(r, Prepared) for r in results.values())
    assert site.server.asked == []
    assert names(site.folders.path("a7")) == ["logs", "root"]


def test_a_full_disk_is_the_sites_matter(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> int:
        raise OSError(28, "No space left on device", "/a/path/of/the/host")

    monkeypatch.setattr("ayni.agent.staging.beneath.os.mkdir", full)
    error = bad(site, volumes=["/scratch"])
    assert error.retryable
    assert "host" not in error.message


# --- site volumes ---


def volume(name: str, path: str, write: bool = True) -> dict[str, Any]:
    return {"name": name, "path": path, "write": write}


def with_volumes(*mounts: dict[str, Any], **task: Any) -> Any:
    wanted = assignment(**task)
    return wanted.model_copy(update={"shape": {**wanted.shape, "volumes": list(mounts)}})


def test_a_volume_is_mounted_and_remembered_with_its_lease(site: Site) -> None:
    wanted = with_volumes(volume("state", "/state"), volumes=["/state", "/shared"])
    prepared = site.prepare(wanted)
    data = site.folder / "volumes" / "clima" / "state" / "data"
    assert prepared.binds == (Bind(data, "/state", writable=True),)
    assert prepared.leases == (data.parent / "lease",)
    assert load(wanted.attempt, prepared.folder) == prepared
    assert (prepared.folder / "root" / "shared").is_dir()


@pytest.mark.parametrize(
    "task",
    [
        {"inputs": [content("/state/a")]},
        {"outputs": [{"path": "/state/a", "url": "ayni://clima/a"}]},
        {"outputs": [{"path": "/state", "url": "ayni://clima/a", "type": "DIRECTORY"}]},
    ],
)
def test_nothing_is_staged_into_a_volume_or_sent_from_it(site: Site, task: dict[str, Any]) -> None:
    refused = site.prepare(with_volumes(volume("state", "/state"), **task))
    assert isinstance(refused, StagingError) and "volume '/state'" in refused.message


def test_a_volume_cannot_lie_where_the_system_is(site: Site) -> None:
    refused = site.prepare(with_volumes(volume("state", "/usr/share")))
    assert isinstance(refused, StagingError) and "belongs to the system" in refused.message


def test_what_a_volume_holds_bounds_who_mounts_it(site: Site) -> None:
    site.add_dataset("censo", {"a": b"1"}, release="nothing")
    first = with_volumes(
        volume("state", "/state"), inputs=[url("ayni://norte/censo/a")], datasets=[use("censo")]
    )
    assert site.prepare(first).rule.release == "nothing"
    site.volumes.release(first.attempt)
    later = with_volumes(volume("state", "/s", write=False), attempt="a2")
    prepared = site.prepare(later)
    assert (prepared.rule.release, prepared.datasets) == ("nothing", ("censo",))
    sends = {"outputs": [{"path": "/o", "url": "ayni://clima/o"}]}
    refused = site.prepare(with_volumes(volume("state", "/s", write=False), attempt="a3", **sends))
    assert isinstance(refused, StagingError) and refused.code == "release"
