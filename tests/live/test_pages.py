"""The pages in a real browser: with and without JavaScript, at a desk and on a telephone.

Set AYNI_SCREENSHOTS to a folder to look at what the browser drew.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ayni.hub.tasks import ids
from ayni.hub.tasks.life import TaskState
from ayni.hub.tasks.models import Task
from tests.hub.portal.conftest import Alliance, alliance, nothing_remembered, work

__all__ = ["alliance", "nothing_remembered", "work"]  # fixtures

CHROMIUM = shutil.which("chromium")
ARGUMENTS = [
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
]  # fmt: skip
DESK = {"width": 1280, "height": 900}
PHONE = {"width": 360, "height": 740}

pytestmark = [pytest.mark.live, pytest.mark.needs("chromium")]


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    # The browser's driver runs an event loop in this thread, where Django would refuse to work.
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DJANGO_ALLOW_ASYNC_UNSAFE", "true")
        with sync_playwright() as driver:
            started = driver.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
            yield started
            started.close()


class Visitor:
    """A person at a browser; whatever the browser complains of is a failure."""

    def __init__(self, browser: Any, base: str, **options: Any) -> None:
        options = {"viewport": DESK, "locale": "es-CL", **options}
        self.context = browser.new_context(base_url=base, **options)
        self.page = self.context.new_page()
        self.complaints: list[str] = []
        self.page.on("console", self._heard)
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("request", self._asked)
        self.base = base

    def _heard(self, message: Any) -> None:
        if message.type in ("error", "warning"):
            self.complaints.append(message.text)

    def _asked(self, request: Any) -> None:
        if not request.url.startswith(self.base):
            self.complaints.append(f"asked elsewhere: {request.url}")

    def sign_in(self, secret: str) -> None:
        self.page.goto("/entrar")
        self.page.get_by_label("Token").fill(secret)
        self.page.locator("button.go").click()
        self.page.wait_for_url("**/tareas")

    def look(self, name: str) -> None:
        width = self.page.evaluate("document.documentElement.scrollWidth")
        assert width <= self.page.viewport_size["width"], f"{name} is wider than the screen"
        if folder := os.environ.get("AYNI_SCREENSHOTS"):
            self.page.screenshot(path=Path(folder) / f"{name}.png", full_page=True)

    def leave(self) -> None:
        self.context.close()
        assert self.complaints == []


@pytest.fixture
def visit(browser: Any, live_server: Any, work: Alliance) -> Iterator[Any]:
    visitors: list[Visitor] = []

    def come(**options: Any) -> Visitor:
        visitors.append(Visitor(browser, live_server.url, **options))
        return visitors[-1]

    yield come
    for visitor in visitors:
        visitor.leave()


def running() -> str:
    return ids.show(Task.objects.filter(state=TaskState.RUNNING).order_by("-id")[0].pk)


def test_a_person_sees_the_map_signs_in_and_reads_why(visit: Any, work: Alliance) -> None:
    someone = visit()
    someone.page.goto("/")
    map_ = someone.page.get_by_role("img", name="Mapa de América Latina")
    assert map_.locator(".pin").count() == 3 and map_.bounding_box()["height"] > 200
    someone.look("home")
    someone.sign_in(work.secret)
    someone.look("tasks")
    someone.page.locator(f"#t-{running()}").click()
    why = someone.page.get_by_role("region", name="Dónde y por qué")
    assert "no da señales" in why.inner_text() and "recibió la tarea" in why.inner_text()
    assert "hola" in someone.page.locator("#registro").inner_text()
    someone.look("task")


def test_the_language_changes_and_stays(visit: Any) -> None:
    someone = visit()
    someone.page.goto("/datos")
    for name, lang, heading in (("English", "en", "Data"), ("Português", "pt", "Dados")):
        someone.page.get_by_role("button", name=name).click()
        someone.page.wait_for_selector(f"html[lang={lang}]")
        assert someone.page.get_by_role("heading", level=1).inner_text() == heading
    someone.page.goto("/")
    assert someone.page.locator("html").get_attribute("lang") == "pt"


def test_what_changes_is_seen_without_reloading(visit: Any, work: Alliance) -> None:
    someone = visit()
    someone.sign_in(work.secret)
    task = running()
    someone.page.goto(f"/tareas/{task}")
    Task.objects.filter(id=ids.read(task)).update(state=TaskState.CANCELED)
    someone.page.wait_for_selector("#tarea >> text=Cancelada", timeout=15_000)
    assert someone.page.locator("#tarea").get_attribute("hx-trigger") is None


def test_a_task_is_cancelled_by_its_button(visit: Any, work: Alliance) -> None:
    someone = visit()
    someone.sign_in(work.secret)
    task = running()
    someone.page.goto(f"/tareas/{task}")
    someone.page.get_by_role("button", name="Cancelar").click()
    someone.page.wait_for_selector("text=La tarea quedó cancelada.")
    assert Task.objects.get(id=ids.read(task)).state == TaskState.CANCELED


def test_everything_works_without_javascript(visit: Any, work: Alliance) -> None:
    someone = visit(java_script_enabled=False)
    someone.sign_in(work.secret)
    someone.page.get_by_label("El nombre empieza con").fill("per")
    someone.page.get_by_role("button", name="Filtrar").click()
    someone.page.locator("a[id^='t-']").first.click()
    assert someone.page.get_by_role("heading", name="Dónde y por qué").is_visible()
    someone.page.get_by_role("button", name="Salir").click()
    assert someone.page.get_by_role("link", name="Entrar").is_visible()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_no_page_is_wider_than_a_telephone(visit: Any, work: Alliance, scheme: str) -> None:
    someone = visit(viewport=PHONE, color_scheme=scheme)
    someone.sign_in(work.secret)
    array = ids.show(Task.objects.exclude(array=None)[0].array_id or 0)
    for name, address in {
        "home": "/", "tasks": "/tareas", "task": f"/tareas/{running()}", "array": f"/lotes/{array}",
        "files": "/archivos", "data": "/datos", "responsible": "/uso-responsable",
    }.items():  # fmt: skip
        someone.page.goto(address)
        someone.look(f"phone-{scheme}-{name}")


def test_the_keyboard_reaches_the_content_first(visit: Any) -> None:
    someone = visit()
    someone.page.goto("/")
    someone.page.keyboard.press("Tab")
    assert someone.page.evaluate("document.activeElement.className") == "skip"
    someone.page.keyboard.press("Enter")
    assert someone.page.evaluate("document.activeElement.id") == "contenido"
