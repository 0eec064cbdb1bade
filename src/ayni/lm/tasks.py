"""The tasks of a run's sites, as the network knows them: why a site has not joined, or is gone."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass

from ayni.client.errors import AyniError
from ayni.client.handles import TaskHandle
from ayni.client.network import PAGE, Network
from ayni.lm.config import Run
from ayni.terminal import one_line

log = logging.getLogger(__name__)
TAG = "ayni-lm"  # of a site's task; its value is the run's name
EVERY = 30.0  # seconds between two questions
_MOST = 300  # characters of a log's last line


@dataclass(frozen=True)
class SiteTask:
    """A site's newest task. `why`: it ended so; what its log said last, where that may leave the site."""

    id: str
    state: str
    final: bool
    why: str = ""

    @property
    def said(self) -> str:
        """In words; of one under way with what tells more."""
        if not self.final:
            return f"its task {self.id} is {self.state} (ayni why {self.id})"
        return f"its task {self.id} ended as {self.state}" + (f": {self.why}" if self.why else "")


def name_of(run: str, site: str) -> str:
    """The name of a site's task."""
    return f"{run}-{site}"


class Tasks:
    """Called, it gives each site's newest task; the network is asked now and then, once for all."""

    def __init__(self, network: Network, run: Run) -> None:
        self._network, self._run = network, run.run
        self._sites = {name_of(run.run, one.site): one.site for one in run.sites}
        self._found: dict[str, SiteTask] = {}
        self._asked = float("-inf")

    def __call__(self) -> Mapping[str, SiteTask]:
        if time.monotonic() - self._asked >= EVERY:
            self._asked = time.monotonic()
            try:
                self._found = self._look()
            except AyniError as error:  # a run can do without
                log.info("the tasks of run %s could not be looked at: %s", self._run, error)
        return self._found

    def _look(self) -> dict[str, SiteTask]:
        found: dict[str, SiteTask] = {}
        for task in self._network.tasks(tag=(TAG, self._run), limit=PAGE):  # the newest first
            site = self._sites.get(task.name)
            if site is None or site in found:
                continue
            known = self._found.get(site)
            same = known is not None and known.id == task.id and known.final
            found[site] = known if known is not None and same else _seen(task)
        return found


def _seen(task: TaskHandle) -> SiteTask:
    reason = task.info.reason
    words = [reason.message if reason else "", _last_line(task) if task.final else ""]
    why = one_line("; ".join(word for word in words if word))
    return SiteTask(task.id, task.info.state.value, task.final, why)


def _last_line(task: TaskHandle) -> str:
    try:
        lines = task.log(stderr=True).text.split("\n")
    except AyniError:
        return ""
    return next((line[:_MOST] for line in reversed(lines) if line.strip()), "")
