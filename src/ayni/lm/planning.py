"""From `run.toml` and what is known of the sites' machines to a plan, and to what stands in its way."""

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
from ayni.lm.config import MOST_DAYS, Run, Site, check_here
from ayni.lm.faults import explained
from ayni.lm.inner.settings import Shape, Training
from ayni.lm.outer.codec import Codec
from ayni.lm.outer.state import Rules
from ayni.lm.plan import Machine, Plan, SitePlan, Streaming, Waiting, memory, plan

LINK = 100e6  # bits/s, where nothing is said: the slowest that the alliance's centres have
MFU = 0.35
_TASK_MEMORY = 1 << 30  # bytes that a task gets which asks for none
_PROCESS = 1e9  # bytes of Python, torch and their libraries on the host
_STAGED = 16  # bytes a parameter on a GPU's host: weights, base and moments, for a checkpoint
_FRAGMENTS = 8  # that are proposed
_BUSY = 0.9  # below this a site exchanges and waits too much
_DAY = 24  # hours
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
    warnings: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        found = asdict(self.plan)
        found |= {"tokens": self.plan.tokens, "saving": self.plan.saving}
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
        warnings += _of_site(site, machine, one, shape, run, found)
    warnings += _of_run(run, found)
    names = tuple(name for _, name, _ in known)
    return Planned(found, tuple(machines), names, tuple(warnings))


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
        memory=said.memory or _task_memory(site),
        up=said.link,
        down=said.link,
        efficiency=said.mfu,
        cores=said.cores,
        gpu=False,
        half=False,
    )


def _task_memory(site: Site) -> float:
    return float(draft("plan", mem=site.mem).options.memory or _TASK_MEMORY)


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


# --- what stands in the way -------------------------------------------------------------------


def _of_site(
    site: Site, machine: Machine, one: SitePlan, shape: Shape, run: Run, found: Plan
) -> list[str]:
    said = []
    needed = one.memory.total + (0 if machine.gpu else _PROCESS)
    if needed > machine.memory:
        what = "GPU" if machine.gpu else "task"
        said.append(
            f"a {what} needs {_gb(needed)} and has {_gb(machine.memory)}: "
            f"{remedy(shape, run.training, machine)}"
        )
    host = _STAGED * found.parameters + _PROCESS if machine.gpu else 0
    if host > _task_memory(site):
        said.append(
            f"its host needs {_gb(host)} and the task gets {_gb(_task_memory(site))}: write "
            f"{_mem(host)}"
        )
    said += [*_pace(one, found, run.outer, shape.layers), *_chain(site, found.hours)]
    return [f"{site.site}: {text}" for text in said]


def _pace(one: SitePlan, found: Plan, rules: Rules, layers: int) -> list[str]:
    """What is said of a site that is too slow, or waits or exchanges for too long."""
    if one.behind > rules.window:
        return [
            f"its rounds come {one.behind} versions late and are discarded (window = {rules.window}): give "
            "it more, or leave it out"
        ]
    if one.behind:
        return [f"its rounds come {one.behind} versions late, and count less"]
    if one.utilisation >= _BUSY:
        return []
    exchanging = found.rounds * one.exchange_seconds
    if exchanging > (1 - one.utilisation) * found.hours * 3600 / 2:
        smaller = rules.codec in (Codec.FLOAT32, Codec.INT8)
        why = "for the rest it exchanges: write a larger outer.last" + (
            ', or codec = "int4"' if smaller else ", or find a faster link"
        )
        why += _meanwhile(one, rules, layers)
    else:
        why = "for the rest it waits for slower sites: give it fewer GPUs, or them more"
    return [f"it trains {_percent(one.utilisation)} of the time; {why}"]


def _meanwhile(one: SitePlan, rules: Rules, layers: int) -> str:
    """The fragments and the overlap by which nobody waits for the link, if a round is long enough."""
    parts = rules.fragments if rules.fragments > 1 else min(_FRAGMENTS, layers)
    steps = Streaming(parts).needed(one.exchange_seconds, one.step_seconds)
    longest = max(phase.inner_steps for phase in rules.schedule.phases)
    if steps > longest or rules.evaluate or rules.leave_one_out:
        return ""
    return f"; or train on meanwhile: fragments = {parts}, overlap = {steps}"


def _chain(site: Site, hours: float) -> list[str]:
    walltime = (draft("plan", time=site.time).options.walltime or 3600) / 3600
    links = math.ceil(hours / walltime)
    if links <= site.chain:
        return []
    remedy = f"write chain = {links}, or a longer time" if links <= 1000 else "write a longer time"
    return [
        f"its chain of {site.chain} × {site.time} ends before the run ({hours:,.0f} h): {remedy}"
    ]


def _of_run(run: Run, found: Plan) -> list[str]:
    if run.retention * _DAY >= found.hours:
        return []
    days = math.ceil(found.hours / _DAY) + 1
    if days > MOST_DAYS:
        return [
            f"messages are kept {MOST_DAYS} days at most and the run takes {found.hours / _DAY:,.0f}: give "
            "it more machines, or write fewer steps"
        ]
    return [
        f"messages are kept {run.retention} days and the run takes {found.hours / _DAY:.0f}: write "
        f"retention = {days}, or newcomers find no weights"
    ]


def remedy(shape: Shape, training: Training, machine: Machine) -> str:
    """The smallest change by which the model fits the machine."""
    small = _with_data(training, micro_batch=1)
    if not machine.gpu:
        whole, part = (
            memory(shape, one, 1, half=False).total + _PROCESS for one in (training, small)
        )
        if part < whole / 2:
            return f"write training.data.micro_batch = 1 and {_mem(part)}"
        return f"write {_mem(whole)}"
    again = small.model_copy(update={"recompute": True})
    both = "training.data.micro_batch = 1 and training.recompute = true"
    ways = [
        ("write training.recompute = true", training.model_copy(update={"recompute": True}), 1),
        ("write training.data.micro_batch = 1", small, 1),
        (f"write {both}", again, 1),
    ]
    ways += [
        (f"write {both} on {machine.count * times} GPUs", again, times) for times in (2, 4, 8, 16)
    ]
    for text, changed, times in ways:
        needed = memory(shape, changed, machine.count * times, half=machine.half)
        if needed.total <= machine.memory:
            return f"{text} ({_gb(needed.total)})"
    return "choose a smaller model, or GPUs with more memory"


def _with_data(training: Training, **changes: Any) -> Training:
    return training.model_copy(update={"data": training.data.model_copy(update=changes)})


def _mem(size: float) -> str:
    return f'mem = "{math.ceil(size / 2**30)}GiB"'


def _percent(share: float) -> str:
    return f"{share:.0%}" if share >= 0.1 else f"{share:.1%}"


def _gb(size: float) -> str:
    return f"{size / 1e9:.1f} GB"
