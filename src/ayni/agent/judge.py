"""The site's last word on one task: by its policy, its images and its partitions."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from urllib.parse import urlsplit

from ayni.agent.config import Config
from ayni.protocol import volumes
from ayni.protocol.messages import PartitionStatus
from ayni.protocol.policy import Reason, Who, refusals
from ayni.tes.models import Task
from ayni.tes.shape import Shape
from ayni.tes.units import show_duration, show_size


def https_hosts(task: Task) -> frozenset[str]:
    """The hosts that a task exchanges files with by http or https."""
    urls = [entry.url for entry in (*(task.inputs or ()), *(task.outputs or ())) if entry.url]
    hosts = set()
    for url in urls:
        try:
            parts = urlsplit(url)
            if parts.scheme.lower() in ("http", "https"):
                hosts.add((parts.hostname or "").rstrip("."))
        except ValueError:  # a malformed address: no list holds it
            hosts.add(url[:80])
    return frozenset(hosts)


def objections(
    config: Config, task: Task, shape: Shape, who: Who, partitions: Sequence[PartitionStatus] = ()
) -> Iterator[Reason]:
    """Every reason why this site will not run such a task for this person.

    Args:
        config: with the policy.
        task: what would really run; its images count, not those of `shape`.
        shape: what it asks for.
        who: for whom.
        partitions: the queues that it could go to; none: not judged.
    """
    policy = config.network_policy
    yield from refusals(policy, shape, who, https_hosts=https_hosts(task))
    if (no := volumes.refusal(config.volumes.offer(), who.project, shape.volumes)) is not None:
        yield no
    if not config.has_user_for(who.project):
        yield Reason(code="project", message=f"has no local user for project {who.project}")
    images = dict.fromkeys(executor.image for executor in task.executors)
    for image in images:
        if image not in shape.images and image not in config.images:
            yield Reason(code="image", message=f"has no image {image}")
    if len({config.image_name(image) for image in images}) > 1:
        yield Reason(
            code="image",
            message="runs all executors of a task in one image, not in "
            + ", ".join(sorted(images)),
        )
    if partitions:
        found = [list(misfits(shape, partition)) for partition in partitions]
        if all(found):
            yield found[0][0]


def misfits(shape: Shape, partition: PartitionStatus) -> Iterator[Reason]:
    """Why a shape can never run in a partition, however empty it is."""
    for name, wanted, limit, show in (
        ("cores", shape.cores, partition.cores_per_node, str),
        ("memory", shape.memory, partition.memory_per_node, show_size),
        ("gpus", shape.gpus, partition.gpus_per_node, str),
        ("nodes", shape.nodes, partition.nodes, str),
        ("walltime", shape.walltime, partition.max_walltime, show_duration),
    ):
        if wanted > limit:
            yield Reason(
                code=name,
                message=f"partition {partition.name}: {name} {show(wanted)} asked, "
                f"a node has {show(limit)}"
                if name in ("cores", "memory", "gpus")
                else f"partition {partition.name}: {name} {show(wanted)} asked, at most {show(limit)}",
                parameters={"wanted": wanted, "limit": limit, "partition": partition.name},
            )
