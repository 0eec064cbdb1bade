"""Wildcards as POSIX 2.13 has them, in time that grows with pattern times name, never faster.

`*` and `?` and `[...]` match no `/`; a leading `.` is matched only by a `.` in the pattern (2.13.3).
Python's `fnmatch` knows neither rule.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache

_CLASSES: dict[str, Callable[[str], bool]] = {
    "alnum": str.isalnum,
    "alpha": str.isalpha,
    "blank": lambda c: c in " \t",
    "cntrl": lambda c: ord(c) < 32 or ord(c) == 127,
    "digit": lambda c: c in "0123456789",
    "graph": lambda c: c.isprintable() and c != " ",
    "lower": str.islower,
    "print": str.isprintable,
    "punct": lambda c: c.isprintable() and not c.isalnum() and not c.isspace(),
    "space": str.isspace,
    "upper": str.isupper,
    "xdigit": lambda c: c in "0123456789abcdefABCDEF",
}
_BRACKET = re.compile(r"\[[!^]?\]?(?:\[:[a-z]+:\]|\[[.=].[.=]\]|[^\]])*\]", re.DOTALL)
_ITEM = re.compile(
    r"\[:(?P<name>[a-z]+):\]|\[[.=](?P<one>.)[.=]\]|(?P<low>.)-(?P<high>[^\]])|(?P<char>.)",
    re.DOTALL,
)

Test = Callable[[str], bool]
_STAR: Test = lambda c: True  # noqa: E731  (told apart by identity)


def has_wildcards(text: str) -> bool:
    return any(c in text for c in "*?[")


def matches(pattern: str, name: str) -> bool:
    """Whether one name (no `/`) fits one part of a pattern."""
    if name.startswith(".") and not pattern.startswith((".", "\\.")):
        return False
    return _fits(_compile(pattern), name)


def _fits(tests: tuple[Test, ...], name: str) -> bool:
    at = here = 0
    star = resume = -1
    while here < len(name):
        if at < len(tests) and tests[at] is _STAR:
            star, resume = at, here
            at += 1
        elif at < len(tests) and tests[at](name[here]):
            at += 1
            here += 1
        elif star >= 0:  # let the last star take one more; earlier ones need never be asked again
            resume += 1
            at, here = star + 1, resume
        else:
            return False
    return all(test is _STAR for test in tests[at:])


@lru_cache(maxsize=1024)
def _compile(pattern: str) -> tuple[Test, ...]:
    tests: list[Test] = []
    at = 0
    while at < len(pattern):
        char = pattern[at]
        bracket = _BRACKET.match(pattern, at) if char == "[" else None
        if bracket:
            tests.append(_set(bracket.group()[1:-1]))
            at = bracket.end()
            continue
        if char == "\\" and at + 1 < len(pattern):
            at += 1
            tests.append(_is(pattern[at]))
        elif char == "*":
            if not tests or tests[-1] is not _STAR:
                tests.append(_STAR)
        elif char == "?":
            tests.append(lambda c: True)
        else:
            tests.append(_is(char))
        at += 1
    return tuple(tests)


def _is(char: str) -> Test:
    return lambda c: c == char


def _set(inner: str) -> Test:
    negated = inner[:1] in ("!", "^")
    tests = [_item(m) for m in _ITEM.finditer(inner[1:] if negated else inner)]
    return lambda c: any(test(c) for test in tests) is not negated


def _item(match: re.Match[str]) -> Test:
    if name := match["name"]:
        return _CLASSES.get(name, lambda c: False)
    if match["low"] is not None:
        low, high = match["low"], match["high"]
        return lambda c: low <= c <= high
    return _is(match["one"] if match["one"] is not None else match["char"])
