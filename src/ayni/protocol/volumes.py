"""Site volumes: what a site gives whom, and what a volume that restricted data touched may still do. Pure.

A volume is what the tasks of one project leave at one site for those that come after them. It never
leaves the site. Whoever mounts one is bound by the strictest rule of all that was ever written there by
those who read restricted data: see `docs/security.md`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Protocol

from ayni.protocol import release
from ayni.protocol.messages import DatasetUse, GateStatus, VolumesOffer
from ayni.protocol.policy import Reason, quota_of
from ayni.tes.units import show_size
from ayni.tes.volumes import Mount, writes

_LEAST = (
    1 << 20
)  # bytes; a smaller volume that restricted data touched counts as much, when it is told


class Bound(Protocol):
    """What is told of a volume: `protocol.messages.VolumeStatus` and the hub's row fit."""

    release: str
    release_limit: int
    dataset: str


def refusal(offer: VolumesOffer | None, project: str, mounts: Sequence[Mount]) -> Reason | None:
    """Why a site does not take a project's tasks with these volumes, or None."""
    if not mounts:
        return None
    quota = 0 if offer is None else quota_of(offer.quota, offer.projects, project)
    if offer is None or not quota:
        return Reason(code="volume", message="gives no room for volumes")
    if writes(mounts) and project in offer.full:
        return full(project, quota)
    return None


def full(project: str, quota: int) -> Reason:
    """The project holds as much as it may."""
    return Reason(
        code="quota",
        message=f"project {project} holds in volumes all that the site allows ({show_size(quota)}); "
        "delete some ('ayni volumes') or ask its operator",
        parameters={"project": project, "quota": quota},
    )


def rule_of(volume: Bound, gates: Iterable[GateStatus]) -> release.Rule:
    """What may leave a task that mounts it."""
    use = DatasetUse(
        name=volume.dataset, release=volume.release, release_limit=volume.release_limit
    )
    rule = release.rule_of(use)
    if rule.free:
        return rule
    kept = tuple(release.Gate(g.dataset, tuple(g.channels), g.limit, g.inner) for g in gates)
    return replace(rule, gates=kept)


def told_size(size: int, rule: release.Rule) -> int:
    """The size that the hub learns: a task could write data in the length of what it keeps."""
    return size if rule.free else 1 << (max(size, _LEAST) - 1).bit_length()
