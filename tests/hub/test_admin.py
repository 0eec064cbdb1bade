"""Django's admin: open to staff only, and every list can be looked at."""

from __future__ import annotations

import pytest
from django.contrib import admin

from ayni.hub.accounts.models import Token

from . import factories as make

pytestmark = pytest.mark.django_db


def test_who_is_no_staff_sees_nothing(client):
    client.force_login(make.person())
    assert client.get("/admin/tasks/task/").status_code == 302


def test_staff_looks_at_every_list(client):
    client.force_login(make.person(is_staff=True, is_superuser=True))
    make.task(make.project())
    for model in admin.site._registry:
        meta = model._meta
        answer = client.get(f"/admin/{meta.app_label}/{meta.model_name}/")
        assert answer.status_code == 200, meta
    assert client.get("/admin/tasks/task/add/").status_code == 403


def test_a_token_is_revoked_and_its_hash_is_not_shown(client):
    client.force_login(make.person(is_staff=True, is_superuser=True))
    make.token()
    token = Token.objects.get()
    chosen = {"action": "revoke", "_selected_action": [token.pk]}
    client.post("/admin/accounts/token/", chosen)
    token.refresh_from_db()
    assert token.revoked is not None
    shown = client.get(f"/admin/accounts/token/{token.pk}/change/")
    assert token.digest not in shown.content.decode()
