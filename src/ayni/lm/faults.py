"""What is wrong with a record that somebody else wrote, in one line."""

from __future__ import annotations

from pydantic import ValidationError


def first_fault(error: ValidationError, whole: str = "JSON") -> str:
    """The first fault, as `FIELD: what`; never what was found there, which may be anything.

    Args:
        whole: what stands in the field's place where none of them is meant, but all of it.
    """
    fault = error.errors(include_input=False, include_url=False)[0]
    where = ".".join(map(str, fault["loc"])) or whole
    return f"{where}: {fault['msg']}"
