"""Gather the profiles of many languages and draw how they hang together.

    python -m ayni.demo.atlas.gather PROFILES META OUT

PROFILES is a folder of profiles (`*.json`, see profile.py), META a JSON file of what else is known
of the languages (see corpus.metadata), OUT a folder for atlas.svg, atlas.png and atlas.json. No
text is needed. Exit code 2, and one line on stderr, if the input cannot be used.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import vl_convert

from ayni.demo.atlas import kinship as kin
from ayni.demo.atlas import picture
from ayni.demo.atlas.profile import FORMAT, LANGUAGE
from ayni.demo.atlas.wheel import Leaf

FEWEST = 3
NEIGHBOURS = 3
TEXTS = ("name", "autonym", "script", "member", "family", "group")
MAX_BYTES = 4 * 2**20
_VARIANT = re.compile(r"(?P<label>.+?) \((?P<place>[^()]+)\)")


class UnusableInput(ValueError):
    """The profiles or the metadata cannot be used; the message says which and why."""


def gather(profiles: Path, meta: Path, out: Path) -> kin.Kinship:
    """Read, compare, draw, write; returns how well the neighbours agree with the families."""
    shares = read_profiles(profiles)
    ids = sorted(shares)
    known = read_metadata(meta)
    facts = [known.get(key, {}) for key in ids]
    distance = kin.distances([shares[key] for key in ids])
    merges = kin.average_linkage(distance)
    order = kin.circular_order(merges, distance)
    found = kin.kinship(
        distance, [f.get("family") for f in facts], [f.get("script", "") for f in facts]
    )
    near = [
        [(ids[j], round(float(distance[k, j]), 4)) for j in row]
        for k, row in enumerate(kin.nearest(distance, NEIGHBOURS))
    ]
    names = {key: str(fact.get("autonym") or key) for key, fact in zip(ids, facts, strict=True)}
    leaves = [
        leaf(names[key], fact, [names[other] for other, _ in row])
        for key, fact, row in zip(ids, facts, near, strict=True)
    ]
    svg = picture.draw(leaves, merges, order, found)
    out.mkdir(parents=True, exist_ok=True)
    (out / "atlas.svg").write_text(svg + "\n", encoding="utf-8")
    (out / "atlas.png").write_bytes(picture.recompress(vl_convert.svg_to_png(svg)))
    record = {
        "format": "ayni-atlas/1",
        "languages": {
            key: {**fact, "nearest": [{"id": other, "distance": d} for other, d in row]}
            for key, fact, row in zip(ids, facts, near, strict=True)
        },
        "tree": {"order": [ids[k] for k in order], "newick": newick(ids, merges)},
        "kinship": {**asdict(found), "share": found.share},
    }
    (out / "atlas.json").write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    return found


def read_profiles(folder: Path) -> dict[str, dict[str, float]]:
    """The n-gram shares of every profile in `folder`, by language. Raises UnusableInput."""
    if not folder.is_dir():
        raise UnusableInput(f"{folder}: not a folder; name the folder of the profiles")
    found: dict[str, dict[str, float]] = {}
    for path in sorted(folder.glob("*.json")):
        content = _read_json(path)
        if not isinstance(content, dict) or content.get("format") != FORMAT:
            raise UnusableInput(f"{path}: format is not {FORMAT!r}; make it with profile.py")
        language, shares = content.get("language"), content.get("ngrams")
        if not isinstance(language, str) or not LANGUAGE.fullmatch(language):
            raise UnusableInput(f"{path}: language is no identifier; make the profile again")
        if language in found:
            raise UnusableInput(f"{path}: a second profile of {language}; keep one")
        if not isinstance(shares, dict) or not shares or not all(map(_is_share, shares.values())):
            raise UnusableInput(f"{path}: ngrams must be shares from 0 to 1; make it again")
        found[language] = shares
    if len(found) < FEWEST:
        raise UnusableInput(f"{folder}: {len(found)} profiles; a tree needs at least {FEWEST}")
    return found


def read_metadata(path: Path) -> dict[str, dict[str, Any]]:
    """What is known of each language, by id. Raises UnusableInput."""
    content = _read_json(path)
    if not isinstance(content, dict) or not all(isinstance(v, dict) for v in content.values()):
        raise UnusableInput(f"{path}: must be an object with an object to each language id")
    for key, fact in content.items():
        for field in TEXTS:
            value = fact.get(field) or ""
            if not isinstance(value, str) or not value.isprintable():
                raise UnusableInput(f"{path}: {key}.{field} must be printable text or null")
    return content


def leaf(name: str, fact: Mapping[str, Any], near: Sequence[str]) -> Leaf:
    """How a language is shown: `Quechua (Cusco)` is a name and, smaller, a place."""
    variant = _VARIANT.fullmatch(name)
    label, place = (variant["label"], variant["place"]) if variant else (name, "")
    note = f"{name} · {fact.get('name') or name} · se parece a {', '.join(near)}"
    return Leaf(label, place, fact.get("member"), fact.get("group"), note)


def newick(ids: Sequence[str], merges: Sequence[kin.Merge]) -> str:
    """The tree in Newick format; a branch is as long as half the distance that it adds."""
    subtrees, heights = list(ids), [0.0] * len(ids)
    for merge in merges:
        parts = [
            f"{subtrees[child]}:{max(0.0, merge.height / 2 - heights[child]):.4f}"
            for child in (merge.left, merge.right)
        ]
        subtrees.append(f"({','.join(parts)})")
        heights.append(merge.height / 2)
    return subtrees[-1] + ";"


def _is_share(value: object) -> bool:
    return isinstance(value, int | float) and 0 <= value <= 1


def _read_json(path: Path) -> Any:
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise UnusableInput(f"{path}: {error.strerror}; name a file that can be read") from error
    if len(data) > MAX_BYTES:
        raise UnusableInput(f"{path}: more than {MAX_BYTES} bytes; this is no profile")
    try:
        return json.loads(data)
    except (ValueError, RecursionError) as error:
        raise UnusableInput(f"{path}: not JSON ({error}); make the file again") from error


def main(arguments: list[str]) -> int:
    if len(arguments) != 3:
        print("usage: python -m ayni.demo.atlas.gather PROFILES META OUT", file=sys.stderr)
        return 2
    profiles, meta, out = map(Path, arguments)
    try:
        found = gather(profiles, meta, out)
    except UnusableInput as error:
        print(f"gather: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        print(f"gather: {error.filename}: {error.strerror}; name a writable OUT", file=sys.stderr)
        return 2
    print(
        f"{found.found} of {found.counted} languages with a relative in the same script have one "
        f"as their nearest neighbour ({found.share:.0%}; by chance {found.chance:.0%})"
    )
    for path in sorted(out.glob("atlas.*")):
        print(f"{path}: {path.stat().st_size / 1000:.0f} kB")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
