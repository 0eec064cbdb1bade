"""The picture of the joint model: losses that fall language by language, and what it is worth. Pure."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape

from ayni.demo.alliance import COUNTRY, SITE_OF
from ayni.demo.atlas.svg import element, number, sheet, text
from ayni.demo.atlas.wheel import COMMON, INK, MEMBER_COLOURS, PAPER, SOFT
from ayni.demo.model.results import JOINT, ONE_PLACE, SPANISH, Comparison, Measured

WIDTH, HEIGHT = 1600, 1000
LEFT, RIGHT = 48, 1552
MEMBER_OF = {site: member for member, site in SITE_OF.items()}
DESCRIPTION = (
    "Dos gráficos. A la izquierda, la pérdida de entrenamiento de cada lengua, ronda a ronda. A la "
    "derecha, bits por byte de texto no visto: cada país solo, los tres juntos, y todo en un lugar."
)
_NAMES = {JOINT: "Los tres juntos", ONE_PLACE: "Todo en un lugar*"}


@dataclass(frozen=True)
class Frame:
    """A chart's rectangle, and the scales of its axes."""

    left: float
    right: float
    top: float
    bottom: float
    xs: tuple[float, float]
    ys: tuple[float, float] = (0.0, 1.0)

    def x(self, value: float) -> float:
        low, high = self.xs
        return self.left + (self.right - self.left) * (value - low) / (high - low)

    def y(self, value: float) -> float:
        low, high = self.ys
        return self.bottom - (self.bottom - self.top) * (value - low) / (high - low)


Curves = Mapping[tuple[str, str], Sequence[tuple[int, float]]]


def curves(records: Iterable[Mapping[str, object]]) -> Curves:
    """The points (round, loss) of each site and language, from the coordinator's `losses.jsonl`.

    A round that a site said twice, after a kill, counts as it said it last.
    """
    found: dict[tuple[str, str], dict[int, float]] = {}
    for record in records:
        losses = record["losses"]
        assert isinstance(losses, Mapping)
        for language, loss in losses.items():
            points = found.setdefault((str(record["site"]), language), {})
            points[int(str(record["base"]))] = float(loss)
    return {key: sorted(points.items()) for key, points in found.items()}


def draw(
    comparison: Comparison, learning: Curves, source: str, called: Callable[[str], str]
) -> str:
    """The picture as SVG. `source`: what the texts were; `called`: a language's name."""
    parts = [
        _heading(),
        _figure(comparison),
        _learning(learning, called),
        _worth(comparison, called),
        _legend(comparison),
        _method(comparison, source),
    ]
    return sheet(
        WIDTH,
        HEIGHT,
        "Un modelo de lengua de tres países",
        DESCRIPTION,
        parts,
        paper=PAPER,
        ink=INK,
    )


def _heading() -> str:
    lines = (
        ("Los textos se quedan en casa; lo aprendido se suma", 23, INK),
        ("Um modelo de língua de três países: os textos ficam em casa", 16, SOFT),
        ("One language model of three countries: the texts stay at home", 16, SOFT),
    )
    parts = [text(LEFT - 3, 84, "Un modelo de tres países", 58, font_weight="bold")]
    y = 92.0
    for content, size, colour in lines:
        y += size * 1.5
        parts.append(text(LEFT, y, content, size, fill=colour))
    return "".join(parts)


def _figure(comparison: Comparison) -> str:
    """How much the joint model saves over the best country alone, as one large figure."""
    best = min(comparison.alone, key=lambda one: one.mean)
    saved = 100 * (1 - comparison.joint.mean / best.mean)
    lines = (
        f"{'menos' if saved >= 0 else 'más'} bits por byte, en la media de {_languages(best)},",
        f"que el mejor país solo ({COUNTRY[MEMBER_OF[best.name]]})",
    )
    parts = [
        text(RIGHT, 92, f"{abs(saved):.0f} %", 66, font_weight="bold", text_anchor="end"),
    ]
    for k, content in enumerate(lines):
        parts.append(text(RIGHT, 124 + 23 * k, content, 16, fill=SOFT, text_anchor="end"))
    return "".join(parts)


# --- losses by round --------------------------------------------------------------------------


def _learning(learning: Curves, called: Callable[[str], str]) -> str:
    values = [loss for points in learning.values() for _, loss in points]
    last = max((step for points in learning.values() for step, _ in points), default=1)
    low, high = math.floor(min(values, default=0)), math.ceil(max(values, default=1))
    frame = Frame(LEFT + 46, 716, 262, 822, (0, max(last, 1)), (low, max(high, low + 1)))
    parts = [
        text(LEFT, 226, "La pérdida baja, lengua por lengua", 20, font_weight="bold"),
        text(LEFT, 248, "nats por token, al entrenar en cada sitio", 14, fill=SOFT),
    ]
    for value in range(low, high + 1):
        y = frame.y(value)
        parts.append(_rule(frame.left, frame.right, y))
        parts.append(text(frame.left - 10, y + 5, str(value), 14, fill=SOFT, text_anchor="end"))
    every = max(1, round(last / 6))
    for step in range(0, last + 1, every):
        x = frame.x(step)
        parts.append(text(x, frame.bottom + 24, str(step + 1), 14, fill=SOFT, text_anchor="middle"))
    parts.append(text(frame.right, frame.bottom + 48, "ronda", 14, fill=SOFT, text_anchor="end"))
    others = sorted(learning.items(), key=lambda item: item[0][1] == SPANISH)  # Spanish on top
    parts += [_curve(frame, key, points, called(key[1])) for key, points in others]
    return element("g", "".join(parts))


def _curve(
    frame: Frame, key: tuple[str, str], points: Sequence[tuple[int, float]], name: str
) -> str:
    site, language = key
    path = "L".join(f"{number(frame.x(step))} {number(frame.y(loss))}" for step, loss in points)
    spanish = language == SPANISH
    note = element("title", escape(f"{name} · {COUNTRY[MEMBER_OF[site]]}"))
    return element(
        "path",
        note,
        d=f"M{path}",
        fill="none",
        stroke=_colour(site),
        stroke_width=4 if spanish else 1.6,
        stroke_opacity=1.0 if spanish else 0.5,
        stroke_linejoin="round",
        stroke_linecap="round",
    )


# --- what it is worth -------------------------------------------------------------------------


def _worth(comparison: Comparison, called: Callable[[str], str]) -> str:
    values = [bits for one in comparison.ordered for bits in one.bits.values()]
    low, high = math.floor(min(values) * 2) / 2, math.ceil(max(values) * 2) / 2
    frame = Frame(998, RIGHT - 8, 262, 822, (low, max(high, low + 0.5)))
    left = frame.left - 186
    parts = [
        text(left, 226, "Solos, juntos, y todo en un lugar", 20, font_weight="bold"),
        text(left, 248, "bits por byte de texto no visto: menos es mejor", 14, fill=SOFT),
    ]
    for half in range(int(low * 2), int(high * 2) + 1):
        x = frame.x(half / 2)
        parts.append(_rule(x, x, frame.top, frame.bottom))
        label = f"{half / 2:g}".replace(".", ",")
        parts.append(text(x, frame.bottom + 24, label, 14, fill=SOFT, text_anchor="middle"))
    rows = [*comparison.alone, comparison.joint, comparison.one_place]
    step = (frame.bottom - frame.top) / len(rows)
    for place, one in enumerate(rows):
        y = frame.top + step * (place + 0.5)
        parts.append(_row(frame, left, y, one, comparison.own, called))
    return element("g", "".join(parts))


def _row(
    frame: Frame,
    left: float,
    y: float,
    one: Measured,
    own: Mapping[str, Sequence[str]],
    called: Callable[[str], str],
) -> str:
    """A dot to each language, a bar at their mean, the name of the worst."""
    site_of = {language: site for site, languages in own.items() for language in languages}
    bold = "bold" if one.name == JOINT else None
    name = _NAMES.get(one.name) or f"{COUNTRY[MEMBER_OF[one.name]]}, sin los otros"
    parts = [
        text(left, y - 3, name, 17, font_weight=bold),
        text(left, y + 18, f"media {_decimal(one.mean)}", 14, fill=SOFT),
    ]
    for language, bits in sorted(one.bits.items()):
        note = element("title", escape(f"{called(language)}: {bits:.2f}"))
        parts.append(
            element(
                "circle", note, cx=frame.x(bits), cy=y, r=7, fill=_colour(site_of.get(language, "")),
                fill_opacity=0.55,
            )
        )  # fmt: skip
    x = frame.x(one.mean)
    parts.append(element("rect", x=x - 2, y=y - 24, width=4, height=48, fill=INK))
    worst = frame.x(one.bits[one.worst])
    parts.append(text(worst, y + 30, called(one.worst), 13, fill=SOFT, text_anchor="middle"))
    return element("g", "".join(parts))


def _legend(comparison: Comparison) -> str:
    parts = []
    x, y = float(LEFT), 912.0
    for member, site in SITE_OF.items():
        parts.append(element("circle", cx=x + 7, cy=y - 5, r=7, fill=_colour(site)))
        label = f"lenguas propias de {COUNTRY[member]}"
        parts.append(text(x + 22, y, label, 15))
        x += 46 + 8.2 * len(label)
    parts.append(element("circle", cx=LEFT + 7, cy=y + 25, r=7, fill=INK))
    own = {name for names in comparison.own.values() for name in names}
    spanish = comparison.joint.bits.keys() - own == {SPANISH}
    label = (
        "español, en los tres (a la izquierda, las líneas gruesas)"
        if spanish
        else "lenguas que tienen varios"
    )
    parts.append(text(LEFT + 22, y + 30, label, 15))
    return "".join(parts)


def _method(comparison: Comparison, source: str) -> str:
    lines = (
        f"Textos: {source}; {_languages(comparison.joint)}. La barra es la media; abajo, la peor.",
        "Cada país solo entrena con su parte del cómputo. *Fuera de la red, con copias públicas:",
        "donde los textos no pueden salir, ese lugar no existe. Hecho con Ayni.",
    )
    parts = [
        text(RIGHT, 912 + 21 * k, content, 14, fill=SOFT, text_anchor="end")
        for k, content in enumerate(lines)
    ]
    return "".join(parts)


def _languages(one: Measured) -> str:
    return "1 lengua" if len(one.bits) == 1 else f"{len(one.bits)} lenguas"


def _colour(site: str) -> str:
    return MEMBER_COLOURS.get(MEMBER_OF.get(site, ""), INK)


def _rule(x1: float, x2: float, y1: float, y2: float | None = None) -> str:
    return element(
        "line", x1=x1, x2=x2, y1=y1, y2=y1 if y2 is None else y2, stroke=COMMON, stroke_width=1
    )


def _decimal(value: float) -> str:
    return f"{value:.2f}".replace(".", ",")
