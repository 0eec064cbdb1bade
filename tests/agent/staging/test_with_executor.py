"""Staging and a real sandbox together: what a job sees, and what it can do about it."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from ayni.agent.executors.base import Command, Job
from ayni.agent.staging.finish import Ended, Finished
from ayni.agent.staging.inputs import Prepared
from ayni.protocol.messages import Assignment, DatasetUse
from tests.agent.executors.conftest import SOON, NewSite, new_site, sandboxes  # noqa: F401
from tests.agent.executors.conftest import Site as Machine
from tests.agent.staging.conftest import Site, assignment

OUT = {"url": "ayni://clima/r", "path": "/out", "type": "DIRECTORY"}


@pytest.fixture(params=["namespaces", "bubblewrap"])
def machine(request: pytest.FixtureRequest, new_site: NewSite) -> Machine:  # noqa: F811
    return new_site(request.param)


def run(site: Site, machine: Machine, wanted: Assignment, script: str) -> tuple[Job, Finished]:
    """The whole way of an attempt."""
    prepared = site.prepare(wanted)
    assert isinstance(prepared, Prepared), prepared
    command = Command(("sh", "-c", script))
    job = Job(wanted.attempt, prepared.folder, (command,), "host", SOON, prepared.binds)
    status = machine.run(job)
    succeeded = status.results[0].exit_code == 0
    [finished] = site.finisher.finish([Ended(wanted, prepared.folder, succeeded)])
    return job, finished


@pytest.fixture
def wanted(site: Site) -> Assignment:
    """A task that reads content, a small and a large project file, and a dataset."""
    site.with_settings(copy_up_to=100)
    site.hub.files |= {"ayni://clima/small": b"small", "ayni://clima/big": b"big" * 1000}
    site.add_dataset("censo", {"a.csv": b"1,2\n", "sub/b.csv": b"3\n"}, release="anything")
    inputs: list[dict[str, Any]] = [
        {"path": "/data/content", "content": "content"},
        {"path": "/data/small", "url": "ayni://clima/small"},
        {"path": "/data/big", "url": "ayni://clima/big"},
        {"path": "/data/censo", "url": "ayni://norte/censo", "type": "DIRECTORY"},
        {"path": "/out/b.csv", "url": "ayni://norte/censo/sub/b.csv"},
    ]
    uses = [DatasetUse(name="censo", release="anything")]
    return assignment(inputs=inputs, outputs=[OUT], datasets=uses)


def test_a_job_finds_its_inputs_and_leaves_its_outputs(
    site: Site, machine: Machine, wanted: Assignment
) -> None:
    script = (
        "cat /data/content /data/small /data/censo/a.csv /out/b.csv && wc -c < /data/big > /out/n"
    )
    job, finished = run(site, machine, wanted, script)
    assert finished.error is None
    assert [log.tail for log in finished.logs] == ["contentsmall1,2\n3\n"], machine.err(job)
    assert [output.path for output in finished.outputs] == ["/out/n"]  # and not what was mounted
    assert site.hub.received("a1", "ayni://clima/r/n") == b"3000\n"


def test_a_job_cannot_change_what_others_read(
    site: Site, machine: Machine, wanted: Assignment
) -> None:
    script = """
    for f in /data/big /data/censo/a.csv /out/b.csv; do
      echo evil > $f; echo evil >> $f; chmod 777 $f; rm -f $f; mv $f /out/moved; ln $f /out/hard
    done
    rm -rf /data/censo/sub; touch /data/censo/new; true
    """
    run(site, machine, wanted, script)
    data = site.folder / "data" / "censo"
    assert (data / "a.csv").read_bytes() == b"1,2\n"
    assert (data / "sub" / "b.csv").read_bytes() == b"3\n"
    assert not (data / "new").exists()
    again = dataclasses.replace(machine.job("cat", "/data/big"), id="again")
    again_wanted = wanted.model_copy(update={"attempt": "again"})
    prepared = site.prepare(again_wanted)
    again = dataclasses.replace(again, folder=prepared.folder, binds=prepared.binds)
    machine.run(again)
    assert machine.out(again) == "big" * 1000


def test_nothing_of_the_site_leaves_by_links_or_special_files(
    site: Site, machine: Machine, wanted: Assignment
) -> None:
    (site.folder / "secret").write_text("SECRET OF THE SITE")
    script = f"""
    ln -s {site.folder}/secret /out/1; ln -s /etc/passwd /out/2; ln -s ../../../secret /out/3
    ln -s / /out/4; ln -s /proc/self/environ /out/5; mkfifo /out/6; ln -s /data/big /out/7
    echo fine > /out/fine; chmod 000 /out/fine; mkdir /out/closed; echo x > /out/closed/x
    """
    _, finished = run(site, machine, wanted, script)
    if finished.error is None:  # root reads what is closed to others
        assert sorted(o.path for o in finished.outputs) == ["/out/closed/x", "/out/fine"]
    sent = b"".join(data for path, data in site.server.got.items() if path.startswith("/up/"))
    assert b"SECRET" not in sent
    assert b"root:" not in sent
    assert b"bigbig" not in sent


def test_a_folder_that_a_job_left_in_disorder_is_removed(
    site: Site, machine: Machine, wanted: Assignment
) -> None:
    script = "mkdir -p /out/d/e; mkfifo /out/d/f; ln -s / /out/d/l; chmod 000 /out/d/e /out/d; true"
    run(site, machine, wanted, script)
    site.folders.discard("a1")
    assert site.folders.sweep(seconds=30)
    assert (site.folder / "data" / "censo" / "a.csv").exists()
