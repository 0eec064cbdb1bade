"""The stage of real processes: all of it is known by its folder."""

from __future__ import annotations

import signal
import time
from pathlib import Path

from ayni.demo.stage import Stage, kill_marked
from tests.living import of_hub

LIMIT = 30.0


def test_the_hub_too_ends_with_what_names_its_folder(tmp_path: Path) -> None:
    stage = Stage(tmp_path, {"members": [{"code": "CL", "name": "Chile"}]}, [])
    try:
        stage.start_hub()
        assert len(of_hub(tmp_path / "hub")) >= 3  # it, a server, the file server
        kill_marked(tmp_path)
        assert stage.hub.popen is not None
        assert stage.hub.popen.wait(LIMIT) == -signal.SIGKILL
        end = time.monotonic() + LIMIT
        while of_hub(tmp_path / "hub"):
            assert time.monotonic() < end, "its servers go on"
            time.sleep(0.05)
    finally:
        stage.stop()
