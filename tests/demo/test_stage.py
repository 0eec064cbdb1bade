"""The stage of real processes: all of it is known by its folder."""

from __future__ import annotations

import signal
import time
from pathlib import Path

from ayni.demo.stage import Stage, kill_marked

LIMIT = 30.0


def of_hub(folder: Path) -> list[int]:
    """Living processes of the stage's hub, by their environment: its servers too."""
    needle = f"AYNI_HUB_STATE={folder / 'hub'}".encode()
    found = []
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and needle in (entry / "environ").read_bytes().split(b"\0"):
                found.append(int(entry.name))
        except OSError:
            continue  # it has ended, or is not ours
    return found


def test_the_hub_too_ends_with_what_names_its_folder(tmp_path: Path) -> None:
    stage = Stage(tmp_path, {"members": [{"code": "CL", "name": "Chile"}]}, [])
    try:
        stage.start_hub()
        assert len(of_hub(tmp_path)) >= 3  # it, a server, the file server
        kill_marked(tmp_path)
        assert stage.hub.popen is not None
        assert stage.hub.popen.wait(LIMIT) == -signal.SIGKILL
        end = time.monotonic() + LIMIT
        while of_hub(tmp_path):
            assert time.monotonic() < end, "its servers go on"
            time.sleep(0.05)
    finally:
        stage.stop()
