"""Data that must stay: no byte of it is anywhere but at its site, save what its release allows."""

from __future__ import annotations

import base64
import gzip
import json
import re
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from tests.network.conftest import Secrets, offer
from tests.network.net import FOREVER, UNTIL_TOLD, Net, sh, stdout, until, why

CLOSED = {"url": "ayni://norte/cerrado/texto.txt", "path": "/data/t"}
AGGREGATE = {"url": "ayni://norte/agregado/texto.txt", "path": "/data/t"}
COAST = {"url": "ayni://sur/costa/texto.txt", "path": "/data/t"}
#: Lines 0 to 9 of `agregado` are printed by tasks that stay within its limit, the others never.
FREE_LINES = 10
TELL = "cat /data/t; cat /data/t >&2; "


def closed(script: str, **more: Any) -> dict[str, Any]:
    return sh(script, inputs=[CLOSED], **more)


def aggregate(script: str, **more: Any) -> dict[str, Any]:
    return sh(script, inputs=[AGGREGATE], **more)


def test_a_task_that_read_closed_data_ends_well_and_shows_no_log(net: Net) -> None:
    task = net.run(closed(TELL))
    assert task["state"] == "COMPLETE", task
    assert stdout(task) == ""
    shown = net.get(f"/tasks/{task['id']}/logs")
    assert (shown["text"], shown["full"]) == ("", None)
    assert "cerrado" in why(task), "nobody told the user why there is no log"


@pytest.mark.parametrize(
    "script",
    [
        "exit 3",
        "kill -9 $$",
        "exec /nada/$(head -1 /data/t)",
        "head -c 2G /dev/zero | tail",
        'cd /tmp; mkdir "$(head -1 /data/t)"; ln -s "/$(head -1 /data/t)" l; false',
    ],
    ids=["fails", "is-killed", "is-not-found", "eats-memory", "makes-names"],
)
def test_a_task_that_fails_tells_nothing_of_closed_data(net: Net, script: str) -> None:
    task = net.run(closed(TELL + script))
    assert task["state"] == "EXECUTOR_ERROR", task
    assert stdout(task) == ""


def test_a_task_over_its_time_tells_nothing(net: Net) -> None:
    task = net.run(closed(TELL + FOREVER, walltime="1"))
    assert task["state"] == "EXECUTOR_ERROR", task
    assert "walltime" in why(task)


@pytest.mark.parametrize("reader", [closed, aggregate])
def test_a_cancelled_and_watched_task_tells_nothing(net: Net, reader: Callable[..., Any]) -> None:
    """An open task that is watched after it shows that there was time for its log to come."""
    number = net.submit(reader(TELL + FOREVER))
    beside = net.submit(sh(f"echo open; {FOREVER}", site="norte"))
    printed = net.root(net.started(number)).parent / "logs" / "0.stderr"
    until(lambda: printed.stat().st_size or None, "the data to be printed")
    watched(net, number)
    until(lambda: watched(net, beside)["text"] or None, "the open task's log to come")
    for stream in ("stdout", "stderr"):
        shown = watched(net, number, stream)
        assert shown["text"] == ""
        assert shown["withheld"] is not None, "the reader is not told why"
    for task in (number, beside):
        net.call("POST", f"/api/v1/tasks/{task}/cancel")
        net.wait(task, "CANCELED")


def watched(net: Net, task: str, stream: str = "stdout") -> dict[str, Any]:
    shown: dict[str, Any] = net.get(f"/tasks/{task}/logs", watch=True, stream=stream)
    return shown


def _release(net: Net, dataset: str) -> str:
    """As the catalogue has it, which follows what the site says."""
    [card] = [card for card in net.get("/datasets")["datasets"] if card["name"] == dataset]
    return str(card["release"])


@pytest.mark.parametrize(
    ("task", "field"),
    [
        (closed("cp /data/t /o", outputs={"/o": "ayni://quinua/o"}), "outputs[0].url"),
        (
            sh("cat /data/t", inputs=[COAST], network="true"),
            "resources.backend_parameters.network",
        ),
    ],
    ids=["outputs", "network"],
)
def test_what_a_release_forbids_is_refused_when_the_task_is_made(
    net: Net, task: dict[str, Any], field: str
) -> None:
    refused = net.call("POST", "/api/v1/tasks", json={"task": task})
    assert refused.status_code == 400
    assert [error["field"] for error in refused.json()["errors"]] == [field]


def test_the_site_refuses_what_its_card_forbids_since_the_task_was_made(net: Net) -> None:
    gate = net.submit(sh(UNTIL_TOLD, site="sur"))
    reads = [{"url": "ayni://sur/mudable/texto.txt", "path": "/data/t"}]
    asking = {
        "lets nothing leave": sh(
            TELL + "cp /data/t /o", inputs=reads, outputs={"/o": "ayni://quinua/mudable.txt"}
        ),
        "gets no network": sh("cat /data/t", inputs=reads, network="true"),
    }
    made = {said: net.submit(task, after=[{"id": gate}]) for said, task in asking.items()}
    offer(net.stage, "sur", net.stage.site_folder("sur") / "data" / "mudable", "nothing")
    until(lambda: _release(net, "mudable") == "nothing" or None, "the site to see its new card")
    (net.root(net.started(gate)) / "go").touch()
    for said, number in made.items():
        net.wait(number)
        task = net.full(number)
        assert task["state"] == "SYSTEM_ERROR", task
        assert said in why(task)
        assert task["logs"][-1]["logs"] == [], "a command was run"
    assert "mudable.txt" not in net.paths()


def test_an_image_that_has_the_network_gives_none_to_who_reads_data_that_must_stay(
    net: Net,
) -> None:
    ours = str(Path("/proc/self/ns/net").readlink())
    free, reader = (sh("readlink /proc/self/ns/net", inputs=i, site="sur") for i in ([], [COAST]))
    for task in (free, reader):
        task["executors"][0]["image"] = "unasked"
    assert stdout(net.run(free)).strip() == ours
    theirs = stdout(net.run(reader)).strip()
    assert theirs.startswith("net:") and theirs != ours


def test_data_of_a_site_is_not_brought_to_another(net: Net) -> None:
    pinned = net.call("POST", "/api/v1/tasks", json={"task": closed(TELL, site="sur")})
    assert pinned.status_code == 400
    assert "stays at norte" in pinned.json()["detail"]
    elsewhere = closed(TELL)
    elsewhere["resources"]["zones"] = ["sur"]
    number = net.submit(elsewhere)
    try:
        verdicts = {site["site"]: site for site in net.get(f"/tasks/{number}/why")["sites"]}
        assert verdicts["sur"]["verdict"] == "ineligible", verdicts
        assert "norte" in verdicts["sur"]["message"]
        assert net.show(number)["attempts"] == []
    finally:
        net.call("POST", f"/api/v1/tasks/{number}/cancel")


def test_aggregates_within_the_limit_leave_at_the_end(net: Net, secrets: Secrets) -> None:
    script = "head -1 /data/t; sed -n 2p /data/t > /o"
    task = net.run(aggregate(script, outputs={"/o": "ayni://quinua/agregado.txt"}))
    assert task["state"] == "COMPLETE", task
    assert stdout(task).encode() == secrets.aggregate + b"0000\n"
    assert net.file("agregado.txt") == secrets.aggregate + b"0001\n"


BEYOND = f"sed 1,{FREE_LINES}d /data/t"


@pytest.mark.parametrize(
    ("script", "outputs"),
    [
        (BEYOND, {}),
        (f"{BEYOND} > /o", {"/o": "ayni://quinua/much.txt"}),
        (f"{BEYOND} >&2; echo > /o", {"/o": "ayni://quinua/little.txt"}),
        (
            f"mkdir /d; for w in $({BEYOND}); do echo > /d/$w; done",
            {"/d": "ayni://quinua/names"},
        ),
        (
            f"mkdir /d; for w in $({BEYOND}); do ln -s /proc/1/$w /d/$w; mkfifo /d/f$w; done",
            {"/d": "ayni://quinua/links"},
        ),
        (
            f'mkdir /d; for w in $({BEYOND}); do echo > "/d/$(printf "\\n\\377")$w"; done',
            {"/d": "ayni://quinua/bad-names"},
        ),
    ],
    ids=["log", "output", "error-log", "names", "names-of-links", "names-that-are-none"],
)
def test_what_is_over_the_limit_stays(net: Net, script: str, outputs: dict[str, str]) -> None:
    task = aggregate(script, outputs=outputs)
    for output in task["outputs"]:
        output["type"] = "DIRECTORY" if output["path"] == "/d" else "FILE"
    ended = net.run(task)
    if "links" not in str(outputs):  # a link that leads nowhere is passed over
        assert ended["state"] in ("SYSTEM_ERROR", "EXECUTOR_ERROR"), ended
    assert stdout(ended) == ""
    assert not [p for o in outputs.values() for p in net.paths(prefix=o.split("/", 3)[3])]


def test_a_later_command_cannot_tell_by_its_streams(net: Net) -> None:
    task = closed("x=$(head -1 /data/t); ln -s /$x/$x /o; mkdir /$x")
    task["executors"].append({"image": "host", "command": ["true"], "stdout": "/o/x"})
    assert net.run(task)["state"] in ("SYSTEM_ERROR", "EXECUTOR_ERROR")


def test_every_try_of_a_task_together_tells_nothing(net: Net) -> None:
    task = net.run(closed(TELL + "kill -9 -1; exit 9", max_attempts="3"))
    assert stdout(task) == ""


# --- what such a task leaves in a volume ------------------------------------------------------

STATE: dict[str, Any] = {"site": "norte", "volume": "guarda:/state"}
LATER: dict[str, Any] = {"site": "norte", "volume": "guarda:/state:ro"}


def test_what_was_read_into_a_volume_is_bound_by_its_rule_for_whoever_comes_later(
    net: Net,
) -> None:
    assert net.run(closed("cp /data/t /state/t", **STATE))["state"] == "COMPLETE"
    told = until(lambda: next((v for v in volumes(net) if v["name"] == "guarda"), None), "its card")
    assert (told["release"], told["dataset"]) == ("nothing", "cerrado")
    later = net.run(sh("cat /state/t; cat /state/t >&2; test -s /state/t", **LATER))
    assert later["state"] == "COMPLETE", later
    assert stdout(later) == ""
    assert "cerrado" in why(later)


def volumes(net: Net) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = net.get("/volumes")["volumes"]
    return found


@pytest.mark.parametrize(
    ("task", "field"),
    [
        (sh("cp /state/t /o", outputs={"/o": "ayni://quinua/state"}, **LATER), "outputs[0].url"),
        (sh("true", network="true", **LATER), "resources.backend_parameters.network"),
    ],
    ids=["outputs", "network"],
)
def test_what_a_volume_forbids_is_refused_when_the_task_is_made(
    net: Net, task: dict[str, Any], field: str
) -> None:
    refused = net.call("POST", "/api/v1/tasks", json={"task": task})
    assert refused.status_code == 400
    assert [error["field"] for error in refused.json()["errors"]] == [field]


def test_a_task_made_before_its_volume_was_bound_is_judged_at_the_site(net: Net) -> None:
    name = {"site": "norte", "volume": "tarde:/state"}
    gate = net.submit(sh(UNTIL_TOLD, site="norte"))
    task = sh("cp /state/t /o", outputs={"/o": "ayni://quinua/tarde.txt"}, **name)
    number = net.submit(task, after=[{"id": gate}])
    assert net.run(closed("cp /data/t /state/t", **name))["state"] == "COMPLETE"
    (net.root(net.started(gate)) / "go").touch()
    net.wait(number)
    assert net.show(number)["state"] == "SYSTEM_ERROR"
    assert "lets nothing leave" in why(net.full(number))
    assert "tarde.txt" not in net.paths()


def test_a_rule_goes_on_from_volume_to_volume(net: Net) -> None:
    both = {"site": "norte", "volume": "guarda:/state:ro,copia:/copy"}
    assert net.run(sh("cp /state/t /copy/t", **both))["state"] == "COMPLETE"
    copy = net.run(sh("cat /copy/t", site="norte", volume="copia:/copy:ro"))
    assert (copy["state"], stdout(copy)) == ("COMPLETE", "")


def test_an_aggregate_of_a_volume_is_within_the_limit_of_its_data(
    net: Net, secrets: Secrets
) -> None:
    state = {"site": "norte", "volume": "suma:/state"}
    assert net.run(aggregate("cp /data/t /state/t", **state))["state"] == "COMPLETE"
    little = net.run(sh("head -1 /state/t", **state))
    assert stdout(little).encode() == secrets.aggregate + b"0000\n"
    much = net.run(sh(f"sed 1,{FREE_LINES}d /state/t", **state))
    assert (much["state"], stdout(much)) == ("SYSTEM_ERROR", "")


def test_the_links_of_a_chain_tell_no_more_than_one_task_may(net: Net) -> None:
    script = f"head -{FREE_LINES} /data/t; exit 75"
    task = net.run(aggregate(script, chain="3", site="norte", volume="eslabon:/state"))
    assert (task["state"], len(task["logs"])) == ("EXECUTOR_ERROR", 3)
    assert [log["logs"][0].get("stdout", "") != "" for log in task["logs"]] == [False, False, True]


def test_no_one_watches_what_becomes_bound_while_they_watch(net: Net) -> None:
    """The reader's log is open; the writer of closed data waits until the reader has ended."""
    net.run(sh("echo open > /state/t", site="norte", volume="turno:/state"))
    reads = sh(f"cat /state/t; {UNTIL_TOLD}; cat /state/t", site="norte", volume="turno:/state:ro")
    reader = net.submit(reads)
    root = net.root(net.started(reader))
    writer = net.submit(closed("cp /data/t /state/t", site="norte", volume="turno:/state"))
    until(lambda: "under another rule" in why(net.full(writer)) or None, "the writer to wait")
    (root / "go").touch()
    net.wait(reader)
    assert stdout(net.full(reader)) == "open\nopen\n"
    assert net.wait(writer)["state"] == "COMPLETE"


# --- and now the search; the tests above ran before it, in this file's order -------------------


def test_no_byte_that_must_stay_is_found_anywhere_else(net: Net, secrets: Secrets) -> None:
    stage = net.stage
    places = [stage.folder / "hub", stage.folder / "logs", stage.site_folder("sur")]
    kept = [b"%s%04d" % (secrets.aggregate, n) for n in range(FREE_LINES, 200)]
    seen = 0
    for path in (p for place in places for p in place.rglob("*") if p.is_file()):
        texts = list(readings(path.read_bytes()))
        seen += len(texts[0])
        assert not holds(texts, secrets.closed), f"closed data at {path}"
        if holds(texts, secrets.aggregate):
            assert not any(holds(texts, line) for line in kept), f"more than may leave, at {path}"
    assert seen > 100_000, "nothing was searched"


def test_the_search_would_find_it(secrets: Secrets) -> None:
    marker = secrets.closed
    for hidden in (
        b"x" * 77 + marker,
        b"pq" + zlib.compress(b"a" * 100 + marker),
        gzip.compress(b'{"a": "' + base64.b64encode(b"ab" + marker) + b'"}'),
        marker.hex().encode(),
    ):
        assert holds(list(readings(hidden)), marker)
        assert not holds(list(readings(hidden)), marker[20:] + marker[:20])


def holds(texts: Sequence[bytes], marker: bytes) -> bool:
    """Whether it stands there: plainly, backwards, in base64, hexadecimal, or as URLs and JSON write it."""
    codes = [marker, marker[::-1], marker.hex().encode(), marker.hex().upper().encode()]
    for shift in range(3):  # the letters that do not depend on what stands before and after
        letters = base64.b64encode(b"\0" * shift + marker)[4:-4]
        codes += [letters, letters.translate(bytes.maketrans(b"+/", b"-_"))]
    codes.append(quote(marker).encode())
    with suppress(UnicodeDecodeError):
        codes.append(json.dumps(marker.decode())[1:-1].encode())
    return any(code in text for text in texts for code in codes)


def readings(data: bytes) -> Iterator[bytes]:
    """The bytes as they are, and what is compressed within."""
    yield data
    for start in re.finditer(rb"\x1f\x8b\x08|\x78[\x01\x5e\x9c\xda]", data):
        unpacker = zlib.decompressobj(31 if start[0][0] == 0x1F else 15)
        found = b""
        try:
            for at in range(start.start(), len(data), 512):
                found += unpacker.decompress(data[at : at + 512], 1 << 20)
                if unpacker.eof or len(found) > 1 << 24:
                    break
        except zlib.error:
            pass  # no compressed data, or damaged: what could be read counts
        yield found
