"""What was found, as lines for `make bench`, as tables, and as a chart."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

import vl_convert

from bench.simulate.metrics import Figures

NAMES = {
    "ours": "ours",
    "home": "every task at home",
    "random": "a random eligible site",
    "list": "one list, run times known",
}
COLUMNS = ("policy", "mean wait", "median", "p95", "slowdown", "last end", "of the bound", "cores used",
           "Jain", "abroad", "took")  # fmt: skip


def span(seconds: float) -> str:
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.0f} s"


def row(policy: str, f: Figures, bound: float, took: float) -> tuple[str, ...]:
    return (
        NAMES[policy], span(f.mean_wait), span(f.median_wait), span(f.p95_wait), f"{f.slowdown:.1f}",
        span(f.makespan), f"{f.makespan / bound:.2f}", f"{f.utilisation:.0%}", f"{f.jain:.2f}",
        f"{f.abroad:.0%}", f"{took:.0f} s",
    )  # fmt: skip


def table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
    lines = [head, tuple("-" * width for width in widths), *rows]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if n == 0 else cell.rjust(width)
            for n, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    )


def gains(policy: Figures, home: Figures) -> dict[str, float]:
    """How many times smaller each member's mean bounded slowdown is than at home."""
    return {m: s / policy.member_slowdown[m] for m, s in home.member_slowdown.items()}


def member_rows(found: dict[str, Figures]) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """How each member fares: waits and slowdowns under every policy, and what it gave and took."""
    head = ["member", *(f"wait, {p}" for p in found), *(f"slowdown, {p}" for p in found)]
    ours, home = found.get("ours"), found.get("home")
    gain = gains(ours, home) if ours and home else {}
    head += ["home over ours"] if gain else []
    head += ["core h given", "core h taken"] if ours else []
    rows = []
    for name in next(iter(found.values())).member_wait:
        cells = [name, *(span(f.member_wait[name]) for f in found.values())]
        cells += [f"{f.member_slowdown[name]:.1f}" for f in found.values()]
        cells += [f"{gain[name]:.2f}"] if gain else []
        if ours:
            cells += [f"{ours.member_given[name]:.0f}", f"{ours.member_taken[name]:.0f}"]
        rows.append(tuple(cells))
    return tuple(head), rows


def figures(
    profile: str, found: dict[str, Figures], took: dict[str, float], tasks: int
) -> list[str]:
    """Lines that `make bench` gathers."""
    lines = []
    for policy, f in found.items():
        lines.append(
            f"= {profile}, {NAMES[policy]}: mean wait {span(f.mean_wait)}, bounded slowdown "
            f"{f.slowdown:.1f}, Jain {f.jain:.2f} ({tasks} tasks in {took[policy]:.0f} s)"
        )
    if "ours" in found and "home" in found:
        gain = gains(found["ours"], found["home"])
        least, most = min(gain, key=lambda m: gain[m]), max(gain, key=lambda m: gain[m])
        lines.append(
            f"= {profile}, slowdown at home over ours: {gain[least]:.2f} ({least}) to {gain[most]:.2f} "
            f"({most}); {sum(g >= 1 for g in gain.values())} of {len(gain)} members gain"
        )
    return lines


def as_json(about: dict[str, Any], found: dict[str, Figures]) -> str:
    home = found.get("home")
    policies = {
        p: {**asdict(f), "member_gain": gains(f, home) if home else None} for p, f in found.items()
    }
    return json.dumps({**about, "policies": policies}, indent=1)


def chart(title: str, found: dict[str, Figures]) -> str:
    """An SVG: waits and slowdowns by policy, and every member's slowdown."""
    measures = {
        "mean wait (s)": "mean_wait",
        "95th percentile of waits (s)": "p95_wait",
        "mean bounded slowdown": "slowdown",
    }
    totals = [
        {"policy": NAMES[p], "what": what, "value": max(getattr(f, field), 1.0)}  # of a log axis
        for p, f in found.items()
        for what, field in measures.items()
    ]
    each = [
        {"policy": NAMES[p], "member": m, "slowdown": s}
        for p, f in found.items()
        for m, s in f.member_slowdown.items()
    ]
    order = [NAMES[p] for p in found]
    colour = {
        "field": "policy",
        "type": "nominal",
        "sort": order,
        "title": None,
        "legend": {"orient": "top"},
    }
    bars = {
        "data": {"values": totals},
        "facet": {"field": "what", "type": "nominal", "title": None, "sort": list(measures)},
        "columns": 3,
        "resolve": {"scale": {"x": "independent"}},
        "spec": {
            "width": 210,
            "height": 110,
            "mark": {"type": "point", "filled": True, "size": 120},
            "encoding": {
                "y": {"field": "policy", "type": "nominal", "sort": order, "title": None},
                "x": {"field": "value", "type": "quantitative", "scale": {"type": "log"}, "title": None,
                      "axis": {"tickCount": 4, "format": "~s"}},
                "color": colour,
            },
        },
    }  # fmt: skip
    dots = {
        "data": {"values": each},
        "width": 720,
        "height": {"step": 15},
        "mark": {"type": "point", "filled": True, "size": 60},
        "encoding": {
            "y": {"field": "member", "type": "nominal", "title": "member"},
            "x": {
                "field": "slowdown",
                "type": "quantitative",
                "scale": {"type": "log"},
                "title": "mean bounded slowdown of its tasks (1: none waits)",
            },
            "color": colour,
        },
    }
    spec = {
        "$schema": "https://vega.github.io/schema/vega-lite/v5.json",
        "title": title,
        "background": "white",
        "vconcat": [bars, dots],
    }
    return str(vl_convert.vegalite_to_svg(json.dumps(spec)))
