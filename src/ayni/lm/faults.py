"""What is wrong with a record that somebody wrote, in one line."""

from __future__ import annotations

import re
from typing import Any

from pydantic import ValidationError


def first_fault(error: ValidationError, whole: str = "JSON") -> str:
    """The first fault, as `FIELD: what`; never what was found there, which may be anything.

    Args:
        whole: what stands in the field's place where none of them is meant, but all of it.
    """
    fault = error.errors(include_input=False, include_url=False)[0]
    where = ".".join(map(str, fault["loc"])) or whole
    return f"{where}: {fault['msg']}"


NO_SUCH_KEY = "there is no such key; mend its name or take it away"
#: What pydantic finds, in our words.
_WORDS = {
    "missing": "is missing; write it",
    "extra_forbidden": NO_SUCH_KEY,
    "int_type": "write a whole number",
    "float_type": "write a number",
    "finite_number": "write a number that is finite",
    "bool_type": "write true or false",
    "string_type": "write a text, in quotes",
    "greater_than": "write more than {gt}",
    "greater_than_equal": "write {ge} or more",
    "less_than": "write less than {lt}",
    "less_than_equal": "write {le} or less",
    "literal_error": "write one of {expected}",
}
_FIELD = re.compile(r"[a-z_]+(\.[a-z_]+)*: ")


def explained(error: ValidationError, found: Any = None) -> str:
    """The first fault of what a person wrote: the field, what stands there, and the remedy.

    Args:
        found: what was read, where the site is looked up that a field is of.
    """
    fault = error.errors(include_url=False)[0]
    where, kind, given = ".".join(map(str, fault["loc"])), fault["type"], fault["input"]
    why = fault["msg"].removeprefix("Value error, ")
    if kind in _WORDS:
        why = _WORDS[kind].format(**fault.get("ctx", {}))
        if kind != "extra_forbidden" and isinstance(given, str | int | float):
            why = f"{given!r:.40} cannot be; {why}"
    # what we found ourselves begins with the field beneath
    joint = "" if not where else "." if _FIELD.match(why) else ": "
    return f"{where}{joint}{why}{_of_site(fault['loc'], found)}"


def _of_site(loc: tuple[int | str, ...], found: Any) -> str:
    try:
        name = found[loc[0]][loc[1]]["site"] if loc[0] == "sites" else None
    except (LookupError, TypeError):
        name = None
    return f" (site {name[:63]})" if isinstance(name, str) else ""
