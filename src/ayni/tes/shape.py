"""What a task asks of a machine, with the defaults and the backend parameters made explicit.

Keys of `resources.backend_parameters`: `site`, `partition`, `nodes`, `tasks_per_node`, `gpus`,
`walltime`, `max_attempts`, `restartable`, `network`, `channels`, `volume`, `chain`, `warning`. With
`backend_parameters_strict` an unknown key is an error (TES 1.1, tesResources.backend_parameters_strict);
otherwise it is dropped.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from typing import Any

from ayni.tes.models import Task
from ayni.tes.volumes import Mount, mounts_of, parse_mounts, writes

KEYS = (
    "site",
    "partition",
    "nodes",
    "tasks_per_node",
    "gpus",
    "walltime",
    "max_attempts",
    "restartable",
    "network",
    "channels",
    "volume",
    "chain",
    "warning",
)
GB = 10**9
MAX_WALLTIME = 366 * 86400
MOST_LINKS = 1000  # of a chain
WARNING = (
    300  # seconds before its walltime ends that a link of a chain is told, where it is long enough
)


class ShapeError(ValueError):
    """A resource request that cannot be understood; `field` is its path in the task."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(f"{field}: {message}")
        self.field = field
        self.message = message


@dataclass(frozen=True, slots=True)
class Shape:
    """One task's needs: bytes and seconds. Defaults: 1 core, 1 GiB, 1 hour, 3 attempts, no network.

    `chain`: it may go on where its walltime ended, in so many links. `warning`: seconds before that end at
    which its processes get SIGUSR1; None: as `warned` says.
    """

    images: tuple[str, ...]
    cores: int = 1
    memory: int = 1 << 30
    disk: int = 0
    gpus: int = 0
    nodes: int = 1
    tasks_per_node: int = 1
    walltime: int = 3600
    network: bool = False
    site: str | None = None
    partition: str | None = None
    zones: tuple[str, ...] = ()
    max_attempts: int = 3
    restartable: bool = False
    channels: tuple[str, ...] = ()  # NAME, NAME:in or NAME:out; see `channel_ways`
    volumes: tuple[Mount, ...] = ()
    chain: int = 1
    warning: int | None = None

    @property
    def warned(self) -> int | None:
        """Seconds before its walltime ends at which it is warned; None: never."""
        if self.warning is not None or self.chain == 1:
            return self.warning or None
        return min(WARNING, self.walltime // 4) or None

    def to_json(self) -> dict[str, Any]:
        """What came later is left out where it says nothing: an older agent does not know it."""
        data = asdict(self)
        for name, value in _LATER.items():
            if data[name] == value:
                del data[name]
        return data

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Shape:
        lists = {key: tuple(data.get(key) or ()) for key in ("images", "zones", "channels")}
        return cls(**{**data, **lists, "volumes": mounts_of(data)})


_LATER: dict[str, Any] = {"channels": (), "volumes": (), "chain": 1, "warning": None}


_DURATION = re.compile(r"(?:(\d+)-)?(\d+):(\d{2})(?::(\d{2}))?")
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def parse_duration(text: str) -> int:
    """Seconds of `90`, `90s`, `15m`, `1h`, `2d`, `1h30m`, `HH:MM`, `HH:MM:SS` or `D-HH:MM:SS`.

    Raises:
        ValueError: the text is none of these.
    """
    text = text.strip().lower()
    if text.isascii() and text.isdigit():
        return int(text)
    if match := _DURATION.fullmatch(text):
        days, hours, minutes, seconds = (int(g or 0) for g in match.groups())
        return ((days * 24 + hours) * 60 + minutes) * 60 + seconds
    if re.fullmatch(r"(?:\d+[smhd])+", text, re.ASCII):
        return sum(int(n) * _UNITS[u] for n, u in re.findall(r"(\d+)([smhd])", text, re.ASCII))
    raise ValueError(f"{text[:40]!r} is no duration; write 90s, 15m, 1h, 1h30m or 01:30:00")


def _whole(low: int, high: int) -> Callable[[str], int]:
    def parse(text: str) -> int:
        if not (text.isascii() and text.isdigit() and len(text) < 16 and low <= int(text) <= high):
            raise ValueError(f"must be a whole number from {low} to {high}, not {text[:40]!r}")
        return int(text)

    return parse


def _truth(text: str) -> bool:
    if text.lower() not in ("true", "false"):
        raise ValueError(f"must be true or false, not {text[:40]!r}")
    return text.lower() == "true"


def _walltime(text: str) -> int:
    seconds = parse_duration(text)
    if not 1 <= seconds <= MAX_WALLTIME:
        raise ValueError(f"must be between one second and a year, not {text[:40]!r}")
    return seconds


def _name(text: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", text):
        raise ValueError(f"{text[:40]!r} is no name")
    return text


_CHANNEL = re.compile(r"([a-z0-9][a-z0-9-]{0,62})(:in|:out)?")
MAX_CHANNELS = 16  # of one task


def _channels(text: str) -> tuple[str, ...]:
    found: dict[str, str] = {}
    for part in text.split(","):
        match = _CHANNEL.fullmatch(part.strip())
        if match is None:
            raise ValueError(
                f"{part[:80]!r} is no channel; write NAME, NAME:in or NAME:out, with commas between"
            )
        if match[1] in found:
            raise ValueError(f"names {match[1]} twice")
        found[match[1]] = match[0]
    if len(found) > MAX_CHANNELS:
        raise ValueError(f"names {len(found)} channels; a task may have {MAX_CHANNELS}")
    return tuple(found.values())


@dataclass(frozen=True, slots=True)
class ChannelWay:
    """A channel that a task uses, and which ways."""

    name: str
    sends: bool
    reads: bool


def channel_ways(channels: Iterable[str]) -> list[ChannelWay]:
    """What `Shape.channels` says."""
    parts = [text.partition(":") for text in channels]
    return [ChannelWay(name, sends=way != "in", reads=way != "out") for name, _, way in parts]


_PARSERS: dict[str, Callable[[str], Any]] = {
    "site": _name,
    "partition": _name,
    "nodes": _whole(1, 100_000),
    "tasks_per_node": _whole(1, 100_000),
    "gpus": _whole(0, 100_000),
    "walltime": _walltime,
    "max_attempts": _whole(1, 20),
    "restartable": _truth,
    "network": _truth,
    "channels": _channels,
    "volume": parse_mounts,
    "chain": _whole(1, MOST_LINKS),
    "warning": parse_duration,
}
_FIELD = {"volume": "volumes"}  # of the shape, where it is called otherwise than the key


def shape_of(task: Task) -> Shape:
    """The task's shape.

    Raises:
        ShapeError: a backend parameter is unknown (and strictness was asked for) or malformed.
    """
    resources = task.resources
    fields: dict[str, Any] = {"images": tuple(dict.fromkeys(e.image for e in task.executors))}
    if resources is None:
        return Shape(**fields)
    if resources.cpu_cores:
        fields["cores"] = resources.cpu_cores
    if resources.ram_gb:
        fields["memory"] = max(1, round(resources.ram_gb * GB))
    if resources.disk_gb:
        fields["disk"] = round(resources.disk_gb * GB)
    if resources.zones:
        fields["zones"] = tuple(resources.zones)
    for key, text in (resources.backend_parameters or {}).items():
        where = f"resources.backend_parameters.{key}"
        if key not in _PARSERS:
            if resources.backend_parameters_strict:
                raise ShapeError(where, f"unknown; known are {', '.join(KEYS)}")
            continue
        try:
            fields[_FIELD.get(key, key)] = _PARSERS[key](text)
        except ValueError as error:
            raise ShapeError(where, str(error)) from error
    shape = Shape(**fields)
    _check_chain(shape)
    for mount in shape.volumes:
        _check_volume(task, mount)
    return shape


def _check_volume(task: Task, mount: Mount) -> None:
    """What is staged or leaves lies beside a volume, never in it."""
    paths = {
        "inputs": [entry.path for entry in task.inputs or ()],
        "outputs": [entry.path for entry in task.outputs or ()],
    }
    for kind, named in paths.items():
        for number, path in enumerate(named):
            if f"{path}/".startswith(f"{mount.path}/"):
                remedy = (
                    "copy from there what may leave" if kind == "outputs" else "take another path"
                )
                raise ShapeError(
                    f"{kind}[{number}].path",
                    f"lies in volume {mount.name}, which stays at its site; {remedy}",
                )


def _check_chain(shape: Shape) -> None:
    if shape.chain > 1 and not writes(shape.volumes):
        raise ShapeError(
            "resources.backend_parameters.chain",
            "needs a volume in which a link leaves where it was for the next one; add volume=NAME:/path",
        )
    if shape.warning is not None and shape.warning >= shape.walltime:
        raise ShapeError(
            "resources.backend_parameters.warning",
            f"must be shorter than the walltime of {shape.walltime} s",
        )
