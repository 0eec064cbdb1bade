"""`ayni hub …`: what the operator types, and what is said to their mistakes."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from ayni.cli.frame import build
from ayni.errors import UserError
from ayni.hub.accounts.models import Institution, Person, Token
from ayni.hub.accounts.tokens import digest
from ayni.hub.calls.models import Membership, Project
from ayni.hub.network.models import Hub, Site
from ayni.hub.tasks.life import TaskState
from tests.hub import factories
from tests.hub.network.simulated import state, tasks

pytestmark = pytest.mark.django_db
Hub_ = Callable[..., Any]


@pytest.fixture
def hub() -> Hub_:
    """Runs `ayni hub …` in this process; JSON where `--json` is among the arguments."""

    def run(*arguments: str) -> Any:
        done = CliRunner().invoke(build(), ["hub", *arguments], catch_exceptions=False)
        assert done.exit_code == 0, done.output
        return json.loads(done.stdout) if "--json" in arguments else done.stdout

    return run


def mistake(hub: Hub_, *arguments: str) -> str:
    with pytest.raises(UserError) as caught:
        hub(*arguments)
    return str(caught.value)


def test_an_alliance_is_built_by_hand(hub: Hub_) -> None:
    hub("member", "add", "CL", "Chile")
    hub("institution", "add", "UdC", "--member", "CL", "--ror", "https://ror.org/0")
    hub("person", "add", "Ana@UdC.cl", "Ana Rojas", "--institution", "UdC")
    hub("project", "add", "clima", "Clima austral", "--institution", "UdC", "--quota", "5")
    hub("project", "join", "clima", "ana@udc.cl")
    secret = hub("token", "issue", "ana@udc.cl", "--project", "clima", "--days", "1", "--json")[
        "token"
    ]
    assert Institution.objects.get(name="UdC").member_id == "CL"
    assert Project.objects.get(name="clima").quota == 5
    assert Membership.objects.filter(person__email="ana@udc.cl").exists()
    token = Token.objects.get(digest=digest(secret))
    assert (token.person, token.project.name) == (Person.objects.get(), "clima")  # type: ignore[union-attr]


def test_a_token_can_be_listed_and_revoked_but_not_seen_again(hub: Hub_) -> None:
    secret = factories.token()
    [row] = hub("token", "ls", "--json")["tokens"]
    assert secret not in json.dumps(row)
    hub("token", "revoke", str(row["id"]))
    assert Token.objects.get(id=row["id"]).revoked is not None
    assert row["of"] in hub("token", "ls")


def test_a_new_site_gets_a_code_that_may_be_replaced(hub: Hub_) -> None:
    member = factories.institution().member
    made = hub(
        "site", "add", "leftraru", "NLHPC", "--member", member.code, "--latitude", "-33.4", "--json"
    )
    site = Site.objects.get(name="leftraru")
    assert site.code_digest == digest(made["code"])
    again = hub("site", "code", "leftraru", "--json")
    site.refresh_from_db()
    assert site.code_digest == digest(again["code"]) != digest(made["code"])


def test_a_site_drains_and_takes_tasks_again(hub: Hub_) -> None:
    site = factories.site(name="andes")
    hub("site", "drain", "andes")
    site.refresh_from_db()
    assert site.draining
    hub("site", "undrain", "andes")
    site.refresh_from_db()
    assert not site.draining
    [row] = hub("site", "ls", "--json")["sites"]
    assert (row["name"], row["state"]) == ("andes", "never")


def test_a_ban_is_one_command_and_may_be_lifted(hub: Hub_) -> None:
    [task] = tasks(factories.project(name="clima"))
    told = hub("ban", "project", "clima", "--why", "stolen key", "--json")
    assert told["ended"] == 1
    assert state(task) is TaskState.CANCELED
    assert Project.objects.get().banned_why == "stolen key"
    hub("unban", "project", "clima")
    assert Project.objects.get().banned_at is None


def test_status_counts_what_has_not_ended(hub: Hub_) -> None:
    tasks(factories.project(), 3)
    told = hub("status", "--json")
    assert told["tasks"] == {"QUEUED": 3}
    assert "3 QUEUED" in hub("status")


def test_a_restored_hub_takes_a_new_epoch(hub: Hub_) -> None:
    before = hub("status", "--json")["epoch"]
    after = hub("restored", "--json")["epoch"]
    assert before != after == Hub.objects.get().epoch


def test_an_alliance_is_applied_from_a_document(hub: Hub_, tmp_path: Path) -> None:
    document = tmp_path / "alliance.yaml"
    document.write_text(
        "members: [{code: MX, name: México}]\n"
        "institutions: [{name: UNAM, member: MX}]\n"
        "sites: [{name: miztli, title: Miztli, institution: UNAM}]\n"
    )
    code = hub("apply", str(document), "--json")["codes"]["miztli"]
    assert Site.objects.get().code_digest == digest(code)
    document.write_text("members: [")
    assert "neither JSON nor YAML" in mistake(hub, "apply", str(document))
    assert "cannot be read" in mistake(hub, "apply", str(tmp_path / "none.yaml"))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("member", "add", "Chile", "Chile"), "country code"),
        (("institution", "add", "X", "--member", "ZZ"), "ayni hub member add"),
        (("person", "add", "nobody", "N", "--institution", "X"), "e-mail"),
        (("project", "add", "No Name", "t", "--institution", "X"), "small letters"),
        (("project", "join", "none", "a@b"), "ayni hub project add"),
        (("token", "revoke", "999"), "ayni hub token ls"),
        (("site", "add", "x", "t"), "--institution"),
        (("site", "code", "none"), "ayni hub site ls"),
        (("ban", "planet", "earth"), "person, project or site"),
        (("ban", "person", "none@example.org"), "e-mail address"),
    ],
)
def test_a_mistake_is_named_with_its_remedy(
    hub: Hub_, arguments: tuple[str, ...], words: str
) -> None:
    assert words in mistake(hub, *arguments)


def test_projects_and_sites_share_their_names(hub: Hub_) -> None:
    factories.site(name="andes")
    institution = factories.institution().name
    assert "taken" in mistake(hub, "project", "add", "andes", "t", "--institution", institution)


@pytest.mark.parametrize("command", ["run", "init", "site", "token", "ban", "backup", "restored"])
def test_every_command_explains_itself_with_an_example(command: str) -> None:
    group = command in ("site", "token")
    arguments = [
        "hub",
        command,
        *(["add" if command == "site" else "issue"] if group else []),
        "--help",
    ]
    done = CliRunner().invoke(build(), arguments)
    assert done.exit_code == 0
    assert "Example" in done.stdout


@pytest.mark.django_db(transaction=True)
def test_a_backup_is_a_whole_database_and_never_overwrites(
    hub: Hub_, tmp_path: Path, settings: Any
) -> None:
    if not settings.IS_SQLITE:
        assert "pg_dump" in mistake(hub, "backup", str(tmp_path / "b"))
        return
    factories.site(name="andes")
    target = tmp_path / "hub.sqlite3"
    hub("backup", str(target))
    assert target.stat().st_mode & 0o077 == 0
    copy = sqlite3.connect(target)
    assert copy.execute("SELECT name FROM network_site").fetchall() == [("andes",)]
    copy.close()
    assert "exists" in mistake(hub, "backup", str(target))
