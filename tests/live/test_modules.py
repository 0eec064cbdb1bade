"""Debian's Environment Modules: a task has the software that its image's modules name."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from ayni.agent import config, engine, modules
from ayni.agent.executors.base import Command, Job, JobState, Limits
from ayni.agent.executors.local import LocalExecutor
from ayni.errors import UserError
from tests.agent.executors.slurm.pooled import until

pytestmark = [pytest.mark.live, pytest.mark.needs("modules")]

TREE = Path("/usr/share/modules/modulefiles")


@pytest.fixture
def software(tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """A module of ours, and the software that it is about."""
    tree = tmp_path / "software"
    tool = tree / "bin" / "tool"
    tool.parent.mkdir(parents=True)
    tool.write_text('#!/bin/sh\necho "tool $TOOL_MODE"\n')
    tool.chmod(0o755)
    name = f"ayni-live-{uuid.uuid4().hex[:8]}"
    file = TREE / name / "1.0"
    file.parent.mkdir()
    file.write_text(f"#%Module1.0\nprepend-path PATH {tree}/bin\nsetenv TOOL_MODE fast\n")
    yield f"{name}/1.0", tree
    file.unlink()
    file.parent.rmdir()


def test_a_task_has_the_software_of_its_image_s_modules(
    software: tuple[str, Path], tmp_path: Path
) -> None:
    name, tree = software
    text = f'hub = "http://hub"\n[images.tool]\nmodules = ["{name}"]\nprefixes = ["{tree}"]'
    images = engine.images(config.parse(text, tmp_path / "agent.toml"))
    assert images["tool"].path == (f"{tree}/bin",)
    assert images["tool"].env == {"TOOL_MODE": "fast"}
    work = tmp_path / "work"
    (work / "root").mkdir(parents=True)
    executor = LocalExecutor(tmp_path / "state", 1, 1 << 30, images=images, allow_unsandboxed=True)
    limits = Limits(memory=256 << 20, walltime=60)
    job = Job("tool-1", work, (Command(("tool",)),), "tool", limits)
    try:
        assert executor.submit([job]) == {}
        until(lambda: executor.states([job.id])[job.id].state is JobState.ENDED)
    finally:
        executor.shutdown()
    assert (work / "logs" / "0.stdout").read_text() == "tool fast\n"


def test_a_module_that_is_not_there_is_told_in_the_site_s_words() -> None:
    with pytest.raises(UserError, match="no-such-module"):
        modules.load(("no-such-module/7",))
