"""What is refused before it starts, and with which words."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from ayni.agent.executors.base import Bind, Command, Limits


def refusal(site, job):
    return site.executor.submit([job])[job.id]


@pytest.mark.parametrize(
    ("limits", "word"),
    [
        (Limits(cores=5), "cores"),
        (Limits(memory=9 << 30), "memory"),
        (Limits(walltime=10**9), "walltime"),
        (Limits(cores=0), "at least 1"),
    ],
)
def test_a_job_that_never_fits_is_refused(site, limits, word):
    assert word in refusal(site, site.job("true", limits=limits))


def test_gpus_that_the_site_lacks_are_refused(site):
    assert "gpus" in refusal(site, site.job("true", gpus=1))


def test_an_unknown_image_is_refused(site):
    assert "'debian'" in refusal(site, site.job("true", image="debian"))


@pytest.mark.parametrize("argv", [(), ("",), ("a\0b",), ("\ud800",)])
def test_a_command_that_cannot_be_one_is_refused(site, argv):
    job = site.job("true")
    assert "command 0" in refusal(site, replace(job, commands=(Command(argv),)))


@pytest.mark.parametrize("name", ["", "a=b", "a\0"])
def test_a_variable_without_a_proper_name_is_refused(site, name):
    assert refusal(site, site.job("true", env={name: "x"}))


@pytest.mark.parametrize("field", ["workdir", "stdin", "stdout", "stderr"])
@pytest.mark.parametrize("path", ["relative", "/a/../../etc", "/a\0b"])
def test_a_path_that_is_not_plain_is_refused(site, field, path):
    assert refusal(site, site.job("true", **{field: path}))


def test_an_input_where_the_sandbox_has_its_own_files_is_refused(namespaces):
    job = namespaces.job("true")
    (job.folder / "root" / "usr" / "data").mkdir(parents=True)
    assert "'/usr'" in refusal(namespaces, job)


def test_an_input_at_bin_is_refused(namespaces):
    job = namespaces.job("true")
    (job.folder / "root" / "bin").mkdir(parents=True)
    assert "'/bin'" in refusal(namespaces, job)


def test_output_to_a_read_only_bind_is_refused(site, tmp_path):
    job = site.job("true", stdout="/data/x", binds=(Bind(tmp_path, "/data"),))
    assert "read-only" in refusal(site, job)


def test_a_bind_that_is_not_there_is_refused(site):
    job = site.job("true", binds=(Bind(Path("/no/such/place"), "/data"),))
    assert "'/data'" in refusal(site, job)


def test_an_id_that_is_a_path_is_refused(site):
    job = replace(site.job("true"), id="../x")
    assert "'../x'" in refusal(site, job)


def test_a_refused_job_does_not_hold_up_the_others(site):
    good, bad = site.job("true"), site.job("true", gpus=9)
    assert set(site.executor.submit([bad, good])) == {bad.id}
    assert site.wait(good).results[0].exit_code == 0
