"""What a job sees of the machine, and what it can do to it."""

from __future__ import annotations

import os
import socket
from dataclasses import replace
from pathlib import Path

import pytest

from ayni.agent.executors.base import Bind, Command, EndReason
from ayni.agent.runtimes.base import ImageSpec


def shell(site, text, **changes):
    """Run a shell command; what it printed."""
    job = site.job("sh", "-c", text, **changes)
    site.run(job)
    return site.out(job) + site.err(job)


def test_a_tasks_absolute_paths_work(sandboxed):
    job = sandboxed.job("sh", "-c", "cp /data/x /work/y && mkdir /out && cp /work/y /out/z")
    (job.folder / "root" / "data").mkdir()
    (job.folder / "root" / "data" / "x").write_text("input")
    assert sandboxed.run(job).results[0].exit_code == 0
    assert (job.folder / "root" / "out" / "z").read_text() == "input"


def test_the_hosts_other_files_are_not_there(sandboxed, tmp_path):
    secret = tmp_path / "secret"
    secret.write_text("s3cret")
    seen = shell(sandboxed, f"ls /; cat {secret} {Path(__file__)} /etc/shadow /root/.bashrc")
    top = set(seen.splitlines()) & {
        "home",
        "root",
        "var",
        "opt",
        "srv",
        "boot",
        "run",
        "sys",
        "mnt",
    }
    assert top == set()
    assert seen.count("No such file") == 4


def test_usr_and_etc_are_read_only(sandboxed):
    seen = shell(sandboxed, "touch /usr/x /etc/x; rm /usr/bin/env")
    assert seen.count("Read-only file system") == 3


def test_a_job_is_nobody_in_particular(sandboxed):
    assert shell(sandboxed, "id -u; id -un; hostname").split() == ["1000", "ayni", "ayni"]


def test_a_job_has_no_capability_and_gets_none(sandboxed):
    seen = shell(sandboxed, "grep -E 'Cap(Eff|Prm)|NoNewPrivs' /proc/self/status")
    values = dict(line.split(":") for line in seen.splitlines())
    assert int(values["CapEff"], 16) == int(values["CapPrm"], 16) == 0
    assert values["NoNewPrivs"].strip() == "1"


def test_a_job_cannot_make_namespaces_or_mounts(sandboxed):
    seen = shell(
        sandboxed,
        "unshare -Ur true && echo inner; mount -t tmpfs x /work && echo mounted; "
        "umount /usr && echo unmounted; echo end",
    )
    assert "inner" not in seen
    assert "mounted" not in seen
    assert seen.endswith("end\n") or "end\n" in seen


def test_a_job_sees_its_own_processes_only(sandboxed):
    seen = shell(sandboxed, "echo /proc/[0-9]*; kill -0 -1; echo end")
    assert len(seen.splitlines()[0].split()) <= 3


def test_a_jobs_first_process_tells_nothing(namespaces):
    text = "cat /proc/1/environ /proc/1/maps; ls /proc/1/root /proc/1/fd /proc/1/cwd; kill -9 1"
    seen = shell(namespaces, text + "; echo alive")
    assert seen.count("ermission denied") >= 5
    assert "alive" in seen


def test_the_network_is_off_unless_asked_for(sandboxed):
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        code = f"import socket; socket.create_connection(('127.0.0.1', {port}), 5)"
        assert "refused" in shell(sandboxed, f'python3 -c "{code}"')
        assert shell(sandboxed, f'python3 -c "{code}"', network=True) == ""


def test_a_job_can_talk_to_itself_without_network(sandboxed):
    code = (
        "import socket; s = socket.create_server(('127.0.0.1', 0)); "
        "socket.create_connection(s.getsockname(), 5); print('ok')"
    )
    assert shell(sandboxed, f'python3 -c "{code}"') == "ok\n"


def test_programs_find_the_devices_they_need(sandboxed):
    seen = shell(
        sandboxed,
        "head -c 4 /dev/urandom | wc -c; echo x > /dev/null; echo y > /dev/shm/f; cat /dev/shm/f; "
        "python3 -c 'import pty, tempfile, multiprocessing as m; pty.openpty(); m.Lock(); "
        "print(tempfile.gettempdir())'; ls /dev",
    )
    assert seen.split()[:3] == ["4", "y", "/tmp"]
    assert not {"vda", "sda", "kmsg", "mem", "kvm", "fuse"} & set(seen.split())


def test_the_host_has_no_trace_of_what_a_job_puts_in_tmp(sandboxed):
    name = f"/tmp/ayni-{os.getpid()}"
    assert shell(sandboxed, f"echo x > {name}; cat {name}") == "x\n"
    assert not Path(name).exists()


def test_a_bind_is_read_only_at_its_absolute_path(sandboxed, tmp_path):
    data = tmp_path / "data"
    data.mkdir()
    (data / "x").write_text("stay")
    seen = shell(sandboxed, "cat /data/set/x; touch /data/set/y", binds=(Bind(data, "/data/set"),))
    assert seen.startswith("stay")
    assert "Read-only" in seen
    assert not (data / "y").exists()


def test_a_bind_may_be_one_file_and_a_stdin(sandboxed, tmp_path):
    (tmp_path / "f").write_text("line")
    job = sandboxed.job("cat", stdin="/in/f", binds=(Bind(tmp_path / "f", "/in/f"),))
    sandboxed.run(job)
    assert sandboxed.out(job) == "line"


def test_a_writable_bind_is_written_through(namespaces, tmp_path):
    shared = tmp_path / "shared"
    shared.mkdir(mode=0o777)
    shared.chmod(0o777)
    shell(namespaces, "echo x > /shared/y", binds=(Bind(shared, "/shared", writable=True),))
    assert (shared / "y").read_text() == "x\n"


def test_an_alias_adds_prefixes_variables_and_path(new_site, tmp_path):
    tool = tmp_path / "tools" / "bin" / "greet"
    tool.parent.mkdir(parents=True)
    tool.write_text("#!/bin/sh\necho $GREETING from $0\n")
    tool.chmod(0o755)
    (tmp_path / "tools").chmod(0o755)
    image = ImageSpec(
        prefixes=(tmp_path / "tools",),
        path=(str(tmp_path / "tools" / "bin"),),
        env={"GREETING": "hola"},
    )
    site = new_site(images={"host": ImageSpec(), "tools": image})
    job = site.job("greet", image="tools")
    site.run(job)
    assert site.out(job) == f"hola from {tool}\n"
    assert site.run(site.job("greet")).results[0].exit_code == 127


@pytest.mark.parametrize("field", ["stdin", "stdout", "stderr"])
def test_a_link_that_the_task_made_leads_nowhere(any_site, tmp_path, field):
    victim = tmp_path / "victim"
    victim.write_text("mine")
    job = any_site.job("true")
    plant = Command(("ln", "-s", str(victim), f"{'$'}X"), env={})
    plant = replace(
        plant, argv=("sh", "-c", f'ln -s {victim} "$AYNI_ROOT/work/link"; cat > /dev/null')
    )
    job = replace(job, commands=(plant, Command(("echo", "hit"), **{field: "/work/link"})))
    status = any_site.run(job)
    assert [result.exit_code for result in status.results] == [0, 1]
    assert "link" in any_site.err(job, 1)
    assert victim.read_text() == "mine"


def test_a_folder_link_on_the_way_leads_nowhere(any_site, tmp_path):
    victim = tmp_path / "victim"
    victim.mkdir(mode=0o777)
    job = any_site.job("true")
    plant = Command(("sh", "-c", f'ln -s {victim} "$AYNI_ROOT/work/link"'))
    job = replace(job, commands=(plant, Command(("echo", "hit"), stdout="/work/link/x")))
    assert any_site.run(job).results[1].exit_code == 1
    assert list(victim.iterdir()) == []


def test_a_pipe_in_the_place_of_a_file_does_not_block(any_site):
    job = any_site.job("true")
    plant = Command(("mkfifo", "fifo"))
    job = replace(job, commands=(plant, Command(("cat",), stdin="/work/fifo")))
    assert [result.exit_code for result in any_site.run(job).results] == [0, 1]
    assert "not a regular file" in any_site.err(job, 1)


def test_links_that_the_task_made_do_not_move_the_next_commands_mounts(sandboxed, tmp_path):
    victim = tmp_path / "victim"
    victim.mkdir(mode=0o777)
    victim.chmod(0o777)
    data = tmp_path / "data"
    data.mkdir()
    job = sandboxed.job("true", binds=(Bind(data, "/deep/er/data"),))
    plant = Command(("sh", "-c", f"mv /deep /gone; ln -s {victim} /deep; true"))
    job = replace(job, commands=(plant, Command(("true",))))
    sandboxed.run(job)
    assert list(victim.iterdir()) == []


def test_a_sandbox_that_cannot_be_built_is_the_sites_fault(namespaces, tmp_path):
    data = tmp_path / "data"
    data.mkdir()
    job = namespaces.job("true", binds=(Bind(data, "/data"),))
    namespaces.executor._files.write(job)
    data.rmdir()
    status = namespaces.run(job)
    assert status.reason is EndReason.START_FAILED
    assert str(data) in status.message
    assert status.results == ()


def test_the_job_does_not_own_what_has_another_name_elsewhere(namespaces, tmp_path):
    if os.geteuid() != 0:
        pytest.skip("an agent that is not root shares its user with its jobs")
    store = tmp_path / "store"
    store.write_text("shared by hard link")
    job = namespaces.job("sh", "-c", "cat /work/in; echo x > /work/in")
    (job.folder / "root" / "work").mkdir()
    os.link(store, job.folder / "root" / "work" / "in")
    status = namespaces.run(job)
    assert namespaces.out(job) == "shared by hard link"
    assert status.results[0].exit_code != 0
    assert store.read_text() == "shared by hard link"
