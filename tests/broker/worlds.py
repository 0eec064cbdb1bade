"""Worlds for the broker's tests: small ones by hand, any ones by hypothesis."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from hypothesis import strategies as st

from ayni.broker.types import Group, Partition, Project, Site
from ayni.protocol.policy import Reason
from ayni.tes.shape import Shape
from ayni.tes.size import size_of

NOW = 1_800_000_000.0
GIB = 1 << 30
DEFAULT = Shape(images=("host",))
_NO_IMAGE = Reason(code="image", message="has no such image")


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
# Each fault is rare, so that in many worlds something is placed; a test sees to that.

NAMES = ("andes", "bravo", "caribe", "darien")
_names = st.sampled_from(NAMES)
_members = st.sampled_from(["CL", "MX", "CO"])


def _mostly(usual: Any, *others: Any) -> st.SearchStrategy[Any]:
    return st.sampled_from([*[usual] * 8, *others])


_SOON = Reason(code="maintenance", message="has maintenance")
_closing: st.SearchStrategy[dict[str, Any]] = _mostly(
    {}, *({"maintenance": _SOON, "until": until} for until in (600.0, 1800.0, 2400.0))
)


@st.composite
def partitions(draw: st.DrawFn, name: str) -> Partition:
    nodes, each = draw(st.integers(1, 3)), draw(st.integers(1, 8))
    memory, gpus = draw(st.integers(1, 8)), draw(st.integers(0, 2))
    live = draw(st.sampled_from([0, 0, 1, 2, 12]))
    return Partition(
        name=name,
        nodes=nodes,
        cores_per_node=each,
        memory_per_node=memory * GIB,
        gpus_per_node=gpus,
        max_walltime=draw(_mostly(86400, 600, 3600)),
        cores=draw(_mostly(nodes * each, 0, 1)),
        memory=draw(_mostly(nodes * memory, 0, 1)) * GIB,
        gpus=nodes * gpus,
        depth=draw(st.integers(0, 4)),
        foreign_cores=draw(_mostly(0, 1, 3)),
        used_cores=live * draw(st.integers(1, 2)),
        used_memory=live * GIB,
        live=live,
        waiting_of={
            size_of(shape): draw(st.integers(0, live // 2))
            for shape in (DEFAULT, replace(DEFAULT, cores=2))
        },
        **draw(_closing),
    )


@st.composite
def sites(draw: st.DrawFn) -> list[Site]:
    return [
        Site(
            name=name,
            member=draw(_members),
            partitions=[draw(partitions(n)) for n in draw(_mostly(("a", "b"), (), ("a",)))],
            silent_for=draw(_mostly(0.0, 500.0)),
            draining=draw(_mostly(False, True)),
            banned=draw(_mostly(False, True)),
            ill=draw(_mostly((), ("disk",))),
            max_tasks=draw(_mostly(None, 0, 3, 20)),
            closed=draw(_mostly(None, Reason(code="hours", message="is closed"))),
            **draw(_closing),
        )
        for name in sorted(draw(st.sets(_names, min_size=draw(_mostly(2, 0)), max_size=4)))
    ]


@st.composite
def groups(draw: st.DrawFn, id: int) -> Group:
    shape = Shape(
        images=("host",),
        cores=draw(st.integers(1, 4)),
        memory=draw(_mostly(1, 2, 4)) * GIB,
        gpus=draw(_mostly(0, 1)),
        nodes=draw(_mostly(1, 2)),
        walltime=draw(_mostly(60, 3600, 7200)),
        site=draw(_mostly(None, "andes")),
        partition=draw(_mostly(None, "a")),
        zones=tuple(draw(_mostly((), ("MX",), ("andes", "CO")))),
    )
    return Group(
        id=id,
        project=draw(st.sampled_from(["p", "q", "r"])),
        member=draw(_members),
        shape=shape,
        queued=draw(_mostly(3, 0, 1, 40)),
        oldest=NOW - draw(st.sampled_from([0, 50, 1000])),
        service=draw(st.sampled_from([None, 1.0, 600.0])),
        sites=draw(
            _mostly(None, frozenset({"andes", "bravo"}), frozenset({"caribe"}), frozenset())
        ),
        data=draw(st.dictionaries(st.sampled_from(["", "andes", "bravo"]), st.integers(0, 10**12))),
        failed=draw(_mostly({}, {"andes": 1}, {"andes": 2, "bravo": 1})),
        objections=draw(
            _mostly({}, {"bravo": _NO_IMAGE}, {"andes": _NO_IMAGE, "darien": _NO_IMAGE})
        ),
        awaiting=draw(_mostly({}, {"bravo": "up"}, {"andes": "up"}, dict.fromkeys(NAMES, "up"))),
    )


@st.composite
def worlds(draw: st.DrawFn) -> tuple[list[Group], list[Site], list[Project]]:
    count = draw(st.integers(draw(_mostly(2, 0)), 6))
    weights = st.sampled_from([0.5, 1.0, 2.0])
    projects = [
        Project(name, draw(st.floats(0, 1e6)), draw(weights))
        for name in draw(st.sets(st.sampled_from("pqr")))
    ]
    return [draw(groups(id=i)) for i in range(count)], draw(sites()), projects
