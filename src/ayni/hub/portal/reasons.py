"""Why something is not so, in the reader's language.

Broker, policy and agents say it by a code with parameters and in plain English. A code that is not
here, or that lacks a parameter, is shown in those English words.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from django.utils.translation import gettext
from django.utils.translation import gettext_noop as _

from ayni.hub.portal.formats import number, size, span

#: code → the sentence that follows the site's name. `limit` is also what a site offers.
TEXTS: Mapping[str, str] = {
    # protocol.policy: the site's own rules
    "member": _("no recibe tareas de este país (%(member)s)"),
    "project": _("su política no admite el proyecto %(project)s"),
    "person": _("su política no admite a %(person)s"),
    "image": _("no tiene la imagen %(image)s"),
    "network": _("no da red a las tareas"),
    "channels": _("su política no transmite el canal %(channel)s"),
    "charter": _("su operador rechazó la carta del canal %(channel)s"),
    "cores": _("pide %(wanted)s núcleos; aquí caben a lo más %(limit)s"),
    "memory": _("pide %(wanted)s de memoria; aquí caben a lo más %(limit)s"),
    "gpus": _("pide %(wanted)s GPU; aquí hay a lo más %(limit)s"),
    "nodes": _("pide %(wanted)s nodos; aquí hay a lo más %(limit)s"),
    "walltime": _("pide %(wanted)s de tiempo; aquí se dan a lo más %(limit)s"),
    "capacity": _("pide %(wanted)s núcleos en total; el sitio ofrece %(limit)s"),
    "https": _("no trae entradas desde %(host)s"),
    "hours": _("está fuera de las horas en que recibe tareas"),
    "maintenance": _("tiene mantenimiento del %(begin)s al %(end)s"),
    # broker: what rules a site out
    "site": _("la tarea pide el sitio %(wanted)s"),
    "zone": _("no está en ninguna de las zonas pedidas: %(zones)s"),
    "residency": _("los datos deben quedarse en %(sites)s"),
    "partition": _("no tiene la partición %(wanted)s"),
    "banned": _("por ahora no participa en la red"),
    "never": _("todavía no ha dicho qué ofrece"),
    "silent": _("no da señales desde hace %(seconds)s"),
    "draining": _("no recibe tareas nuevas: su operador lo está vaciando"),
    "ill": _("informa de una falla: %(faults)s"),
    "dataset": _("ya no tiene el conjunto de datos que la tarea lee"),
    "volume": _("no ofrece espacio para volúmenes"),
    "quota": _("el proyecto ocupa allí en volúmenes todo lo que el sitio permite"),
    "unasked": _("no se consideró entonces"),
    # an agent that was offered it
    "refused": _("no la aceptó y no dio motivo"),
    "stopping": _("su agente se está deteniendo"),
    "busy": _("por ahora no acepta más"),
    # broker: what it did with a site that could
    "chosen": _("recibió la tarea"),
    "later": _("podía empezar en %(start_in)s; otro sitio era mejor"),
    "turn": _("podría empezar en %(start_in)s; le llega el turno al proyecto"),
    "failed": _("acaba de fallar con ella; se intenta primero en otro sitio"),
    "asked": _(
        "recibió la tarea, que espera a que su operador acepte la carta del canal %(channel)s"
    ),
    "unaccepted": _(
        "su operador no ha aceptado la carta del canal %(channel)s; el de otro sitio, sí"
    ),
    "full": _("está lleno: %(running)s tareas en ejecución y %(waiting)s en espera"),
    "most-tasks": _("ya tiene tantas tareas como acepta a la vez (%(limit)s)"),
    "held": _("podría empezar en %(start_in)s; se espera a %(better)s, libre en %(better_in)s"),
}

#: `chosen`, where it was not expected to start at once.
_CHOSEN_LATER = _("recibió la tarea; se esperaba que empezara en %(start_in)s")
_AT_ONCE = 5  # seconds

_BYTES = {("memory", "wanted"), ("memory", "limit")}
_SECONDS = {"seconds", "start_in", "better_in"}


def reason_text(reason: Mapping[str, Any]) -> str:
    """The words for `{code, message, parameters}`."""
    code, parameters = str(reason.get("code", "")), dict(reason.get("parameters") or {})
    message = str(reason.get("message") or code)
    if code not in TEXTS:
        return message
    if "offered" in parameters:
        parameters.setdefault("limit", parameters["offered"])
    shown = {name: _show(code, name, value) for name, value in parameters.items()}
    text = _CHOSEN_LATER if code == "chosen" and _is_later(parameters) else TEXTS[code]
    try:
        return gettext(text) % shown
    except (KeyError, TypeError, ValueError):  # a site of another version says it differently
        return message


def _is_later(parameters: Mapping[str, Any]) -> bool:
    start_in = parameters.get("start_in")
    return isinstance(start_in, int | float) and start_in >= _AT_ONCE


def _show(code: str, name: str, value: Any) -> str:
    if isinstance(value, list | tuple | set | frozenset):
        return ", ".join(str(v) for v in value)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value)
    write: Callable[[float], str] = number
    if (code, name) in _BYTES:
        write = size
    elif name in _SECONDS or code == "walltime":
        write = span
    return write(value)
