"""Tasks that mean harm or do not know better: contained, with a clear word, and others go on."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.network.net import (
    FOREVER,
    LIMITS,
    UNTIL_TOLD,
    Net,
    dead,
    sh,
    stdout,
    there,
    why,
)


@pytest.fixture(autouse=True)
def others_go_on(net: Net) -> Iterator[None]:
    yield
    net.alive()


OUT = {"/o": "ayni://quinua/hostile/o"}
FAILED = ("EXECUTOR_ERROR", "SYSTEM_ERROR")


# --- paths and links ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    "path",
    ["/etc/passwd", "/usr/bin/env", "/proc/1/mem", "/dev/null", "/lib64/x", "/bin/sh", "/"],
)
def test_an_input_onto_what_the_image_has_is_an_error_that_names_it(net: Net, path: str) -> None:
    task = net.run(sh("true", inputs=[{"path": path, "content": "x"}]))
    assert task["state"] in FAILED, task
    assert path.split("/")[1] in why(task), why(task)


def test_inputs_in_each_others_way_are_an_error(net: Net) -> None:
    both = [{"path": "/a", "content": "x"}, {"path": "/a/b", "content": "y"}]
    task = net.run(sh("true", inputs=both))
    assert task["state"] in FAILED
    assert "/a" in why(task)


@pytest.mark.parametrize("target", ["/etc/passwd", "/etc/shadow", "KEY", "../../../site.key"])
def test_an_output_that_is_a_link_out_of_the_task_brings_nothing(net: Net, target: str) -> None:
    key = net.stage.site_folder("norte") / "state" / "site.key"
    target = target.replace("KEY", str(key))
    task = net.run(sh(f"ln -s {target} /o", site="norte", outputs=OUT))
    assert task["state"] in FAILED, task
    assert "/o" in why(task)
    assert "hostile/o" not in net.paths()


def test_links_in_an_output_folder_bring_nothing_from_outside(net: Net) -> None:
    key = net.stage.site_folder("norte") / "state" / "site.key"
    script = (
        f"mkdir /d; ln -s {key} /d/key; ln -s /etc/passwd /d/passwd; ln -s / /d/all; ln -s .. /d/up;"
        "ln -s /d /d/self; mkfifo /d/fifo; echo good > /d/good; ln -s good /d/alias"
    )
    task = sh(script, site="norte", outputs={"/d": "ayni://quinua/hostile/links"})
    task["outputs"][0]["type"] = "DIRECTORY"
    assert net.run(task)["state"] == "COMPLETE"
    assert net.paths(prefix="hostile/links/") == ["hostile/links/alias", "hostile/links/good"]


def test_a_link_as_working_folder_or_stream_leads_nowhere_outside(net: Net, tmp_path: Path) -> None:
    tmp_path.chmod(0o777)
    task = sh(f"ln -s {tmp_path} /w; ln -s {tmp_path}/stream /s; ln -s /etc/passwd /p")
    task["executors"] += [
        {"image": "host", "command": ["touch", "here"], "workdir": "/w", "ignore_error": True},
        {"image": "host", "command": ["echo", "x"], "stdout": "/s", "ignore_error": True},
        {"image": "host", "command": ["cat"], "stdin": "/p", "ignore_error": True},
    ]
    ended = net.run(task)
    assert not list(tmp_path.iterdir()), ended
    assert "root:" not in why(ended)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("inputs", [{"path": "/../x", "content": ""}]),
        ("inputs", [{"path": "x", "content": ""}]),
        ("inputs", [{"path": "/x\0y", "content": ""}]),
        ("inputs", [{"path": "/x", "url": "ayni://quinua/../maiz/secret"}]),
        ("inputs", [{"path": "/x", "url": "ayni://maiz/secret"}]),
        ("inputs", [{"path": "/x", "url": "file:///etc/passwd"}]),
        ("inputs", [{"path": "/x", "url": "/etc/passwd"}]),
        ("inputs", [{"path": "/x", "url": "ayni://norte/cerrado/../../site.key"}]),
        ("inputs", [{"path": "/x", "url": "ayni://norte/nada/x"}]),
        ("outputs", [{"path": "/x/../../y", "url": "ayni://quinua/x"}]),
        ("outputs", [{"path": "/x", "url": "ayni://maiz/x"}]),
        ("outputs", [{"path": "/x", "url": "ayni://norte/cerrado/x"}]),
        ("outputs", [{"path": "/x", "url": "ayni://quinua/.ayni/logs/x"}]),
        ("outputs", [{"path": "/x", "url": "ayni://quinua/a/../../b"}]),
        ("outputs", [{"path": "/x", "url": "file:///etc/cron.d/x"}]),
        ("executors", [{"image": "host", "command": ["true"], "workdir": "../x"}]),
        ("executors", [{"image": "host", "command": ["true"], "stdout": "/a/../b"}]),
        ("executors", [{"image": "host", "command": ["tr\0ue"]}]),
        ("executors", [{"image": "host", "command": []}]),
        ("executors", [{"image": "host", "command": ["true"], "env": {"A=B": "x"}}]),
        ("executors", [{"image": "host", "command": ["true"], "env": {"A": "x\0"}}]),
        ("executors", []),
        ("volumes", ["../x"]),
    ],
)
def test_what_cannot_be_is_refused_by_its_field(net: Net, field: str, value: Any) -> None:
    task = sh("true") | {field: value}
    for path, body in (("/api/v1/tasks", {"task": task}), ("/ga4gh/tes/v1/tasks", task)):
        answer = net.call("POST", path, json=body)
        assert answer.status_code == 400, answer.text
        assert answer.headers["content-type"] == "application/problem+json"
        assert field in answer.json()["detail"], answer.text


# --- words -------------------------------------------------------------------------------------

NASTY = (
    "$(touch /tmp/ayni-pwned)`touch /tmp/ayni-pwned`;touch /tmp/ayni-pwned|&&>'\"\\ %s {{x}} ñ ☠"
)


def test_metacharacters_stay_what_they_are_in_every_field(net: Net) -> None:
    task = sh("true")
    path = "/" + NASTY.replace("/", "_")
    task |= {"name": NASTY, "description": NASTY + "\n\t", "tags": {NASTY: NASTY}}
    task["executors"] = [
        {"image": "host", "command": ["printf", "%s", NASTY], "workdir": path, "stdout": path + "/o"},
        {
            "image": "host", "command": ["sh", "-c", 'printf "%s" "$X"; pwd; cat'], "workdir": path,
            "env": {"X": NASTY}, "stdin": path + "/i",
        },
    ]  # fmt: skip
    task["inputs"] = [{"name": NASTY, "path": path + "/i", "content": NASTY}]
    stored = NASTY.replace("\\", "").replace("/", "_")
    task["outputs"] = [{"path": path + "/o", "url": f"ayni://quinua/{stored}", "name": NASTY}]
    ended = net.run(task)
    assert ended["state"] == "COMPLETE", ended
    assert ended["logs"][0]["logs"][1]["stdout"] == f"{NASTY}{path}\n{NASTY}"
    assert net.file(stored).decode() == NASTY
    assert not Path("/tmp/ayni-pwned").exists()


def test_bytes_that_are_no_text_are_kept_as_they_are(net: Net) -> None:
    script = r"printf 'a\000\377\033[2J\302' | tee /o"
    task = net.run(sh(script, outputs={"/o": "ayni://quinua/bytes"}))
    assert task["state"] == "COMPLETE", task
    assert stdout(task).startswith("a") and "�" in stdout(task)
    assert net.file("bytes") == b"a\0\xff\x1b[2J\xc2"


def test_file_names_that_are_none_are_an_error_that_shows_them(net: Net) -> None:
    for name in (r"\377", r"a\nb", r"a\033[2Jb"):
        task = sh(
            f"mkdir -p /d; echo > \"/d/$(printf '{name}')\"", outputs={"/d": "ayni://quinua/names"}
        )
        task["outputs"][0]["type"] = "DIRECTORY"
        ended = net.run(task)
        assert ended["state"] == "EXECUTOR_ERROR", ended
        assert "name" in why(ended)


# --- too much ----------------------------------------------------------------------------------


def test_an_endless_log_is_cut_and_says_so(net: Net) -> None:
    task = net.run(sh("yes | head -c 64M; echo done > /o", outputs=OUT))
    assert task["state"] == "COMPLETE", task
    full = net.get(f"/tasks/{task['id']}/logs")["full"]
    log = net.file(full.split("/", 3)[3])
    assert 250_000 < len(log) < 300_000
    assert b"cut" in log[-300:] or b"limit" in log[-300:], log[-300:]


#: None of its processes ever ends, and each but the first says that it was born.
GROWS = """python3 -c '
import os, time
while True:
    try:
        if os.fork() == 0:
            os.write(1, b"born\\n")
    except OSError:
        time.sleep(3600)
'"""
#: Its processes end as fast as they come, so that whoever looks may miss most of them; and where the
#: kernel refuses all of a generation it dies out, so it is set off again and again.
CHURNS = "b() { b | b & }; while :; do b; sleep 0.1; done"


@pytest.fixture
def neighbour(net: Net) -> Iterator[str]:
    """A task beside the test's own, of the same user of the machine, that starts processes all the time."""
    task = net.submit(sh(f"{UNTIL_TOLD}; echo well", site="norte"))
    attempt = net.started(task)
    yield task
    (net.root(attempt) / "go").touch()
    net.wait(task, "COMPLETE")
    assert stdout(net.full(task)) == "well\n"


@pytest.mark.usefixtures("neighbour")
def test_a_fork_bomb_grows_to_its_limit_and_is_ended_for_it(net: Net) -> None:
    task = net.run(sh(GROWS, site="norte"))
    assert task["state"] == "EXECUTOR_ERROR", task
    assert f"its limit is {LIMITS['processes']}" in why(task)
    # The kernel lets it have 16 more than its limit, so that it is seen to be over it.
    assert stdout(task).count("born") < LIMITS["processes"] + 16
    dead(task["logs"][0]["metadata"]["attempt"])


@pytest.mark.usefixtures("neighbour")
def test_a_fork_bomb_that_is_hard_to_count_ends_by_its_limit_too(net: Net) -> None:
    """Either it is seen to be over it, or the kernel refuses its first shell one more process."""
    task = net.run(sh(CHURNS, site="norte"))
    assert task["state"] == "EXECUTOR_ERROR", task
    seen = f"its limit is {LIMITS['processes']}" in why(task)
    assert seen or "fork" in task["logs"][0]["logs"][0]["stderr"], task
    dead(task["logs"][0]["metadata"]["attempt"])


def test_a_task_that_eats_memory_is_killed_and_told(net: Net) -> None:
    task = net.run(sh(f"head -c 1G /dev/zero | tail -c 1G | {FOREVER}"))
    assert task["state"] == "EXECUTOR_ERROR", task
    assert "memory" in why(task)


def test_memory_in_dev_shm_counts_too(net: Net) -> None:
    """Neither half would be too much."""
    ram = f"head -c 200M /dev/zero | tail -c 200M | {FOREVER}"
    task = net.run(sh(f"head -c 100M /dev/zero > /dev/shm/x && {ram}"))
    assert task["state"] == "EXECUTOR_ERROR", task
    assert "memory" in why(task)


def test_a_task_that_ignores_the_signal_dies_on_cancel(net: Net) -> None:
    number = net.submit(sh("trap '' TERM INT HUP; touch /deaf; while :; do sleep 1; done"))
    attempt = net.started(number)
    there(net.root(attempt) / "deaf")
    net.call("POST", f"/api/v1/tasks/{number}/cancel")
    net.wait(number, "CANCELED")
    dead(attempt)


def test_what_a_task_leaves_in_the_background_dies_with_it(net: Net) -> None:
    script = (
        "(setsid sleep 1000 &) ; (setsid sh -c 'trap \"\" TERM; sleep 1000' >/dev/null 2>&1 &); :"
    )
    task = net.run(sh(script))
    assert task["state"] == "COMPLETE", task
    dead(task["logs"][0]["metadata"]["attempt"])


def test_an_environment_too_large_to_start_is_told(net: Net) -> None:
    task = sh("true")
    task["executors"][0]["env"] = {f"V{n}": "x" * 100_000 for n in range(40)}
    answer = net.call("POST", "/api/v1/tasks", json={"task": task})
    if answer.status_code == 201:
        number = answer.json()["id"]
        net.wait(number, *FAILED)
        assert "list too long" in why(net.full(number))
    else:
        assert answer.status_code in (400, 413)


def test_a_disk_filled_with_a_sparse_giant_is_no_output(net: Net) -> None:
    task = net.run(sh("truncate -s 200T /o || truncate -s 15T /o", outputs=OUT))
    assert task["state"] in FAILED, task
    assert "/o" in why(task) or "larger" in why(task)


def test_a_folder_deeper_than_any_path_is_an_error_and_goes_again(net: Net) -> None:
    part = "d/" * 1000
    script = f"mkdir /d; cd /d; for i in 1 2 3; do mkdir -p {part} && cd -P {part}; done; :"
    # At `norte`, since the folders of `sur` are searched by the test of residency.
    task = sh(script, site="norte", outputs={"/d": "ayni://quinua/deep"})
    task["outputs"][0]["type"] = "DIRECTORY"
    ended = net.run(task)
    assert ended["state"] in FAILED
    assert "deeper" in why(ended)


def test_files_that_nobody_may_read_are_told(net: Net) -> None:
    task = net.run(sh("echo x > /o; chmod 0 /o; mkdir /z; touch /z/f; chmod 0 /z", outputs=OUT))
    assert task["state"] in (*FAILED, "COMPLETE"), task


# --- the network of a site ---------------------------------------------------------------------


@pytest.mark.parametrize(
    "url",
    [
        "http://169.254.169.254/latest/meta-data/",
        "https://169.254.169.254/",
        "https://localhost/",
        "https://127.0.0.1:{port}/",
        "https://2130706433/",
        "https://0x7f.1/",
        "https://[::1]/",
        "https://[::ffff:127.0.0.1]/",
        "https://10.0.0.1/",
        "https://192.168.1.1/",
        "https://[fe80::1]/",
        "https://metadata.google.internal/",
        "http://127.0.0.1:{port}/api/v1/me",
        "https://user:password@10.0.0.1/",
        "ftp://10.0.0.1/x",
    ],
)
def test_an_input_from_the_sites_own_network_is_refused(net: Net, url: str) -> None:
    url = url.format(port=net.stage.port)
    task = sh("true", site="sur", inputs=[{"url": url, "path": "/x"}])
    answer = net.call("POST", "/api/v1/tasks", json={"task": task})
    if answer.status_code == 400:
        assert "inputs" in answer.json()["detail"]
        return
    number = answer.json()["id"]
    net.wait(number, *FAILED)
    told = why(net.full(number))
    assert any(w in told for w in ("public", "network", "https", "address")), told
    assert "password" not in told


def test_an_output_to_the_sites_own_network_is_refused(net: Net) -> None:
    url = f"http://127.0.0.1:{net.stage.port}/x"
    task = sh("echo > /o", site="sur", outputs={"/o": url})
    answer = net.call("POST", "/api/v1/tasks", json={"task": task})
    if answer.status_code == 201:
        net.wait(answer.json()["id"], *FAILED)
