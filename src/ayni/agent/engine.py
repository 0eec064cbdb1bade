"""The executor that the configuration asks for, and which sandbox its jobs are in."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from ayni.agent import localusers, modules
from ayni.agent.config import Config, Image
from ayni.agent.executors.base import Executor
from ayni.agent.executors.local import LocalExecutor
from ayni.agent.executors.slurm.cluster import Cluster
from ayni.agent.executors.slurm.executor import SlurmExecutor
from ayni.agent.executors.slurm.mapped import MappedExecutor, Queue, SlurmAs
from ayni.agent.executors.slurm.tool import Slurm
from ayni.agent.runtimes.bare import BareRuntime
from ayni.agent.runtimes.base import Finding, ImageSpec, Runtime
from ayni.agent.runtimes.choose import NoSandbox, host_runtime, runtimes
from ayni.agent.runtimes.etc import write_etc
from ayni.agent.runtimes.host import BubblewrapRuntime, HostFiles, NamespaceRuntime
from ayni.agent.sections import SlurmSection
from ayni.agent.staging.beneath import Maker
from ayni.agent.staging.folders import Unlock
from ayni.agent.supervisor import cgroup
from ayni.agent.userhelper import Helper
from ayni.errors import UserError


@dataclass(frozen=True, slots=True)
class Engine:
    """An executor, ready.

    Attributes:
        sandbox: bubblewrap, unshare, container or none: the weakest that an image here runs in.
        findings: what was found on the way.
        unlock: lets us remove what local users left, where jobs run as such: see `Folders`.
        group_of: of the local user who runs a project's jobs.
        maker_of: by project and attempt, who makes what is staged, where that is not the agent.
    """

    executor: Executor
    sandbox: str
    findings: Sequence[Finding]
    unlock: Unlock | None = None
    group_of: Callable[[str], int | None] = lambda project: None
    maker_of: Callable[[str, str], Maker | None] = lambda project, attempt: None

    @property
    def sandboxed(self) -> bool:
        return self.sandbox != "none"


def images(config: Config) -> dict[str, ImageSpec]:
    """What each image name means, aliases left out: jobs name what they stand for.

    Raises:
        UserError: a module that one needs cannot be loaded here.
    """
    return {name: _spec(image) for name, image in config.images.items() if image.alias is None}


def _spec(image: Image) -> ImageSpec:
    loaded = modules.load(tuple(image.modules))
    return ImageSpec(
        runtime=image.runtime,
        image=image.image,
        prefixes=tuple(image.prefixes),
        path=(*image.path, *loaded.path),
        env={**loaded.env, **image.env},
    )


def start(config: Config) -> Engine:
    """Open the executor; jobs that an earlier one left running are taken over.

    Raises:
        UserError: nothing here can isolate a job, and the operator did not allow to do without.
    """
    found = images(config)
    folder = config.executor_folder
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    host: Runtime | None = None
    findings: Sequence[Finding] = ()
    sandbox = "container"
    if any(image.runtime == "host" for image in found.values()):
        host, findings = _host(config, folder)
        sandbox = _NAMES[type(host)]
    open_executor = _slurm if config.executor.kind == "slurm" else _local
    executor = open_executor(config, found, host)
    found_so_far = [*findings, *executor.findings]
    if isinstance(executor, MappedExecutor):
        return Engine(
            executor, sandbox, found_so_far, executor.unlock, executor.group_of, executor.maker
        )
    return Engine(executor, sandbox, found_so_far)


def _local(config: Config, found: dict[str, ImageSpec], host: Runtime | None) -> LocalExecutor:
    return LocalExecutor(
        config.executor_folder,
        cores=config.executor.cores,
        memory=config.executor.memory,
        gpus=config.executor.gpus,
        images=found,
        max_walltime=config.executor.max_walltime,
        pin=pins(config),
        host_runtime=host,
    )


def pins(config: Config) -> bool:
    """Whether each task is tied to its cores: by default where the kernel does not hold it to them."""
    wanted = config.executor.pin
    return not cgroup.holds_cores(cgroup.own_path()) if wanted is None else wanted


def _slurm(
    config: Config, found: dict[str, ImageSpec], host: Runtime | None
) -> SlurmExecutor | MappedExecutor:
    given = config.executor.slurm
    assert given is not None
    names = {image.runtime for image in found.values()} - {"host"}
    known, findings = runtimes(config.executor_folder, names, allow_unsandboxed=False)
    known = known if host is None else {**known, "host": host}
    executor = (
        _mapped(config, given, found, known)
        if config.local_users
        else SlurmExecutor(
            config.executor_folder,
            Slurm(given.conf, given.bin),
            found,
            known,
            given.rules,
            allowed=given.partitions,
        )
    )
    executor.findings = findings
    return executor


def _mapped(
    config: Config, given: SlurmSection, found: dict[str, ImageSpec], known: dict[str, Runtime]
) -> MappedExecutor:
    """An executor to each local user."""
    users = localusers.find(config.local_users)
    try:
        localusers.prepare(config.work_folder, config.executor_folder, users.values())
    except OSError as error:
        raise UserError(f"executor.slurm.shared: {error}") from error
    slurm = Slurm(given.conf, given.bin)
    queue = Queue(slurm, users.values())
    helper = Helper(given.helper)
    cluster = Cluster(slurm, given.partitions, time.monotonic)
    executors = {
        name: SlurmExecutor(
            localusers.state_folder(config.executor_folder, user),
            SlurmAs(user, helper, queue, given.conf, given.bin),
            found,
            known,
            given.rules,
            user=user,
            cluster=cluster,
        )
        for name, user in users.items()
    }
    return MappedExecutor(users, executors, given.rules, cluster, queue, helper)


_NAMES: dict[type[Runtime], str] = {
    BubblewrapRuntime: "bubblewrap",
    NamespaceRuntime: "unshare",
    BareRuntime: "none",
}


def _host(config: Config, folder: Path) -> tuple[Runtime, Sequence[Finding]]:
    """How images of runtime `host` run here."""
    if config.sandbox == "none":
        bare = BareRuntime()
        return bare, bare.findings()
    if config.sandbox == "auto":
        try:
            return host_runtime(folder, allow_unsandboxed=not config.needs_sandbox)
        except NoSandbox as error:
            advice = " Only if every user of this site is trusted: allow_unsandboxed = true"
            raise UserError(f"{error}.{'' if config.has_one_account else advice}") from error
    files = HostFiles(write_etc(folder / "etc"))
    wanted = (BubblewrapRuntime if config.sandbox == "bubblewrap" else NamespaceRuntime)(files)
    findings = wanted.findings()
    if broken := [finding for finding in findings if not finding.works]:
        raise UserError(
            f'sandbox = "{config.sandbox}" does not work here: {broken[0].detail}. '
            f"{broken[0].remedy}"
        )
    return wanted, findings
