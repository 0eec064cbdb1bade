"""Flower's exchange, from an environment of its own: a SuperLink, three SuperNodes, one round."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from ayni.demo.stage import free_port, naming
from bench.outer_exchange.coordinator import peak_of
from bench.outer_exchange.cpu import Processor

APP = Path(__file__).with_name("flower_app")
VENV = Path(__file__).parents[2] / ".venv-flower"
LIMIT = 900.0


@dataclass(frozen=True)
class Round:
    """`seconds` of one round, `busy` those of all processors in it.

    Peaks in MiB of the process with the strategy and of the SuperLink.
    """

    version: str
    values: int
    seconds: float
    busy: float
    server: float
    link: float

    @property
    def line(self) -> str:
        return (
            f"Flower {self.version}, {self.values / 1e6:.0f}M values, float32: {self.seconds:.1f} s "
            f"({self.busy:.1f} s of processors); "
            f"{8 * self.values / 1e6:.0f} MB up and down a site; peaks in MiB: ServerApp "
            f"{self.server:.0f}, SuperLink {self.link:.0f}"
        )


def exchange(folder: Path, values: int, venv: Path = VENV, sites: int = 3) -> Round:
    """One round over so many values of float32."""
    folder = folder / f"flower-{values}"
    shutil.copytree(APP, folder / "app")
    report = folder / "report.json"
    port = free_port()
    (folder / "config.toml").write_text(
        f'[superlink]\ndefault = "here"\n\n[superlink.here]\naddress = "127.0.0.1:{port}"\ninsecure = true\n'
    )
    env = {
        **os.environ, "PATH": f"{venv / 'bin'}:{os.environ['PATH']}", "FLWR_HOME": str(folder),
        "HOME": str(folder), "FLWR_TELEMETRY_ENABLED": "0", "NO_PROXY": "127.0.0.1",
        "no_proxy": "127.0.0.1", "PYTHONPATH": "", "OMP_NUM_THREADS": "1",
    }  # fmt: skip
    running: list[subprocess.Popen[bytes]] = []
    processor = Processor(folder)

    def start(name: str, *command: str) -> subprocess.Popen[bytes]:
        with (folder / f"{name}.log").open("ab") as log:
            process = subprocess.Popen(
                [str(venv / "bin" / command[0]), *command[1:]],
                env=env, stdout=log, stderr=log, stdin=subprocess.DEVNULL, start_new_session=True,
            )  # fmt: skip
        running.append(process)
        return process

    try:
        link = start(
            "link", "flower-superlink", "--insecure", "--disable-runtime-dependency-installation",
            "--host", "127.0.0.1", "--port", str(port),
        )  # fmt: skip
        time.sleep(5)
        for site in range(sites):
            start(
                f"node-{site}", "flower-supernode", "--insecure", "--superlink", f"127.0.0.1:{port}",
                "--host", "127.0.0.1", "--port", str(free_port()),
                "--node-config", f"partition-id={site}",
            )  # fmt: skip
        config = f'values={values} sites={sites} report="{report}"'
        start("run", "flwr", "run", str(folder / "app"), "here", "--stream", "--run-config", config)
        end = time.monotonic() + LIMIT
        with processor:
            while not report.exists():
                if link.poll() is not None or time.monotonic() > end:
                    raise RuntimeError(f"Flower gave no result; its logs are in {folder}")
                time.sleep(0.2)
            time.sleep(0.5)
        told = json.loads(report.read_text())
        peak = peak_of(link.pid) / 1024
    finally:
        _end(folder)
        for process in running:
            process.wait()
    busy = processor.between(told["began"], told["ended"])
    seconds = told["ended"] - told["began"]
    found = Round(_version(venv), values, seconds, busy, told["peak_kib"] / 1024, peak)
    shutil.rmtree(folder)
    return found


def _end(home: Path) -> None:
    """kill -9 all that was started for this home: Flower's processes start others in their own sessions."""
    while found := naming(f"FLWR_HOME={home}".encode()):
        for pid in found:
            with suppress(ProcessLookupError):  # it ended meanwhile
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.05)


def _version(venv: Path) -> str:
    command = [str(venv / "bin" / "python"), "-c", "import flwr; print(flwr.__version__)"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
