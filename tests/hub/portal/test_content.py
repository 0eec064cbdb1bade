"""What the pages say: the network, a task's reasons, its log, its files."""

from __future__ import annotations

import re
from urllib.parse import unquote

import pytest
from django.core.cache import cache
from django.utils import timezone

from ayni.hub.catalogue.models import Dataset
from ayni.hub.portal import folder, overview
from ayni.hub.store.fileserver import disposition
from ayni.hub.tasks import ids
from ayni.hub.tasks.life import TaskState
from ayni.hub.tasks.models import Task

from .conftest import Alliance, put_file


def page(alliance: Alliance, address: str, language: str = "es") -> str:
    answer = alliance.client.get(address, headers={"accept-language": language})
    return re.sub(r"[ \n]+", " ", answer.content.decode())


def shown(state: TaskState) -> str:
    return ids.show(Task.objects.filter(state=state, array=None).order_by("-id")[0].pk)


def test_the_home_page_tells_each_sites_state_load_and_policy(work: Alliance) -> None:
    told = {site.name: site for site in overview.overview().sites}
    assert {name: site.state_key for name, site in told.items()} == {
        "santiago": "healthy", "mexico": "silent", "bogota": "never", "lima": "banned",
    }  # fmt: skip
    assert (told["santiago"].cores, told["santiago"].running) == (64, 1)
    text = page(work, "/")
    assert "Recibe tareas de Chile y Colombia." in text
    assert "Por tarea, a lo más 8 núcleos y 2\u00a0h." in text


def test_the_home_page_names_what_is_ill_with_a_site_and_the_remedy(work: Alliance) -> None:
    site = work.sites["santiago"]
    assert site.status is not None
    note = {"code": "controller", "message": "slurmctld", "remedy": "start it"}
    site.status["health"] = [note, {**note, "code": "accounting"}]
    site.status_at = timezone.now()
    site.save()
    text = page(work, "/")
    assert "Con una falla" in text
    assert "(slurmctld) no responde" in text
    assert "Remedio: arrancar slurmdbd" in text
    site.status["health"] = [{**note, "code": "accounting"}]
    site.status_at = timezone.now()
    site.save()
    cache.clear()
    told = {row.name: row.state_key for row in overview.overview().sites}
    assert told["santiago"] == "healthy", "the accounting keeps no work away"


def test_hours_cross_borders_from_giver_to_receiver(work: Alliance) -> None:
    exchange = overview.overview().exchange
    assert exchange is not None
    given = {b.country: (b.given, b.received) for b in exchange.balances}
    crossed = exchange.crossed
    assert crossed > 0 and given["Chile"] == (crossed, 0) and given["Colombia"] == (0, crossed)


def test_a_placed_tasks_page_says_why_there_for_every_site(signed_in: Alliance) -> None:
    text = page(signed_in, f"/tareas/{shown(TaskState.RUNNING)}")
    assert "recibió la tarea" in text
    assert "no da señales desde hace 2\u00a0h" in text
    for site in signed_in.sites.values():
        assert site.title in text
    assert "was given the task" in page(signed_in, f"/tareas/{shown(TaskState.RUNNING)}", "en")


def test_a_waiting_task_links_what_it_waits_for(signed_in: Alliance) -> None:
    text = page(signed_in, f"/tareas/{shown(TaskState.WAITING)}")
    assert "hasta que termine bien" in text
    assert text.count('href="/tareas/') >= 1


def test_a_failure_is_explained_with_what_to_do(signed_in: Alliance) -> None:
    text = page(signed_in, f"/tareas/{shown(TaskState.EXECUTOR_ERROR)}")
    assert "código de salida 3" in text and "Mira abajo lo que escribió" in text


def test_looking_at_a_log_marks_the_task_watched(signed_in: Alliance) -> None:
    task = shown(TaskState.RUNNING)
    signed_in.client.get(f"/tareas/{task}/registro", headers={"hx-request": "true"})
    watched = Task.objects.get(id=ids.read(task)).watched_until
    assert watched is not None and watched > timezone.now()


def test_a_withheld_log_is_explained(signed_in: Alliance) -> None:
    group = signed_in.group
    group.datasets = [["santiago", "lenguas-nothing"]]
    group.save()
    task = Task.objects.filter(state=TaskState.QUEUED)[0]
    text = page(signed_in, f"/tareas/{ids.show(task.pk)}")
    assert "no deja salir sus registros" in text


def test_datasets_explain_their_rules_and_a_projects_own_are_its_own(work: Alliance) -> None:
    Dataset.objects.create(
        name="propio", version="1", licence="CC0", project=work.project, prefix="datos/",
        residency="any", release="anything",
    )  # fmt: skip
    text = page(work, "/datos")
    assert "no sale nada" in text and "1\u00a0kB por tarea" in text
    assert "propio" not in text
    work.client.post("/entrar", {"token": work.secret})
    assert "ayni://atlas/datos/" in page(work, "/datos")
    assert "lenguas" not in page(work, "/datos?q=propio")


def test_files_are_shown_as_folders(signed_in: Alliance) -> None:
    project = signed_in.project
    for path in ("a", "b/c", "b/d/e", "b0", ".ayni/logs/x", "salida.txt"):
        put_file(project, path)
    assert [e.path for e in folder.folders(project, "")] == ["b/", "salida/"]
    assert [e.path for e in folder.files(project, "")[0]] == ["a", "b0", "salida.txt"]
    assert [(e.path, e.files) for e in folder.folders(project, "b/")] == [("b/d/", 1)]
    assert [e.name for e in folder.files(project, "b/")[0]] == ["c"]
    assert [e.name for e in folder.files(project, ".ayni/logs/")[0]] == ["x"]


def test_a_full_folder_is_shown_page_by_page(
    signed_in: Alliance, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(folder, "PAGE", 2)
    for name in "abcde":
        put_file(signed_in.project, f"muchos/{name}")
    names, after = [], ""
    while True:
        entries, after = folder.files(signed_in.project, "muchos/", after)
        names += [e.name for e in entries]
        if not after:
            break
    assert names == list("abcde")


def test_a_download_goes_to_a_signed_url(signed_in: Alliance) -> None:
    answer = signed_in.client.get("/archivos/bajar/salida/perfil.json")
    assert answer.status_code == 302
    assert "signature=" in answer["Location"] and answer["Location"].endswith("name=perfil.json")


def test_a_file_of_several_blocks_is_offered_with_the_command_that_fetches_it(
    signed_in: Alliance,
) -> None:
    put_file(signed_in.project, "grande.bin", blocks=3)
    text = page(signed_in, "/archivos/bajar/grande.bin")
    assert "ayni store get ayni://atlas/grande.bin" in text
    assert text.count("signature=") == 3


def test_lists_are_paged_and_filtered(signed_in: Alliance) -> None:
    for _ in range(60):
        signed_in.task(TaskState.QUEUED, name="muchas")
    first = page(signed_in, "/tareas?nombre=muchas")
    assert first.count('<th scope="row">') == 50 and 'rel="next"' in first
    following = first.split('rel="next"')[0].rpartition('href="')[2].split('"')[0]
    second = page(signed_in, "/tareas" + following.replace("&amp;", "&"))
    assert second.count('<th scope="row">') == 10 and 'rel="next"' not in second
    assert "perfil" not in page(signed_in, "/tareas?estado=RUNNING&nombre=muchas")


@pytest.mark.parametrize("name", ["año nuevo.csv", 'a"; filename=b', "x\r\nSet-Cookie: a=b", "😀"])
def test_a_download_is_saved_under_its_name_and_the_name_can_do_no_more(name: str) -> None:
    header = disposition(name)
    assert header.startswith("attachment; filename*=UTF-8''")
    value = header.partition("''")[2]
    assert unquote(value) == name and re.fullmatch(r"[A-Za-z0-9._~%-]+", value)
    assert disposition("") == "attachment"
