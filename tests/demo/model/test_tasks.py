"""The run of the demo is one that `ayni lm train` takes, and its tasks are ones that a hub takes."""

from __future__ import annotations

from pathlib import Path

import pytest

from ayni.demo.model import tasks
from ayni.tes.models import Task

pytest.importorskip("pydantic")
pytest.importorskip("numpy")
from ayni.lm import config


def test_the_configuration_is_whole_and_ends_with_its_schedule(tmp_path: Path) -> None:
    path = tmp_path / "run.toml"
    path.write_text(tasks.run_toml(tmp_path, 1024, 'as its "owner" says'))
    run = config.load(path)
    assert [one.site for one in run.sites] == ["santiago", "mexico", "bogota"]
    assert run.model.shape is not None and run.model.shape.vocab_size == 1024
    assert f"{run.project}/{run.up}" == tasks.CHANNEL
    assert 'as its "owner" says' in run.charter_text and "leaves" in run.charter_text
    schedule = run.training.schedule
    assert schedule.decay_from is not None
    assert schedule.decay_from + schedule.decay_steps == run.outer.schedule.steps == tasks.STEPS


def test_each_task_is_a_task_of_the_standard() -> None:
    for document in (tasks.count(0.1), tasks.LEARN, tasks.pack("bogota", "CO", 0.1)):
        Task.model_validate(document)
