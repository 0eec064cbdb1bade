"""Worlds for the broker's tests: small ones by hand, any ones by hypothesis."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from ayni.broker.types import Group, Partition, Project, Site
from ayni.protocol.policy import Reason
from ayni.tes.shape import Shape

NOW = 1_800_000_000.0
GIB = 1 << 30


def partition(name: str = "main", cores: int = 4, **more: Any) -> Partition:
    fields: dict[str, Any] = {
        "name": name,
        "nodes": 1,
        "cores_per_node": cores,
        "memory_per_node": 64 * GIB,
        "gpus_per_node": 0,
        "max_walltime": 86400,
        "cores": cores,
        "memory": 64 * GIB,
        "gpus": 0,
        "depth": 2,
    }
    return Partition(**{**fields, **more})


def site(name: str, *partitions: Partition, member: str = "CL", **more: Any) -> Site:
    return Site(name=name, member=member, partitions=partitions or (partition(),), **more)


def group(id: int = 1, queued: int = 1, project: str = "p", **more: Any) -> Group:
    shape = more.pop("shape", None) or Shape(images=("host",), **more.pop("wants", {}))
    fields: dict[str, Any] = {"member": "CL", "oldest": NOW - 1}
    return Group(id=id, project=project, shape=shape, queued=queued, **{**fields, **more})


# --- any world --------------------------------------------------------------------------------

_names = st.sampled_from(["andes", "bravo", "caribe", "darien"])
_members = st.sampled_from(["CL", "MX", "CO"])


@st.composite
def partitions(draw: st.DrawFn, name: str) -> Partition:
    nodes, each = draw(st.integers(1, 3)), draw(st.integers(1, 8))
    gpus = draw(st.integers(0, 2))
    live = draw(st.integers(0, 12))
    return Partition(
        name=name,
        nodes=nodes,
        cores_per_node=each,
        memory_per_node=draw(st.integers(1, 8)) * GIB,
        gpus_per_node=gpus,
        max_walltime=draw(st.sampled_from([600, 3600, 86400])),
        cores=draw(st.integers(0, nodes * each)),
        memory=draw(st.integers(0, 16)) * GIB,
        gpus=nodes * gpus,
        depth=draw(st.integers(0, 4)),
        foreign_cores=draw(st.integers(0, 3)),
        used_cores=live * draw(st.integers(1, 2)),
        used_memory=live * GIB,
        live=live,
        waiting=draw(st.integers(0, live)),
    )


@st.composite
def sites(draw: st.DrawFn) -> list[Site]:
    return [
        Site(
            name=name,
            member=draw(_members),
            partitions=[
                draw(partitions(n)) for n in draw(st.sampled_from([(), ("a",), ("a", "b")]))
            ],
            silent_for=draw(st.sampled_from([0.0, 0.0, 0.0, 500.0])),
            draining=draw(st.integers(0, 5)) == 0,
            banned=draw(st.integers(0, 5)) == 0,
            ill=draw(st.sampled_from([(), (), (), ("disk",)])),
            max_tasks=draw(st.sampled_from([None, None, 0, 3, 20])),
            closed=draw(st.sampled_from([None, None, Reason(code="hours", message="is closed")])),
        )
        for name in sorted(draw(st.sets(_names, max_size=4)))
    ]


@st.composite
def groups(draw: st.DrawFn, id: int) -> Group:
    shape = Shape(
        images=("host",),
        cores=draw(st.integers(1, 4)),
        memory=draw(st.integers(1, 4)) * GIB,
        gpus=draw(st.sampled_from([0, 0, 1])),
        nodes=draw(st.sampled_from([1, 1, 2])),
        walltime=draw(st.sampled_from([60, 3600, 7200])),
        site=draw(st.sampled_from([None, None, None, "andes"])),
        partition=draw(st.sampled_from([None, None, "a"])),
        zones=tuple(draw(st.sampled_from([(), (), ("MX",), ("andes", "CO")]))),
    )
    return Group(
        id=id,
        project=draw(st.sampled_from(["p", "q", "r"])),
        member=draw(_members),
        shape=shape,
        queued=draw(st.integers(0, 40)),
        oldest=NOW - draw(st.sampled_from([0, 50, 1000])),
        service=draw(st.sampled_from([None, 1.0, 600.0])),
        sites=draw(st.sampled_from([None, None, frozenset({"andes", "bravo"}), frozenset()])),
        data=draw(st.dictionaries(st.sampled_from(["", "andes", "bravo"]), st.integers(0, 10**12))),
        objections=draw(
            st.dictionaries(
                _names, st.just(Reason(code="image", message="has no such image")), max_size=2
            )
        ),
    )


@st.composite
def worlds(draw: st.DrawFn) -> tuple[list[Group], list[Site], list[Project]]:
    count = draw(st.integers(0, 6))
    weights = st.sampled_from([0.5, 1.0, 2.0])
    projects = [
        Project(name, draw(st.floats(0, 1e6)), draw(weights))
        for name in draw(st.sets(st.sampled_from("pqr")))
    ]
    return [draw(groups(id=i)) for i in range(count)], draw(sites()), projects
