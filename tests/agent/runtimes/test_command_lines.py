"""The command lines of container programs, compared with what was recorded."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from ayni.agent.executors.base import Bind, Command, Job
from ayni.agent.runtimes.apptainer import ApptainerRuntime
from ayni.agent.runtimes.base import ImageSpec, Mount, PlanError
from ayni.agent.runtimes.charliecloud import CharliecloudRuntime
from ayni.agent.runtimes.host import BubblewrapRuntime, HostFiles, NamespaceRuntime


@pytest.fixture
def job(tmp_path: Path) -> Job:
    (tmp_path / "job" / "root" / "data").mkdir(parents=True)
    command = Command(("sort", "-n", "/data/x"), env={"LC_ALL": "C"}, workdir="/scratch")
    return Job("attempt-1", tmp_path / "job", (command,), "image")


def test_apptainer(job, tmp_path):
    bind = Bind(tmp_path, "/sets/one")
    plan = ApptainerRuntime().plan(
        ImageSpec("apptainer", "/images/r.sif"), replace(job, binds=(bind,), gpus=1)
    )
    root = job.folder / "root"
    assert list(plan.starts[0].argv) == [
        *("apptainer", "--quiet", "exec"),
        *("--containall", "--cleanenv", "--no-privs", "--no-init", "--writable-tmpfs"),
        *("--home", f"{root}/work:/work"),
        *("--net", "--network", "none", "--nv"),
        *("--mount", f"type=bind,source={root}/data,destination=/data"),
        *("--mount", f"type=bind,source={root}/scratch,destination=/scratch"),
        *("--mount", f"type=bind,source={root}/tmp,destination=/tmp"),
        *("--mount", f"type=bind,source={tmp_path},destination=/sets/one,ro"),
        *("--pwd", "/scratch", "/images/r.sif"),
        *("sort", "-n", "/data/x"),
    ]


def test_apptainer_gives_the_users_variables_to_the_container_only(job):
    hostile = Command(("true",), env={"LD_PRELOAD": "/data/x.so", "PATH": "/data"})
    plan = ApptainerRuntime().plan(
        ImageSpec("apptainer", "r.sif"), replace(job, commands=(hostile,))
    )
    env = plan.starts[0].env
    assert env["APPTAINERENV_LD_PRELOAD"] == "/data/x.so"
    assert env["APPTAINERENV_PATH"] == "/data"
    assert "LD_PRELOAD" not in env
    assert env["PATH"] == os.defpath


def test_apptainer_keeps_the_containers_path_unless_it_is_told_another(job):
    plan = ApptainerRuntime().plan(ImageSpec("apptainer", "r.sif"), job)
    assert "APPTAINERENV_PATH" not in plan.starts[0].env


def test_apptainer_leaves_the_network_on_for_a_job_that_has_it(job):
    plan = ApptainerRuntime().plan(ImageSpec("apptainer", "r.sif"), replace(job, network=True))
    assert "--net" not in plan.starts[0].argv


def test_apptainer_refuses_a_path_that_would_end_its_field(job):
    (job.folder / "root" / "a,ro").mkdir()
    with pytest.raises(PlanError, match="comma"):
        ApptainerRuntime().plan(ImageSpec("apptainer", "r.sif"), job)


def test_charliecloud(job, tmp_path):
    image = tmp_path / "image"
    for folder in ("bin", "etc", "data", "ch"):
        (image / folder).mkdir(parents=True)
    (image / "ch" / "environment").touch()
    plan = CharliecloudRuntime().plan(ImageSpec("charliecloud", str(image)), job)
    root = job.folder / "root"
    assert list(plan.starts[0].argv) == [
        *("ch-run", "--write", "--unset-env=*", "--env-no-expand"),
        f"--set-env={job.folder}/env.0.defaults",
        f"--set-env={image}/ch/environment",
        f"--set-env={job.folder}/env.0",
        *("--cd=/scratch", str(root), "--", "sort", "-n", "/data/x"),
    ]
    assert (job.folder / "env.0").read_text().splitlines() == [
        "LC_ALL='C'",
        "AYNI_ROOT=''",
        "AYNI_ATTEMPT='attempt-1'",
    ]
    assert plan.sandbox is not None
    assert plan.sandbox.root is None
    assert plan.sandbox.network is False
    assert {mount.target for mount in plan.sandbox.mounts} == {
        f"{root}/bin",
        f"{root}/etc",
        f"{root}/ch",
    }
    assert not any(mount.writable for mount in plan.sandbox.mounts)


def test_a_volume_is_writable_in_every_runtime(job, tmp_path):
    image, volume = tmp_path / "image", tmp_path / "volume"
    for folder in (image / "bin", volume):
        folder.mkdir(parents=True)
    root = job.folder / "root"
    other = replace(job, folder=tmp_path / "other")
    (other.folder / "root").mkdir(parents=True)
    with_volume = replace(job, binds=(Bind(volume, "/state", writable=True),))
    plan = ApptainerRuntime().plan(ImageSpec("apptainer", "r.sif"), with_volume)
    assert f"type=bind,source={volume},destination=/state" in plan.starts[0].argv
    plan = CharliecloudRuntime().plan(ImageSpec("charliecloud", str(image)), with_volume)
    assert plan.sandbox is not None
    assert Mount(str(volume), f"{root}/state", writable=True) in plan.sandbox.mounts
    files = HostFiles(tmp_path / "etc")
    with_volume = replace(other, binds=with_volume.binds)
    plan = NamespaceRuntime(files).plan(ImageSpec(), with_volume)
    assert plan.sandbox is not None
    assert Mount(str(volume), "/state", writable=True) in plan.sandbox.mounts
    plan = BubblewrapRuntime(files).plan(ImageSpec(), with_volume)
    words = Path(str(plan.starts[0].arguments)).read_text().split("\0")
    assert words[words.index(str(volume)) - 1 :][:3] == ["--bind", str(volume), "/state"]


def test_bubblewrap_is_told_all_in_a_file(job, tmp_path):
    files = HostFiles(tmp_path / "etc")
    plan = BubblewrapRuntime(files).plan(ImageSpec(), job)
    start = plan.starts[0]
    assert start.argv == ("bwrap", "--args", "3", "--", "sort", "-n", "/data/x")
    assert start.arguments is not None
    assert set(start.env) == {"PATH", "AYNI_ATTEMPT"}
    assert Path(start.arguments).stat().st_mode & 0o077 == 0
    words = Path(start.arguments).read_text().split("\0")
    for needed in ("--unshare-user", "--unshare-pid", "--unshare-net", "--disable-userns"):
        assert needed in words
    for needed in ("--die-with-parent", "--new-session", "--clearenv"):
        assert needed in words
    at = words.index("LC_ALL")
    assert words[at - 1 : at + 2] == ["--setenv", "LC_ALL", "C"]
    at = words.index("--chdir")
    assert words[at + 1] == "/scratch"
