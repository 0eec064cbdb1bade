"""Numbers as people write them in the language of the page."""

from __future__ import annotations

from django.utils.formats import number_format

_SPANS = ((86400, "d"), (3600, "h"), (60, "min"))
_SIZES = ((10**12, "TB"), (10**9, "GB"), (10**6, "MB"), (10**3, "kB"))
FIXED = "\u00a0"  # a space that does not break
NARROW = "\u202f"  # a narrow space that does not break


def number(value: float, digits: int = 0) -> str:
    """With the language's decimal mark; thousands apart by a narrow space (ISO 80000-1)."""
    text = number_format(f"{value:.{digits}f}", decimal_pos=digits, use_l10n=True)
    head = text[: -digits - 1] if digits else text
    sign, whole = ("-", head[1:]) if head.startswith("-") else ("", head)
    if len(whole) > 4:
        first = len(whole) % 3
        parts = [whole[:first]] * bool(first) + [
            whole[i : i + 3] for i in range(first, len(whole), 3)
        ]
        whole = NARROW.join(parts)
    return sign + whole + text[len(head) :]


def short(value: float) -> str:
    """A quantity with as many digits as it deserves."""
    return number(
        value, 0 if abs(value) >= 100 or value == int(value) else 1 if abs(value) >= 1 else 2
    )


def size(count: float) -> str:
    """Bytes, in decimal units."""
    for unit, name in _SIZES:
        if count >= unit:
            return f"{short(count / unit)}{FIXED}{name}"
    return f"{number(count)}{FIXED}B"


def span(seconds: float) -> str:
    """A length of time in its largest sensible unit; a day is 24 h."""
    for unit, name in _SPANS:
        if seconds >= (2 * unit if name == "d" else unit):
            value = seconds / unit
            whole = abs(value - round(value)) < 0.05 or value >= 10
            return f"{number(value, 0 if whole else 1)}{FIXED}{name}"
    return f"{short(seconds)}{FIXED}s"
