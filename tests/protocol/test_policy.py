"""What a site takes: each rule alone, and the property that no reason is left out."""

from __future__ import annotations

from datetime import UTC, datetime, time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from ayni.protocol.policy import Hours, Policy, Who, not_now, refusal, refusals
from ayni.tes.shape import Shape

WHO = Who(
    name="Ana", email="Ana@Example.cl", institution="UCh", project="climate-andes", member="CL"
)
SHAPE = Shape(images=("host",))


@pytest.mark.parametrize(
    ("policy", "shape", "hosts", "code"),
    [
        ({}, {}, (), None),
        ({"members": ["CL"]}, {}, (), None),
        ({"members": ["MX"]}, {}, (), "member"),
        ({"members": []}, {}, (), "member"),
        ({"projects": ["climate-*"]}, {}, (), None),
        ({"projects": ["maize"]}, {}, (), "project"),
        ({"deny_projects": ["climate-andes"]}, {}, (), "project"),
        ({"projects": ["climate-*"], "deny_projects": ["*-andes"]}, {}, (), "project"),
        ({"deny_persons": ["*@example.cl"]}, {}, (), "person"),
        ({"deny_persons": ["ANA@example.CL"]}, {}, (), "person"),
        ({"images": ["alpine"]}, {}, (), "image"),
        ({"images": ["alpine", "host"]}, {"images": ("host", "r")}, (), "image"),
        ({"images": ["*"]}, {"images": ("anything",)}, (), None),
        ({}, {"network": True}, (), "network"),
        ({"network": True}, {"network": True}, (), None),
        ({"max_cores": 4}, {"cores": 4}, (), None),
        ({"max_cores": 4}, {"cores": 5}, (), "cores"),
        ({"max_cores": 4, "max_nodes": 2}, {"cores": 3, "nodes": 2}, (), "cores"),
        ({"max_memory": 10}, {}, (), "memory"),
        ({"max_gpus": 0}, {"gpus": 1}, (), "gpus"),
        ({}, {"nodes": 2}, (), "nodes"),
        ({"max_walltime": 60}, {}, (), "walltime"),
        ({}, {}, ("data.un.org",), "https"),
        ({"https_from": ["*.un.org"]}, {}, ("data.un.org",), None),
        ({"https_from": ["*.un.org"]}, {}, ("data.un.org", "x.com"), "https"),
    ],
)
def test_each_rule_refuses_what_it_says(
    policy: dict[str, Any], shape: dict[str, Any], hosts: tuple[str, ...], code: str | None
) -> None:
    asked = Shape(**{"images": ("host",), **shape})
    reason = refusal(Policy(**policy), asked, WHO, https_hosts=frozenset(hosts))
    assert (reason and reason.code) == code


@given(
    st.sets(
        st.sampled_from(
            [
                "member",
                "project",
                "person",
                "image",
                "network",
                "cores",
                "memory",
                "gpus",
                "nodes",
                "walltime",
                "https",
            ]
        )
    )
)
def test_every_reason_is_given_and_no_other(broken: set[str]) -> None:
    strict: dict[str, tuple[str, Any]] = {
        "member": ("members", []),
        "project": ("deny_projects", ["*"]),
        "person": ("deny_persons", ["*"]),
        "image": ("images", []),
        "network": ("network", False),
        "cores": ("max_cores", 3),
        "memory": ("max_memory", 1),
        "gpus": ("max_gpus", 0),
        "nodes": ("max_nodes", 1),
        "walltime": ("max_walltime", 1),
        "https": ("https_from", []),
    }
    open_: dict[str, Any] = {"network": True, "max_nodes": None, "https_from": ["*"]}
    policy = Policy(**{**open_, **dict(strict[code] for code in broken)})
    shape = Shape(images=("host",), cores=2, nodes=2, gpus=1, network=True)
    found = [r.code for r in refusals(policy, shape, WHO, https_hosts=frozenset({"un.org"}))]
    assert sorted(found) == sorted(broken)
    first = refusal(policy, shape, WHO, https_hosts=frozenset({"un.org"}))
    assert (first is None) == (not broken)


def _at(day: int, hour: int, minute: int = 0) -> datetime:
    return datetime(2025, 6, day, hour, minute, tzinfo=UTC)  # 2 June 2025 is a Monday


NIGHT = Hours(begin=time(20), end=time(7), days=[1, 2, 3, 4, 5])
DAY = Hours(begin=time(9), end=time(17), days=[6])


@pytest.mark.parametrize(
    ("hours", "now", "open_"),
    [
        (None, _at(2, 12), True),
        ([NIGHT], _at(2, 19, 59), False),
        ([NIGHT], _at(2, 20), True),
        ([NIGHT], _at(3, 6, 59), True),
        ([NIGHT], _at(3, 7), False),
        ([NIGHT], _at(2, 6), False),  # Sunday's night is not on the list
        ([NIGHT], _at(7, 6), True),  # Friday's is, until Saturday morning
        ([NIGHT], _at(7, 21), False),
        ([NIGHT, DAY], _at(7, 9), True),
        ([DAY], _at(7, 17), False),
        ([], _at(2, 12), False),
    ],
)
def test_hours_hold_over_midnight_by_the_day_they_begin(
    hours: list[Hours] | None, now: datetime, open_: bool
) -> None:
    reason = not_now(Policy(hours=hours), now)
    assert (reason is None) is open_


def test_hours_are_the_sites_own() -> None:
    santiago = Policy(hours=[DAY], timezone="America/Santiago")  # UTC-4 in June
    assert not_now(santiago, _at(7, 12)) is not None
    assert not_now(santiago, _at(7, 13)) is None


@pytest.mark.parametrize("name", ["Mars", "", "America", "..", "/etc", "a" * 300, "UTC\0"])
def test_a_time_zone_that_is_none_is_refused(name: str) -> None:
    with pytest.raises(ValidationError, match="America/Santiago"):
        Policy(timezone=name)


@pytest.mark.parametrize("field", ["begin", "end"])
def test_hours_with_a_zone_of_their_own_are_refused(field: str) -> None:
    hours = {"begin": "20:00", "end": "07:00", field: "06:00Z"}
    with pytest.raises(ValidationError, match="without a zone"):
        Policy.model_validate({"hours": [hours]})
