"""Tasks that talk on a channel while everything is killed, one at each site, and what must have arrived.

Each says 1, 2, 3 … and notes in its volume how far it is, after it said so: one that was killed between the
two says the same number again in its next attempt, and nothing else may come twice, be lost or out of order.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import httpx

CHANNEL = "count"
VOLUME = "talk"
WORDS = 60
SCHEMA = {"kinds": {"said": {"fields": {"n": {"type": "integer", "minimum": 1, "maximum": WORDS}}}}}
_SAY = f"""set -e
out="$AYNI_ROOT/channel/{CHANNEL}/out"
note="$AYNI_ROOT/talk/n"
n=$(cat "$note" 2>/dev/null || echo 0)
while [ "$n" -lt {WORDS} ]; do
  n=$((n + 1))
  printf '{{"kind": "said", "body": {{"n": %d}}}}' "$n" > "$out/.new"
  mv "$out/.new" "$out/$(printf %09d "$n").json"
  echo "$n" > "$note.new"
  mv "$note.new" "$note"
  sleep 0.3
done
"""


@dataclass(frozen=True)
class Said:
    """A message as it arrived: in which attempt it was said."""

    attempt: int
    n: int


def begin(api: httpx.Client, sites: Sequence[str]) -> list[str]:
    """Make the channel, and send the tasks; their ids."""
    api.post("/channels", json={"name": CHANNEL, "schema": SCHEMA}).raise_for_status()
    return [_send(api, site) for site in sites]


def _send(api: httpx.Client, site: str) -> str:
    task = {
        "name": f"talk-{site}",
        "executors": [{"image": "host", "command": ["sh", "-c", _SAY]}],
        "volumes": ["/talk"],
        "resources": {
            "cpu_cores": 1,
            "ram_gb": 0.1,
            "backend_parameters": {
                "site": site, "max_attempts": "20", "walltime": "300",
                "channels": f"{CHANNEL}:out", "volume": f"{VOLUME}:/talk",
            },
        },
    }  # fmt: skip
    reply = api.post("/tasks", json={"task": task})
    assert reply.is_success, reply.text
    return str(reply.json()["id"])


def broken(said: Sequence[Said], noted: int, site: str) -> list[str]:
    """Broken promises of one site's messages, in the order in which they arrived.

    Args:
        noted: how far its task came, by its volume.
    """
    found = []
    before = Said(0, 0)
    for one in said:
        again = one.n == before.n and one.attempt != before.attempt
        if one.n != before.n + 1 and not again:
            found.append(f"{site}: {one.n} came after {before.n}, in attempt {one.attempt}")
        before = one
    if before.n < noted:
        found.append(f"{site}: {noted} were said, {before.n} came")
    return found


def judge(sites: dict[str, Path]) -> tuple[list[str], dict[str, int]]:
    """Every broken promise, by the hub's database and the sites' volumes, and how many messages came.

    Args:
        sites: by name, each one's folder.
    """
    from ayni.hub.channels.models import Message

    rows = Message.objects.filter(channel__name=CHANNEL).order_by("sequence")
    said: dict[str, list[Said]] = {name: [] for name in sites}
    for site, attempt, body in rows.values_list("site__name", "attempt", "body"):
        said[site].append(Said(attempt, json.loads(body)["n"]))
    words = [word for name, at in sites.items() for word in broken(said[name], _noted(at), name)]
    return words, {name: len(some) for name, some in said.items()}


def _noted(folder: Path) -> int:
    [note] = folder.rglob(f"volumes/**/{VOLUME}/**/n")
    return int(note.read_text())
