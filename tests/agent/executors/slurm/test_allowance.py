"""Limits of QOS and associations on the time of batch jobs, as Slurm goes by them."""

from __future__ import annotations

import dataclasses

import pytest

from ayni.agent.executors.slurm import parse
from ayni.agent.executors.slurm.allowance import Allowance, Wall, wall
from ayni.agent.executors.slurm.cluster import Cluster
from ayni.agent.executors.slurm.pools import Key
from ayni.agent.executors.slurm.script import Rules, Terms
from tests.agent.executors.slurm import answers

GIB = 1 << 30
KEY = Key("x", "", "main", 1, GIB, 60, 10.0, 0)
QOS = parse.qos(answers.text("sacctmgr-show-qos-limits"))
MINE = parse.associations(answers.text("sacctmgr-show-user-limited"))
SHORT = Wall("QOS short", 600)
HALF_AN_HOUR = Wall("account fisica", 1800)


def over_part(name, most):
    return {name: parse.Qos(frozenset({"OverPartQOS"}), most)}


@pytest.mark.parametrize(
    ("terms", "partition_qos", "qos", "expected"),
    [
        (Terms(), "", QOS, None),
        (Terms("fisica"), "", QOS, HALF_AN_HOUR),
        (Terms("Fisica"), "", QOS, HALF_AN_HOUR),
        (Terms("nadie"), "", QOS, None),
        (Terms(qos="short"), "", QOS, SHORT),
        (Terms(qos="Short"), "", QOS, SHORT),
        (Terms("lenguas", "short"), "", QOS, SHORT),  # a QOS goes before an account, larger or not
        (Terms("lenguas", "small"), "", QOS, Wall("account lenguas", 300)),
        (Terms(qos="nada"), "", QOS, None),
        (Terms("fisica"), "short", QOS, SHORT),
        (Terms(qos="long"), "short", QOS | {"long": parse.Qos(frozenset(), 6000)}, SHORT),
        (Terms(qos="long"), "short", QOS | over_part("long", 6000), Wall("QOS long", 6000)),
        (Terms(qos="long"), "short", QOS | over_part("long", None), SHORT),
    ],
)
def test_of_the_limits_of_partition_qos_own_qos_and_association_the_first_holds(
    terms, partition_qos, qos, expected
):
    assert wall(terms, "main", partition_qos, qos, MINE) == expected


def test_a_batch_job_that_names_no_qos_has_the_default_one_or_the_only_one():
    mine = dataclasses.replace(MINE[0], default_qos="short")
    assert wall(Terms(), "main", "", QOS, [mine]) == SHORT
    mine = dataclasses.replace(MINE[0], default_qos="", qos=frozenset({"short"}))
    assert wall(Terms(), "main", "", QOS, [mine]) == SHORT
    mine = dataclasses.replace(mine, qos=frozenset({"short", "normal"}))
    assert wall(Terms(), "main", "", QOS, [mine]) is None


def test_an_association_with_the_partition_alone_goes_before_the_one_with_all():
    mine = [*MINE, dataclasses.replace(MINE[1], partition="main", max_wall=900)]
    assert wall(Terms("fisica"), "main", "", QOS, mine) == Wall("account fisica", 900)
    assert wall(Terms("fisica"), "large", "", QOS, mine) == HALF_AN_HOUR


def allowance(slurm, now, **terms):
    cluster = Cluster(slurm, None, lambda: now[0])
    return Allowance(slurm, Rules(**terms), cluster, "ana", lambda: now[0])


def test_room_is_bounded_by_the_partition_and_by_the_limit_whichever_is_less(slurm):
    slurm.walls = {"short": 600, "long": 864000}
    most = {
        qos: allowance(slurm, [0.0], qos=qos).room(KEY).max_walltime
        for qos in ("short", "long", "normal")
    }
    assert most == {"short": 600, "long": 7200, "normal": 7200}


def test_a_cluster_that_enforces_no_limits_has_none(slurm, monkeypatch):
    slurm.walls = {"short": 600}
    monkeypatch.setattr(slurm, "config", lambda: {"AccountingStorageEnforce": "associations,qos"})
    assert allowance(slurm, [0.0], qos="short").room(KEY).max_walltime == 7200


def test_limits_are_asked_for_every_ten_minutes_and_changes_are_seen_then(slurm):
    now, slurm.walls = [0.0], {"short": 600}
    found = allowance(slurm, now, qos="short")
    assert found.room(KEY).max_walltime == 600
    calls = slurm.calls
    for _ in range(100):
        found.room(KEY)
    assert slurm.calls == calls
    slurm.walls = {"short": None}
    now[0] = 599.0
    assert found.room(KEY).max_walltime == 600
    now[0] = 600.0
    assert found.room(KEY).max_walltime == 7200


def test_an_accounting_that_does_not_answer_changes_nothing_and_is_asked_when_it_does(slurm):
    now, slurm.walls = [0.0], {"short": 600}
    found = allowance(slurm, now, qos="short")
    found.room(KEY)
    now[0], slurm.walls = 600.0, {"short": 1200}
    slurm.down.add("sacctmgr")
    assert found.room(KEY).max_walltime == 600
    calls = slurm.calls
    assert found.room(KEY).max_walltime == 600
    assert slurm.calls == calls, "nobody waits twice for what does not answer"
    slurm.down.clear()
    slurm.ask_accounting()
    assert found.room(KEY).max_walltime == 1200
