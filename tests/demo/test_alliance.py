"""What scripts rely on in the demo's network."""

from __future__ import annotations

import json
from pathlib import Path

from rich.console import Console

from ayni.agent import config
from ayni.demo.alliance import ALLIANCE, PROJECT
from ayni.demo.story import Story


def test_every_site_takes_the_image_host_and_its_aliases(tmp_path: Path) -> None:
    stage = Story(tmp_path, Console()).stage
    assert set(stage.specs) == {"santiago", "mexico", "bogota"}
    for name in stage.specs:
        loaded = config.parse(stage.agent_toml(name), tmp_path / "agent.toml")
        assert loaded.image_name("alpine") == loaded.image_name("ubuntu:20.04") == "host"
        assert {"host", "alpine", "ubuntu:20.04"} <= set(loaded.network_policy.images)


def test_the_credentials_are_for_ones_own_eyes_and_have_the_hub_the_project_and_three_tokens(
    tmp_path: Path,
) -> None:
    story = Story(tmp_path, Console(), port=8080)
    tokens = {entry["label"]: f"ayni_{entry['label']}" for entry in ALLIANCE["tokens"]}
    story.stage.secrets = {"tokens": tokens}
    path = story.credentials()
    assert path == tmp_path / "credentials.json"
    assert path.stat().st_mode & 0o077 == 0
    told = json.loads(path.read_text())
    assert told == {"hub": "http://127.0.0.1:8080", "project": PROJECT, "tokens": tokens}
    assert set(tokens) == {"researcher", "operator", "delegate"}
