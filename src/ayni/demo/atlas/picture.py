"""The family picture of the languages, as a page: title, finding, wheel, legend, method. Pure."""

from __future__ import annotations

import struct
import zlib
from collections import Counter
from collections.abc import Sequence

from ayni.demo.atlas.kinship import Kinship, Merge
from ayni.demo.atlas.svg import element, sheet, text
from ayni.demo.atlas.wheel import INK, PAPER, SOFT, Leaf, Wheel, mark

WIDTH, HEIGHT = 1600, 1810
CENTRE = (800, 962)
LEFT, RIGHT = 48, 1552
COUNTRIES = {"CL": "Chile", "CO": "Colombia", "MX": "México"}
DESCRIPTION = (
    "Un árbol circular de lenguas: cuanto más cerca del borde se unen dos ramas, más se parecen los "
    "textos de sus lenguas, letra a letra. Alrededor, los nombres de las familias."
)


def draw(
    leaves: Sequence[Leaf], merges: Sequence[Merge], order: Sequence[int], kinship: Kinship
) -> str:
    """The picture as SVG. `order` lists the leaves clockwise from the top."""
    wheel = Wheel(leaves, merges, order).draw()
    parts = [
        element("g", wheel, transform=f"translate({CENTRE[0]} {CENTRE[1]})"),
        heading(),
        finding(kinship),
        legend(leaves),
        method(),
    ]
    return sheet(
        WIDTH, HEIGHT, "Atlas de las lenguas de América", DESCRIPTION, parts, paper=PAPER, ink=INK
    )


def heading() -> str:
    lines = (
        ("Quién se parece a quién, letra a letra", 23, INK),
        ("Atlas das línguas da América: quem se parece com quem", 16, SOFT),
        ("An atlas of the Americas’ languages: who resembles whom", 16, SOFT),
    )
    y, parts = (
        162.0,
        [
            text(LEFT - 3, 84, "Atlas de las lenguas", 58, font_weight="bold"),
        ],
    )
    parts.append(text(LEFT - 3, 144, "de América", 58, font_weight="bold"))
    for content, size, colour in lines:
        y += size * 1.5
        parts.append(text(LEFT, y, content, size, fill=colour))
    return "".join(parts)


def finding(kinship: Kinship) -> str:
    """What the tree found, as one large figure. Nothing if no language has a relative here."""
    if not kinship.counted:
        return ""
    lines = (
        f"En {kinship.found} de {kinship.counted} lenguas con parientes aquí,",
        "la más parecida es de su misma familia.",
        f"Por azar lo sería en el {kinship.chance:.0%}.".replace("%", " %"),
    )
    figure = f"{kinship.share:.0%}".replace("%", " %")
    parts = [text(RIGHT, 92, figure, 66, font_weight="bold", text_anchor="end")]
    for k, content in enumerate(lines):
        parts.append(text(RIGHT, 126 + 23 * k, content, 16, fill=SOFT, text_anchor="end"))
    return "".join(parts)


def legend(leaves: Sequence[Leaf]) -> str:
    """Where the texts are."""
    counts = Counter(leaf.member for leaf in leaves)
    members = sorted(member for member in counts if member)
    rows: list[tuple[str | None, str]] = [
        (member, f"{COUNTRIES.get(member, member)}: {counts[member]}, y no salen del país")
        for member in members
    ]
    rows.append((None, f"abiertas: {counts[None]}, van adonde haya lugar"))
    top = HEIGHT - 44 - 27 * (len(rows) - 1)
    parts = [text(LEFT, top - 32, "¿Dónde están los textos?", 17, font_weight="bold")]
    for k, (member, content) in enumerate(rows):
        y = top + 27 * k
        tag = mark(member, 1)
        shift = LEFT if member else LEFT + 6.5
        parts.append(element("g", tag, transform=f"translate({shift} {y})"))
        parts.append(text(LEFT + 38, y + 5.3, content, 16))
    return "".join(parts)


def method() -> str:
    lines = (
        "Cada texto se leyó donde está guardado. De ahí sólo",
        "salió un perfil: las 400 secuencias de una a tres letras",
        "más frecuentes. Se unen las más parecidas (distancia",
        "coseno, UPGMA); las familias, según Glottolog, dan color",
        "y no cuentan. Textos: Declaración Universal de Derechos",
        "Humanos y otros, del paquete gflanguages. Hecho con Ayni.",
    )
    parts = [
        text(
            RIGHT,
            HEIGHT - 44 - 21 * 6 - 6,
            "Cómo se hizo",
            17,
            font_weight="bold",
            text_anchor="end",
        )
    ]
    for k, content in enumerate(reversed(lines)):
        parts.append(text(RIGHT, HEIGHT - 39 - 21 * k, content, 14, fill=SOFT, text_anchor="end"))
    return "".join(parts)


def recompress(png: bytes) -> bytes:
    """The same PNG with its pixels packed harder; about half the size, not a pixel changed."""
    chunks, at = [], 8
    while at < len(png):
        (length,) = struct.unpack_from(">I", png, at)
        chunks.append((png[at + 4 : at + 8], png[at + 8 : at + 8 + length]))
        at += 12 + length
    pixels = zlib.decompress(b"".join(data for kind, data in chunks if kind == b"IDAT"))
    packed = (b"IDAT", zlib.compress(pixels, 9))
    others = [chunk for chunk in chunks if chunk[0] != b"IDAT"]
    ordered = [*others[:-1], packed, others[-1]]
    return png[:8] + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in ordered
    )
