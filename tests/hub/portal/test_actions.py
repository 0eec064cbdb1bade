"""Cancelling and sending again."""

from __future__ import annotations

from ayni.hub.tasks import ids
from ayni.hub.tasks.life import TaskState
from ayni.hub.tasks.models import Array, Task

from .conftest import Alliance


def shown(state: TaskState) -> str:
    return ids.show(Task.objects.filter(state=state, array=None)[0].pk)


def test_a_running_task_is_cancelled_once(signed_in: Alliance) -> None:
    task = shown(TaskState.RUNNING)
    answer = signed_in.client.post(f"/tareas/{task}/cancelar", follow=True)
    assert Task.objects.get(id=ids.read(task)).state == TaskState.CANCELED
    assert "quedó cancelada" in answer.content.decode()
    answer = signed_in.client.post(f"/tareas/{task}/cancelar", follow=True)
    assert "ya había terminado" in answer.content.decode()


def test_a_task_is_sent_again_with_the_same_document(signed_in: Alliance) -> None:
    task = shown(TaskState.EXECUTOR_ERROR)
    before = Task.objects.count()
    answer = signed_in.client.post(f"/tareas/{task}/repetir")
    made = Task.objects.order_by("-id").first()
    assert made is not None and Task.objects.count() == before + 1
    assert answer["Location"] == f"/tareas/{ids.show(made.pk)}"
    assert made.state == TaskState.QUEUED and made.name == "perfil"
    page = signed_in.client.get(answer["Location"]).content.decode()
    assert "&lt;b&gt;hola" in page


def test_an_arrays_failed_tasks_are_run_again_as_an_array(signed_in: Alliance) -> None:
    array = Array.objects.get()
    page = signed_in.client.get(f"/lotes/{ids.show(array.pk)}").content.decode()
    assert "Repetir las 2 que no terminaron bien" in page
    signed_in.client.post(f"/lotes/{ids.show(array.pk)}/repetir")
    again = Array.objects.get(rerun_of=array)
    assert sorted(again.tasks.values_list("index", flat=True)) == [1, 2]


def test_nothing_to_run_again_is_said_and_makes_nothing(signed_in: Alliance) -> None:
    array = Array.objects.get()
    Task.objects.filter(array=array).update(state=TaskState.COMPLETE)
    address = f"/lotes/{ids.show(array.pk)}/repetir"
    answer = signed_in.client.post(address, follow=True)
    assert "No se pudo enviar" in answer.content.decode()
    assert Array.objects.count() == 1


def test_what_is_left_of_an_array_is_cancelled(signed_in: Alliance) -> None:
    array = Array.objects.get()
    Task.objects.filter(array=array, index__gt=0).update(state=TaskState.QUEUED, ended=None)
    signed_in.client.post(f"/lotes/{ids.show(array.pk)}/cancelar")
    states = array.tasks.order_by("index").values_list("state", flat=True)
    assert list(states) == [TaskState.COMPLETE, TaskState.CANCELED, TaskState.CANCELED]
