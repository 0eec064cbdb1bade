"""Real containers: `ch-run` on an image that this test builds from a few of the host's programs."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from ayni.agent.executors.base import Bind, Command, EndReason, Job, JobState, JobStatus, Limits
from ayni.agent.executors.local import LocalExecutor
from ayni.agent.runtimes.base import ImageSpec
from ayni.agent.supervisor import files, processes

pytestmark = [pytest.mark.live, pytest.mark.needs("charliecloud")]
PROGRAMS = ("sh", "cat", "ls", "id", "env", "pwd", "sleep", "touch", "mkdir", "python3")
LIMITS = Limits(memory=256 << 20, walltime=60, grace=0.3, processes=64)


def copy(path: str, image: Path) -> None:
    """A file of the host, at the same place in the image."""
    target = image / path.lstrip("/")
    target.parent.mkdir(parents=True, exist_ok=True)
    if not target.exists():
        shutil.copy(path, target)


def build(image: Path) -> None:
    """A tiny distribution: some programs, the libraries they need, and a mark of its own."""
    for folder in ("bin", "etc", "proc", "sys", "dev", "tmp", "home", "data", "opt/tool", "ch"):
        (image / folder).mkdir(parents=True)
    for name in PROGRAMS:
        found = shutil.which(name, path="/usr/bin:/bin")
        if found is None:
            continue
        shutil.copy(found, image / "bin" / name)
        needs = subprocess.run(["ldd", found], capture_output=True, text=True, check=False).stdout
        for word in needs.split():
            if word.startswith("/"):
                copy(word, image)
    for name in ("passwd", "group", "hosts", "resolv.conf"):
        (image / "etc" / name).touch()
    (image / "etc" / "mark").write_text("tiny\n")
    (image / "opt" / "tool" / "data").write_text("tool\n")
    (image / "ch" / "environment").write_text("FLAVOUR=sweet\nPATH=/bin\n")


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("image")
    build(folder)
    for path in (folder, *folder.rglob("*")):  # an agent that is root runs its jobs as nobody
        path.chmod(0o755)
    return folder


class Site:
    def __init__(self, folder: Path, image: Path) -> None:
        self.folder = folder
        spec = ImageSpec(runtime="charliecloud", image=str(image), env={"SITE": "here"})
        self.executor = LocalExecutor(folder / "state", 2, 4 << 30, images={"tiny": spec})
        self.count = 0

    def job(self, *commands: Command, **changes: object) -> Job:
        self.count += 1
        work = self.folder / f"work-{self.count}"
        (work / "root").mkdir(parents=True)
        return Job(f"ch-{os.getpid()}-{self.count}", work, commands, "tiny", LIMITS, **changes)  # type: ignore[arg-type]

    def wait(self, job: Job) -> JobStatus:
        end = time.monotonic() + 30
        while time.monotonic() < end:
            status = self.executor.states([job.id])[job.id]
            if status.state in (JobState.ENDED, JobState.LOST):
                return status
            time.sleep(0.02)
        raise AssertionError("it did not end")

    def run(self, job: Job) -> JobStatus:
        assert self.executor.submit([job]) == {}
        return self.wait(job)

    def shell(self, text: str, **changes: object) -> str:
        job = self.job(Command(("sh", "-c", text)), **changes)
        self.run(job)
        logs = job.folder / "logs"
        return (logs / "0.stdout").read_text() + (logs / "0.stderr").read_text()


@pytest.fixture
def site(tmp_path: Path, image: Path) -> Iterator[Site]:
    for parent in (tmp_path, *tmp_path.parents):
        if parent.owner() == "root" and os.geteuid() == 0 and not parent.stat().st_mode & 0o001:
            parent.chmod(parent.stat().st_mode | 0o011)
    found = Site(tmp_path, image)
    yield found
    found.executor.shutdown()


def test_a_command_runs_in_the_image(site: Site) -> None:
    assert site.shell("cat /etc/mark; echo $FLAVOUR $SITE $HOME; pwd") == (
        "tiny\nsweet here /work\n/work\n"
    )


def test_a_tasks_absolute_paths_work(site: Site) -> None:
    job = site.job(
        Command(("sh", "-c", "cat /data/x > /work/y; mkdir /out; cat /work/y /opt/in > /out/z")),
        Command(("cat",), stdin="/out/z", stdout="/out/copy"),
    )
    root = job.folder / "root"
    for path, text in (("data/x", "one\n"), ("opt/in", "two\n")):
        (root / path).parent.mkdir(parents=True)
        (root / path).write_text(text)
    assert [result.exit_code for result in site.run(job).results] == [0, 0]
    assert (root / "out" / "copy").read_text() == "one\ntwo\n"


def test_what_the_image_has_beside_an_input_stays(site: Site) -> None:
    job = site.job(Command(("sh", "-c", "cat /opt/tool/data /opt/in")))
    (job.folder / "root" / "opt").mkdir()
    (job.folder / "root" / "opt" / "in").write_text("mine\n")
    site.run(job)
    assert (job.folder / "logs" / "0.stdout").read_text() == "tool\nmine\n"


def test_the_image_is_not_changed(site: Site, image: Path) -> None:
    seen = site.shell("touch /bin/new /etc/new; echo x > /etc/mark; touch /new && echo made")
    assert seen.count("Read-only") == 3
    assert "made" in seen
    assert not (image / "new").exists()
    assert (image / "etc" / "mark").read_text() == "tiny\n"


def test_the_host_is_not_there(site: Site, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("s3cret")
    seen = site.shell(f"cat {tmp_path}/secret {__file__}; ls /root /var; ls /dev; ls /")
    assert "s3cret" not in seen
    assert not {"vda", "sda", "kmsg", "kvm"} & set(seen.split())


def test_the_users_variables_arrive_and_do_not_reach_the_outside(
    site: Site, tmp_path: Path
) -> None:
    values = {"A": 'it\'s $HOME "x"', "LD_PRELOAD": "/work/none.so", "EMPTY": ""}
    job = site.job(Command(("sh", "-c", 'echo "[$A][$EMPTY]"'), env=values))
    site.run(job)
    assert (job.folder / "logs" / "0.stdout").read_text() == '[it\'s $HOME "x"][]\n'


def test_a_variable_of_several_lines_is_refused(site: Site) -> None:
    job = site.job(Command(("true",), env={"A": "one\ntwo"}))
    assert "'A'" in site.executor.submit([job])[job.id]


def test_the_network_is_off_unless_asked_for(site: Site) -> None:
    def interfaces(**changes: object) -> set[str]:
        lines = site.shell("cat /proc/net/dev", **changes).splitlines()[2:]
        return {line.split(":")[0].strip() for line in lines}

    assert interfaces() == {"lo"}
    assert interfaces(network=True) == {name for _, name in socket.if_nameindex()}


def test_a_bind_is_read_only(site: Site, tmp_path: Path) -> None:
    data = tmp_path / "set"
    data.mkdir()
    (data / "x").write_text("stay\n")
    seen = site.shell("cat /sets/one/x; touch /sets/one/y", binds=(Bind(data, "/sets/one"),))
    assert seen.startswith("stay\n")
    assert "Read-only" in seen


def test_a_container_is_canceled_with_all_its_processes(site: Site) -> None:
    job = site.job(Command(("sh", "-c", "trap '' TERM; sleep 60 & touch /work/up; sleep 60")))
    assert site.executor.submit([job]) == {}
    until((job.folder / "root" / "work" / "up").exists)
    site.executor.cancel([job.id])
    assert site.wait(job).reason is EndReason.CANCELED
    assert job.id not in {marker for _, marker in processes.marked()}


def test_a_container_dies_with_its_supervisor(site: Site) -> None:
    job = site.job(Command(("sh", "-c", "sleep 60 & touch /work/up; sleep 60")))
    assert site.executor.submit([job]) == {}
    until((job.folder / "root" / "work" / "up").exists)
    claim = files.claimed_by(str(job.folder))
    assert claim is not None
    os.kill(claim.pid, signal.SIGKILL)
    assert site.wait(job).state is JobState.LOST
    assert job.id not in {marker for _, marker in processes.marked()}


def test_an_image_that_is_not_there_is_refused(tmp_path: Path) -> None:
    spec = ImageSpec(runtime="charliecloud", image=str(tmp_path / "none"))
    executor = LocalExecutor(tmp_path / "state", 1, 1 << 30, images={"tiny": spec})
    (tmp_path / "work" / "root").mkdir(parents=True)
    job = Job("ch-none", tmp_path / "work", (Command(("true",)),), "tiny", LIMITS)
    assert "unpacked image" in executor.submit([job])["ch-none"]


def until(probe: object) -> None:
    end = time.monotonic() + 30
    while not probe():  # type: ignore[operator]
        assert time.monotonic() < end
        time.sleep(0.02)
