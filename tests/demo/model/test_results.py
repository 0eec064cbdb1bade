"""What a comparison says, also where it speaks against the joint model; and its picture."""

from __future__ import annotations

import json
from xml.etree import ElementTree

import pytest

from ayni.demo.model import picture
from ayni.demo.model.results import JOINT, ONE_PLACE, Comparison, Measured, gap, parse
from ayni.demo.model.story import called, called_together, findings

OWN = {"santiago": ["arn"], "mexico": ["yua", "nhn"], "bogota": ["guc"]}
BITS = {
    JOINT: {"es": 2.0, "arn": 3.0, "yua": 2.5, "nhn": 2.4, "guc": 2.6},
    ONE_PLACE: {"es": 1.9, "arn": 2.8, "yua": 2.4, "nhn": 2.3, "guc": 2.5},
    "santiago": {"es": 2.4, "arn": 2.9, "yua": 4.0, "nhn": 4.1, "guc": 4.2},
    "mexico": {"es": 2.3, "arn": 3.9, "yua": 2.6, "nhn": 2.5, "guc": 3.8},
    "bogota": {"es": 2.4, "arn": 4.0, "yua": 3.9, "nhn": 3.8, "guc": 2.7},
}


@pytest.fixture
def found() -> Comparison:
    lines = [{"own": OWN}, {"prompt": "Toda persona", "text": "Toda persona <b> & más"}]
    lines += [{"name": name, "bits": bits, "tokens": 1000} for name, bits in BITS.items()]
    return parse([json.dumps(line) for line in lines])


def test_means_count_every_language_alike_and_the_worst_is_named(found: Comparison) -> None:
    assert found.joint.mean == pytest.approx(2.5)
    assert found.joint.worst == "arn"
    assert found.named("mexico").over(OWN["mexico"]) == pytest.approx(2.55)
    assert found.joint.over(["xx"]) is None
    assert [one.name for one in found.ordered] == [JOINT, *OWN, ONE_PLACE]


def test_it_is_said_which_languages_their_own_country_knows_better(found: Comparison) -> None:
    assert found.worse_than_at_home() == ["arn"]
    told = findings(found)
    assert gap(2.5, 3.02) == "-17.2 %" and gap(2.5, 3.02) in told[0] and "+5.0 %" in told[0]
    assert gap(3.0, 3.9) in told[1] and "México" in told[1]
    assert told[-1].endswith("1 of 4 languages")


def test_the_picture_has_every_language_of_every_model_and_every_curve(found: Comparison) -> None:
    records = [
        {"site": site, "base": base, "losses": dict.fromkeys(("es", *own), 5.0 - base)}
        for site, own in OWN.items()
        for base in (0, 1, 1, 2)
    ]
    curves = picture.curves(records)
    assert curves["mexico", "yua"] == [(0, 5.0), (1, 4.0), (2, 3.0)]
    svg = picture.draw(found, curves, "textos <propios>", str.upper)
    root = ElementTree.fromstring(svg)
    of = "{http://www.w3.org/2000/svg}"
    notes = [title.text for title in root.iter(f"{of}title")]
    assert sum(note is not None and note.startswith("YUA: ") for note in notes) == len(BITS)
    assert sum(note == "ES · Chile" for note in notes) == 1
    assert "textos <propios>" in " ".join(text.text or "" for text in root.iter(f"{of}text"))


def test_one_language_that_is_not_spanish_and_that_all_hold_is_compared_as_well() -> None:
    models = tuple(Measured(name, {"pt": 2.0 + n}, 1000) for n, name in enumerate(BITS))
    found = Comparison(models, dict.fromkeys(OWN, ()), "a", "b")
    told = findings(found)
    assert len(told) == 2 and told[0].startswith("Mean over 1 language:")
    svg = picture.draw(found, {("santiago", "pt"): [(0, 5.0)]}, "textos", str.upper)
    words = " ".join(t.text or "" for t in ElementTree.fromstring(svg).iter())
    assert "lenguas que tienen varios" in words and "español" not in words and "1 lengua." in words
    assert (
        called_together({"pt"}) == called("pt") and called_together({"pt", "es"}) == "in common (2)"
    )
