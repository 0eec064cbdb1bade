"""Every page, in three languages: status, language, headers, sound HTML, nothing inline."""

from __future__ import annotations

import pytest
from django.test import Client
from django.utils import translation

from ayni.hub.portal.middleware import HEADERS
from ayni.hub.tasks import ids
from ayni.hub.tasks.life import TaskState
from ayni.hub.tasks.models import Array, Task

from .conftest import Alliance
from .html import Page

LANGUAGES = ["es", "pt", "en"]
PUBLIC = ["/", "/entrar", "/datos", "/uso-responsable", "/no-hay"]


def check(client: Client, address: str, language: str) -> Page:
    answer = client.get(address, headers={"accept-language": language})
    assert answer.status_code == (404 if address == "/no-hay" else 200), address
    for name, value in HEADERS.items():
        assert answer[name] == value
    assert answer["X-Frame-Options"] == "DENY"
    assert answer["X-Content-Type-Options"] == "nosniff"
    page = Page(answer.content.decode())
    assert page.faults == [], address
    assert page.lang == language
    assert page.inline == [], "the Content-Security-Policy would refuse it"
    assert len(set(page.ids)) == len(page.ids), "an id stands twice"
    for field in page.fields:
        assert field.get("id") in page.labelled, f"{address}: a field without its label"
    return page


def private_addresses() -> list[str]:
    tasks = [f"/tareas/{ids.show(n)}" for n in Task.objects.values_list("id", flat=True)]
    arrays = [f"/lotes/{ids.show(n)}" for n in Array.objects.values_list("id", flat=True)]
    files = ["/archivos", "/archivos/carpeta/salida/"]
    return ["/tareas", "/tareas?estado=RUNNING", "/tareas?nombre=per", *tasks, *arrays, *files]


@pytest.mark.parametrize("language", LANGUAGES)
def test_public_pages_are_sound(work: Alliance, language: str) -> None:
    for address in PUBLIC:
        check(work.client, address, language)


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_projects_pages_are_sound(signed_in: Alliance, language: str) -> None:
    for address in [*PUBLIC[:1], *PUBLIC[2:], *private_addresses()]:
        check(signed_in.client, address, language)


def test_links_within_the_portal_lead_somewhere(signed_in: Alliance) -> None:
    seen: set[str] = set()
    waiting = ["/"]
    while waiting:
        address = waiting.pop()
        if address in seen or not address.startswith("/") or address.startswith("/api/"):
            continue
        seen.add(address)
        answer = signed_in.client.get(address)
        assert answer.status_code in (200, 302), address
        if answer.status_code == 200:
            links = Page(answer.content.decode()).links
            base = address.partition("?")[0]
            waiting += [base + x if x.startswith("?") else x.partition("#")[0] for x in links]
    assert len(seen) > 15


def test_an_empty_network_has_pages_too(client: Client, db: None) -> None:
    for address in PUBLIC:
        check(client, address, "es")


def test_spanish_is_spoken_to_whoever_asks_for_another_language(work: Alliance) -> None:
    page = Page(work.client.get("/", headers={"accept-language": "qu"}).content.decode())
    assert page.lang == "es"


def test_the_switch_of_language_lasts_and_returns_to_the_page(work: Alliance) -> None:
    answer = work.client.post("/idioma", {"language": "pt", "next": "/datos"})
    assert answer["Location"] == "/datos"
    assert Page(work.client.get("/datos").content.decode()).lang == "pt"


def test_numbers_on_the_map_never_have_a_comma_for_a_point(work: Alliance) -> None:
    work.task(TaskState.COMPLETE, "complete")
    text = work.client.get("/").content.decode()
    start, end = text.index("<figure"), text.index("</figure>")
    with translation.override("es"):
        assert 'transform="translate(' in text[start:end]
    for part in text[start:end].split('"')[1::2]:
        if part and part[0].isdigit():
            assert "," not in part


def test_the_policys_denied_people_are_nobodys_business(work: Alliance) -> None:
    assert b"malo@example.org" not in work.client.get("/").content


def test_what_tasks_say_is_escaped(signed_in: Alliance) -> None:
    task = Task.objects.filter(state=TaskState.COMPLETE, array=None).first()
    assert task is not None
    text = signed_in.client.get(f"/tareas/{ids.show(task.pk)}").content.decode()
    assert "&lt;i&gt;hola" in text and "<i>hola" not in text
    assert "&lt;b&gt;hola" in text and "<b>hola" not in text


def test_parts_for_htmx_are_parts(signed_in: Alliance) -> None:
    task = ids.show(Task.objects.filter(state=TaskState.RUNNING)[0].pk)
    array = ids.show(Array.objects.get().pk)
    for address in (
        "/",
        "/tareas",
        f"/tareas/{task}",
        f"/lotes/{array}",
        f"/tareas/{task}/registro",
    ):
        answer = signed_in.client.get(address, headers={"hx-request": "true"})
        text = answer.content.decode()
        assert answer.status_code == 200
        assert "<html" not in text and Page(text).faults == []


def test_a_task_that_has_ended_is_not_asked_for_again(signed_in: Alliance) -> None:
    done = ids.show(Task.objects.filter(state=TaskState.COMPLETE, array=None)[0].pk)
    runs = ids.show(Task.objects.filter(state=TaskState.RUNNING)[0].pk)
    part = {"hx-request": "true"}
    assert b"hx-trigger" not in signed_in.client.get(f"/tareas/{done}", headers=part).content
    assert b"hx-trigger" in signed_in.client.get(f"/tareas/{runs}", headers=part).content


def test_static_files_may_be_kept_and_lead_nowhere_else(client: Client) -> None:
    answer = client.get("/static/portal/ayni.css?v=1")
    assert answer.status_code == 200 and "immutable" in answer["Cache-Control"]
    assert client.get("/static/django_htmx/htmx-2.min.js").status_code == 200
    for address in ("/static/../settings.py", "/static/portal", "/static/%2e%2e/settings.py"):
        assert client.get(address).status_code == 404
