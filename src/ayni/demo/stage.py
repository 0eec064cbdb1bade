"""A hub and its sites as real processes on this machine: for the demo, the fault runs and the benches.

Nothing here is simulated but the distance: each site has its own folder, policy, key, journal and
supervisor, and reaches the hub by HTTP only.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

AYNI = (sys.executable, "-m", "ayni")
START_LIMIT = 60.0  # seconds for a process to answer


class StageError(RuntimeError):
    """A process of the stage did not do what it should; the message holds the end of its log."""


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port: int = s.getsockname()[1]
        return port


def ayni(*arguments: str, env: Mapping[str, str], quiet: bool = False) -> Any:
    """Run an `ayni … --json` command and return what it printed; with `quiet`, nothing.

    Raises:
        StageError: it failed.
    """
    done = subprocess.run(
        [*AYNI, *arguments], env=dict(env), capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise StageError(f"ayni {' '.join(arguments)}: {done.stderr.strip()[-2000:]}")
    return None if quiet or not done.stdout.strip() else json.loads(done.stdout)


@dataclass
class Process:
    """One long-running command with its log file."""

    name: str
    command: Sequence[str]
    env: Mapping[str, str]
    log: Path
    popen: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with self.log.open("ab") as log:
            self.popen = subprocess.Popen(
                list(self.command), env=dict(self.env), stdout=log, stderr=log,
                stdin=subprocess.DEVNULL, start_new_session=True,
            )  # fmt: skip

    @property
    def alive(self) -> bool:
        return self.popen is not None and self.popen.poll() is None

    def kill(self) -> None:
        """kill -9, as a crash would."""
        if self.popen is not None:
            self.popen.kill()
            self.popen.wait()

    def stop(self, limit: float = 20.0) -> None:
        """SIGTERM, then, past the limit, SIGKILL."""
        if self.popen is None or self.popen.poll() is not None:
            return
        self.popen.send_signal(signal.SIGTERM)
        try:
            self.popen.wait(limit)
        except subprocess.TimeoutExpired:
            self.kill()

    def tail(self, size: int = 2000) -> str:
        return self.log.read_text(errors="replace")[-size:] if self.log.exists() else ""


@dataclass(frozen=True)
class SiteSpec:
    """A site to be: `policy`, `images`, `slurm` go into the agent's TOML as they are.

    With `slurm` its tasks are that cluster's batch jobs; else processes of this machine, within
    `cores` and `memory`.
    """

    name: str
    title: str
    member: str
    institution: str
    latitude: float
    longitude: float
    cores: int = 2
    memory: str = "4GiB"
    policy: Mapping[str, Any] = field(default_factory=dict)
    images: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    allow_unsandboxed: bool = False
    slurm: Mapping[str, Any] = field(default_factory=dict)


class Stage:
    """A network in one folder. `start`, then `hub`, `sites[name]` and `secrets` are there."""

    def __init__(
        self, folder: Path, alliance: Mapping[str, Any], sites: Sequence[SiteSpec],
        port: int | None = None,
    ) -> None:  # fmt: skip
        self.folder = folder
        self.alliance = alliance
        self.specs = {spec.name: spec for spec in sites}
        self.port = port or free_port()
        self.files_port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.sites: dict[str, Process] = {}
        self.secrets: dict[str, Any] = {}
        self.hub_through: dict[str, str] = {}  # a site's own way to the hub, for fault runs
        (folder / "logs").mkdir(parents=True, exist_ok=True)
        self.hub = Process(
            "hub",
            # The folder on the command line, too: by it `kill_marked` knows what is of this stage.
            [
                *AYNI, "hub", "run", "--state", str(folder / "hub"),
                "--port", str(self.port), "--files-port", str(self.files_port),
            ],
            self.hub_env(),
            folder / "logs" / "hub.log",
        )  # fmt: skip

    # --- environments ---

    def base_env(self) -> dict[str, str]:
        env = {k: v for k, v in os.environ.items() if not k.startswith("AYNI_")}
        env.pop("DJANGO_SETTINGS_MODULE", None)
        env["NO_PROXY"] = env["no_proxy"] = "127.0.0.1,localhost"
        env["PYTHONUNBUFFERED"] = "1"
        return env

    def hub_env(self) -> dict[str, str]:
        env = self.base_env()
        env["AYNI_HUB_STATE"] = str(self.folder / "hub")
        env["AYNI_HUB_URL"] = self.url
        env["AYNI_FILES_URL"] = f"http://127.0.0.1:{self.files_port}"
        if url := os.environ.get("AYNI_DATABASE_URL"):
            env["AYNI_DATABASE_URL"] = url
        return env

    def site_folder(self, name: str) -> Path:
        return self.folder / "sites" / name

    # --- the hub ---

    def start_hub(self) -> None:
        """Make the hub's state if there is none, start it, and wait until it answers."""
        if not (self.folder / "hub").exists():
            ayni("hub", "init", "--json", env=self.hub_env())
            document = self.folder / "alliance.json"
            document.write_text(json.dumps(self.alliance_document()))
            self.secrets = ayni("hub", "apply", str(document), "--json", env=self.hub_env())
        self.hub.start()
        self.wait_hub()

    def alliance_document(self) -> dict[str, Any]:
        sites = [
            {
                "name": s.name, "title": s.title, "institution": s.institution,
                "latitude": s.latitude, "longitude": s.longitude,
            }
            for s in self.specs.values()
        ]  # fmt: skip
        return {**self.alliance, "sites": sites}

    def wait_hub(self) -> None:
        deadline = time.monotonic() + START_LIMIT
        while time.monotonic() < deadline:
            try:
                if httpx.get(
                    f"{self.url}/ga4gh/tes/v1/service-info", timeout=5, trust_env=False
                ).is_success:
                    return
            except httpx.HTTPError:
                pass
            if not self.hub.alive:
                raise StageError(f"the hub ended at once:\n{self.hub.tail()}")
            time.sleep(0.05)
        raise StageError(f"the hub did not answer within {START_LIMIT:.0f} s:\n{self.hub.tail()}")

    # --- the sites ---

    def prepare_site(self, name: str) -> None:
        """Write the agent's TOML and register the site."""
        folder = self.site_folder(name)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "agent.toml").write_text(self.agent_toml(name))
        ayni(
            "site", "register", "--config", str(folder / "agent.toml"),
            "--hub", self.hub_through.get(name, self.url),
            "--code", self.secrets["codes"][name], "--json", env=self.base_env(),
        )  # fmt: skip
        self.sites[name] = Process(
            name,
            [*AYNI, "site", "run", "--config", str(folder / "agent.toml")],
            self.base_env(),
            self.folder / "logs" / f"{name}.log",
        )

    def agent_toml(self, name: str) -> str:
        spec = self.specs[name]
        # The sites share this machine: pinned, each would have its tasks on the same few cores.
        executor: dict[str, Any] = {
            "kind": "local",
            "cores": spec.cores,
            "memory": spec.memory,
            "pin": False,
        }
        if spec.slurm:
            shared = str(self.site_folder(name) / "shared")
            executor = {"kind": "slurm", "slurm": {"shared": shared, **spec.slurm}}
        document: dict[str, Any] = {
            "hub": self.hub_through.get(name, self.url),
            "state": str(self.site_folder(name) / "state"),
            "production": False,
            "allow_unsandboxed": spec.allow_unsandboxed and not spec.slurm,
            "policy": dict(spec.policy),
            "images": {k: dict(v) for k, v in spec.images.items()},
            "executor": executor,
        }
        return to_toml(document)

    def add_datasets(self, site: str, folders: Sequence[Path], *flags: str, **card: str) -> None:
        """Offer folders from the site's own store; the hub only ever hears of their cards."""
        options = [part for key, value in card.items() for part in (f"--{key}", value)]
        options += [f"--{flag}" for flag in flags]
        ayni(
            "site", "dataset", "add", *map(str, folders), *options,
            "--config", str(self.site_folder(site) / "agent.toml"), env=self.base_env(), quiet=True,
        )  # fmt: skip

    def sandbox(self, name: str) -> str:
        """What a running site's tasks are in; `none`: they can read whatever its user can."""
        config = str(self.site_folder(name) / "agent.toml")
        told = ayni("site", "status", "--config", config, "--json", env=self.base_env())
        return str(told["agent"]["sandbox"])

    def stop(self) -> None:
        for process in self.sites.values():
            process.stop()
        self.hub.stop()
        for name in self.sites:
            self.stop_spawner(name)

    def stop_spawner(self, name: str) -> None:
        """End what a site's agent leaves running on purpose: its supervisors and their tasks."""
        kill_marked(self.site_folder(name))


def kill_marked(folder: Path, limit: float = 10.0) -> None:
    """kill -9 every process whose command line names the folder, and see them gone.

    Looks again until none is left: a signal takes a moment, and a process may fork meanwhile.

    Raises:
        StageError: some are still there after `limit` seconds.
    """
    deadline = time.monotonic() + limit
    while left := marked(folder):
        if time.monotonic() > deadline:
            raise StageError(f"processes {left} of {folder} did not die within {limit:.0f} s")
        for pid in left:
            with suppress(ProcessLookupError):  # it ended meanwhile
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.02)


def marked(folder: Path) -> list[int]:
    """The processes whose command line names the folder."""
    return naming(os.fsencode(folder), ("cmdline",))


def naming(needle: bytes, where: Sequence[str] = ("cmdline", "environ")) -> list[int]:
    """The other processes that have some bytes in one of these files of theirs in /proc."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            with suppress(OSError):  # it ended meanwhile, or is another user's
                if any(needle in (entry / name).read_bytes() for name in where):
                    found.append(int(entry.name))
    return found


def to_toml(document: Mapping[str, Any]) -> str:
    """Plain TOML: values first, then tables."""
    lines: list[str] = []

    def walk(table: Mapping[str, Any], path: tuple[str, ...]) -> None:
        values = {k: v for k, v in table.items() if not isinstance(v, Mapping)}
        tables = {k: v for k, v in table.items() if isinstance(v, Mapping)}
        if path and (values or not tables):
            lines.append(f"\n[{'.'.join(json.dumps(p) for p in path)}]")
        lines.extend(f"{json.dumps(k)} = {json.dumps(v)}" for k, v in values.items())
        for key, inner in tables.items():
            walk(inner, (*path, key))

    walk(document, ())
    return "\n".join(lines) + "\n"


@contextmanager
def stage_folder(wanted: Path | None) -> Iterator[Path]:
    """The wanted folder, kept; or a new one, removed at the end."""
    if wanted is not None:
        wanted.mkdir(parents=True, exist_ok=True)
        yield wanted.resolve()
        return
    import tempfile

    folder = Path(tempfile.mkdtemp(prefix="ayni-"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
