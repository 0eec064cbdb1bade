"""This hub's own identity: its epoch, and the secret that signs the store's URLs."""

from __future__ import annotations

import secrets

from django.db import transaction

from ayni.hub.network import bulk
from ayni.hub.network.models import Hub


def this_hub() -> Hub:
    """The one row, made when it is first asked for."""
    hub = Hub.objects.order_by("id").first()
    return hub or _make()


def epoch() -> str:
    """What agents tell this hub from an older copy of it by."""
    rows = bulk.select("SELECT epoch FROM network_hub ORDER BY id LIMIT 1")
    return str(rows[0][0]) if rows else _make().epoch


def new_epoch() -> Hub:
    """After a restore from a backup: agents notice the new epoch and send again what was lost."""
    hub = this_hub()
    hub.epoch = secrets.token_hex(16)
    hub.save(update_fields=["epoch"])
    return hub


def _make() -> Hub:
    with transaction.atomic():
        made, _ = Hub.objects.get_or_create(
            id=1, defaults={"epoch": secrets.token_hex(16), "secret": secrets.token_hex(32)}
        )
    return made
