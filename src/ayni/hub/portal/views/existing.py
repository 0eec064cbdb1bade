"""Problems of the API's lookups, as pages have them."""

from __future__ import annotations

from collections.abc import Callable
from typing import ParamSpec, TypeVar

from django.http import Http404

from ayni.hub.http import ProblemError

P = ParamSpec("P")
T = TypeVar("T")


def existing(find: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """What `find` finds; the page "not found" where it finds nothing of the caller's project."""
    try:
        return find(*args, **kwargs)
    except ProblemError as problem:
        raise Http404(problem.detail) from problem
