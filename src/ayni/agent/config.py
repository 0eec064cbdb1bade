"""The agent's configuration: one TOML file, the operator's last word over the machine.

`docs/operators/agent.example.toml` documents every key. Whatever is wrong is said with the key and
the remedy (`UserError`, exit code 2).
"""

from __future__ import annotations

import os
import re
import tomllib
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal, Self
from urllib.parse import urlsplit

from pydantic import (
    Field,
    StrictBool,
    ValidationError,
    field_validator,
    model_validator,
)

from ayni.agent.config_faults import described
from ayni.agent.sections import Section, SlurmSection, VolumesSection
from ayni.agent.units import Duration, Size
from ayni.errors import UserError
from ayni.protocol.policy import Hours, Policy

PLACES = ("AYNI_SITE_CONFIG", "/etc/ayni/agent.toml", "~/.config/ayni/agent.toml")
DAY = 86400
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
ModuleName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.+-]*(/[A-Za-z0-9_.+-]+)*$")]
Count = Annotated[int, Field(ge=1)]


class PolicySection(Section):
    """What the site takes. A limit that is not given is none."""

    members: list[str] | None = None
    projects: list[str] | None = None
    deny_projects: list[str] = []
    deny_persons: list[str] = []
    network: bool = False
    max_cores: Count | None = None
    max_memory: Size | None = None
    max_gpus: Annotated[int, Field(ge=0)] | None = None
    max_nodes: Count = 1
    max_walltime: Duration | None = None
    max_tasks: Annotated[int, Field(ge=0)] | None = None
    https_from: list[str] = []
    channels: list[str] | None = None  # PROJECT or PROJECT/CHANNEL, or patterns of them
    max_channel_bytes: Size | None = None
    hours: list[Hours] | None = None
    timezone: str = "UTC"

    @field_validator("members")
    @classmethod
    def _members(cls, members: list[str] | None) -> list[str] | None:
        for code in members or ():
            if not re.fullmatch(r"[A-Z]{2}", code):
                raise ValueError(f"{code[:40]!r} is no country's code; write CL, CO, MX")
        return members

    def policy(self, images: list[str]) -> Policy:
        """As hub and agent judge by it."""
        return Policy(**self.model_dump(), images=images)


class Image(Section):
    """What one image name means here: a runtime and its parts, or an `alias` of another name."""

    alias: str | None = None
    runtime: Literal["host", "charliecloud", "apptainer"] = "host"
    image: str | None = None  # for containers: what the runtime is to open
    prefixes: list[Path] = []  # more of the host that its tasks may read
    modules: list[ModuleName] = []  # of the site's module system; what they set, tasks get
    path: list[str] = []  # goes before PATH
    env: dict[str, str] = {}
    network: bool = False  # its tasks get the network unasked, where the policy gives it at all

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.alias is not None and self.model_fields_set != {"alias"}:
            raise ValueError("an alias has no other keys; put them where it points")
        if self.alias is None and self.runtime != "host" and not self.image:
            raise ValueError(f"runtime {self.runtime} needs 'image': a folder, a file or a name")
        if self.modules and self.runtime != "host":
            raise ValueError(
                f"modules: a {self.runtime} image does not see the site's; leave them out"
            )
        for prefix in self.prefixes:
            if not prefix.is_absolute():
                raise ValueError(f"prefix {str(prefix)!r} must be an absolute path")
        return self


class ExecutorSection(Section):
    """What runs the tasks. `local`: processes of this machine, within these bounds; or `slurm`."""

    kind: Literal["local", "slurm"] = "local"
    cores: Count = Field(default_factory=lambda: len(os.sched_getaffinity(0)))
    memory: Size = Field(
        default_factory=lambda: os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") * 9 // 10
    )
    gpus: Annotated[int, Field(ge=0)] = 0
    max_walltime: Duration = 7 * DAY
    # Whether each task is tied to its cores; None ("auto"): where the kernel does not hold it to them.
    pin: StrictBool | None = None
    slurm: SlurmSection | None = None

    @field_validator("pin", mode="before")
    @classmethod
    def _pin(cls, pin: Any) -> Any:
        if isinstance(pin, str) and pin != "auto":
            raise ValueError(f'{pin[:40]!r} is neither "auto" nor true or false')
        return None if pin == "auto" else pin

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.kind == "slurm" and self.slurm is None:
            raise ValueError('kind "slurm" needs [executor.slurm] with at least shared = "/…"')
        return self


class PartitionSection(Section):
    """The queue as the network sees it."""

    name: Name = "local"
    # Tasks of a size wanted waiting beyond those that fit; None ("auto" in the file): as fast as they end.
    depth: Annotated[int, Field(ge=0, le=1000)] | None = None

    @field_validator("depth", mode="before")
    @classmethod
    def _depth(cls, depth: Any) -> Any:
        if isinstance(depth, str) and depth != "auto":
            raise ValueError(f'{depth[:40]!r} is neither "auto" nor a number')
        return None if depth == "auto" else depth


class StoreSection(Section):
    """The site's own store, for datasets that stay here."""

    folder: Path | None = None  # by default beneath the state folder


class HttpsSection(Section):
    """How the agent calls out. A proxy is taken from HTTPS_PROXY and NO_PROXY, as usual."""

    ca_file: Path | None = None  # a private authority's certificate, beside the system's
    timeout: Duration = 30
    max_input: Size = 100 << 30  # bytes of one https input
    # Hosts in the site's own network that inputs and outputs may be exchanged with, against the
    # rule that only public addresses are called: an S3 server beside the cluster, say.
    private_hosts: list[str] = []


class LimitsSection(Section):
    """Room and time for what tasks leave behind."""

    cache: Size = 20 << 30  # bytes of inputs kept for the next task
    work: Size = 100 << 30  # bytes of all work folders; beyond, no new task is taken
    log: Size = 1 << 30  # bytes of one log; it is cut there, and says so
    processes: Count = 4096  # of one task
    grace: Duration = 10  # seconds between SIGTERM and SIGKILL
    keep_failed: Duration = DAY  # seconds for which a failed task's folder stays, for the operator
    transfers: Annotated[int, Field(ge=1, le=64)] = 8  # files moved at the same time


class Config(Section):
    """The whole file. Relative paths count from the file's own folder."""

    hub: str
    state: Path = Path("/var/lib/ayni")
    key_file: Path | None = None
    production: bool = True
    allow_unsandboxed: bool = False
    sandbox: Literal["auto", "bubblewrap", "unshare", "none"] = "auto"
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    policy: PolicySection = PolicySection()
    images: dict[str, Image] = {"host": Image()}
    executor: ExecutorSection = Field(default_factory=ExecutorSection)
    partition: PartitionSection = PartitionSection()
    store: StoreSection = StoreSection()
    https: HttpsSection = HttpsSection()
    limits: LimitsSection = LimitsSection()
    volumes: VolumesSection = VolumesSection()

    @field_validator("hub")
    @classmethod
    def _hub(cls, url: str) -> str:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError(f"{url[:80]!r} is no address of a hub; write https://hub.example.org")
        if parts.username or parts.password or parts.query or parts.fragment:
            raise ValueError("holds more than an address; write https://hub.example.org")
        return url.rstrip("/")

    @model_validator(mode="after")
    def _check(self) -> Self:
        if not self.images:
            raise ValueError("images: none given; a site with no image runs nothing")
        for name, image in self.images.items():
            if image.alias is None:
                continue
            target = self.images.get(image.alias)
            if target is None or target.alias is not None:
                raise ValueError(
                    f"images.{name}.alias: {image.alias!r} is not an image that stands in this file "
                    "for itself"
                )
        try:
            self.policy.policy(list(self.images))
        except ValidationError as error:
            raise ValueError("policy." + "; ".join(described(error, Policy))) from error
        if self.sandbox == "none" and self.production and not self.allow_unsandboxed:
            raise ValueError(
                'sandbox: "none" lets tasks read whatever the agent\'s user can; '
                "a production site must also say allow_unsandboxed = true"
            )
        if self.has_one_account and (self.sandbox == "none" or self.allow_unsandboxed):
            raise ValueError(
                ("sandbox" if self.sandbox == "none" else "allow_unsandboxed")
                + ": all projects' batch jobs are one user's here, and only the sandbox keeps them "
                "apart; take the line out"
            )
        return self

    # --- what follows from it ---

    @property
    def needs_sandbox(self) -> bool:
        """Whether the site must not run where no sandbox works."""
        return self.has_one_account or (self.production and not self.allow_unsandboxed)

    @property
    def has_one_account(self) -> bool:
        """Whether all projects' batch jobs are one user's: nothing but the sandbox keeps them apart."""
        return self.executor.kind == "slurm" and not self.local_users

    @property
    def local_users(self) -> set[str]:
        """The site's own users for whom batch jobs run; none: all of them are the agent's."""
        slurm = self.executor.slurm if self.executor.kind == "slurm" else None
        return set() if slurm is None else slurm.rules.users

    def has_user_for(self, project: str) -> bool:
        """Whether somebody here runs a project's tasks."""
        slurm = self.executor.slurm
        return not self.local_users or (
            slurm is not None and slurm.rules.terms(project).user is not None
        )

    @property
    def key_path(self) -> Path:
        return self.key_file or self.state / "site.key"

    @property
    def store_folder(self) -> Path:
        return self.store.folder or self.state / "store"

    @property
    def shared(self) -> Path:
        """Where compute nodes look: the state folder itself, if this machine is the only one."""
        slurm = self.executor.slurm if self.executor.kind == "slurm" else None
        return self.state if slurm is None else slurm.shared

    @property
    def work_folder(self) -> Path:
        return self.shared / "work"

    @property
    def volumes_folder(self) -> Path:
        return self.shared / "volumes"

    @property
    def cache_folder(self) -> Path:
        return self.shared / "cache"

    @property
    def executor_folder(self) -> Path:
        return self.shared / "executor"

    @cached_property
    def network_policy(self) -> Policy:
        """The policy that the hub may know; inner hosts that were opened are hosts as others."""
        policy = self.policy.policy(list(self.images))
        slurm = self.executor.slurm
        if policy.projects is None and self.local_users and slurm is not None and not slurm.user:
            mapped = [name for name, terms in slurm.projects.items() if terms.user]
            policy = policy.model_copy(update={"projects": mapped})
        inner = [host.partition(":")[0] for host in self.https.private_hosts]
        return policy.model_copy(update={"https_from": [*policy.https_from, *inner]})

    def image(self, name: str) -> Image | None:
        """What an image name means, aliases followed; None if the site has no such image."""
        image = self.images.get(name)
        return self.images.get(image.alias) if image and image.alias else image

    def image_name(self, name: str) -> str:
        """The name that an alias stands for."""
        image = self.images.get(name)
        return image.alias if image and image.alias else name


# --- reading it -------------------------------------------------------------------------------


def find(path: Path | None = None) -> Path:
    """The file to read: the one named, `AYNI_SITE_CONFIG`, or one in the usual places.

    Raises:
        UserError: there is none.
    """
    if path is not None:
        candidates = [path]
    elif named := os.environ.get(PLACES[0]):
        candidates = [Path(named)]
    else:
        candidates = [Path(place).expanduser() for place in PLACES[1:]]
    for candidate in candidates:
        if candidate.is_file():
            return candidate
    raise UserError(
        f"no configuration at {' or '.join(map(str, candidates))}; name it with --config, "
        "or make one with 'ayni site register --hub URL --code CODE'"
    )


def load(path: Path | None = None) -> Config:
    """Read and check the file.

    Raises:
        UserError: it cannot be read or something in it is wrong; every fault is named.
    """
    path = find(path)
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path} cannot be read: {error}") from error
    return parse(text, path)


def parse(text: str, path: Path) -> Config:
    """The configuration in `text`, as if read from `path`; raises as `load` does."""
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise UserError(f"{path} is no TOML: {error}") from error
    try:
        config = Config.model_validate(data)
    except ValidationError as error:
        raise UserError(f"{path}: " + "; ".join(described(error, Config))) from error
    return _rooted(config, path.absolute().parent)


def _rooted(config: Config, base: Path) -> Config:
    """The same with absolute paths."""

    def place(path: Path | None) -> Path | None:
        return None if path is None else base / path.expanduser()

    slurm = config.executor.slurm
    if slurm is not None:
        slurm = slurm.model_copy(
            update={
                name: place(getattr(slurm, name)) for name in ("shared", "conf", "bin", "helper")
            }
        )
    return config.model_copy(
        update={
            "state": place(config.state),
            "executor": config.executor.model_copy(update={"slurm": slurm}),
            "key_file": place(config.key_file),
            "store": config.store.model_copy(update={"folder": place(config.store.folder)}),
            "https": config.https.model_copy(update={"ca_file": place(config.https.ca_file)}),
        }
    )
