"""The words for states, countries, policies and the rules of data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from django.utils.translation import gettext, ngettext
from django.utils.translation import gettext_lazy as _

from ayni.hub.portal.formats import number, size, span
from ayni.hub.tasks.life import SHOWN, TaskState

T = TaskState


@dataclass(frozen=True, slots=True)
class Label:
    """A state: never by colour alone, so a sign (of `parts/signs.svg`) and a word go with it."""

    key: str  # the class in the stylesheet
    sign: str
    word: Any  # lazily translated
    meaning: Any = ""


TASK_STATES: Mapping[TaskState, Label] = {
    T.WAITING: Label(
        "waiting",
        "hourglass",
        _("Espera a otras"),
        _("Empieza cuando terminen las tareas de las que depende."),
    ),
    T.QUEUED: Label(
        "queued", "ring", _("En cola"), _("Está en el centro de la red, a la espera de un sitio.")
    ),
    T.PLACED: Label(
        "placed", "quarter", _("Asignada"), _("Un sitio la recibió y todavía no la ejecuta.")
    ),
    T.INITIALIZING: Label(
        "placed",
        "half",
        _("En preparación"),
        _("El sitio está trayendo sus entradas o la tiene en su propia cola."),
    ),
    T.RUNNING: Label("running", "play", _("En ejecución"), _("Sus comandos están corriendo.")),
    T.COMPLETE: Label(
        "complete", "check", _("Terminada"), _("Terminó bien y sus resultados están guardados.")
    ),
    T.EXECUTOR_ERROR: Label(
        "failed",
        "cross",
        _("Falló su comando"),
        _("Un comando terminó con error: no es culpa del sitio, y por eso no se repite sola."),
    ),
    T.SYSTEM_ERROR: Label(
        "failed",
        "bang",
        _("Falló el sistema"),
        _("La tarea no pudo completarse por una causa ajena a sus comandos."),
    ),
    T.CANCELED: Label("canceled", "dash", _("Cancelada"), _("Alguien del proyecto la canceló.")),
}

#: By the state as every client knows it, what ended first.
SHOWN_STATES: Mapping[str, Label] = {
    SHOWN[state].value: TASK_STATES[state]
    for state in (
        T.COMPLETE, T.EXECUTOR_ERROR, T.SYSTEM_ERROR, T.CANCELED, T.RUNNING, T.INITIALIZING, T.QUEUED,
    )
}  # fmt: skip

ATTEMPT_STATES: Mapping[str, Label] = {
    "assigned": Label("queued", "ring", _("Asignado")),
    "accepted": Label("placed", "quarter", _("Recibido por el sitio")),
    "initializing": Label("placed", "half", _("Trae sus entradas")),
    "pending": Label("placed", "half", _("En la cola del sitio")),
    "running": Label("running", "play", _("En ejecución")),
    "finalizing": Label("running", "three-quarters", _("Guarda sus resultados")),
    "complete": Label("complete", "check", _("Terminado")),
    "unfinished": Label("running", "half", _("Eslabón terminado: sigue otro")),
    "executor_error": Label("failed", "cross", _("Falló su comando")),
    "system_error": Label("failed", "bang", _("Falló el sitio")),
    "refused": Label("canceled", "dash", _("El sitio no lo aceptó")),
    "withdrawn": Label("canceled", "back", _("Retirado antes de empezar")),
    "canceled": Label("canceled", "dash", _("Cancelado")),
    "lost": Label("failed", "question", _("Perdido: el sitio dejó de responder")),
}

SITE_STATES: Mapping[str, Label] = {
    "healthy": Label("complete", "dot", _("En línea")),
    "silent": Label("waiting", "diamond", _("Sin señales")),
    "never": Label("canceled", "ring", _("Aún no conectado")),
    "draining": Label("placed", "down", _("No recibe tareas nuevas")),
    "banned": Label("failed", "block", _("Excluido")),
    "closed": Label("placed", "half", _("Fuera de horario")),
    "ill": Label("failed", "cross", _("Con una falla")),
}

VERDICTS: Mapping[str, Label] = {
    "chosen": Label("complete", "check", _("Elegido")),
    "possible": Label("placed", "quarter", _("Posible")),
    "full": Label("waiting", "full", _("Lleno")),
    "held": Label("waiting", "hourglass", _("En espera")),
    "ineligible": Label("canceled", "dash", _("No puede")),
}

RESIDENCY: Mapping[str, Any] = {
    "site": _("Los datos no salen de su sitio: las tareas van hacia ellos."),
    "member": _("Los datos no salen de su país: las tareas van hacia ellos."),
    "any": _("Los datos pueden leerse en cualquier sitio de la red."),
}

_COUNTRIES: Mapping[str, Any] = {
    "AR": _("Argentina"), "BO": _("Bolivia"), "BR": _("Brasil"), "CL": _("Chile"),
    "CO": _("Colombia"), "CR": _("Costa Rica"), "CU": _("Cuba"), "DO": _("República Dominicana"),
    "EC": _("Ecuador"), "SV": _("El Salvador"), "GT": _("Guatemala"), "HN": _("Honduras"),
    "HT": _("Haití"), "MX": _("México"), "NI": _("Nicaragua"), "PA": _("Panamá"),
    "PY": _("Paraguay"), "PE": _("Perú"), "UY": _("Uruguay"), "VE": _("Venezuela"),
}  # fmt: skip

#: ISO 8601: Monday is the first.
_DAYS = (_("lun"), _("mar"), _("mié"), _("jue"), _("vie"), _("sáb"), _("dom"))


def country(code: str, name: str = "") -> str:
    """The country's name in the reader's language."""
    return str(_COUNTRIES.get(code) or name or code)


def listed(items: Sequence[str]) -> str:
    """`a, b y c`."""
    if len(items) < 2:
        return "".join(items)
    return gettext("%(head)s y %(last)s") % {"head": ", ".join(items[:-1]), "last": items[-1]}


def release(rule: str, limit: int) -> str:
    """What may leave a task that read the dataset."""
    if rule == "anything":
        return gettext("De una tarea que los lee puede salir cualquier resultado.")
    if rule == "aggregate":
        return gettext(
            "De una tarea que los lee solo salen resultados agregados, %(limit)s por tarea a lo más; "
            "sus registros se ven al final."
        ) % {"limit": size(limit)}
    return gettext("De una tarea que los lee no sale nada: ni resultados ni registros.")


def by_channels(channels: Sequence[str], limit: int) -> str:
    """By which channels something may leave a task that read the dataset; empty if the card names none."""
    if not channels:
        return ""
    return gettext(
        "Sus mensajes pueden salir solo por %(channels)s, según el esquema del canal, %(limit)s por "
        "tarea a lo más."
    ) % {"channels": listed(channels), "limit": size(limit)}


def inner_network(given: bool) -> str:
    """Whether tasks over several nodes that read the dataset have the network between these."""
    return gettext("Una tarea sobre varios nodos tiene la red entre ellos.") if given else ""


def volume_release(rule: str, limit: int, dataset: str) -> str:
    """What may leave a task that mounts a volume; nothing for one that no restricted data touched."""
    if rule == "anything":
        return ""
    if rule == "aggregate":
        return gettext(
            "Guarda algo de los datos %(dataset)s: de quien lo usa salen %(limit)s a lo más."
        ) % {"dataset": dataset, "limit": size(limit)}
    return gettext("Guarda algo de los datos %(dataset)s: de quien lo usa no sale nada.") % {
        "dataset": dataset
    }


def policy(rules: Mapping[str, Any] | None) -> list[str]:
    """What anybody may know of a site's policy, in short sentences. Names of people never appear."""
    if not rules:
        return []
    said = [_who(rules)]
    if limits := _limits(rules):
        said.append(gettext("Por tarea, a lo más %(limits)s.") % {"limits": listed(limits)})
    if (most := rules.get("max_tasks")) is not None:
        said.append(
            ngettext("%(n)s tarea a la vez.", "%(n)s tareas a la vez.", most) % {"n": number(most)}
        )
    said.append(gettext("Con red.") if rules.get("network") else gettext("Sin red."))
    said += _channels(rules)
    if (hours := rules.get("hours")) is not None:
        said.append(_hours(hours, rules.get("timezone") or "UTC"))
    return said


def _who(rules: Mapping[str, Any]) -> str:
    members = rules.get("members")
    chosen = bool(rules.get("only_agreed"))
    if members is None:
        return (
            gettext("Recibe proyectos acordados de cualquier país.")
            if chosen
            else gettext("Recibe tareas de todos los países.")
        )
    names = {"countries": listed([country(code) for code in members])}
    if not members:
        return gettext("No recibe tareas.")
    if chosen:
        return gettext("Recibe proyectos acordados de %(countries)s.") % names
    return gettext("Recibe tareas de %(countries)s.") % names


def _channels(rules: Mapping[str, Any]) -> list[str]:
    """What a site relays, where it is not everything."""
    channels, most = rules.get("channels"), rules.get("max_channel_bytes")
    said = []
    if channels is not None:
        said.append(
            gettext("Transmite los canales de %(channels)s.") % {"channels": listed(channels)}
            if channels
            else gettext("No transmite canales.")
        )
    if most is not None and channels != []:
        said.append(
            gettext("Por canales, a lo más %(limit)s de cada tarea.") % {"limit": size(most)}
        )
    return said


def _limits(rules: Mapping[str, Any]) -> list[str]:
    said = []
    if (cores := rules.get("max_cores")) is not None:
        said.append(ngettext("%(n)s núcleo", "%(n)s núcleos", cores) % {"n": number(cores)})
    if (memory := rules.get("max_memory")) is not None:
        said.append(gettext("%(size)s de memoria") % {"size": size(memory)})
    if gpus := rules.get("max_gpus"):
        said.append(gettext("%(n)s GPU") % {"n": number(gpus)})
    if (nodes := rules.get("max_nodes")) is not None and nodes > 1:
        said.append(gettext("%(n)s nodos") % {"n": number(nodes)})
    if (walltime := rules.get("max_walltime")) is not None:
        said.append(span(walltime))
    return said


def _hours(hours: Sequence[Mapping[str, Any]], zone: str) -> str:
    spans = [f"{_days(h.get('days') or [])} {h['begin'][:5]}–{h['end'][:5]}".strip() for h in hours]
    return gettext("Horario: %(hours)s (%(zone)s).") % {
        "hours": "; ".join(spans), "zone": zone.rpartition("/")[2].replace("_", " "),
    }  # fmt: skip


def _days(days: Sequence[int]) -> str:
    if len(days) in (0, 7):
        return ""
    first, last = min(days), max(days)
    if len(days) > 2 and last - first == len(days) - 1:
        return f"{_DAYS[first - 1]}–{_DAYS[last - 1]}"
    return ", ".join(str(_DAYS[d - 1]) for d in sorted(days))
