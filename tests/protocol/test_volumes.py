"""What a site gives of volumes, to whom, and what of them is told."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ayni.protocol import volumes
from ayni.protocol.messages import VolumesOffer, VolumeStatus
from ayni.protocol.release import FREE, Gate, Release, Rule, forbidden
from ayni.tes.volumes import Mount

RW, RO = (Mount("a", "/a"),), (Mount("a", "/a", write=False),)


def offer(quota: int = 100, **more: object) -> VolumesOffer:
    return VolumesOffer.model_validate({"quota": quota, "retention": 1, **more})


def test_a_task_without_volumes_is_nobodys_matter() -> None:
    assert volumes.refusal(None, "clima", ()) is None


@pytest.mark.parametrize("given", [None, offer(0), offer(100, projects={"cl*": 0})])
def test_a_site_that_gives_no_room_says_so(given: VolumesOffer | None) -> None:
    reason = volumes.refusal(given, "clima", RW)
    assert reason is not None and reason.code == "volume"


def test_a_project_of_its_own_quota_has_room_where_others_have_none() -> None:
    assert volumes.refusal(offer(0, projects={"clima": 5, "*": 0}), "clima", RW) is None


def test_one_that_is_full_may_read_and_not_write() -> None:
    full = offer(full=["clima"])
    reason = volumes.refusal(full, "clima", RW)
    assert reason is not None and (reason.code, reason.parameters["quota"]) == ("quota", 100)
    assert volumes.refusal(full, "clima", RO) is None
    assert volumes.refusal(full, "maiz", RW) is None


def test_a_release_that_is_not_known_counts_as_nothing() -> None:
    told = {"id": "1", "project": "p", "name": "n", "size": 0, "created": 0, "used": 0}
    strange = VolumeStatus.model_validate({**told, "release": "everything"})
    assert volumes.rule_of(strange, []).release is Release.NOTHING
    assert volumes.rule_of(VolumeStatus.model_validate(told), []) == FREE


def test_what_may_leave_by_channels_goes_with_the_volume() -> None:
    told = {"id": "1", "project": "p", "name": "n", "size": 0, "created": 0, "used": 0}
    gates = [{"dataset": "censo", "channels": ["p/deltas"], "limit": 10}]
    status = VolumeStatus.model_validate(
        {**told, "release": "nothing", "dataset": "censo", "gates": gates}
    )
    rule = volumes.rule_of(status, status.gates)
    assert rule.gates == (Gate("censo", ("p/deltas",), 10),)
    assert forbidden(rule, outputs=0, network=False, sends=["p/deltas"]) is None
    assert forbidden(rule, outputs=0, network=False, sends=["p/others"]) is not None


@given(st.integers(0, 1 << 50))
def test_the_size_of_what_is_restricted_is_one_of_few(size: int) -> None:
    told = volumes.told_size(size, Rule(Release.NOTHING))
    assert told >= size and told.bit_count() == 1 and told >= 1 << 20
    assert volumes.told_size(size, FREE) == size
