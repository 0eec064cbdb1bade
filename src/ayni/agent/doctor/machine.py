"""What runs the tasks: user, cores, memory, sandbox, limits, images."""

from __future__ import annotations

import os
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from ayni.agent import modules
from ayni.agent.config import Config, ExecutorSection, Image
from ayni.agent.doctor.base import Check, Checker, fail, ok, warn
from ayni.agent.engine import pins
from ayni.agent.runtimes.base import Finding
from ayni.agent.runtimes.choose import doctor as runtime_findings
from ayni.agent.supervisor import cgroup
from ayni.errors import UserError
from ayni.protocol.policy import not_now
from ayni.tes.units import show_size


def user(config: Config) -> Iterator[Check]:
    """Tasks run as the agent's user, so that should be nobody who matters."""
    if os.geteuid() == 0:
        yield warn(
            "user",
            "the agent runs as root: what leaves a sandbox is root too",
            "make a user of its own, as the systemd unit does (ayni site unit)",
        )
    else:
        yield ok("user", f"uid {os.geteuid()}")


def executor(config: Config) -> Iterator[Check]:
    """Does the machine have what the configuration promises?"""
    if config.executor.kind == "slurm":
        yield ok("executor", "slurm: its nodes have what it says that they have")
        return
    machine, promised = ExecutorSection(), config.executor
    most = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if promised.cores > machine.cores:
        yield warn(
            "executor",
            f"executor.cores is {promised.cores}, but this process may use {machine.cores}",
            "lower executor.cores, or tasks share cores and are accounted for more than they get",
        )
    if promised.memory > most:
        yield fail(
            "executor",
            f"executor.memory is {show_size(promised.memory)}, the machine has {show_size(most)}",
            "lower executor.memory",
        )
    yield ok("executor", f"local: {promised.cores} cores, {show_size(promised.memory)}")
    yield _cores(config)


def _cores(config: Config) -> Check:
    """What keeps a task from taking more cores than it asked for."""
    if cgroup.holds_cores(cgroup.own_path()):
        return ok("cores", "the kernel holds tasks to their cores (cgroup)")
    if pins(config):
        return ok("cores", "best effort: each task is tied to its cores, which it may undo")
    return warn(
        "cores",
        "nothing keeps a task to its cores",
        'executor.pin = "auto", or let systemd delegate the cpu controller (Delegate=yes)',
    )


def sandbox(config: Config) -> Iterator[Check]:
    """What keeps tasks from the rest of the machine, tried for real."""
    names: set[str] = {i.runtime for i in config.images.values() if i.alias is None}
    config.executor_folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    findings = list(runtime_findings(config.executor_folder, names))
    hosts = [f for f in findings if f.name.startswith("sandbox:")]
    if hosts:
        yield from _host(config, hosts)
    for finding in findings:
        if finding in hosts:
            continue
        if finding.works:
            yield ok(finding.name, finding.detail)
        elif finding.name.startswith("limits"):
            yield warn(finding.name, finding.detail, finding.remedy)
        else:
            yield fail(finding.name, finding.detail, finding.remedy)


def _host(config: Config, findings: list[Finding]) -> Iterator[Check]:
    works = [finding for finding in findings if finding.works]
    if config.sandbox == "none":
        yield warn(
            "sandbox", "switched off: tasks read whatever the agent's user can", 'sandbox = "auto"'
        )
        return
    if works:
        yield ok("sandbox", "; ".join(f"{f.name.partition(': ')[2]}: {f.detail}" for f in works))
        return
    said = "; ".join(f"{f.name.partition(': ')[2]}: {f.detail}" for f in findings)
    if config.needs_sandbox:
        yield fail(
            "sandbox", f"none works, so the agent will not start: {said}", findings[0].remedy
        )
    else:
        yield warn(
            "sandbox",
            f"none works; tasks read whatever the agent's user can: {said}",
            findings[0].remedy,
        )


def images(config: Config) -> Iterator[Check]:
    """Is what the image names mean there?"""
    bad = False
    for name, image in config.images.items():
        for prefix in image.prefixes:
            if not prefix.exists():
                bad = True
                yield fail(
                    f"image {name}", f"prefix {prefix} is not there", "install it, or take it out"
                )
        if image.image and image.image.startswith("/") and not Path(image.image).exists():
            bad = True
            yield fail(f"image {name}", f"{image.image} is not there", "put the image there")
        for check in _modules(name, image):
            bad = True
            yield check
    if not bad:
        yield ok("images", ", ".join(config.images))


def _modules(name: str, image: Image) -> Iterator[Check]:
    """Can its modules be loaded, and can tasks read what they name?"""
    try:
        loaded = modules.load(tuple(image.modules))
    except UserError as error:
        yield fail(f"image {name}", str(error), "correct its modules; try: bash -lc 'module avail'")
        return
    seen = ("/usr", *map(str, image.prefixes))
    hidden = {
        folder
        for folder in loaded.folders
        if Path(folder).exists() and not any(Path(folder).is_relative_to(place) for place in seen)
    }
    if hidden:
        yield warn(
            f"image {name}",
            f"its modules name {', '.join(sorted(hidden))}, which its tasks do not see",
            "name the software's folder in 'prefixes'",
        )


def hours(config: Config) -> Iterator[Check]:
    """Does the site take work at this hour?"""
    closed = not_now(config.network_policy, datetime.now(UTC))
    if closed is not None:
        yield warn("hours", f"the site {closed.message}", "nothing to do, if that is what you want")


CHECKS: tuple[Checker, ...] = (user, executor, sandbox, images, hours)
