"""`run.toml`: what one training run over the network is told. Read strictly; kept with the run as JSON."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import BeforeValidator, Field, ValidationError, model_validator

from ayni.errors import UserError
from ayni.lm import devices
from ayni.lm.files import written
from ayni.lm.inner.settings import Count, Section, Start, Training
from ayni.lm.outer.codec import Codec
from ayni.lm.outer.schedule import warmed_up
from ayni.lm.outer.state import Rules
from ayni.terminal import one_line

RESOLVED = "run.json"
_MOST = 1 << 20  # bytes of a configuration
_MOST_LINKS = 200  # updates between two snapshots
_NAME = r"^[a-z0-9][a-z0-9-]{0,49}$"  # of a run; with what is put behind it, a channel's
#: What says the length of rounds, in place of `schedule`.
_WARM_UP = ("first", "last", "warm", "stages", "lr", "momentum")


class Site(Section):
    """One site of a run, and the task that trains there."""

    site: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
    data: Annotated[str, Field(pattern=r"^(ayni://|/).{1,500}$")]  # or a path as the task sees it
    volume: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]{0,62}$")]
    image: str | None = None
    time: str = "1h"  # of a link of the chain
    warning: str | None = (
        None  # before its end; by default five minutes, or a quarter of a short one
    )
    chain: Annotated[int, Field(ge=1, le=1000)] = 100
    cores: Count | None = None
    mem: str | None = None
    disk: str | None = None
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
        return self

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


def _schedule(rules: dict[str, Any]) -> Any:
    steps = rules.pop("steps", None)
    if "phases" in rules:
        return {"steps": steps, "phases": rules.pop("phases")}
    if type(steps) is not int or not 1 <= steps <= 1 << 32:
        raise ValueError("steps: say how many inner steps the run has, such as steps = 1000")
    given = {key: rules.pop(key) for key in _WARM_UP if key in rules}
    for key, value in given.items():
        if type(value) not in (int, float) or value < 0 or (value == 0 and key in _WARM_UP[:2]):
            raise ValueError(f"{key}: {value!r} is no number of steps, or too small")
    try:
        return warmed_up(steps, **given)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{', '.join(given)}: {error}") from error


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
    training: Training = Training()
    outer: Annotated[Rules, BeforeValidator(_rules)]
    sites: Annotated[tuple[Site, ...], Field(min_length=1, max_length=1000)]
    project: str | None = None  # if given, the token must be of it
    tokenizer: Path | None = None  # its folder; a release takes it along
    retention: Annotated[int, Field(ge=1, le=3650)] = 30  # days, of the channels' messages
    charter: Charter | None = None

    @model_validator(mode="before")
    @classmethod
    def _named(cls, found: Any) -> Any:
        """The outer loop knows the run's name, too."""
        if isinstance(found, dict) and isinstance(found.get("outer"), dict):
            return {**found, "outer": {**found["outer"], "run": found.get("run")}}
        return found

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
    def wishes(self) -> str:
        """The channel of people who steer; no task is given it."""
        return f"{self.run}-wishes"

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
    try:
        with path.open("rb") as file:
            data = file.read(_MOST + 1)
        if len(data) > _MOST:
            raise UserError(f"{path}: larger than {_MOST} bytes; this is no run's configuration")
        if path.suffix == ".json":
            return Run.model_validate_json(data)
        return Run.model_validate(_tuples(tomllib.loads(data.decode())))
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}; name a run's configuration") from error
    except ValidationError as error:
        raise UserError(one_line(f"{path}: {_first(error)}")) from error
    except ValueError as error:
        raise UserError(one_line(f"{path}: not TOML ({error}); mend it")) from error


def keep(run: Run, folder: Path) -> Path:
    """Put the resolved configuration with the run; the same again changes nothing.

    Raises:
        UserError: another one is there.
    """
    path = folder / RESOLVED
    if path.exists():
        if load(path) != run:
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


def _first(error: ValidationError) -> str:
    fault = error.errors(include_input=False, include_url=False)[0]
    where = ".".join(map(str, fault["loc"]))
    why = fault["msg"].removeprefix("Value error, ")
    if fault["type"] == "missing":
        return f"{where}: is missing; write it"
    if fault["type"] == "extra_forbidden":
        return f"{where}: there is no such key; mend its name or take it away"
    return f"{where}: {why}" if where else why
