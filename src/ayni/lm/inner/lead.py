"""Several ranks as one trainer: the first says what is to be done, and all do it.

Only the first rank speaks with the world outside; what it brings is handed to the others over the
site's own network. Orders are Python objects between processes of one task: nothing from elsewhere.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from typing import Any, NoReturn, Protocol

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor

from ayni.lm.inner.order import Documents
from ayni.lm.inner.progress import Loss, Progress, Stretch
from ayni.lm.inner.ranks import Ranks
from ayni.lm.inner.train import Trainer
from ayni.lm.outer.fragments import WHOLE
from ayni.lm.parameters import Named

_FOREVER = timedelta(
    days=365
)  # a site may wait for the others' rounds for longer than gloo's half hour


class SiteTrainer(Protocol):
    """A site's trainer, be it one process or many: see `Trainer`."""

    @property
    def progress(self) -> Progress: ...

    @property
    def parameters(self) -> Mapping[str, Tensor]: ...

    @property
    def fragments(self) -> Mapping[str, Sequence[str]]: ...

    def train(self, stretch: Stretch, *, stop: Callable[[], bool] = ...) -> bool: ...

    def pseudo_gradient(self, fragment: str = ...) -> Named: ...

    def digest(self, fragment: str = ...) -> str: ...

    def apply(
        self,
        update: Named,
        version: int,
        fragment: str = ...,
        *,
        mix: float = ...,
        hashed: bool = ...,
    ) -> str: ...

    def weights(self, fragment: str = ...) -> Named: ...

    def take(self, weights: Named, version: int, fragment: str = ...) -> int: ...

    def begin_again(self, version: int, fragment: str = ...) -> int: ...

    def evaluate(self, documents: Documents) -> dict[str, Loss]: ...

    def evaluate_less(self, change: Named, documents: Documents) -> dict[str, Loss]: ...

    def save(self) -> None: ...

    def pause(self) -> NoReturn: ...


class Broken(Exception):
    """What the first rank was handing on ended too early; it knows why."""


class Orders:
    """What the first rank says to the others. All ranks must make one, at the same point."""

    def __init__(self, ranks: Ranks) -> None:
        self._group = dist.new_group(backend="gloo", timeout=_FOREVER)
        self._place = torch.device("cpu")

    def say(self, *order: Any) -> None:
        """The first rank's part."""
        dist.broadcast_object_list([order], src=0, group=self._group, device=self._place)

    def hear(self) -> Any:
        """The others' part."""
        said: list[Any] = [None]
        dist.broadcast_object_list(said, src=0, group=self._group, device=self._place)
        return said[0]

    def hand_on(self, named: Named) -> Named:
        """Names and arrays as they come, also to the other ranks."""
        try:
            for name, array in named:
                whole = np.ascontiguousarray(array, dtype=np.float32)
                self.say("array", name, whole.shape)
                dist.broadcast(torch.from_numpy(whole.copy()), src=0, group=self._group)
                yield name, whole
        except Exception:
            self.say("broken")
            raise
        self.say("end")

    def receive(self) -> Named:
        """Names and arrays that the first rank hands on.

        Raises:
            Broken: they ended too early.
        """
        while (said := self.hear())[0] == "array":
            _, name, shape = said
            tensor = torch.empty(shape)
            dist.broadcast(tensor, src=0, group=self._group)
            yield name, tensor.numpy()
        if said[0] == "broken":
            raise Broken


class Leader:
    """The first rank's trainer: what it is told, all ranks do."""

    def __init__(self, trainer: Trainer) -> None:
        self._trainer = trainer
        self._orders = Orders(trainer.ranks)

    @property
    def progress(self) -> Progress:
        return self._trainer.progress

    @property
    def parameters(self) -> Mapping[str, Tensor]:
        return self._trainer.parameters

    @property
    def fragments(self) -> Mapping[str, Sequence[str]]:
        return self._trainer.fragments

    def train(self, stretch: Stretch, *, stop: Callable[[], bool] = lambda: False) -> bool:
        self._orders.say("train", stretch)
        return self._trainer.train(stretch, stop=stop)

    def pseudo_gradient(self, fragment: str = WHOLE) -> Named:
        self._orders.say("pseudo_gradient", fragment)
        yield from self._trainer.pseudo_gradient(fragment)

    def digest(self, fragment: str = WHOLE) -> str:
        self._orders.say("digest", fragment)
        return self._trainer.digest(fragment)

    def apply(
        self,
        update: Named,
        version: int,
        fragment: str = WHOLE,
        *,
        mix: float = 0.0,
        hashed: bool = True,
    ) -> str:
        self._orders.say("apply", version, fragment, mix, hashed)
        handed = self._orders.hand_on(update)
        return self._trainer.apply(handed, version, fragment, mix=mix, hashed=hashed)

    def weights(self, fragment: str = WHOLE) -> Named:
        self._orders.say("weights", fragment)
        yield from self._trainer.weights(fragment)

    def take(self, weights: Named, version: int, fragment: str = WHOLE) -> int:
        self._orders.say("take", version, fragment)
        return self._trainer.take(self._orders.hand_on(weights), version, fragment)

    def begin_again(self, version: int, fragment: str = WHOLE) -> int:
        self._orders.say("begin_again", version, fragment)
        return self._trainer.begin_again(version, fragment)

    def evaluate(self, documents: Documents) -> dict[str, Loss]:
        self._orders.say("evaluate")
        return self._trainer.evaluate(documents)

    def evaluate_less(self, change: Named, documents: Documents) -> dict[str, Loss]:
        self._orders.say("evaluate_less")
        return self._trainer.evaluate_less(self._orders.hand_on(change), documents)

    def save(self) -> None:
        self._orders.say("save")
        self._trainer.save()

    def pause(self) -> NoReturn:
        self._orders.say("pause")
        self._trainer.pause()

    def leave(self) -> None:
        """The run is over: the other ranks may go."""
        self._orders.say("leave")


def follow(trainer: Trainer, documents: Documents | None, stop: Callable[[], bool]) -> None:
    """Be one of the other ranks, until the first one leaves.

    Args:
        documents: held out; the same as the first rank's.

    Raises:
        Paused, UserError: as the first rank's trainer does, on all ranks at once.
    """
    orders = Orders(trainer.ranks)
    while (said := orders.hear())[0] != "leave":
        try:
            _do(trainer, orders, documents, stop, *said)
        except Broken:
            continue  # the first rank mends it, or ends


def _do(
    trainer: Trainer,
    orders: Orders,
    documents: Documents | None,
    stop: Callable[[], bool],
    what: str,
    *given: Any,
) -> None:
    match what:
        case "train":
            trainer.train(*given, stop=stop)
        case "pseudo_gradient" | "weights":
            deque(getattr(trainer, what)(*given), maxlen=0)
        case "apply":
            version, fragment, mix, hashed = given
            trainer.apply(orders.receive(), version, fragment, mix=mix, hashed=hashed)
        case "take":
            trainer.take(orders.receive(), *given)
        case "evaluate" if documents is not None:
            trainer.evaluate(documents)
        case "evaluate_less" if documents is not None:
            trainer.evaluate_less(orders.receive(), documents)
        case "digest" | "begin_again" | "save" | "pause":
            getattr(trainer, what)(*given)
        case _:
            raise ValueError(f"the first rank says {what!r}, which this one does not know")
