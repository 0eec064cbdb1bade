"""The demo as a story: each step does its part of the job and says what it saw."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from ayni.client import Network
from ayni.client.handles import ArrayHandle, TaskHandle
from ayni.demo import tasks, texts
from ayni.demo.alliance import ALLIANCE, COUNTRY, HOME, PROJECT, SITE_OF, VICTIM, sites
from ayni.demo.atlas.corpus import languages
from ayni.demo.stage import Stage, StageError
from ayni.terminal import one_line

KILL_AT = 0.3  # of the array done
LIMIT = 170.0  # seconds for the array, the gathering included
SIGN = {"chosen": "●", "possible": "○", "full": "◐", "held": "◔", "ineligible": "×"}


class Second(Protocol):
    """What follows the atlas on the same network."""

    def bring(self, story: Story) -> None:
        """Make ready what the sites will offer."""

    def offer(self, site: str) -> None:
        """Put it into a site's own store, before its agent starts."""

    def tell(self, story: Story, out: Path) -> list[TaskHandle]:
        """Do it, and say what was sent; what it makes goes into `out`."""


@dataclass
class Story:
    """What the demo has at hand, and what it found."""

    folder: Path
    console: Console
    port: int | None = None
    slurm: Mapping[str, Mapping[str, Any]] | None = None
    second: Second | None = None
    began: float = field(default_factory=time.monotonic)
    facts: dict[str, Any] = field(default_factory=dict)
    stage: Stage = field(init=False)
    net: Network = field(init=False)

    def __post_init__(self) -> None:
        self.stage = Stage(self.folder, ALLIANCE, sites(slurm=self.slurm), self.port)

    def say(self, text: str) -> None:
        elapsed = time.monotonic() - self.began
        self.console.print(f"[dim]{elapsed:5.1f} s[/dim]  {text}", highlight=False, soft_wrap=True)

    def tell(self, out: Path) -> None:
        """All of it; what it makes goes into `out`.

        Raises:
            StageError: a part did not do what it should.
        """
        self.console.print("[bold]Ayni: an atlas of the Americas' languages[/bold]\n")
        self.raise_network()
        array, gather = self.send()
        self.follow(array)
        self.explain(array)
        self.gather(gather, out)
        self.credentials()  # whoever waits for them need not wait for what follows
        sent = self.second.tell(self, out) if self.second else []
        self.account([*array.tasks(), gather, *sent])

    # --- the steps ---

    def raise_network(self) -> None:
        """Start the hub, register three sites, put each member's texts into its own store."""
        layout = texts.lay_out(self.folder / "data")
        if self.second:
            self.second.bring(self)
        self.stage.start_hub()
        self.say(f"The hub is up: [bold]{self.stage.url}[/bold]")
        for name in self.stage.specs:
            self.stage.prepare_site(name)
            self.stage.add_datasets(
                name, layout.home[name], version="2025", licence=texts.LICENCE,
                residency="site", release="aggregate", **{"release-limit": texts.RELEASE_LIMIT},
            )  # fmt: skip
            if self.second:
                self.second.offer(name)
            self.stage.sites[name].start()
            self.say(
                f"[bold]{HOME[name]}[/bold] joins with site {name}: {len(layout.home[name])} languages "
                f"stay there, of which at most {texts.RELEASE_LIMIT} a task may leave"
            )
        self.net = Network(self.stage.url, self.stage.secrets["tokens"]["researcher"])
        self._wait_for_sites()
        self._tell_protection()
        self._open_texts(layout.open)
        self.facts["datasets"] = {
            "staying": layout.staying,
            "open": len(languages()) - layout.staying,
        }

    def send(self) -> tuple[ArrayHandle, TaskHandle]:
        """One array with a task to a language; one task after it that gathers."""
        array = self.net.map(tasks.PROFILE, texts.parameters())
        gather = self.net.submit(tasks.GATHER, after=[array.id])
        self.say(
            f"A researcher in {COUNTRY['CO']} sends [bold]{len(array)} tasks[/bold] (array {array.id}) "
            f"and one after them ({gather.id})"
        )
        return array, gather

    def follow(self, array: ArrayHandle) -> None:
        """Watch the array; in mid-run, kill a whole site and bring it back."""
        killed = back = False
        deadline = time.monotonic() + LIMIT
        with _Bar(self.console, len(array)) as moved:
            while True:
                done = array.refresh().info.done
                moved(done)
                if done >= len(array):
                    break
                if time.monotonic() > deadline:
                    raise StageError(f"the array did not end: {array.summary()}")
                if not killed and done >= KILL_AT * len(array):
                    killed, death = True, time.monotonic()
                    self.kill_site(VICTIM)
                elif killed and not back and time.monotonic() - death > 2:
                    back = True
                    self.revive_site(VICTIM)
                    self.say(f"{HOME[VICTIM]} is back: its agent reads its journal and goes on")
                time.sleep(0.1)
        if killed and not back:
            self.revive_site(VICTIM)
            self.say(f"{HOME[VICTIM]} is back")
        self.facts["array"] = dict(array.counts)
        self.say(f"All {len(array)} tasks have ended: {array.summary()}")

    def explain(self, array: ArrayHandle) -> None:
        """Why one language's task stayed at home, and where an open one could have gone."""
        rows = list(array.tasks())
        index = {p["language"]: i for i, p in enumerate(texts.parameters())}
        by_index = {t.info.index: t for t in rows}
        for language, why in (("arn_Latn", "stays in Chile"), ("gn_Latn", "may go anywhere")):
            if language in index:
                self.show_why(by_index[index[language]], f"{language} {why}")
        self.facts["by_site"] = dict(Counter(t.info.site for t in rows))
        self.facts["retried"] = sum(1 for t in rows if t.info.tries > 1)

    def show_why(self, task: TaskHandle, title: str) -> None:
        self.say(f"[bold]ayni why {task.id}[/bold]  ({title})")
        for verdict in task.why().sites:
            sign = SIGN.get(verdict.verdict, "·")
            self.console.print(
                f"           {sign} {verdict.site:10} {quoted(verdict.message)}", highlight=False
            )

    def gather(self, task: TaskHandle, target: Path) -> list[Path]:
        """Wait for the picture and bring it here."""
        task.wait(timeout=LIMIT)
        if not task.ok:
            raise StageError(
                f"the gathering ended as {task.state}: {task.logs(stderr=True)[-800:]}"
            )
        self.show_why(task, "the gathering")
        files = task.fetch(target)
        finding = task.logs().strip().splitlines()
        self.say(f"The picture: {quoted(', '.join(str(f) for f in files if f.suffix != '.json'))}")
        for line in finding[:1]:
            self.say(f"[italic]{quoted(line)}[/italic]")
        self.facts["pictures"] = [str(f) for f in files]
        return files

    def account(self, sent: Iterable[TaskHandle]) -> None:
        """The table: what each country gave and received, over all that was sent."""
        refusals = refused(sent)
        self.facts["refusals"] = dict(refusals)
        usage = self.net.connection.get("/usage")["sites"]
        by_giver = {row["giver"]: row for row in usage}
        receiver = next((row["receiver"] for row in usage), "CO")
        total = sum(row["core_hours"] for row in usage)
        table = Table("country", "site", title="What was exchanged", title_justify="left")
        for heading in ("tasks", "given (core-h)", "received (core-h)", "refusals", "retries"):
            table.add_column(heading, justify="right")
        ran = Counter(self.facts.get("by_site", {}))
        for member, site in SITE_OF.items():
            row = by_giver.get(member, {})
            table.add_row(
                COUNTRY[member],
                site,
                str(ran[site]),
                f"{row.get('core_hours', 0):.4f}",
                f"{total:.4f}" if member == receiver else "0",
                str(refusals[site]),
                str(row.get("retries", 0)),
            )
        self.console.print()
        self.console.print(table)
        self.facts["usage"] = usage
        self.facts["seconds"] = round(time.monotonic() - self.began, 1)

    def credentials(self) -> Path:
        path = self.folder / "credentials.json"
        path.touch(mode=0o600)
        path.write_text(
            json.dumps(
                {
                    "hub": self.stage.url,
                    "project": PROJECT,
                    "tokens": self.stage.secrets["tokens"],
                },
                indent=2,
            )
        )
        return path

    def kill_site(self, site: str) -> None:
        """kill -9 of a whole site: agent, supervisors, tasks."""
        self.stage.sites[site].kill()
        self.stage.stop_spawner(site)
        self.say(
            f"[red]kill -9[/red]: the agent of {HOME[site]}, its supervisors and their tasks are dead"
        )

    def revive_site(self, site: str) -> None:
        """Start its agent again, which goes by its journal."""
        self.stage.sites[site].start()

    # --- parts ---

    def _wait_for_sites(self) -> None:
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            states = {site.name: site.state for site in self.net.sites()}
            if all(states.get(name) == "healthy" for name in self.stage.specs):
                return
            for name, process in self.stage.sites.items():
                if not process.alive:
                    raise StageError(f"site {name} ended:\n{process.tail()}")
            time.sleep(0.1)
        raise StageError(f"the sites did not come up: {states}")

    def _tell_protection(self) -> None:
        """Say what protection there is not; all sites are on this machine, so one is asked."""
        self.facts["sandbox"] = self.stage.sandbox(VICTIM)
        if self.facts["sandbox"] == "none":
            self.say(
                "[bold red]No sandbox works here[/bold red]: tasks can read whatever this user can and "
                "reach the network, so what must stay does so by agreement only. A site in production "
                "would not start. 'ayni site doctor' says the remedy: mostly, allow user namespaces"
            )

    def _open_texts(self, folder: Path) -> None:
        for part in ("texts", "code"):
            self.net.store.put(folder / part, part)
        cards = texts.open_cards()
        self.net.connection.post("/datasets", {"datasets": cards})
        self.say(f"{len(cards)} languages are open: they lie at the hub and may go anywhere")


def quoted(text: str) -> str:
    """Words of a task or a site within the story's own: neither markup nor control characters."""
    return escape(one_line(text))


def refused(sent: Iterable[TaskHandle]) -> Counter[str]:
    """How many of the tasks each site refused by its policy, or would have."""
    return Counter(
        verdict.site
        for task in sent
        for verdict in task.why().sites
        if verdict.verdict == "ineligible" and verdict.code in POLICY_CODES
    )


POLICY_CODES = frozenset(
    {
        "member", "project", "person", "image", "network", "cores", "memory", "gpus", "nodes",
        "walltime", "https", "refused",
    }
)  # fmt: skip


class _Bar:
    """A progress bar that gives a function to move it."""

    def __init__(self, console: Console, total: int) -> None:
        self._progress = Progress(
            TextColumn("         profiles"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(),
            console=console, transient=True, disable=not console.is_terminal,
        )  # fmt: skip
        self._total = total

    def __enter__(self) -> Callable[[int], None]:
        self._progress.start()
        task = self._progress.add_task("", total=self._total)
        return lambda done: self._progress.update(task, completed=done)

    def __exit__(self, *_: object) -> None:
        self._progress.stop()
