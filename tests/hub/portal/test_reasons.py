"""Every code that the broker or a policy may give has its words in three languages."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest
from django.utils import translation

import ayni
from ayni.hub.portal.failures import TEXTS as FAILURES
from ayni.hub.portal.failures import sentence
from ayni.hub.portal.reasons import TEXTS, reason_text

ROOT = Path(ayni.__file__).parent
LIMITS = {"cores", "memory", "gpus", "nodes", "walltime", "capacity"}  # given by a variable
WHERE = {
    "_no": 1,
    "_reason": 0,
    "SiteReason": 2,
    "Reason": 0,
    "StagingError": 0,
    "broken_promise": 0,
    "TransferError": 1,
}  # which argument is the code


def codes(path: Path) -> set[str]:
    """Literal codes; a code that is a variable is assigned literally in the same file."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name | ast.Attribute):
            name = node.func.id if isinstance(node.func, ast.Name) else node.func.attr
            if name not in WHERE:
                continue
            named = [k.value for k in node.keywords if k.arg == "code"]
            found |= _literals(named or node.args[WHERE[name] : WHERE[name] + 1])
        if isinstance(node, ast.Assign) and any(
            isinstance(t, ast.Name) and t.id == "code" for t in node.targets
        ):
            found |= _literals([node.value])
    return found


def _literals(nodes: list[ast.expr]) -> set[str]:
    return {
        n.value
        for node in nodes
        for n in ast.walk(node)
        if isinstance(n, ast.Constant) and isinstance(n.value, str)
    }


SITES = [*sorted((ROOT / "broker").glob("*.py")), ROOT / "protocol/policy.py"]
HUB = sorted((ROOT / "hub/network").glob("*.py"))
AGENT = sorted(p for p in (ROOT / "agent").rglob("*.py"))


def test_the_brokers_and_the_policys_codes_have_their_words() -> None:
    said = LIMITS.union(*map(codes, SITES))
    assert {"member", "silent", "full", "held", "chosen", "walltime", "residency"} <= said
    assert said - TEXTS.keys() == set()


def test_the_hubs_codes_have_their_words() -> None:
    said = set().union(*map(codes, HUB))
    assert {"lost", "no-site", "refused", "banned"} <= said
    assert said - TEXTS.keys() - FAILURES.keys() == set()


def test_the_agents_codes_have_their_words() -> None:
    said = set().union(*map(codes, AGENT))
    assert "exit" in said
    assert said - TEXTS.keys() - FAILURES.keys() == set()


@pytest.mark.parametrize("language", ["pt", "en"])
def test_every_text_is_translated_with_the_same_parameters(language: str) -> None:
    texts = [*TEXTS.values(), *(text for pair in FAILURES.values() for text in pair)]
    with translation.override(language):
        for text in texts:
            said = translation.gettext(text)
            assert said != text, text
            assert set(re.findall(r"%\((\w+)\)s", said)) == set(re.findall(r"%\((\w+)\)s", text))


def test_numbers_are_said_with_their_units() -> None:
    reason = {"code": "memory", "message": "m", "parameters": {"wanted": 8 * 10**9, "limit": 10**9}}
    with translation.override("es"):
        assert reason_text(reason) == "pide 8\u00a0GB de memoria; aquí caben a lo más 1\u00a0GB"
    reason = {"code": "walltime", "message": "m", "parameters": {"wanted": 7200, "offered": 5400}}
    with translation.override("en"):
        assert reason_text(reason) == "asks for 2\u00a0h of time; at most 1.5\u00a0h are given here"


@pytest.mark.parametrize(
    "reason",
    [
        {"code": "from-the-future", "message": "words", "parameters": {}},
        {"code": "member", "message": "words", "parameters": {}},
        {"code": "member", "message": "words"},
    ],
)
def test_what_is_not_known_is_said_in_its_own_words(reason: dict[str, object]) -> None:
    assert reason_text(reason) == sentence(reason) == "words"
