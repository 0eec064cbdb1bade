"""What sites say is ill with them, and the remedy, in the reader's language.

An agent says it by a code and in plain English. A code that is not here is shown in those words.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.utils.translation import gettext
from django.utils.translation import gettext_noop as _

#: code → what is ill, and what its operator can do.
FAULTS: Mapping[str, tuple[str, str]] = {
    "controller": (
        _("El planificador (slurmctld) no responde: lo que ya corre sigue, nada nuevo empieza."),
        _("arrancar slurmctld y mirar el disco de su StateSaveLocation."),
    ),
    "munge": (
        _(
            "La autenticación de Slurm (munge) no funciona: lo que ya corre sigue, nada nuevo empieza."
        ),
        _("arrancar munged; su clave y su reloj deben ser los del controlador."),
    ),
    "accounting": (
        _("La contabilidad de Slurm (slurmdbd) no responde: lo que solo ella sabe la espera."),
        _("arrancar slurmdbd y su base de datos."),
    ),
    "local_user": (
        _("Un usuario local de los proyectos no se puede usar: lo que ya corre sigue."),
        _("revisar sudo y ayni-helper con «ayni site doctor»."),
    ),
    "executor": (
        _("No se puede consultar lo que ejecuta las tareas: lo que ya corre sigue."),
        _("ver el registro del agente y «ayni site doctor»."),
    ),
    "disk": (_("Un disco del sitio está lleno, o casi."), _("liberar espacio.")),
    "state": (
        _("La carpeta de estado del agente no se puede usar."),
        _("reparar ese disco y los permisos de la carpeta."),
    ),
    "shared": (
        _("La carpeta compartida con los nodos no se puede usar: lo que ya corre sigue."),
        _("montarla, y dar al usuario del agente permiso de escritura."),
    ),
}
_MAINTENANCE = _("Mantenimiento del %(begin)s al %(end)s.")
_OF_PARTITIONS = _("Mantenimiento de %(partitions)s del %(begin)s al %(end)s.")


def note_text(note: Mapping[str, Any]) -> str:
    """The words for `{code, message, remedy, parameters}`."""
    code = str(note.get("code", ""))
    if code in FAULTS:
        what, remedy = map(gettext, FAULTS[code])
        return gettext("%(what)s Remedio: %(remedy)s") % {"what": what, "remedy": remedy}
    parameters = note.get("parameters") or {}
    if code == "maintenance" and {"begin", "end"} <= parameters.keys():
        text = _OF_PARTITIONS if parameters.get("partitions") else _MAINTENANCE
        return gettext(text) % parameters
    return str(note.get("message") or code)
