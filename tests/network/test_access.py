"""Who may do what: projects, tokens, bans, sites' keys, copies of an agent."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from ayni.agent import now
from ayni.demo.stage import AYNI, Process, kill_marked
from tests.network.net import FOREVER, LIMIT, UNTIL_TOLD, Net, dead, sh, until


@pytest.fixture(autouse=True)
def all_is_well(net: Net) -> Iterator[None]:
    yield
    net.alive()


# --- projects and tokens -----------------------------------------------------------------------


def test_nothing_of_another_project_is_seen_or_touched(net: Net) -> None:
    task = net.submit(sh(f"echo secret; echo s > /o; {FOREVER}", outputs={"/o": "ayni://quinua/s"}))
    answer = net.call("POST", "/api/v1/arrays", json={"task": sh(FOREVER), "count": 1})
    array = answer.json()["id"]
    net.wait(task, "RUNNING")
    for who in ("beto", "ana-maiz"):  # ana, too, sees only the project of the token
        for method, path, body in (
            ("GET", f"/api/v1/tasks/{task}", None),
            ("GET", f"/api/v1/tasks/{task}/why", None),
            ("GET", f"/api/v1/tasks/{task}/logs?watch=true", None),
            ("POST", f"/api/v1/tasks/{task}/cancel", None),
            ("GET", f"/ga4gh/tes/v1/tasks/{task}?view=FULL", None),
            ("POST", f"/ga4gh/tes/v1/tasks/{task}:cancel", None),
            ("GET", f"/api/v1/arrays/{array}", None),
            ("POST", f"/api/v1/arrays/{array}/cancel", None),
            ("POST", f"/api/v1/arrays/{array}/rerun", None),
        ):
            answer = net.call(method, path, who, json=body)
            assert answer.status_code == 404, (method, path, answer.text)
        assert task not in net.call("GET", "/ga4gh/tes/v1/tasks", who).text
        assert task not in net.call("GET", "/api/v1/tasks", who).text
        assert net.get("/files", who)["files"] == []
        answer = net.call("GET", "/api/v1/files/manifest", who, params={"path": "../quinua/s"})
        assert answer.status_code in (400, 404)
        waits = {"task": sh("true"), "after": [{"id": task}]}
        assert net.call("POST", "/api/v1/tasks", who, json=waits).status_code == 400
    assert net.show(task)["state"] == "RUNNING"
    net.call("POST", f"/api/v1/tasks/{task}/cancel")
    net.call("POST", f"/api/v1/arrays/{array}/cancel")


def test_a_scope_that_was_not_given_is_not_there(net: Net) -> None:
    assert net.call("GET", "/api/v1/tasks", "reader").is_success
    for method, path, body in (
        ("POST", "/api/v1/tasks", {"task": sh("true")}),
        ("POST", "/ga4gh/tes/v1/tasks", sh("true")),
        ("POST", "/api/v1/arrays", {"task": sh("true"), "count": 2}),
        ("GET", "/api/v1/files", None),
        ("DELETE", "/api/v1/files?path=x", None),
    ):
        answer = net.call(method, path, "reader", json=body)
        assert answer.status_code == 403, (method, path, answer.text)


PATHS = ("/api/v1/me", "/api/v1/tasks", "/ga4gh/tes/v1/tasks", "/api/v1/files", "/api/v1/sites")


def refused(net: Net, secret: str, status: int) -> None:
    for path in PATHS:
        for auth in ({"headers": {"Authorization": f"Bearer {secret}"}}, {"auth": ("x", secret)}):
            answer = net.http.get(path, **auth)  # type: ignore[arg-type]
            assert answer.status_code == status, (path, answer.text)
            assert secret not in answer.text or len(secret) < 8


def issue(net: Net, label: str, days: float) -> str:
    """A token of eva's."""
    token = {"label": label, "person": "eva@sur.example", "project": "quinua", "days": days}
    document = net.stage.folder / "more.json"
    document.write_text(json.dumps({"tokens": [token]}))
    done = net.hub("apply", str(document), "--json")
    assert done.returncode == 0, done.stderr
    secret: str = json.loads(done.stdout)["tokens"][label]
    return secret


def test_what_is_no_token_opens_nothing(net: Net) -> None:
    for secret in ("x", "ayni_" + "A" * 43, "ayni_" + "A" * 6000, "' OR 1=1 --", "%00"):
        refused(net, secret, 401)
    for header in ("Bearer", "Basic !!!", "Digest x", "bearer  ", "Basic " + "Og==" * 9):
        answer = net.http.get("/api/v1/me", headers={"Authorization": header.strip() or "x"})
        assert answer.status_code == 401, (header, answer.text)
        assert "WWW-Authenticate" in answer.headers
    assert net.http.get("/api/v1/me").status_code == 401


def test_a_sites_key_is_no_persons_token_and_the_other_way_round(net: Net) -> None:
    refused(net, net.site_key("norte"), 403)
    for path in ("sync", "inputs", "uploads"):
        answer = net.call("POST", f"/agent/v1/{path}", json={})
        assert answer.status_code == 403, answer.text


def test_a_revoked_token_and_an_expired_one_open_nothing(net: Net) -> None:
    secret = issue(net, "stolen", 1)
    assert net.http.get("/api/v1/me", headers={"Authorization": f"Bearer {secret}"}).is_success
    listed = json.loads(net.hub("token", "ls", "--json").stdout)["tokens"]
    [number] = [token["id"] for token in listed if token["label"] == "stolen"]
    assert net.hub("token", "revoke", str(number)).returncode == 0
    refused(net, secret, 401)
    refused(net, issue(net, "short", 1e-9), 401)


# --- bans --------------------------------------------------------------------------------------


@pytest.fixture
def bans(net: Net) -> Iterator[list[tuple[str, str]]]:
    """What was banned, to be let in again."""
    banned: list[tuple[str, str]] = []
    yield banned
    for kind, name in banned:
        assert net.hub("unban", kind, name).returncode == 0


@pytest.mark.parametrize(
    ("kind", "name", "who"),
    [("person", "eva@sur.example", "eva"), ("project", "maiz", "beto")],
)
def test_what_a_banned_person_or_project_runs_is_killed_at_once(
    net: Net, bans: list[tuple[str, str]], kind: str, name: str, who: str
) -> None:
    running = net.submit(sh(FOREVER, site="norte"), who)
    waiting = net.submit(sh(FOREVER, site="falsa"), who)
    others = net.submit(sh(FOREVER, site="norte"), "ana")
    attempt = net.started(running, who)
    net.wait(others, "RUNNING")
    bans.append((kind, name))
    done = net.hub("ban", kind, name, "--why", "key was stolen")
    assert done.returncode == 0, done.stderr
    answer = net.call("GET", "/api/v1/me", who)
    assert answer.status_code == 403 and "key was stolen" in answer.text
    answer = net.call("POST", "/ga4gh/tes/v1/tasks", who, json=sh("true"))
    assert answer.status_code == 403
    dead(attempt)
    assert net.show(others)["state"] == "RUNNING"
    net.call("POST", f"/api/v1/tasks/{others}/cancel")
    net.hub("unban", kind, name)
    bans.clear()
    assert net.show(running, who)["state"] == net.show(waiting, who)["state"] == "CANCELED"


def test_a_banned_site_is_not_heard_and_its_work_is_done_elsewhere(
    net: Net, bans: list[tuple[str, str]]
) -> None:
    task = sh(f"echo x > /o; {UNTIL_TOLD}", outputs={"/o": "ayni://quinua/banned-site"})
    task["resources"]["backend_parameters"] |= {"max_attempts": "3", "network": "true"}
    number = net.submit(task)  # only `sur` gives the network
    attempt = net.started(number)
    bans.append(("site", "sur"))
    assert net.hub("ban", "site", "sur", "--why", "unplugged").returncode == 0
    first = net.show(number)
    assert first["state"] in ("QUEUED", "INITIALIZING")
    assert first["attempts"][0]["superseded"]
    states = {s["name"]: s["state"] for s in net.get("/sites")["sites"]}
    assert states["sur"] == "banned"
    agent = net.stage.sites["sur"]
    until(lambda: True if "unplugged" in agent.log.read_text() else None, "it to be told")
    assert net.hub("unban", "site", "sur").returncode == 0
    bans.clear()
    agent.stop()  # it would ask again by itself, after a while
    agent.start()
    dead(attempt)
    again = net.started(number)
    assert again != attempt
    (net.root(again) / "go").touch()
    assert net.wait(number, "COMPLETE")["attempts"][-1]["id"] == again
    assert net.file("banned-site") == b"x\n"


# --- keys and copies of an agent ---------------------------------------------------------------


def clone(net: Net, site: str) -> Process:
    """A copy of the site's folder with an agent of its own."""
    there = net.stage.folder / "clones" / site
    popen = net.stage.sites[site].popen
    assert popen is not None
    popen.send_signal(signal.SIGSTOP)  # as a snapshot of its machine: no file changes meanwhile
    try:
        shutil.copytree(
            net.stage.site_folder(site), there, symlinks=True,
            ignore=shutil.ignore_patterns("work", "executor", "cache", "*.sock", "data"),
        )  # fmt: skip
    finally:
        popen.send_signal(signal.SIGCONT)
    config = there / "agent.toml"
    config.write_text(
        config.read_text().replace(str(net.stage.site_folder(site) / "state"), str(there / "state"))
    )
    return Process(
        f"clone-{site}", [*AYNI, "site", "run", "--config", str(config)], net.stage.base_env(),
        net.stage.folder / "logs" / f"clone-{site}.log",
    )  # fmt: skip


def ended(process: Process) -> int:
    assert process.popen is not None
    try:
        return process.popen.wait(LIMIT)
    except subprocess.TimeoutExpired:
        process.kill()
        raise AssertionError(f"it goes on:\n{process.tail()}") from None


def test_of_an_agent_and_its_copy_one_stops_and_says_why(net: Net) -> None:
    running = net.submit(sh(UNTIL_TOLD, site="sur", network="true", max_attempts="3"))
    net.started(running)
    copy, original = clone(net, "sur"), net.stage.sites["sur"]
    copy.start()
    try:
        # The copy starts later, so that it counts as the newer process; either may go.
        until(lambda: True if not (copy.alive and original.alive) else None, "one to stop")
        loser = copy if not copy.alive else original
        assert ended(loser) not in (0, -9)
        assert "copy" in loser.tail() or "newer start" in loser.tail(), loser.tail()
    finally:
        copy.stop()
        kill_marked(net.stage.folder / "clones")
    restart(net, "sur")  # the operator has ended the copy
    # The same attempt, or another one if the copy had the time to say that it has no such job.
    (net.root(net.started(running)) / "go").touch()
    net.wait(running, "COMPLETE")
    assert net.run(sh("echo x", site="sur"))["state"] == "COMPLETE"


def restart(net: Net, site: str) -> None:
    """Start an agent until the hub listens to it: each start counts one up, till it is past its copy."""
    agent = net.stage.sites[site]

    def heard() -> bool | None:
        if not agent.alive:
            agent.start()
        words = now.read(net.stage.site_folder(site) / "state")
        mine = words and agent.popen and words.pid == agent.popen.pid
        return True if mine and words and words.heard else None

    until(heard, f"the hub to listen to {site}")


def test_registering_again_voids_the_old_key_and_a_code_works_once(net: Net) -> None:
    code = json.loads(net.hub("site", "code", "falsa", "--json").stdout)["code"]
    keys = []
    for incarnation in ("one", "two"):
        answer = net.http.post(
            "/agent/v1/register", json={"code": code, "incarnation": incarnation}
        )
        if incarnation == "one":
            assert answer.is_success
            keys.append(answer.json()["token"])
        else:
            assert answer.status_code == 401, "a code was used twice"
    code = json.loads(net.hub("site", "code", "falsa", "--json").stdout)["code"]
    answer = net.http.post("/agent/v1/register", json={"code": code, "incarnation": "two"})
    keys.append(answer.json()["token"])
    old, new = (
        net.http.post("/agent/v1/sync", json={}, headers={"Authorization": f"Bearer {key}"})
        for key in keys
    )
    assert (old.status_code, new.status_code) == (401, 400)


def test_keys_lie_where_only_the_agent_reads_them(net: Net) -> None:
    for site in ("norte", "sur"):
        key = net.stage.site_folder(site) / "state" / "site.key"
        assert key.stat().st_mode & 0o077 == 0, oct(key.stat().st_mode)
    for path in (net.stage.folder / "hub").iterdir():
        if "secret" in path.name or path.suffix == ".sqlite3":
            assert path.stat().st_mode & 0o077 == 0, (path, oct(path.stat().st_mode))


def test_no_secret_is_in_any_log(net: Net) -> None:
    secrets = [*net.stage.secrets["tokens"].values(), *net.stage.secrets["codes"].values()]
    secrets += [net.site_key(site) for site in ("norte", "sur")]
    for log in Path(net.stage.folder / "logs").iterdir():
        text = log.read_text(errors="replace")
        assert not [s for s in secrets if s in text], log
        assert "signature=" not in text.lower(), log


# --- who is told -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "target",
    [
        "http://example.org/x", "https://user:pw@example.org/", "file:///etc/passwd", "https://", "ftp://x/",
        "https://example.org/\r\nX: y", "gopher://127.0.0.1/",
    ],
)  # fmt: skip
def test_a_webhook_is_a_public_https_address(net: Net, target: str) -> None:
    body = {"task": sh("true"), "notify": [{"kind": "webhook", "target": target}]}
    answer = net.call("POST", "/api/v1/tasks", json=body)
    assert answer.status_code == 400, answer.text
    assert "notify[0].target" in answer.json()["detail"]


def test_a_webhook_into_the_hubs_own_network_is_not_called(net: Net) -> None:
    import socket

    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen()
        server.setblocking(False)
        port = server.getsockname()[1]
        before, sent = failed_notices(net), 0
        for host in ("localhost", "127.0.0.1", "[::1]", "[::ffff:127.0.0.1]", "2130706433", "0"):
            body = {
                "task": sh("true"),
                "notify": [{"kind": "webhook", "target": f"https://{host}:{port}/"}],
            }
            answer = net.call("POST", "/api/v1/tasks", json=body)
            sent += answer.status_code == 201
        until(lambda: failed_notices(net) >= before + sent or None, "the hub to try them all")
        with pytest.raises(BlockingIOError):
            server.accept()


def failed_notices(net: Net) -> int:
    return net.stage.hub.log.read_text().count("was not delivered")


def test_mail_goes_only_to_people_of_the_project(net: Net) -> None:
    for target in (
        "beto@sur.example",
        "ana@norte.example\nBcc: x@y.z",
        "x",
        "postmaster@norte.example",
    ):
        body = {"task": sh("true"), "notify": [{"kind": "mail", "target": target}]}
        assert net.call("POST", "/api/v1/tasks", json=body).status_code == 400
