"""Which processes live, for tests that want to see them gone."""

from __future__ import annotations

from pathlib import Path


def of_hub(state: Path) -> list[int]:
    """Living processes of the hub of a state folder, by their environment: its servers too."""
    needle = f"AYNI_HUB_STATE={state}".encode()
    found = []
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and needle in (entry / "environ").read_bytes().split(b"\0"):
                found.append(int(entry.name))
        except OSError:
            continue  # it has ended, or is not ours
    return found
