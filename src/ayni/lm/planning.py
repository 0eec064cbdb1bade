"""From `run.toml` and what is known of the sites' machines to a plan."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from pydantic import ValidationError

from ayni.client.draft import draft
from ayni.errors import UserError
from ayni.lm import devices
from ayni.lm.config import Run, Site, check_here
from ayni.lm.exchange import Streaming
from ayni.lm.faults import explained
from ayni.lm.inner.settings import Shape
from ayni.lm.obstacles import of_run, of_site, task_memory
from ayni.lm.plan import Machine, Plan, Waiting, plan, room

LINK = 100e6  # bits/s, where nothing is said: the slowest that the alliance's centres have
MFU = 0.35
#: The names of a shape's fields in a checkpoint's config.json.
_FIELDS = {
    "vocab_size": "vocab_size",
    "hidden_size": "hidden_size",
    "intermediate_size": "intermediate_size",
    "num_hidden_layers": "layers",
    "num_attention_heads": "heads",
    "num_key_value_heads": "kv_heads",
    "max_position_embeddings": "context",
    "tie_word_embeddings": "tie_embeddings",
}


@dataclass(frozen=True)
class Facts:
    """What is said of machines besides `run.toml`: by site, or by "" for all."""

    device: Mapping[str, str] = field(default_factory=dict)
    tflops: Mapping[str, str] = field(default_factory=dict)
    memory: Mapping[str, str] = field(default_factory=dict)
    link: Mapping[str, str] = field(default_factory=dict)
    mfu: Mapping[str, str] = field(default_factory=dict)

    def of(self, name: str, site: str) -> str | None:
        said: Mapping[str, str] = getattr(self, name)
        return said.get(site, said.get(""))


@dataclass(frozen=True)
class Planned:
    """A plan, what it was made for, and what a person should know before anything is spent."""

    plan: Plan
    machines: tuple[Machine, ...]
    names: tuple[str, ...]  # of the machines
    store: int  # bytes at the project's store, at most
    warnings: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        found = asdict(self.plan)
        found |= {"tokens": self.plan.tokens, "saving": self.plan.saving, "store": self.store}
        one = self.plan.exchange
        found["exchange"] = {
            **one.parts, "seconds": one.seconds, "site": one.site, "step_seconds": one.pace,
            "length": one.length, "needed": one.needed(), "waits": one.waits,
            "fragments": one.streaming.fragments, "overlap": one.streaming.overlap,
        }  # fmt: skip
        for site, machine, name in zip(found["sites"], self.machines, self.names, strict=True):
            site["machine"] = {"name": name, **asdict(machine)}
            site["memory"]["total"] = sum(site["memory"].values())
        return {**found, "warnings": list(self.warnings)}


def make(run: Run, facts: Facts | None = None) -> Planned:
    """The plan of a run.

    Raises:
        UserError: what is said of a machine cannot be understood, or names no site of the run; a
            folder is not there.
    """
    facts = facts or Facts()
    check_here(run)
    _check_sites(run, facts)
    shape = shape_of(run)
    half = run.training.precision != "fp32"
    known = [_machine(site, facts, half=half) for site in run.sites]
    machines = [machine for machine, _, _ in known]
    rules = run.outer
    waiting = Waiting(rules.quorum, rules.grace, rules.grace_share, rules.window)
    streaming = Streaming(rules.fragments, rules.overlap)
    found = plan(shape, run.training, rules.schedule, rules.codec, machines, waiting, streaming)
    warnings = [remark for _, _, remarks in known for remark in remarks]
    for site, machine, one in zip(run.sites, machines, found.sites, strict=True):
        warnings += of_site(site, machine, one, shape, run, found)
    warnings += of_run(run, found, shape.layers)
    names = tuple(name for _, name, _ in known)
    kept = found.rounds if run.history else min(rules.keep, found.rounds)
    blob = found.round_bytes // 2
    store = room(found.parameters, blob, len(run.sites), kept, rules.snapshot_every)
    return Planned(found, tuple(machines), names, store, tuple(warnings))


def shape_of(run: Run) -> Shape:
    """The shape of the run's model, also where it continues a checkpoint.

    Raises:
        UserError: the checkpoint's config.json does not say it.
    """
    if run.model.shape is not None:
        return run.model.shape
    assert run.model.checkpoint is not None
    path = run.model.checkpoint / "config.json"
    try:
        found = json.loads(path.read_text())
        given = {ours: found[theirs] for theirs, ours in _FIELDS.items() if theirs in found}
        shape = Shape(family=found["model_type"], **given)
    except (OSError, ValueError, KeyError, TypeError) as error:
        reason = explained(error) if isinstance(error, ValidationError) else str(error)
        raise UserError(
            f"{path}: a plan cannot be made from it ({reason.splitlines()[0]}); continue from a checkpoint "
            "of the Llama, Mistral or Qwen families"
        ) from error
    try:
        run.check_shape(shape)
    except ValueError as error:
        raise UserError(str(error)) from error
    return shape


# --- machines ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Said:
    """What is said of a site's machine; None: nothing."""

    device: str | None
    flops: float | None
    memory: float | None
    link: float
    mfu: float
    cores: int


def _said(site: Site, facts: Facts) -> _Said:
    name = site.site
    tflops = _number(facts.of("tflops", name), _positive, "tflops")
    return _Said(
        device=facts.of("device", name) or site.device,
        flops=tflops and tflops * 1e12,
        memory=_number(facts.of("memory", name), _size, "memory"),
        link=_number(facts.of("link", name) or site.link, devices.speed, "link") or LINK,
        mfu=_number(facts.of("mfu", name), _share, "mfu") or MFU,
        cores=site.all_cores,
    )


def _machine(site: Site, facts: Facts, *, half: bool) -> tuple[Machine, str, list[str]]:
    """A site's machine, its name, and what had to be taken for granted."""
    said = _said(site, facts)
    if site.gpus is None and said.device is None:
        return _processor(site, said), f"{said.cores} cores", []
    device = _device(said.device) if said.device else devices.ASSUMED
    half = half and device.half is not None
    count = site.all_gpus or 1
    machine = Machine(
        site=site.site,
        count=count,
        flops=said.flops or (device.half if half and device.half else device.single),
        memory=said.memory or device.memory,
        up=said.link,
        down=said.link,
        efficiency=said.mfu,
        cores=math.ceil(said.cores / count),
        half=half,
    )
    if said.device or (said.flops and said.memory):
        return machine, f"{count} × {device.name if said.device else 'GPU'}", []
    remark = (
        f"{site.site}: which GPU it has is not said; taken for an {device.name} (--device "
        f"{site.site}=NAME, or device in run.toml)"
    )
    return machine, f"{count} × {device.name}", [remark]


def _processor(site: Site, said: _Said) -> Machine:
    """A task's share of a node without GPUs, in float32."""
    return Machine(
        site=site.site,
        count=1,
        flops=said.flops or said.cores * devices.CORE,
        memory=said.memory or task_memory(site),
        up=said.link,
        down=said.link,
        efficiency=said.mfu,
        cores=said.cores,
        gpu=False,
        half=False,
    )


def _device(name: str) -> devices.Device:
    try:
        return devices.device(name)
    except ValueError as error:
        raise UserError(str(error)) from error


def _check_sites(run: Run, facts: Facts) -> None:
    for name, said in vars(facts).items():
        for site in said:
            if site:
                try:
                    run.at(site)
                except UserError as error:
                    raise UserError(f"--{name}: {error}") from error


def _number(text: str | None, read: Callable[[str], float], name: str) -> float | None:
    if text is None:
        return None
    try:
        return read(text)
    except ValueError as error:
        raise UserError(f"{name}: {error}") from error


def _positive(text: str) -> float:
    value = float(text) if re.fullmatch(r"\d{1,9}(\.\d{1,9})?", text.strip()) else 0.0
    if value <= 0:
        raise ValueError(f"{text[:40]!r} is no number above 0")
    return value


def _share(text: str) -> float:
    value = _positive(text)
    if value > 1:
        raise ValueError(f"{text[:40]!r} is no share; write a number up to 1, such as 0.4")
    return value


def _size(text: str) -> float:
    return float(draft("plan", mem=text).options.memory or 0)
