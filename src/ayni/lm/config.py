"""`run.toml`: what one training run over the network is told. Read strictly; kept with the run as JSON."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import (
    BeforeValidator,
    Field,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)

from ayni.client.draft import draft
from ayni.client.errors import InvalidTask
from ayni.errors import UserError
from ayni.lm import devices
from ayni.lm.faults import NO_SUCH_KEY, explained
from ayni.lm.files import sha256_of, written
from ayni.lm.inner.schedule import resolved
from ayni.lm.inner.settings import Count, Fraction, Section, Shape, Start, Steps, Training
from ayni.lm.outer.codec import MAX_COUNT, Codec
from ayni.lm.outer.schedule import MOST_STEPS, Factor, Length, warmed_up
from ayni.lm.outer.state import Rules
from ayni.lm.plan import parameters
from ayni.terminal import one_line

RESOLVED = "run.json"
_MOST = 1 << 20  # bytes of a configuration
_MOST_LINKS = 200  # updates between two snapshots
MOST_DAYS = 365  # that a hub keeps messages
_NAME = r"^[a-z0-9][a-z0-9-]{0,49}$"  # of a run; with what is put behind it, a channel's
#: As in `90 minutes` or `512MiB`.
_Amount = Annotated[str, Field(min_length=1, max_length=32)]


class Site(Section):
    """One site of a run, and the task that trains there."""

    site: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
    data: Annotated[str, Field(pattern=r"^(ayni://|/).{1,500}$")]  # or a path as the task sees it
    volume: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]{0,62}$")]
    image: str | None = None
    time: _Amount = "1h"  # of a link of the chain
    # before its end; by default five minutes, or a quarter of a short one
    warning: _Amount | None = None
    chain: Annotated[int, Field(ge=1, le=1000)] = 100
    cores: Count | None = None
    mem: _Amount | None = None
    disk: _Amount | None = None
    gpus: Count | None = None  # of a node
    nodes: Count = 1
    ranks: Count | None = None  # processes on a node; by default one to a GPU
    partition: str | None = None
    device: str | None = None  # its GPU's name, and
    link: str | None = None  # bits per second to the coordinator: for plans alone

    @model_validator(mode="after")
    def _known(self) -> Self:
        if self.device is not None:
            devices.device(self.device)
        if self.link is not None:
            devices.speed(self.link)
        self._task_can_be()
        return self

    def _task_can_be(self) -> None:
        """Raises ValueError: what a task cannot have, before a run is begun with it."""
        try:
            draft("true", **self.task)
        except InvalidTask as error:
            raise ValueError(str(error)) from error

    @property
    def task(self) -> dict[str, Any]:
        """What the network is asked for the task that trains here, as `draft` takes it."""
        return {
            "image": self.image, "cores": self.cores, "mem": self.mem, "disk": self.disk,
            "gpus": self.gpus, "nodes": self.nodes if self.nodes > 1 else None,
            "network": self.nodes > 1,  # ranks on several nodes talk over it
            "time": self.time, "warning": self.warning, "chain": self.chain, "site": self.site,
            "partition": self.partition, "volumes": f"{self.volume}:/state",
        }  # fmt: skip

    @property
    def dataset(self) -> bool:
        """Whether the data is the network's to bring, rather than there already."""
        return self.data.startswith("ayni://")

    @property
    def all_gpus(self) -> int:
        return (self.gpus or 0) * self.nodes

    @property
    def all_cores(self) -> int:
        return (self.cores or 1) * self.nodes

    @property
    def ranks_a_node(self) -> int:
        return self.ranks or self.gpus or 1

    @property
    def all_ranks(self) -> int:
        return self.ranks_a_node * self.nodes


def _rules(found: Any) -> Any:
    """The outer loop's rules as TOML says them: a codec by its name, rounds by `steps` and a warm-up."""
    if not isinstance(found, dict):
        return found
    rules = dict(found)
    if isinstance(rules.get("codec"), str):
        try:
            rules["codec"] = Codec[rules["codec"].upper()]
        except KeyError:
            known = ", ".join(codec.name.lower() for codec in Codec)
            raise ValueError(f"codec: {rules['codec']!r} is none; there are {known}") from None
    if "schedule" not in rules:
        rules["schedule"] = _schedule(rules)
    return rules


class _WarmUp(Section):
    """What `warmed_up` makes rounds of."""

    steps: Annotated[int, Field(ge=1, le=MOST_STEPS)]
    first: Length = 5
    last: Length = 50
    warm: Steps | None = None
    stages: Annotated[int, Field(ge=1, le=1000)] = 8
    lr: Factor = 1.0
    momentum: Fraction = 0.0


def _schedule(rules: dict[str, Any]) -> Any:
    given = {key: rules.pop(key) for key in _WarmUp.model_fields if key in rules}
    if "phases" in rules:
        if others := sorted(given.keys() - {"steps"}):
            raise ValueError(f"{others[0]}: phases say the length of rounds; leave one of them out")
        return {**given, "phases": rules.pop("phases")}
    try:
        known = _WarmUp.model_validate(given)
    except ValidationError as error:
        raise ValueError(explained(error)) from error
    if known.warm is not None and known.warm > known.steps:
        raise ValueError(f"warm: the run has {known.steps} steps; write no more")
    return warmed_up(**dict(known))


Paragraph = Annotated[str, Field(min_length=1, max_length=4000)]


class Charter(Section):
    """What the run promises; each site's operator accepts it before the site's first round."""

    data: Paragraph  # what is trained on, and what stays where
    licences: Paragraph  # of the texts, and of the model
    holders: Paragraph  # who may hold the weights
    leaving: Paragraph  # how a party leaves, and what becomes of what it brought
    more: Paragraph | None = None


#: Its sections, as they are headed.
_HEADS = {
    "data": "Data",
    "licences": "Licences",
    "holders": "Who may hold the weights",
    "leaving": "How a party leaves",
    "more": "And further",
}


class Run(Section):
    """A whole run."""

    run: Annotated[str, Field(pattern=_NAME)]
    model: Start
    outer: Annotated[Rules, BeforeValidator(_rules)]
    training: Annotated[Training, Field(validate_default=True)] = Training()
    sites: Annotated[tuple[Site, ...], Field(min_length=1, max_length=1000, strict=False)]
    project: str | None = None  # if given, the token must be of it
    # its folder; a release takes it along
    tokenizer_sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")] | None = None  # of its file
    tokenizer: Annotated[Path, Field(strict=False)] | None = None
    retention: Annotated[int, Field(ge=1, le=MOST_DAYS)] = 30  # days, of the channels' messages
    history: bool = True  # any round can be exported; else the last `outer.keep`
    charter: Charter | None = None

    @model_validator(mode="before")
    @classmethod
    def _named(cls, found: Any) -> Any:
        """The outer loop knows the run's name, too."""
        if isinstance(found, dict) and isinstance(found.get("outer"), dict):
            return {**found, "outer": {**found["outer"], "run": found.get("run")}}
        return found

    @field_validator("training")
    @classmethod
    def _scheduled(cls, training: Training, info: ValidationInfo) -> Training:
        """What the schedule leaves open, by the length of the run."""
        rules: Rules | None = info.data.get("outer")
        if rules is None:
            return training
        schedule = resolved(training.schedule, rules.schedule.steps)
        return training.model_copy(update={"schedule": schedule})

    @model_validator(mode="after")
    def _fits(self) -> Self:
        names = [one.site for one in self.sites]
        if len(set(names)) < len(names):
            raise ValueError("sites: a site stands there twice; give each one entry")
        if self.outer.snapshot_every > _MOST_LINKS:
            raise ValueError(
                f"outer.snapshot_every: a head would be too long to send; write {_MOST_LINKS} or less"
            )
        self._in_fragments()
        if self.model.shape is not None:
            self.check_shape(self.model.shape)
        for one in self.sites:
            of = one.data.removeprefix("ayni://").partition("/")[0]
            if one.dataset and of != one.site and of in names:
                raise ValueError(
                    f"sites: {one.site} is given data of {of}, which stay there; name one of its own"
                )
        if self.outer.refuse < self.outer.clip:
            raise ValueError(
                f"outer.refuse: norms are clipped from {self.outer.clip} on, and could never be "
                "refused less; write a larger one"
            )
        if not self.outer.overlap and self.outer.mix != Rules.model_fields["mix"].default:
            raise ValueError(
                "outer.mix: means nothing without overlap; leave it out, or write both"
            )
        batch = self.training.data.batch
        for one in self.sites:
            if batch % one.all_ranks:
                raise ValueError(
                    f"sites: {one.site} has {one.all_ranks} ranks, which cannot share training.data."
                    f"batch = {batch} rows evenly; change one of them"
                )
        if self.outer.quorum > len(names):
            raise ValueError(
                f"outer.quorum: {self.outer.quorum} of {len(names)} sites can never be there; "
                f"write {len(names)} or fewer"
            )
        return self

    def check_shape(self, shape: Shape) -> None:
        """Raises ValueError: a model of this shape cannot be exchanged, or has no room for a row."""
        if (count := parameters(shape)) > MAX_COUNT:
            raise ValueError(
                f"model.shape: {count:.2g} parameters are more than can be sent; write a smaller model"
            )
        if self.training.data.length > shape.context:
            raise ValueError(
                f"training.data.length: {self.training.data.length} tokens, and the model's context "
                f"are {shape.context}; write no more"
            )

    def _in_fragments(self) -> None:
        """Raises ValueError: what a model that is exchanged in fragments, or overlapped, does not go with."""
        outer, shape = self.outer, self.model.shape
        if shape is not None and outer.fragments > shape.layers:
            raise ValueError(
                f"outer.fragments: a model of {shape.layers} layers has no more than {shape.layers} "
                f"fragments, not {outer.fragments}; write {shape.layers} or fewer"
            )
        asked = [name for name in ("evaluate", "leave_one_out") if getattr(outer, name)]
        if asked and (outer.fragments > 1 or outer.overlap):
            raise ValueError(
                f"outer.{asked[0]}: versions are judged by the loss of the whole model, and a site that "
                "exchanges it in fragments, or trains on meanwhile, never has a version of the whole: "
                f"leave {' and '.join(asked)} out, or fragments and overlap"
            )

    @property
    def tokens_per_step(self) -> int:
        """The most that a site's step sees."""
        return self.training.data.batch * self.training.data.length

    @property
    def charter_text(self) -> str:
        """The charter as operators read it: the same bytes of the same `run.toml`; empty: there is none."""
        if self.charter is None:
            return ""
        parts = [f"# Charter of the training run {self.run}", f"Sites: {self.named_sites}"]
        for name, said in self.charter.model_dump(exclude_none=True).items():
            parts += [f"## {_HEADS[name]}", said.strip()]
        return "\n\n".join(parts) + "\n"

    @property
    def up(self) -> str:
        """The channel from the sites."""
        return f"{self.run}-up"

    @property
    def down(self) -> str:
        """The channel to the sites."""
        return f"{self.run}-down"

    @property
    def steering(self) -> str:
        """The channel of people who steer; no task is given it."""
        return f"{self.run}-steering"

    def at(self, site: str) -> Site:
        """Raises UserError: the run has no such site."""
        for one in self.sites:
            if one.site == site:
                return one
        raise UserError(f"run {self.run} has no site {site}; it has {self.named_sites}")

    @property
    def named_sites(self) -> str:
        return ", ".join(one.site for one in self.sites)


def load(path: Path) -> Run:
    """Read `run.toml`, or a resolved configuration.

    Raises:
        UserError: the message names the field and the remedy.
    """
    found: Any = None
    try:
        with path.open("rb") as file:
            data = file.read(_MOST + 1)
        if len(data) > _MOST:
            raise UserError(f"{path}: larger than {_MOST} bytes; this is no run's configuration")
        if path.suffix == ".json":
            return Run.model_validate_json(data)
        found = _tuples(tomllib.loads(data.decode()))
        _as_written(path, found)
        return Run.model_validate(found)
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}; name a run's configuration") from error
    except ValidationError as error:
        raise UserError(one_line(f"{path}: {explained(error, found)}")) from error
    except ValueError as error:
        raise UserError(one_line(f"{path}: not TOML ({error}); mend it")) from error


def check_here(run: Run) -> None:
    """Raises UserError: a folder that the run names is not on this machine, where it begins."""
    where = {"tokenizer": run.tokenizer, "model.checkpoint": run.model.checkpoint}
    for key, folder in where.items():
        if folder is not None and not folder.is_dir():
            raise UserError(f"{key}: there is no folder {folder}; name the one that holds it")


def with_tokenizer(run: Run) -> Run:
    """The run with the SHA-256 of its tokenizer, where its folder is at hand.

    Raises:
        UserError: it is another one than the run says.
    """
    folder = run.tokenizer or run.model.checkpoint
    found = sha256_of(folder / "tokenizer.json") if folder else None
    if found is None or run.tokenizer_sha256 in (None, found):
        return run.model_copy(update={"tokenizer_sha256": found or run.tokenizer_sha256})
    raise UserError(
        f"tokenizer: {folder} holds another than tokenizer_sha256 says; name the run's own"
    )


def keep(run: Run, folder: Path) -> Path:
    """Put the resolved configuration with the run; the same again changes nothing.

    Raises:
        UserError: another one is there.
    """
    path = folder / RESOLVED
    run = with_tokenizer(run)
    if path.exists():
        there = load(path)
        known = run.tokenizer_sha256 or there.tokenizer_sha256  # its folder may be gone by now
        if there != run.model_copy(update={"tokenizer_sha256": known}):
            raise UserError(
                f"{folder} holds a run that was told otherwise ({path}): give back what it had, or "
                "name the run anew"
            )
        return path
    with written(path) as file:
        file.write(run.model_dump_json(indent=2).encode())
    return path


def _tuples(found: Any) -> Any:
    """TOML's lists as tuples, which strict models ask for."""
    if isinstance(found, dict):
        return {key: _tuples(value) for key, value in found.items()}
    return tuple(map(_tuples, found)) if isinstance(found, list) else found


def _as_written(path: Path, found: dict[str, Any]) -> None:
    """Raises UserError: a key that only the resolved configuration has."""
    outer = found.get("outer")
    for key in ("run", "schedule"):
        if isinstance(outer, dict) and key in outer:
            raise UserError(f"{path}: outer.{key}: {NO_SUCH_KEY}")
