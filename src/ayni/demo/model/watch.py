"""The run as people watch it: losses by language that fall, a site that dies, and comes back."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from rich.console import Console
from rich.live import Live
from rich.table import Table

from ayni.demo.alliance import HOME
from ayni.demo.model.results import SPANISH
from ayni.demo.stage import StageError

VICTIM = "santiago"  # the site that is killed
KILL_AT = 0.2  # of the steps
AWAY = 3.0  # seconds
LIMIT = 900.0  # seconds for the run, on a slow machine
_SHOWN = 3  # languages of a country that are named on a line

Status = Mapping[str, Any]


@dataclass
class Watch:
    """Follows a run by its status until it is over.

    Attributes:
        look: the status as the coordinator wrote it last; None before it has begun.
        failed: why the coordinator cannot go on, if so.
        kill, revive: end the victim, agent and tasks, and start its agent again.
        called: a language's name.
        shared: the languages that several sites hold.
    """

    console: Console
    say: Callable[[str], None]
    look: Callable[[], Status | None]
    failed: Callable[[], str | None]
    kill: Callable[[str], None]
    revive: Callable[[str], None]
    called: Callable[[str], str]
    shared: Collection[str] = (SPANISH,)
    victim: str = VICTIM
    killed_at: float = 0.0
    back: bool = False
    rejoined: bool = False
    _told: int = 0  # the version
    _brought: int = 0  # by the victim, before it died

    def follow(self) -> None:
        """Until the run is over.

        Raises:
            StageError: it cannot go on, or takes too long.
        """
        deadline = time.monotonic() + LIMIT
        with Live(console=self.console, auto_refresh=False, transient=True) as live:
            while True:
                status = self.look()
                if status is not None:
                    if self.console.is_terminal:
                        live.update(self.table(status), refresh=True)
                    self.take(status)
                    if status["status"] == "done":
                        break
                if why := self.failed():
                    raise StageError(why)
                if time.monotonic() > deadline:
                    raise StageError(f"the run did not end within {LIMIT:.0f} s: {status}")
                time.sleep(0.25)
        if self.killed_at and not self.back:
            self.revive(self.victim)

    def take(self, status: Status) -> None:
        """Say what is new, and do what is due."""
        if status["version"] > self._told:
            self._told = status["version"]
            self.say(self.line(status))
        rounds = sum(one["rounds"] for one in status["sites"] if one["site"] == self.victim)
        if not self.killed_at:
            if status["step"] >= KILL_AT * status["steps"]:
                self._brought = rounds
                self.kill(self.victim)
                self.killed_at = time.monotonic()
                self.say("the others go on without it: two sites are a quorum")
        elif not self.back:
            if time.monotonic() - self.killed_at > AWAY:
                self.back = True
                self.revive(self.victim)
                self.say(
                    f"{HOME[self.victim]} is back: its agent reads its journal and begins the task "
                    "again, which goes on from its last checkpoint"
                )
        elif not self.rejoined and rounds > self._brought:
            self.rejoined = True
            self.say(
                f"[green]{HOME[self.victim]} has rejoined[/green]: what it learnt is in version "
                f"{status['version']}"
            )

    def table(self, status: Status) -> Table:
        """Losses now, a row to each country."""
        table = Table("country", "rounds", "in common", "its own languages", "now")
        for one in status["sites"]:
            shared, own = self._divided(one["losses"])
            table.add_row(
                HOME.get(one["site"], one["site"]),
                str(one["rounds"]),
                self._named(shared),
                self._named(own),
                one["why"],
            )
        return table

    def line(self, status: Status) -> str:
        """Where the run is, in one line: languages in common over all sites, and each country's own."""
        together: dict[str, list[float]] = {}
        parts = []
        for one in status["sites"]:
            shared, own = self._divided(one["losses"])
            for name, loss in shared.items():
                together.setdefault(name, []).append(loss)
            if own:
                home = HOME.get(one["site"], one["site"])
                parts.append(f"{home}'s own ({len(own)}) {fmean(own.values()):.2f}")
        if means := {name: fmean(found) for name, found in together.items()}:
            parts.insert(0, self._named(means))
        where = f"version {status['version']}, step {status['step']} of {status['steps']}"
        return f"{where}: loss {' · '.join(parts)}"

    def _divided(self, losses: Mapping[str, float]) -> tuple[dict[str, float], dict[str, float]]:
        """Of the languages that several sites hold, and of the others."""
        shared = {name: loss for name, loss in losses.items() if name in self.shared}
        return shared, {name: loss for name, loss in losses.items() if name not in shared}

    def _named(self, losses: Mapping[str, float]) -> str:
        """A few languages by name, and the mean of all."""
        if not losses:
            return ""
        few = [f"{self.called(name)} {loss:.2f}" for name, loss in sorted(losses.items())[:_SHOWN]]
        more = f" … mean of {len(losses)}: {fmean(losses.values()):.2f}"
        return " · ".join(few) + (more if len(losses) > _SHOWN else "")
