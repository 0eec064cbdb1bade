"""Who gets in, and what they do not see."""

from __future__ import annotations

import pytest
from django.utils import timezone

from ayni.hub.accounts.models import Token
from ayni.hub.portal import session
from ayni.hub.tasks import ids
from ayni.hub.tasks.life import TaskState
from ayni.hub.tasks.models import Array, Task

from .. import factories as make
from .conftest import Alliance, put_file

PRIVATE = ["/tareas", "/tareas/0000000000001", "/lotes/0000000000001", "/archivos"]


def test_whoever_is_not_signed_in_is_sent_to_sign_in_and_back(alliance: Alliance) -> None:
    for address in PRIVATE:
        answer = alliance.client.get(address)
        assert answer.status_code == 302
        assert answer["Location"].startswith("/entrar?next=%2F")
    answer = alliance.client.post("/entrar", {"token": alliance.secret, "next": "/archivos"})
    assert answer["Location"] == "/archivos"


def test_a_part_that_is_asked_for_without_a_session_sends_the_whole_page_there(
    alliance: Alliance,
) -> None:
    answer = alliance.client.get("/tareas", headers={"hx-request": "true"})
    assert answer["HX-Redirect"] == "/entrar"


@pytest.mark.parametrize("next_", ["https://evil.example/", "//evil.example", "javascript:x", "x"])
def test_signing_in_never_leads_elsewhere(alliance: Alliance, next_: str) -> None:
    answer = alliance.client.post("/entrar", {"token": alliance.secret, "next": next_})
    assert answer["Location"] == "/tareas"


def test_the_session_keeps_no_secret(signed_in: Alliance) -> None:
    kept = dict(signed_in.client.session)
    assert signed_in.secret not in str(kept) and signed_in.secret[5:] not in str(kept)


def ends(alliance: Alliance) -> None:
    assert alliance.client.get("/tareas").status_code == 302
    assert session.KEY not in alliance.client.session


def test_a_revoked_token_ends_the_session_at_once(signed_in: Alliance) -> None:
    make.revoke(signed_in.secret)
    ends(signed_in)


def test_an_expired_token_ends_the_session_at_once(signed_in: Alliance) -> None:
    Token.objects.update(expires=timezone.now())
    ends(signed_in)


def test_a_ban_ends_the_session_at_once(signed_in: Alliance) -> None:
    signed_in.person.banned_at = timezone.now()
    signed_in.person.save()
    ends(signed_in)


def test_a_banned_project_ends_the_session_at_once(signed_in: Alliance) -> None:
    signed_in.project.banned_at = timezone.now()
    signed_in.project.save()
    ends(signed_in)


def test_whoever_left_the_project_is_signed_out(signed_in: Alliance) -> None:
    signed_in.person.memberships.all().delete()
    ends(signed_in)


def test_signing_out_ends_the_session_and_needs_a_post(signed_in: Alliance) -> None:
    assert signed_in.client.get("/salir").status_code == 405
    signed_in.client.post("/salir")
    ends(signed_in)


def test_a_bad_token_is_explained_and_a_sites_key_opens_nothing(alliance: Alliance) -> None:
    for secret in ("", "x", "ayni_" + "x" * 43, make.site_token(alliance.sites["santiago"]), "\0é"):
        answer = alliance.client.post("/entrar", {"token": secret})
        assert answer.status_code == 403
        assert 'role="alert"' in answer.content.decode()
    ends(alliance)


def test_guessing_is_stopped_after_a_few_failures(alliance: Alliance) -> None:
    for _ in range(session.MOST_FAILURES):
        assert alliance.client.post("/entrar", {"token": "x"}).status_code == 403
    assert alliance.client.post("/entrar", {"token": alliance.secret}).status_code == 429


def test_another_projects_things_are_not_there(signed_in: Alliance) -> None:
    other = make.project()
    task = signed_in.task(TaskState.COMPLETE, "complete", project=other, name="ajena")
    array = Array.objects.create(
        id=ids.new(), project=other, person=signed_in.person, template="{}", size=1,
        created=timezone.now(),
    )  # fmt: skip
    put_file(other, "ajeno/secreto.txt")
    shown = ids.show(task.pk)
    for address in (
        f"/tareas/{shown}", f"/tareas/{shown}/registro", f"/lotes/{ids.show(array.pk)}",
        "/archivos/carpeta/ajeno/", "/archivos/bajar/ajeno/secreto.txt",
    ):  # fmt: skip
        answer = signed_in.client.get(address, headers={"hx-request": "true"})
        assert answer.status_code == 404, address
    for address in (
        f"/tareas/{shown}/cancelar", f"/tareas/{shown}/repetir",
        f"/lotes/{ids.show(array.pk)}/cancelar", f"/lotes/{ids.show(array.pk)}/repetir",
    ):  # fmt: skip
        assert signed_in.client.post(address).status_code == 404, address
    assert b"ajena" not in signed_in.client.get("/tareas").content
    assert b"ajeno" not in signed_in.client.get("/archivos").content


def test_a_token_without_the_scope_reads_and_does_not_write(work: Alliance) -> None:
    secret = make.token(work.person, work.project, scopes=["tasks:read"])
    work.client.post("/entrar", {"token": secret})
    task = Task.objects.filter(state=TaskState.RUNNING)[0]
    page = work.client.get(f"/tareas/{ids.show(task.pk)}")
    assert page.status_code == 200 and b"/cancelar" not in page.content
    assert work.client.post(f"/tareas/{ids.show(task.pk)}/cancelar").status_code == 403
    assert work.client.get("/archivos").status_code == 403
    task.refresh_from_db()
    assert task.state == TaskState.RUNNING


def test_forms_need_their_csrf_token(signed_in: Alliance) -> None:
    signed_in.client.handler.enforce_csrf_checks = True
    task = ids.show(Task.objects.filter(state=TaskState.RUNNING)[0].pk)
    for address in ("/salir", f"/tareas/{task}/cancelar", "/idioma", "/entrar"):
        assert signed_in.client.post(address).status_code == 403


def test_private_pages_are_not_kept_by_the_browser(signed_in: Alliance) -> None:
    assert "no-store" in signed_in.client.get("/tareas")["Cache-Control"]


@pytest.mark.parametrize(
    "address",
    [
        "/%00", "/datos?q=%00", "/tareas?nombre=%00", "/tareas?estado=%27", "/tareas?pagina=x",
        "/tareas?pagina=%C3%28", "/archivos/carpeta/%00/", "/archivos/carpeta/../../",
        "/archivos/bajar/" + "x" * 3000, "/archivos?after=%00", "/archivos?after=%ff",
        "/tareas/zzzzzzzzzzzzz", "/tareas/" + "9" * 200, "/lotes/-1", "/static/%00",
        "/datos?q=" + "%25" * 3000, "/tareas?nombre=%F0%9F%92%A9" + "x" * 3000,
        "/entrar?next=" + "/" * 3000, "/tareas?estado=RUNNING&estado=QUEUED",
    ],
)  # fmt: skip
def test_hostile_addresses_get_an_answer_and_never_a_500(signed_in: Alliance, address: str) -> None:
    assert signed_in.client.get(address).status_code in (200, 302, 400, 404)
