"""Filters and tags of the pages."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any

from django import template
from django.contrib.staticfiles import finders
from django.templatetags.static import static
from django.utils import timezone
from django.utils.formats import date_format
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.timesince import timesince
from django.utils.translation import gettext

from ayni.hub.portal import failures, formats, words
from ayni.hub.tasks import ids

register = template.Library()

register.filter("bytes", formats.size)
register.filter("span", formats.span)
register.filter("reason", failures.sentence)


@register.filter
def amount(value: float) -> str:
    """A quantity with as many digits as it deserves."""
    return formats.short(value)


@register.filter
def task_id(number: int) -> str:
    return ids.show(number)


@register.filter
def at(value: datetime) -> SafeString:
    """A moment: date and time in UTC, exact for programs."""
    moment = timezone.localtime(value, timezone.get_default_timezone())
    return format_html(
        '<time datetime="{}">{} UTC</time>',
        moment.isoformat(timespec="seconds"), date_format(moment, "j M Y, H:i:s"),
    )  # fmt: skip


@register.filter
def ago(value: datetime) -> SafeString:
    """`hace 3 minutos`; the exact moment stands beside it for whoever asks."""
    past = timezone.now() - value
    text = (
        gettext("ahora")
        if past.total_seconds() < 60
        else gettext("hace %(time)s") % {"time": timesince(value, depth=1)}
    )
    exact = timezone.localtime(value, timezone.get_default_timezone())
    return format_html(
        '<time datetime="{}" title="{} UTC">{}</time>',
        exact.isoformat(timespec="seconds"), f"{exact:%Y-%m-%d %H:%M:%S}", text,
    )  # fmt: skip


@register.inclusion_tag("portal/parts/state.html")
def state(label: words.Label) -> Mapping[str, Any]:
    """A sign and a word."""
    return {"label": label}


@register.simple_tag
def share(part: float, whole: float) -> str:
    """Hundredths for SVG, whatever the page's language writes for a decimal mark."""
    return f"{100 * min(part / whole, 1):.2f}" if whole > 0 else "0"


@register.simple_tag
def asset(path: str) -> str:
    """A static file's address, new with every new content, so that browsers may keep it."""
    return f"{static(path)}?v={_fingerprint(path)}"


@cache
def _fingerprint(path: str) -> str:
    found = finders.find(path)
    if not isinstance(found, str):
        raise FileNotFoundError(path)
    return hashlib.sha256(Path(found).read_bytes()).hexdigest()[:12]
