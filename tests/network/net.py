"""A network of real processes, and what a test says to it."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import httpx

from ayni.demo.stage import AYNI, Process, SiteSpec, Stage, to_toml

T = TypeVar("T")
FINAL = {"COMPLETE", "EXECUTOR_ERROR", "SYSTEM_ERROR", "CANCELED"}
LIMIT = 120.0  # seconds in which anything must happen, on however slow a machine
FOREVER = "sleep 3600"  # until it is cancelled
UNTIL_TOLD = "until [ -e /go ]; do sleep 0.1; done"  # a test makes it in `Net.root`

ALLIANCE: dict[str, Any] = {
    "members": [{"code": "CL", "name": "Chile"}, {"code": "MX", "name": "México"}],
    "institutions": [
        {"name": "Centro Norte", "member": "CL"},
        {"name": "Centro Sur", "member": "MX"},
    ],
    "people": [
        {"email": "ana@norte.example", "name": "Ana Ríos", "institution": "Centro Norte"},
        {"email": "beto@sur.example", "name": "Beto Luna", "institution": "Centro Sur"},
        {"email": "eva@sur.example", "name": "Eva Paz", "institution": "Centro Sur"},
    ],
    "projects": [
        {
            "name": "quinua", "title": "Quinua", "institution": "Centro Norte",
            "people": ["ana@norte.example", "eva@sur.example"],
        },
        {
            "name": "maiz", "title": "Maíz", "institution": "Centro Sur",
            "people": ["beto@sur.example", "ana@norte.example"],
        },
    ],
    "tokens": [
        {"label": "ana", "person": "ana@norte.example", "project": "quinua"},
        {"label": "eva", "person": "eva@sur.example", "project": "quinua"},
        {"label": "ana-maiz", "person": "ana@norte.example", "project": "maiz"},
        {"label": "beto", "person": "beto@sur.example", "project": "maiz"},
        {
            "label": "reader", "person": "ana@norte.example", "project": "quinua",
            "scopes": ["tasks:read"],
        },
    ],
}  # fmt: skip

#: `norte` gives tasks no network and holds the datasets; `sur` gives it, with the image `unasked` also to
#: those that do not ask; nobody runs `falsa`: tests speak with its key as a hostile agent would.
SITES = (
    SiteSpec("norte", "Norte", "CL", "Centro Norte", -33.45, -70.66, cores=4, memory="4GiB"),
    SiteSpec("sur", "Sur", "MX", "Centro Sur", 19.43, -99.13, cores=4, memory="4GiB",
             policy={"network": True, "https_from": ["*"]}),
    SiteSpec("falsa", "Falsa", "MX", "Centro Sur", 19.43, -99.13),
)  # fmt: skip
LIMITS = {"log": "256KiB", "processes": 64, "grace": "1s"}


class Network(Stage):
    """A stage whose sites have tight limits."""

    def agent_toml(self, name: str) -> str:
        spec = self.specs[name]
        return to_toml(
            {
                "hub": self.hub_through.get(name, self.url),
                "state": str(self.site_folder(name) / "state"),
                "production": False,
                "policy": dict(spec.policy),
                "images": {
                    "host": {"runtime": "host"},
                    "alpine": {"alias": "host"},
                    "unasked": {"runtime": "host", "network": True},
                },
                "executor": {
                    "kind": "local",
                    "cores": spec.cores,
                    "memory": spec.memory,
                    "pin": False,
                },
                "limits": LIMITS,
            }
        )


class Net:
    """What tests do with a network."""

    def __init__(self, stage: Network) -> None:
        self.stage = stage
        self._read: dict[str, int] = {}  # how far logs were looked through
        self.http = httpx.Client(base_url=stage.url, timeout=LIMIT, trust_env=False)

    # --- the hub ---

    def token(self, label: str) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.stage.secrets['tokens'][label]}"}

    def call(self, method: str, path: str, who: str = "ana", **more: Any) -> httpx.Response:
        """A request as somebody; a server's error is never an answer."""
        answer = self.http.request(method, path, headers=self.token(who), **more)
        assert answer.status_code < 500, (method, path, answer.status_code, answer.text[:500])
        return answer

    def get(self, path: str, /, who: str = "ana", **params: Any) -> Any:
        answer = self.call("GET", f"/api/v1{path}", who, params=params)
        assert answer.is_success, answer.text
        return answer.json()

    def hub(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """`ayni hub …` as the operator of the hub."""
        return ayni("hub", *arguments, env=self.stage.hub_env())

    def client(self, *arguments: str, who: str | None = "ana") -> subprocess.CompletedProcess[str]:
        """`ayni …` as a user."""
        env = self.stage.base_env() | {"HOME": str(self.stage.folder), "AYNI_HUB": self.stage.url}
        if who is not None:
            env["AYNI_TOKEN"] = self.stage.secrets["tokens"][who]
        return ayni(*arguments, env=env)

    # --- tasks ---

    def submit(self, task: Mapping[str, Any], who: str = "ana", **more: Any) -> str:
        answer = self.call("POST", "/api/v1/tasks", who, json={"task": task, **more})
        assert answer.status_code == 201, answer.text
        return str(answer.json()["id"])

    def show(self, task: str, who: str = "ana") -> dict[str, Any]:
        shown: dict[str, Any] = self.get(f"/tasks/{task}", who)
        return shown

    def full(self, task: str, who: str = "ana") -> dict[str, Any]:
        """The task as TES shows it, logs and all."""
        answer = self.call("GET", f"/ga4gh/tes/v1/tasks/{task}", who, params={"view": "FULL"})
        assert answer.is_success, answer.text
        shown: dict[str, Any] = answer.json()
        return shown

    def wait(self, task: str, *states: str, who: str = "ana") -> dict[str, Any]:
        """Until the task is in one of these states (by default: over)."""
        wanted = set(states) or FINAL

        def look() -> dict[str, Any] | None:
            self.standing()
            shown = self.show(task, who)
            assert shown["state"] in wanted or shown["state"] not in FINAL, shown
            return shown if shown["state"] in wanted else None

        return until(look, f"{task} to be {wanted}", lambda: self.story(task, who))

    def story(self, task: str, who: str = "ana") -> str:
        """What is known of a task that does not go on: its attempts, the broker's words, sites, logs."""
        shown, told = self.show(task, who), self.get(f"/tasks/{task}/why", who)
        verdicts = {one["site"]: f"{one['verdict']}, {one['message']}" for one in told["sites"]}
        lines = [f"{shown['state']}, made {shown['created']}: {told['summary']}"]
        lines += [f"attempt {json.dumps(attempt)}" for attempt in shown["attempts"]]
        for site in self.get("/sites")["sites"]:
            words = {key: site[key] for key in ("state", "last_seen", "health", "partitions")}
            lines.append(f"{site['name']} ({verdicts[site['name']]}): {json.dumps(words)}")
        for process in (self.stage.hub, *self.stage.sites.values()):
            lines.append(f"--- the end of {process.log.name}\n{process.tail()}")
        return "\n".join(lines)

    def started(self, task: str, who: str = "ana") -> str:
        """Until the task's command is there, a little after it is RUNNING; its latest attempt."""

        def look() -> str | None:
            attempt: str = self.wait(task, "RUNNING", who=who)["attempts"][-1]["id"]
            return attempt if processes(attempt) else None

        return until(look, f"the command of {task} to be there")

    def root(self, attempt: str) -> Path:
        """What an attempt sees as `/`."""
        [found] = self.stage.folder.glob(f"sites/*/state/work/{attempt}/root")
        return found

    def run(self, task: Mapping[str, Any], who: str = "ana") -> dict[str, Any]:
        """Submit and wait; the task as TES shows it in the end."""
        number = self.submit(task, who)
        self.wait(number, who=who)
        return self.full(number, who)

    def file(self, path: str, who: str = "ana") -> bytes:
        """A project file, from its blocks."""
        manifest = self.get("/files/manifest", who, path=path)
        urls = [block["url"] for block in manifest["blocks"]]
        return b"".join(httpx.get(url, trust_env=False, timeout=LIMIT).content for url in urls)

    def paths(self, who: str = "ana", prefix: str = "") -> list[str]:
        return [f["path"] for f in self.get("/files", who, prefix=prefix)["files"]]

    # --- sites ---

    def site_key(self, name: str) -> str:
        return (self.stage.site_folder(name) / "state" / "site.key").read_text().strip()

    def standing(self) -> list[Process]:
        """The hub and the sites' agents, all of which run."""
        found = [self.stage.hub, *self.stage.sites.values()]
        for process in found:
            assert process.alive, (process.name, process.tail())
        return found

    def alive(self) -> None:
        """Every process that should run does, and none has failed within."""
        for process in self.standing():
            text = process.log.read_text(errors="replace")
            new, self._read[process.name] = text[self._read.get(process.name, 0) :], len(text)
            assert "Traceback" not in new, (process.name, new[new.index("Traceback") :][-3000:])


def ayni(*arguments: str, env: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [*AYNI, *arguments], env=dict(env), capture_output=True, text=True, timeout=LIMIT,
        check=False, stdin=subprocess.DEVNULL,
    )  # fmt: skip
    assert "Traceback" not in done.stderr, done.stderr
    return done


def until(look: Callable[[], T | None], what: str, story: Callable[[], str] = str) -> T:
    """Look again and again; `story` says what else is known where it does not come."""
    end = time.monotonic() + LIMIT
    while time.monotonic() < end:
        if (found := look()) is not None:
            return found
        time.sleep(0.1)
    raise AssertionError(f"waited {LIMIT:.0f} s for {what}\n{story()}".strip())


def there(path: Path) -> None:
    """Until a task has made it."""
    until(lambda: path.exists() or None, f"{path} to be there")


def dead(*needles: str) -> None:
    """Until no process of these attempts, or of this folder, is left."""
    until(lambda: None if any(map(processes, needles)) else True, f"{needles} to be dead")


def sh(script: str, *, site: str | None = None, outputs: Mapping[str, str] | None = None,
       inputs: Sequence[Mapping[str, Any]] = (), **parameters: str) -> dict[str, Any]:  # fmt: skip
    """A task that runs a shell script; `outputs` by path."""
    backend = {"walltime": "600", "max_attempts": "1", **parameters}
    if site is not None:
        backend["site"] = site
    return {
        "name": "test",
        "executors": [{"image": "host", "command": ["sh", "-c", script]}],
        "inputs": list(inputs),
        "outputs": [{"path": p, "url": u} for p, u in (outputs or {}).items()],
        "resources": {"cpu_cores": 1, "ram_gb": 0.25, "backend_parameters": backend},
    }


def stdout(task: Mapping[str, Any]) -> str:
    """What the first command printed, of the last attempt."""
    return str(task["logs"][-1]["logs"][0].get("stdout", ""))


def why(task: Mapping[str, Any]) -> str:
    """All that the user is told of the end, in one text."""
    return json.dumps(task.get("logs", []), ensure_ascii=False)


def processes(needle: str) -> list[int]:
    """Those of this machine whose command line or environment names the needle."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                seen = (entry / "cmdline").read_bytes() + (entry / "environ").read_bytes()
            except OSError:
                continue
            if needle.encode() in seen:
                found.append(int(entry.name))
    return found
