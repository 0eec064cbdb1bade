"""What a task sees of its site from within: its own folder, /usr, and nothing else."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tests.network.net import UNTIL_TOLD, Net, sh, stdout, there


def inside(net: Net, script: str, site: str = "norte", **more: str) -> str:
    task = net.run(sh(f"({script}) 2>&1; true", site=site, **more))
    assert task["state"] == "COMPLETE", task
    return stdout(task)


def test_the_agents_folder_is_not_there(net: Net) -> None:
    state = net.stage.site_folder("norte")
    seen = inside(net, f"ls -laR {state} {state}/state; cat {state}/state/site.key")
    assert "ayni_" not in seen
    assert seen.count("No such file") == 3, seen


@pytest.mark.parametrize(
    "place", ["/root", "/home", "/var", "/opt", "/srv", "/mnt", "/sys", "/run"]
)
def test_the_hosts_folders_are_not_there(net: Net, place: str) -> None:
    assert "No such file" in inside(net, f"ls -la {place}")


def test_the_hosts_accounts_are_not_told(net: Net) -> None:
    seen = inside(net, "cat /etc/passwd /etc/shadow /etc/group /etc/hosts; hostname; ls -a /etc")
    assert not [line for line in seen.splitlines() if line.startswith(("root:$", "daemon:"))], seen
    assert os.uname().nodename not in seen.split() or os.uname().nodename in ("ayni", "localhost")


def test_only_its_own_processes_are_there(net: Net) -> None:
    seen = inside(net, "for p in /proc/[0-9]*; do tr '\\0' ' ' < $p/cmdline; echo; done")
    assert "site run" not in seen and "hub" not in seen, seen


def test_nothing_of_the_agents_environment_is_there(net: Net) -> None:
    seen = inside(net, "env; for p in /proc/[0-9]*; do tr '\\0' '\\n' < $p/environ; done")
    assert "NO_PROXY" not in seen and "VIRTUAL_ENV" not in seen and "AYNI_HUB" not in seen, seen
    assert "AYNI_ATTEMPT" in seen


def test_no_open_files_are_inherited(net: Net) -> None:
    seen = inside(net, "ls -l /proc/self/fd /proc/1/fd")
    assert str(net.stage.folder) not in seen, seen


def test_it_cannot_signal_what_is_outside(net: Net) -> None:
    pids = [p.popen.pid for p in net.stage.sites.values() if p.popen]
    seen = inside(net, "".join(f"kill -9 {pid}; " for pid in pids))
    assert seen.count("No such process") == len(pids), seen
    net.alive()


@pytest.mark.parametrize(
    "place", ["/usr/x", "/usr/bin/x", "/etc/x", "/proc/sys/kernel/hostname", "/bin/x", "/lib/x"]
)
def test_it_cannot_write_what_it_shares(net: Net, place: str) -> None:
    seen = inside(net, f"echo x > {place} && echo written")
    assert "written" not in seen, seen


def test_it_gains_no_privilege(net: Net) -> None:
    seen = inside(
        net,
        "id -u; grep -E 'Cap(Eff|Prm|Bnd)|NoNewPrivs' /proc/self/status; "
        "mount -t tmpfs x /tmp && echo mounted; unshare -Ur true && echo unshared; "
        "mknod /tmp/d b 8 0 && echo made; chroot / true && echo rooted; cat /proc/kcore | head -c 1",
    )
    assert "NoNewPrivs:\t1" in seen
    assert seen.splitlines()[0] not in ("0", "")
    assert seen.count("0000000000000000") >= 2, seen
    for word in ("mounted", "unshared", "made", "rooted"):
        assert word not in seen.split(), seen


def test_a_project_file_given_to_many_cannot_be_changed_by_one(net: Net) -> None:
    net.run(sh("echo original > /o", outputs={"/o": "ayni://quinua/shared/in.txt"}))
    file = {"url": "ayni://quinua/shared/in.txt", "path": "/in"}
    first = net.run(
        sh(
            "(echo changed > /in) 2>/dev/null; chmod 777 /in 2>/dev/null; (echo changed >> /in) 2>/dev/null; true",  # noqa: E501
            site="norte",
            inputs=[file],
        )
    )
    assert first["state"] == "COMPLETE", first
    second = net.run(sh("cat /in", site="norte", inputs=[file]))
    assert stdout(second) == "original\n"


def test_a_dataset_cannot_be_changed(net: Net) -> None:
    data = net.stage.site_folder("norte") / "data" / "agregado" / "texto.txt"
    before = data.read_bytes()
    inputs = [{"url": "ayni://norte/agregado/", "path": "/d", "type": "DIRECTORY"}]
    net.run(
        sh("rm -rf /d/texto.txt; echo x >> /d/texto.txt; chmod 777 /d; mv /d /e", inputs=inputs)
    )
    assert data.read_bytes() == before


def test_another_attempt_is_not_seen(net: Net) -> None:
    first = net.submit(
        sh(f"echo secret-of-the-neighbour > /tmp/s; {UNTIL_TOLD}; cat /tmp/s", site="norte")
    )
    attempt = net.started(first)
    there(net.root(attempt) / "tmp" / "s")
    try:
        seen = inside(
            net,
            f"grep -rs secret-of-the-neigh[b]our / --exclude-dir=proc --exclude-dir=usr; find / -name '*{attempt}*'",  # noqa: E501
        )
        assert "neighbour" not in seen and attempt not in seen, seen
    finally:
        (net.root(attempt) / "go").touch()
        net.wait(first, "COMPLETE")
    assert stdout(net.full(first)) == "secret-of-the-neighbour\n"


CONNECT = (
    "exec 3<>/dev/tcp/127.0.0.1/{port} && printf 'GET /ga4gh/tes/v1/service-info HTTP/1.0\\r\\n\\r\\n' >&3 "
    "&& head -1 <&3"
)


def connect(net: Net, site: str, **more: str) -> str:
    task = sh("", site=site, **more)
    script = CONNECT.format(port=net.stage.port)
    task["executors"][0]["command"] = ["bash", "-c", f"({script}) 2>&1; true"]
    ended = net.run(task)
    assert ended["state"] == "COMPLETE", ended
    return stdout(ended)


def test_there_is_no_network_unless_it_is_asked_for(net: Net) -> None:
    assert "HTTP/1" not in connect(net, "sur")


def test_there_is_a_network_where_task_and_site_agree(net: Net) -> None:
    assert "HTTP/1" in connect(net, "sur", network="true")


def test_a_site_that_gives_no_network_says_so(net: Net) -> None:
    number = net.submit(sh("true", site="norte", network="true"))
    verdicts = {s["site"]: s for s in net.get(f"/tasks/{number}/why")["sites"]}
    assert verdicts["norte"]["code"] == "network", verdicts
    net.call("POST", f"/api/v1/tasks/{number}/cancel")


def test_what_it_stores_for_its_owner_is_not_executable_as_root(net: Net) -> None:
    """A set-user-id file that a task leaves is nobody's way up."""
    task = net.run(sh("cp /usr/bin/id /o; chmod 6755 /o; ls -ln /o", site="norte"))
    assert task["state"] == "COMPLETE", task
    state = net.stage.site_folder("norte") / "state"
    command = ["find", state, "-maxdepth", "9", "-type", "f", "-perm", "/6000"]
    found = subprocess.run([*command, "-uid", "0"], capture_output=True, text=True, check=False)
    assert found.stdout == "", found.stdout


def test_the_sandbox_is_really_used(net: Net) -> None:
    """Else all of the above would say nothing."""
    shown = subprocess.run(
        [sys.executable, "-m", "ayni", "site", "status", "--json", "--config",
         str(net.stage.site_folder("norte") / "agent.toml")],
        env=net.stage.base_env(), capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert "none" not in shown.stdout.split('"sandbox"')[-1][:20], shown.stdout
