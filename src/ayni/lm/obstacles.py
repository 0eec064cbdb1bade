"""What stands in the way of a planned run, each with its remedy: memory, the link, walltimes, messages."""

from __future__ import annotations

import math
from typing import Any

from ayni.client.draft import draft
from ayni.lm.config import MOST_DAYS, Run, Site
from ayni.lm.exchange import Exchange, Link
from ayni.lm.inner.settings import Shape, Training
from ayni.lm.outer.codec import Codec
from ayni.lm.outer.state import Rules
from ayni.lm.plan import Machine, Plan, SitePlan, memory

_TASK_MEMORY = 1 << 30  # bytes that a task gets which asks for none
_PROCESS = 1e9  # bytes of Python, torch and their libraries on the host
_STAGED = 16  # bytes a parameter on a GPU's host: weights, base and moments, for a checkpoint
_FRAGMENTS = 8  # that are proposed
_LATE = 5  # inner steps by which a merge may be late without a cost that was measured
_BUSY = 0.9  # below this a site exchanges and waits too much
_DAY = 24  # hours


def task_memory(site: Site) -> float:
    """Bytes that its task gets."""
    return float(draft("plan", mem=site.mem).options.memory or _TASK_MEMORY)


def of_site(
    site: Site, machine: Machine, one: SitePlan, shape: Shape, run: Run, found: Plan
) -> list[str]:
    """What is said of one site."""
    said = []
    needed = one.memory.total + (0 if machine.gpu else _PROCESS)
    if needed > machine.memory:
        what = "GPU" if machine.gpu else "task"
        said.append(
            f"a {what} needs {_gb(needed)} and has {_gb(machine.memory)}: "
            f"{remedy(shape, run.training, machine)}"
        )
    host = _STAGED * found.parameters + _PROCESS if machine.gpu else 0
    if host > task_memory(site):
        said.append(
            f"its host needs {_gb(host)} and the task gets {_gb(task_memory(site))}: write "
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
        why = "for the rest it exchanges: write a larger outer.last" + _sooner(
            found.exchange.link, rules.codec
        )
        why += _meanwhile(found.exchange, rules, layers)
    else:
        why = "for the rest it waits for slower sites: give it fewer GPUs, or them more"
    return [f"it trains {_percent(one.utilisation)} of the time; {why}"]


def _meanwhile(one: Exchange, rules: Rules, layers: int) -> str:
    """The fragments and the overlap by which nobody waits for the link, if a round is long enough."""
    if rules.overlap or rules.evaluate or rules.leave_one_out:
        return ""
    parts = rules.fragments if rules.fragments > 1 else min(_FRAGMENTS, layers)
    steps = one.needed(parts)
    if steps > one.length:
        return ""
    return f"; or train on meanwhile: fragments = {parts}, overlap = {steps}"


def _sooner(link: Link, codec: Codec) -> str:
    """What makes an exchange shorter: fewer bytes, less to compute, or a faster link."""
    computes = link.computed > link.up + link.down
    if codec in (Codec.FLOAT32, Codec.INT8) or (codec is Codec.INT4_DEFLATE and computes):
        return ', or codec = "int4"'
    return "" if computes else ", or find a faster link"


def _of_overlap(one: Exchange, rules: Rules, layers: int) -> list[str]:
    """What is said of an overlap that does not fit the exchange."""
    overlap, needed = rules.overlap, one.needed()
    if not overlap:
        return []
    takes = f"{needed} inner steps of {one.site}"
    waits = f"sites wait {one.waits:,.0f} s in each round of {one.length}"
    if one.waits and not one.fits:
        more = "write a larger outer.last" + _sooner(one.link, rules.codec)
        return [f"an exchange takes {takes}, {waits} whatever outer.overlap is: {more}"]
    if one.waits:
        more = f"write overlap = {needed}" + _finer(one, layers)
        return [f"outer.overlap = {overlap} is shorter than an exchange, {takes}; {waits}: {more}"]
    if overlap > needed + max(1, needed // 2):
        why = f"what is merged late is worth less: write overlap = {needed}"
        return [f"outer.overlap = {overlap} is longer than an exchange, {takes}; {why}"]
    return []


def _finer(one: Exchange, layers: int) -> str:
    """The fewest fragments by which no merge is later than what was measured to cost nothing."""
    parts = min(
        range(one.streaming.fragments, layers + 1),
        key=lambda parts: max(one.needed(parts), _LATE),
        default=0,
    )
    if parts <= one.streaming.fragments:
        return ""
    return f", or fragments = {parts} and overlap = {one.needed(parts)}, which costs the loss less"


def _chain(site: Site, hours: float) -> list[str]:
    walltime = (draft("plan", time=site.time).options.walltime or 3600) / 3600
    links = math.ceil(hours / walltime)
    if links <= site.chain:
        return []
    remedy = f"write chain = {links}, or a longer time" if links <= 1000 else "write a longer time"
    return [
        f"its chain of {site.chain} × {site.time} ends before the run ({hours:,.0f} h): {remedy}"
    ]


def of_run(run: Run, found: Plan, layers: int) -> list[str]:
    """What is said of the run as a whole."""
    said = _of_overlap(found.exchange, run.outer, layers)
    if run.retention * _DAY >= found.hours:
        return said
    days = math.ceil(found.hours / _DAY) + 1
    if days > MOST_DAYS:
        return [
            *said,
            f"messages are kept {MOST_DAYS} days at most and the run takes {found.hours / _DAY:,.0f}: give "
            "it more machines, or write fewer steps",
        ]
    return [
        *said,
        f"messages are kept {run.retention} days and the run takes {found.hours / _DAY:.0f}: write "
        f"retention = {days}, or newcomers find no weights",
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
