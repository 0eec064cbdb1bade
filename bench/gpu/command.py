"""The parts, a process each, and the table."""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from bench.gpu import __doc__ as told
from bench.gpu.shapes import WORKS

#: What is measured: by which module, and how.
PARTS: dict[str, tuple[str, dict[str, Any]]] = {
    "ours": ("ours", {}),
    "ours, Muon": ("ours", {"optimiser": "muon"}),
    "ours, not compiled": ("ours", {"compile": False}),
    "Trainer": ("plain", {}),
    "Trainer, compiled": ("plain", {"compile": True}),
    "Trainer, document mask": ("plain", {"masked": True}),
}
USUAL = ["ours", "Trainer"]
WANTED_MFU, WANTED_RATIO = 0.45, 1.3


def main() -> int:
    options = _parse()
    if options.part:
        _measure(options)
        return 0
    folder = options.out or Path(tempfile.mkdtemp(prefix="ayni-bench-gpu-"))
    folder.mkdir(parents=True, exist_ok=True)
    print(f"{machine()}; shape {options.shape}", flush=True)
    found = {}
    for name in options.parts:
        began = time.perf_counter()
        found[name] = _run(name, folder, options)
        took = time.perf_counter() - began
        print(f"  {name}: {_line(found[name])} ({took:.0f} s in all)", flush=True)
        with (folder / "results.jsonl").open("a") as file:
            file.write(json.dumps({"part": name, "shape": options.shape, **found[name]}) + "\n")
    _report(options.shape, found)
    return 0 if all("error" not in one for one in found.values()) else 1


def machine() -> str:
    """The card, and what runs on it."""
    import torch
    import transformers

    card = torch.cuda.get_device_name() if torch.cuda.is_available() else "no GPU"
    return f"{card}, torch {torch.__version__}, transformers {transformers.__version__}"


def _run(name: str, folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    """A part's figures, or the end of what it said."""
    place = "".join(c if c.isalnum() else "-" for c in f"{options.shape}-{name}")
    result, log = folder / f"{place}.json", folder / f"{place}.log"
    result.unlink(missing_ok=True)
    command = [sys.executable, "-m", "bench.gpu", "--part", name, "--result", str(result)]
    command += [
        "--shape",
        options.shape,
        "--warm",
        str(options.warm),
        "--steps",
        str(options.steps),
    ]
    command += ["--profile", str(folder)] if options.profile else []
    with log.open("w") as file:
        process = subprocess.Popen(
            command, stdout=file, stderr=subprocess.STDOUT, start_new_session=True
        )
        try:
            process.wait(options.patience)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            return {"error": f"not done after {options.patience} s"}
    if process.returncode or not result.exists():
        last = log.read_text().strip().splitlines()[-1:] or ["no word"]
        return {"error": f"exit code {process.returncode}: {last[0][:300]}"}
    found: dict[str, Any] = json.loads(result.read_text())
    return found


def _measure(options: argparse.Namespace) -> None:
    from importlib import import_module

    module, given = PARTS[options.part]
    settings = {**given, "warm": options.warm, "steps": options.steps, "profile": options.profile}
    found = import_module(f"bench.gpu.{module}").measure(WORKS[options.shape], settings)
    options.result.write_text(json.dumps(found))


def _line(found: dict[str, Any]) -> str:
    if "error" in found:
        return f"failed: {found['error']}"
    return (
        f"{found['tokens_per_second']:,.0f} tokens/s, {1000 * found['seconds_per_step']:.0f} ms a step of "
        f"{found['tokens_per_step']:,} tokens (median {1000 * found['median_seconds_per_step']:.0f}), "
        f"{found['tflops']:.0f} TFLOP/s, MFU {found['mfu']:.1%} ({found['mfu_masked']:.1%} by the "
        f"attention that the mask leaves), {found['memory'] / 1e9:.0f} GB"
    )


def _report(shape: str, found: dict[str, dict[str, Any]]) -> None:
    whole = {name: one for name, one in found.items() if "error" not in one}
    for name, one in whole.items():
        wanted = f" (wanted: at least {WANTED_MFU:.0%})" if name == "ours" else ""
        print(
            f"= GPU, {shape}, {name}: {one['tokens_per_second']:,.0f} tokens/s, "
            f"MFU {one['mfu']:.1%}{wanted}"
        )
    if "ours" in whole:
        for name, one in whole.items():
            if name.startswith("Trainer"):
                ratio = whole["ours"]["tokens_per_second"] / one["tokens_per_second"]
                print(f"= GPU, {shape}, ours / {name}: {ratio:.2f}× (wanted: {WANTED_RATIO}×)")


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=told, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--shape", choices=WORKS, default="1b")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=USUAL, metavar="NAME")
    parser.add_argument("--warm", type=int, default=4, help="steps before the clock runs")
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--out", type=Path, help="logs and results; by default a new folder")
    parser.add_argument("--patience", type=float, default=300, help="seconds for a part")
    parser.add_argument(
        "--profile", nargs="?", const=".", help="kernels of two steps of ours, to --out"
    )
    parser.add_argument("--part", choices=PARTS, help=argparse.SUPPRESS)
    parser.add_argument("--result", type=Path, help=argparse.SUPPRESS)
    return parser.parse_args()
