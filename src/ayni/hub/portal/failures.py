"""Why a task ended badly, in plain words, and what one can do about it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from django.utils.translation import gettext
from django.utils.translation import gettext_noop as _

from ayni.hub.portal.reasons import reason_text
from ayni.hub.tasks.life import TaskState
from ayni.hub.tasks.models import Task


@dataclass(frozen=True, slots=True)
class Failure:
    text: str
    remedy: str = ""
    detail: str = ""  # the site's or the hub's own words, in English: they name fields and paths


_SEE_LOG = _("Mira abajo lo que escribió: las últimas líneas suelen decir la causa.")
_OWN = _("Corrige la tarea y envíala otra vez.")
_AGAIN = _("Puedes enviar otra igual: la red elegirá de nuevo el sitio.")
_ASK = _("Si se repite, avisa a quien opera el sitio; esta página le sirve de informe.")

#: code → (what happened, what to do); parameters come from the reason.
TEXTS: Mapping[str, tuple[str, str]] = {
    "exit": (_("Un comando terminó con el código de salida %(exit_code)s."), _SEE_LOG),
    "timeout": (
        _("Superó el tiempo que pidió, y el sitio la detuvo."),
        _("Pide más tiempo (walltime) o divide el trabajo en tareas más cortas."),
    ),
    "memory": (
        _("Usó más memoria de la que pidió, y el sitio la detuvo."),
        _("Pide más memoria; la tabla de intentos dice cuánta llegó a usar."),
    ),
    "processes": (
        _("Abrió más procesos de los que el sitio permite, y fue detenida."),
        _("Revisa que no cree procesos sin fin."),
    ),
    "output": (
        _("Sus comandos terminaron bien, pero falta un resultado que la tarea promete."),
        _("Comprueba que los comandos escriben en las rutas que declaras como resultados."),
    ),
    "release": (
        _("Sus resultados exceden lo que los datos que leyó dejan salir."),
        _("Escribe menos o más agregado; la regla de cada conjunto está en la página de datos."),
    ),
    "channel": (
        _("Un canal que usa fue eliminado, o sus últimos mensajes no pudieron enviarse."),
        _("Comprueba que el canal existe (ayni channels list) y envíala otra vez."),
    ),
    "dependency": (_("Una tarea de la que dependía no terminó bien."), _("Mira primero aquella.")),
    "refused": (
        _("Ningún sitio la aceptó."),
        _("Abajo está el motivo de cada sitio; cambia lo que pide la tarea y envíala otra vez."),
    ),
    "no-site": (
        _("Ningún sitio de la red podría ejecutarla."),
        _("Abajo está el motivo de cada sitio; cambia lo que pide la tarea y envíala otra vez."),
    ),
    "banned": (
        _("La persona, el proyecto o el sitio fue excluido de la red."),
        _("Escribe a la coordinación de la alianza."),
    ),
    "lost": (_("El sitio dejó de responder y no se sabe cómo terminó."), _AGAIN),
    "vanished": (_("El sitio no tiene registro de ella."), _AGAIN),
    "never-heard": (_("El sitio no llegó a enterarse de ella."), _AGAIN),
    "registered-anew": (_("El sitio se registró de nuevo y perdió sus registros."), _AGAIN),
    "start": (_("El sitio no pudo ponerla en marcha."), _ASK),
    "submit": (_("El sitio no pudo ponerla en su cola."), _ASK),
    "canceled_at_site": (_("Quien opera el sitio la detuvo allí."), _AGAIN),
    "disk": (_("Al sitio se le acabó el espacio en disco."), _AGAIN),
    "folder": (_("El sitio no pudo preparar la carpeta de trabajo."), _ASK),
    "hub": (_("El sitio no pudo intercambiar archivos con el centro de la red."), _AGAIN),
    "commit": (
        _("El centro de la red no pudo guardar sus resultados."),
        _("Comprueba que queda espacio en el proyecto, y envíala otra vez."),
    ),
    "dataset": (
        _("Un conjunto de datos que lee ya no está en su sitio."),
        _("Busca en la página de datos dónde está ahora."),
    ),
    "changed": (_("Un archivo de entrada cambió o desapareció mientras se traía."), _AGAIN),
    "too_large": (_("Sus archivos son más grandes de lo que el sitio admite."), _OWN),
    "corrupt": (_("Un archivo llegó dañado."), _AGAIN),
    "expired": (_("Un enlace venció antes de usarse."), _AGAIN),
    "task": (_("El sitio no entendió la tarea."), _OWN),
    "agent": (_("Falló el agente del sitio."), _ASK),
    "quota": (
        _("El proyecto ocupa en volúmenes todo lo que el sitio permite."),
        _("Borra los volúmenes que ya no uses, o pide más espacio a quien opera el sitio."),
    ),
    "volume": (_("El sitio no pudo darle su volumen."), _ASK),
    "local_user": (_("El sitio no pudo poner los archivos como su usuario local."), _ASK),
    "go-on": (
        _("Pidió continuar, y su cadena no tenía más eslabones."),
        _("Envíala otra vez con más eslabones (chain): continúa desde su volumen."),
    ),
    "stopped": (_("El sitio se detuvo mientras la preparaba."), _AGAIN),
}

_SAYS_ALL = frozenset({"exit"})  # the original words would only repeat it


def sentence(reason: Mapping[str, Any]) -> str:
    """What happened, in one line: for an end as for a site's objection."""
    known = TEXTS.get(str(reason.get("code", "")))
    if known is None:
        return reason_text(reason)
    try:
        return gettext(known[0]) % dict(reason.get("parameters") or {})
    except (KeyError, TypeError, ValueError):  # a site of another version says it differently
        return str(reason.get("message", ""))


def explain(task: Task) -> Failure | None:
    """What to tell of a task that failed; None for one that did not."""
    if task.state not in (TaskState.EXECUTOR_ERROR, TaskState.SYSTEM_ERROR):
        return None
    reason: Mapping[str, Any] = task.reason or {}
    code, message = str(reason.get("code", "")), str(reason.get("message", ""))
    if code not in TEXTS:
        return Failure(reason_text(reason) or gettext("No hay más explicación."))
    text, remedy = TEXTS[code]
    try:
        shown = gettext(text) % dict(reason.get("parameters") or {})
    except (KeyError, TypeError, ValueError):
        shown = ""
    if not shown or code in _SAYS_ALL:
        return Failure(shown or message, gettext(remedy))
    return Failure(shown, gettext(remedy), message)
