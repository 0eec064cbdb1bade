"""What the machine hears and what it wants done. Everything from a site is hostile: bounded, strict.

Events say what happened; actions say what is outstanding. Both may be lost, doubled and reordered:
an event changes nothing the second time, and an action is asked for until its answer was heard.
"""

from __future__ import annotations

import hashlib
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, TypeAdapter

from ayni.lm.outer.codec import Codec

Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
#: The address of a blob, or a digest. Opaque: never a path.
Ref = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9:_-]{0,127}$")]
Text = Annotated[str, StringConstraints(max_length=500)]
Count = Annotated[int, Field(ge=0, le=1 << 53)]
Finite = Annotated[float, Field(allow_inf_nan=False)]
Norm = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class Message(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class Keyed(Message):
    """What a contribution is known by, within a run."""

    fragment: Name
    base: Count
    site: Name
    attempt: Count

    @property
    def key(self) -> str:
        return f"{self.base}/{self.site}/{self.attempt}"


# --- from sites -------------------------------------------------------------------------------


class Joined(Message):
    """A site's operator accepted the run's charter. `tokens_per_step`: the most that a step may see."""

    kind: Literal["joined"] = "joined"
    site: Name
    tokens_per_step: Annotated[int, Field(ge=1, le=1 << 40)]


class Left(Message):
    """A site's task is over before the run is, as the network says; what it brought stays."""

    kind: Literal["left"] = "left"
    site: Name
    task: Name | None = None
    reason: Text = ""


class Held(Message):
    """What global version a site has now, and the digest of its copy."""

    kind: Literal["held"] = "held"
    site: Name
    fragment: Name
    version: Count
    digest: Ref


class Contributed(Keyed):
    """A site brings a pseudo-gradient. The site's signature over its message was checked at the edge.

    `digest` is that of the base version, `nonce` what `nonce_of` makes of it: a payload can be
    replayed into no other run, fragment or version. Of a model in fragments `tokens` and seconds are the
    fragment's share of what was trained, by its size, so that sums over fragments are true.
    """

    kind: Literal["contributed"] = "contributed"
    run: Name
    digest: Ref
    nonce: Ref
    blob: Ref
    size: Annotated[int, Field(ge=1, le=1 << 44)]
    tokens: Annotated[int, Field(ge=1, le=1 << 53)]
    steps: Annotated[int, Field(ge=1, le=1 << 32)]
    core_seconds: Count = 0  # as the site says, rounded up
    gpu_seconds: Count = 0


class Failed(Keyed):
    """A site cannot contribute to this base: its loss is NaN, its disk is full, its data is gone."""

    kind: Literal["failed"] = "failed"
    reason: Text


class Discarded(Message):
    """A site came back too late and discarded what it had not sent."""

    kind: Literal["discarded"] = "discarded"
    site: Name
    fragment: Name
    base: Count
    steps: Count
    tokens: Count


class Evaluated(Message):
    """A site's held-out loss of a version and of its parent, on the same texts.

    `after` is None where the loss is not finite.
    """

    kind: Literal["evaluated"] = "evaluated"
    site: Name
    fragment: Name
    version: Count
    before: Finite
    after: Finite | None


class Compared(Message):
    """A site's held-out loss of a version, and what it would be without another site's part in it.

    `other` is None where that is not finite.
    """

    kind: Literal["compared"] = "compared"
    site: Name
    fragment: Name
    version: Count
    without: Name
    loss: Finite
    other: Finite | None


class Progressed(Message):
    """Where a site is. Only the highest `seq` counts."""

    kind: Literal["progressed"] = "progressed"
    site: Name
    seq: Count
    doing: Literal["training", "waiting", "evaluating"]
    step: Count = 0
    of: Count = 0


class Rejected(Message):
    """The edge refused a message: its signature does not hold. Nothing in it is believed, so only noted."""

    kind: Literal["rejected"] = "rejected"
    claimed: Name
    digest: Ref
    reason: Text


# --- answers to actions -----------------------------------------------------------------------


class Inspected(Keyed):
    """A blob was read through: its norm, or what is wrong with it."""

    kind: Literal["inspected"] = "inspected"
    blob: Ref
    norm: Norm | None = None
    problem: Text | None = None


class Variant(Message):
    """A version as it would be without one site's part: its weights less `change`, an encoded vector."""

    site: Name
    change: Ref


class Merged(Message):
    """A merge was done: the encoded update, the weights after the *decoded* one and their digest."""

    kind: Literal["merged"] = "merged"
    fragment: Name
    version: Count
    attempt: Count
    update: Ref
    params: Ref
    digest: Ref
    norm: Norm
    momentum: Ref | None = None
    variants: tuple[Variant, ...] = Field(default=(), strict=False)
    cosines: dict[str, Finite] = Field(default_factory=dict)  # by two sites, or a site and "before"


class MergeFailed(Message):
    """A merge could not be done, because of one input; None: because of what came out of it."""

    kind: Literal["merge failed"] = "merge failed"
    fragment: Name
    version: Count
    attempt: Count
    input: str | None
    problem: Text


class Rebuilt(Message):
    """An older version's weights are there again."""

    kind: Literal["rebuilt"] = "rebuilt"
    fragment: Name
    version: Count
    params: Ref
    digest: Ref


# --- from people ------------------------------------------------------------------------------


class Pause(Message):
    kind: Literal["pause"] = "pause"


class Resume(Message):
    kind: Literal["resume"] = "resume"


class RollBack(Message):
    """Back to the weights of a version, in each fragment. `order` makes a doubled wish one wish."""

    kind: Literal["roll back"] = "roll back"
    order: Name
    to: Count


class Set(Message):
    """From a version on, a value: `lr` the inner peak rate, the others the outer step's."""

    kind: Literal["set"] = "set"
    name: Literal["lr", "outer_lr", "outer_momentum"]
    value: Annotated[float, Field(ge=0, le=1000, allow_inf_nan=False)]
    from_version: Count


class Readmit(Message):
    """A person lifts a site's suspension."""

    kind: Literal["readmit"] = "readmit"
    site: Name
    order: Name


SiteEvent = (
    Joined
    | Left
    | Held
    | Contributed
    | Failed
    | Discarded
    | Evaluated
    | Compared
    | Progressed
    | Rejected
)
Answer = Inspected | Merged | MergeFailed | Rebuilt
Wish = Pause | Resume | RollBack | Set | Readmit
Event = Annotated[SiteEvent | Answer | Wish, Field(discriminator="kind")]
EVENTS: TypeAdapter[list[Event]] = TypeAdapter(list[Event])


# --- actions ----------------------------------------------------------------------------------


class Inspect(Keyed):
    """Read a blob through: whole, sound, `count` finite values; and its norm."""

    kind: Literal["inspect"] = "inspect"
    blob: Ref
    size: int
    count: int


class Input(Message):
    """A contribution in a merge. `weight`: its share, times what clips it."""

    key: str
    site: Name
    blob: Ref
    weight: Finite


class LeaveOut(Message):
    """A merge without one site: the weights of the other sites' inputs, in their order."""

    site: Name
    weights: tuple[Finite, ...] = Field(strict=False)


class Merge(Message):
    """Merge the inputs in their order, step, encode the update, and apply it *decoded* to `params`.

    `leave_out`: also say how the version would differ without each of these sites.
    """

    kind: Literal["merge"] = "merge"
    fragment: Name
    version: int
    attempt: int
    count: int
    inputs: tuple[Input, ...] = Field(strict=False)
    lr: Finite
    momentum: Finite
    speed: Ref | None  # the momentum's blob
    params: Ref
    before: Ref | None  # the update that led here
    codec: Codec = Field(strict=False)
    leave_out: tuple[LeaveOut, ...] = Field(default=(), strict=False)


class Rebuild(Message):
    """Make an older version's weights: a snapshot, and the updates since."""

    kind: Literal["rebuild"] = "rebuild"
    fragment: Name
    version: int
    to: int
    count: int
    params: Ref
    updates: tuple[Ref, ...] = Field(strict=False)


class Link(Message):
    """A step from a version to the next. Without an update the weights stay: a rollback to them."""

    version: int
    update: Ref | None
    digest: Ref


class Head(Message):
    """The global version that sites train from: all that one of them must know, however long it was away.

    `snapshot` are the weights of the version before the chain's first; the chain leads to this one.
    `step`: where the run's inner steps stand; `inner_steps`: how many the round has; `window`: how many
    versions late a contribution may be; `suspended`: the sites whose contributions are refused;
    `variants`: what this version is to be compared with.
    """

    kind: Literal["head"] = "head"
    run: Name
    fragment: Name
    count: int
    version: int
    digest: Ref
    status: Literal[
        "running", "paused", "judging", "done"
    ]  # judging: the last version, before done
    step: int
    inner_steps: int
    window: int
    lr: Finite | None
    evaluate: bool
    snapshot_version: int
    snapshot: Ref
    snapshot_digest: Ref
    chain: tuple[Link, ...] = Field(strict=False)
    suspended: tuple[Name, ...] = Field(default=(), strict=False)
    variants: tuple[Variant, ...] = Field(default=(), strict=False)


Action = Inspect | Merge | Rebuild | Head


class Record(Message):
    """Something for the books. The journal keeps the first of each key."""

    key: str
    what: str
    at: float
    data: dict[str, str | int | float | bool | None]


def nonce_of(run: str, fragment: str, version: int, digest: str, site: str) -> str:
    """What a site's signed payload is bound to: who has not seen the version cannot know it."""
    text = "\n".join((run, fragment, str(version), digest, site))
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()
