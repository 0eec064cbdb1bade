"""The round tree of the picture: branches inside, names at the rim, groups around. Pure."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape

from ayni.demo.atlas.kinship import Merge
from ayni.demo.atlas.svg import arc, band, element, number, pair, point, text, width

ROOT, TIPS, GROUPS = 122.0, 520.0, 712.0  # radii of the root, of the leaves, of the groups' arcs
INK, SOFT, PAPER = "#1f2328", "#5f6672", "#ffffff"
COMMON, SMALL = "#c3c7cd", "#868d98"  # branches of several groups, and of the small ones

# After Paul Tol's "muted" scheme: told apart by colour-blind eyes, and in print.
GROUP_COLOURS = (
    "#332288",
    "#882255",
    "#8a8a1f",
    "#2f9e8f",
    "#aa4499",
    "#3f97c6",
    "#cc6677",
    "#117733",
    "#cf9a1d",
)
# From Okabe and Ito's scheme; the code is written into each mark, so colour never speaks alone.
MEMBER_COLOURS = {"CL": "#d55e00", "MX": "#00795b", "CO": "#0072b2"}


@dataclass(frozen=True, slots=True)
class Leaf:
    """One language at the rim. `place` tells variants of a name apart; `note` shows on hovering."""

    label: str
    place: str
    member: str | None
    group: str | None
    note: str


@dataclass(frozen=True, slots=True)
class Node:
    """A place in the tree: its angle, its radius, the leaves under it."""

    angle: float
    radius: float
    leaves: frozenset[int]


@dataclass(frozen=True, slots=True)
class Run:
    """Neighbours on the rim that belong to one group, between two angles."""

    group: str
    start: float
    end: float


class Wheel:
    """A tree of `leaves`, which stand in `order` clockwise from the top. Draws about (0, 0)."""

    def __init__(
        self, leaves: Sequence[Leaf], merges: Sequence[Merge], order: Sequence[int]
    ) -> None:
        self.leaves, self.merges, self.order = leaves, merges, order
        self.step = 2 * math.pi / len(order)
        # 130 names fill the rim at 16.5 px; fewer have no need to be larger, more must be smaller.
        self.size = min(16.5, 0.66 * self.step * TIPS)
        self.nodes = layout(merges, order)
        self.runs = group_runs([leaves[k].group for k in order])
        self.colours = group_colours([leaf.group for leaf in leaves])

    def draw(self) -> str:
        return "".join(
            (self._tints(), self._branches(), self._rim(), self._group_names(), self._root())
        )

    def _tints(self) -> str:
        parts = []
        for run in self.runs:
            colour, start, end = self.colours[run.group], run.start + 0.005, run.end - 0.005
            within = band(start, end, TIPS - 14, GROUPS - 4)
            parts.append(element("path", d=within, fill=colour, fill_opacity=0.085))
            parts.append(element("path", d=band(start, end, GROUPS, GROUPS + 8), fill=colour))
        return "".join(parts)

    def _branches(self) -> str:
        """The branches of one group in its colour, above the common ones."""
        common: list[str] = []
        coloured: list[str] = []
        for k, merge in enumerate(self.merges):
            parent = self.nodes[len(self.leaves) + k]
            for child in (self.nodes[merge.left], self.nodes[merge.right]):
                groups = {self.leaves[leaf].group for leaf in child.leaves}
                group = groups.pop() if len(groups) == 1 else None
                colour = self.colours.get(group or "", COMMON)
                weight = 1.6 + 0.75 * math.log2(len(child.leaves))
                if colour == COMMON:
                    weight = min(weight, 3.2)
                path = element("path", d=branch(parent, child), stroke=colour, stroke_width=weight)
                (common if colour == COMMON else coloured).append(path)
        return element("g", "".join(common + coloured), fill="none", stroke_linecap="round")

    def _rim(self) -> str:
        """A mark and a name to each leaf, readable from the left on both sides."""
        parts = []
        for leaf, node in zip(self.leaves, self.nodes, strict=False):
            x, y = point(node.angle, TIPS)
            side = -1 if node.angle > math.pi else 1
            place = f"translate({number(x)} {number(y)}) "
            place += f"rotate({number(math.degrees(node.angle) - 90 * side)})"
            note = element("title", escape(leaf.note))
            parts.append(
                element(
                    "g", note + mark(leaf.member, side) + self._name(leaf, side), transform=place
                )
            )
        return "".join(parts)

    def _name(self, leaf: Leaf, side: int) -> str:
        """The name, smaller if it would not fit before the groups' arcs."""
        start, bold = 33 if leaf.member else 16, leaf.member is not None
        room = GROUPS - 8 - TIPS - start
        long = width(leaf.label, self.size, bold) + width(
            leaf.place and f" {leaf.place}", self.size * 0.8
        )
        size = self.size * min(1.0, room / max(long, 1.0))
        content = escape(leaf.label)
        if leaf.place:
            style = {"font_weight": "normal", "fill": SOFT}
            content += " " + element("tspan", escape(leaf.place), font_size=size * 0.8, **style)
        return element(
            "text",
            content,
            x=start * side,
            y=size / 3,
            font_size=size,
            font_weight="bold" if bold else None,
            text_anchor="start" if side > 0 else "end",
        )

    def _group_names(self) -> str:
        """Along the arcs, smaller where the arc is short; upright in the lower half too."""
        parts = []
        for k, run in enumerate(self.runs):
            middle, room = (run.start + run.end) / 2, (run.end - run.start) * GROUPS
            size = max(14.0, min(18.0, 18.0 * room / width(run.group, 18.0, bold=True)))
            reach = width(run.group, size, bold=True) / GROUPS
            below = math.cos(middle) < 0
            radius = GROUPS + (17 + 0.72 * size if below else 17)
            ends = (middle + reach, middle - reach) if below else (middle - reach, middle + reach)
            parts.append(element("path", id=f"group{k}", d=arc(*ends, radius), fill="none"))
            along = element("textPath", escape(run.group), href=f"#group{k}", startOffset="50%")
            style = {"font_weight": "bold", "text_anchor": "middle"}
            parts.append(element("text", along, font_size=size, fill=self._ink(run.group), **style))
        return "".join(parts)

    def _ink(self, group: str) -> str:
        colour = self.colours[group]
        return SOFT if colour == SMALL else colour

    def _root(self) -> str:
        kept = sum(leaf.member is not None for leaf in self.leaves)
        lines = [
            text(0, 12, str(len(self.leaves)), 74, font_weight="bold", text_anchor="middle"),
            text(0, 40, "lenguas", 23, text_anchor="middle"),
            text(0, 65, f"{kept} sin salir de casa", 14, fill=SOFT, text_anchor="middle"),
        ]
        ring = element("circle", r=ROOT, fill="none", stroke=COMMON, stroke_width=3.2)
        return ring + "".join(lines)


def layout(merges: Sequence[Merge], order: Sequence[int]) -> list[Node]:
    """Place the leaves on the rim and each merge further in, the later the nearer to the root.

    Unrelated languages are all about equally far apart, so distances would crowd the root. The
    radius shows the order in which clusters joined, and keeps each clear of those within it.
    """
    step = 2 * math.pi / len(order)
    position = {leaf: k for k, leaf in enumerate(order)}
    nodes = [
        Node((position[leaf] + 0.5) * step, TIPS, frozenset([leaf])) for leaf in range(len(order))
    ]
    levels = [0] * len(order)
    for merge in merges:
        levels.append(1 + max(levels[merge.left], levels[merge.right]))
    outer = TIPS - 26
    for rank, merge in enumerate(merges, start=1):
        left, right = nodes[merge.left], nodes[merge.right]
        depth = 0.5 * rank / len(merges) + 0.5 * levels[len(order) + rank - 1] / levels[-1]
        angle = (left.angle + right.angle) / 2
        nodes.append(Node(angle, outer - (outer - ROOT) * depth, left.leaves | right.leaves))
    return nodes


def branch(parent: Node, child: Node) -> str:
    """Path data: along the parent's circle, round a soft corner, straight out to the child."""
    turn = child.angle - parent.angle
    bend = min(10.0, (child.radius - parent.radius) / 2, abs(turn) * parent.radius)
    corner = child.angle - math.copysign(bend / parent.radius, turn)
    return (
        arc(parent.angle, corner, parent.radius)
        + f"Q{pair(child.angle, parent.radius)} {pair(child.angle, parent.radius + bend)}"
        + f"L{pair(child.angle, child.radius)}"
    )


def mark(member: str | None, side: int) -> str:
    """A tag with the country's code where the text has to stay there, a ring where it is open."""
    if member is None:
        return element("circle", cx=7.0 * side, r=3.6, fill=PAPER, stroke=SOFT, stroke_width=1.6)
    colour = MEMBER_COLOURS.get(member, INK)
    tag = element("rect", x=min(0, 27 * side), y=-8.5, width=27, height=17, rx=3.5, fill=colour)
    style = {"fill": PAPER, "font_weight": "bold", "text_anchor": "middle"}
    return tag + text(13.5 * side, 4.3, member, 12, **style)


def group_runs(groups: Sequence[str | None]) -> list[Run]:
    """Stretches of at least two neighbours of one group; `groups` go clockwise from the top."""
    step = 2 * math.pi / len(groups)
    found: list[Run] = []
    first = 0
    for k in range(1, len(groups) + 1):
        group = groups[first]
        if k == len(groups) or groups[k] != group:
            if group and k - first > 1:
                found.append(Run(group, first * step, k * step))
            first = k
    return found


def group_colours(groups: Sequence[str | None]) -> Mapping[str, str]:
    """A colour to each of the largest groups, one grey to the small, none to a group of one."""
    sizes = Counter(group for group in groups if group)
    ranked = sorted(sizes, key=lambda group: (-sizes[group], group))
    return {
        group: GROUP_COLOURS[k] if k < len(GROUP_COLOURS) and sizes[group] > 2 else SMALL
        for k, group in enumerate(ranked)
        if sizes[group] > 1
    }
