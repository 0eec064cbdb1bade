"""What a site's status makes of the catalogue."""

from __future__ import annotations

from typing import Any

import pytest

from ayni.hub.catalogue.models import Dataset
from ayni.hub.catalogue.registry import take_status
from ayni.protocol.messages import DatasetStatus
from tests.hub import factories


def status(name: str, **more: Any) -> DatasetStatus:
    fields = {"version": "1", "licence": "CC-BY-4.0", "size": 10, "files": 1, "sha256": "0" * 64}
    return DatasetStatus(name=name, **{**fields, **more})


def test_new_changed_and_gone_datasets(db: None) -> None:
    site = factories.site()
    take_status(site, [status("a"), status("b")])
    take_status(site, [status("b", version="2", residency="any", release="anything")])
    a, b = Dataset.objects.filter(site=site).order_by("name")
    assert (a.present, b.present) == (False, True)
    assert (b.version, b.residency, b.release) == ("2", "any", "anything")
    take_status(site, [status("a"), status("b")])
    assert Dataset.objects.filter(site=site, present=True).count() == 2


def test_another_sites_datasets_are_left_alone(db: None) -> None:
    one, two = factories.site(), factories.site()
    take_status(one, [status("a")])
    take_status(two, [status("a", version="9")])
    take_status(two, [])
    assert Dataset.objects.get(site=one).present
    assert Dataset.objects.get(site=one).version == "1"


@pytest.mark.parametrize(
    "card",
    [
        status("../x"),
        status("UPPER"),
        status("a", version="v" * 41),
        status("a", title="t\0"),
        status("a", residency="moon"),
        status("a", release="everything"),
        status("a", size=-1),
        status("a", size=1 << 63),
        status("a", sha256="x"),
    ],
)
def test_a_card_that_cannot_be_is_passed_over(db: None, card: DatasetStatus) -> None:
    site = factories.site()
    take_status(site, [card, status("good")])
    assert [d.name for d in Dataset.objects.filter(site=site)] == ["good"]


def test_many_datasets_take_few_statements(db: None, django_assert_max_num_queries: Any) -> None:
    site = factories.site()
    with django_assert_max_num_queries(12):
        take_status(site, [status(f"d{n}") for n in range(200)])
    with django_assert_max_num_queries(4):
        take_status(site, [status(f"d{n}") for n in range(200)])
