"""Every code that the broker or a policy may give has its words in three languages."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest
from django.utils import translation

import ayni
from ayni.hub.network.world import STOPPING
from ayni.hub.portal.failures import TEXTS as FAILURES
from ayni.hub.portal.failures import sentence
from ayni.hub.portal.health import FAULTS, note_text
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


def test_a_site_that_was_chosen_although_the_task_had_to_wait_there_tells_how_long() -> None:
    chosen = {"code": "chosen", "message": "was given 1 task"}
    with translation.override("en"):
        for soon in ({}, {"start_in": 0}, {"start_in": "x"}):
            assert reason_text({**chosen, "parameters": soon}) == "was given the task"
        later = reason_text({**chosen, "parameters": {"count": 1, "start_in": 600}})
        assert later.startswith("was given the task; it was expected to start in 10")


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


# --- what is ill ------------------------------------------------------------------------------


def agent_codes() -> set[str]:
    """Those of every `Fault` that an agent may tell."""
    places = [
        *(ROOT / "agent/executors").rglob("*.py"), ROOT / "agent/disks.py", ROOT / "agent/offer.py"
    ]  # fmt: skip
    calls = (n for path in places for n in ast.walk(ast.parse(path.read_text())))
    named = [
        n.args[0]
        for n in calls
        if isinstance(n, ast.Call) and isinstance(n.func, ast.Name) and n.func.id == "Fault"
    ]
    return {"state", "shared"} | {str(n.value) for n in named if isinstance(n, ast.Constant)}


def test_every_fault_of_a_site_has_its_words_and_keeps_work_away_unless_most_goes_on() -> None:
    assert agent_codes() >= {"controller", "munge", "accounting", "executor", "disk"}
    assert agent_codes() == FAULTS.keys()
    assert agent_codes() - STOPPING == {"accounting", "local_user"}


@pytest.mark.parametrize(
    ("language", "words"),
    [
        ("es", "(munge) no funciona: lo que ya corre sigue, nada nuevo empieza. Remedio: arrancar"),
        ("pt", "(munge) não funciona: o que já roda continua, nada novo começa. Remédio: iniciar"),
        ("en", "(munge) does not work: what runs goes on, nothing new starts. Remedy: start"),
    ],
)
def test_a_fault_is_told_with_its_remedy_in_the_readers_language(language: str, words: str) -> None:
    with translation.override(language):
        assert words in note_text({"code": "munge", "message": "?", "remedy": "?"})


def test_maintenance_is_told_with_its_times_and_partitions() -> None:
    note = {"code": "maintenance", "message": "?", "parameters": {"begin": "8", "end": "9"}}
    with translation.override("pt"):
        assert note_text(note) == "Manutenção de 8 a 9."
        note["parameters"] = {"begin": "8", "end": "9", "partitions": "main"}
        assert note_text(note) == "Manutenção de main, de 8 a 9."


def test_a_note_of_another_version_is_shown_in_its_own_words() -> None:
    assert note_text({"code": "new", "message": "something is ill"}) == "something is ill"
    assert note_text({"code": "maintenance", "message": "soon"}) == "soon"
