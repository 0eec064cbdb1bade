"""The second half of the demo: one small model over the three sites, told as it goes."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from rich.table import Table

from ayni.client.handles import ArrayHandle, TaskHandle
from ayni.demo.alliance import HOME, SITE_OF
from ayni.demo.atlas.corpus import languages
from ayni.demo.atlas.picture import recompress
from ayni.demo.model import charter, holdings, picture, results, tasks
from ayni.demo.model.holdings import Holdings
from ayni.demo.model.results import JOINT, ONE_PLACE, SPANISH, Comparison, Measured, gap
from ayni.demo.model.watch import Watch
from ayni.demo.stage import AYNI, Process, StageError, kill_marked
from ayni.demo.story import Story, quoted

NEEDED = (
    "torch", "transformers", "safetensors", "langcodes", "pyarrow", "regex", "selectolax", "tokenizers",
)  # fmt: skip
PICTURE, MODEL = "joint-model", "joint-model"  # files, and the exported model's folder
WORDS_LIMIT, CHANNEL_LIMIT = "1MiB", "256MiB"
LIMIT = (
    1200.0  # seconds, on a slow machine, for each part of the preparation, and for the comparison
)


def missing() -> str | None:
    """The first library that the model's part lacks here."""
    return next((name for name in NEEDED if find_spec(name) is None), None)


@cache
def _names() -> Mapping[str, str]:
    found = {language.id.partition("_")[0]: language.autonym for language in languages()}
    return {**found, SPANISH: "español"}


def called(tag: str) -> str:
    """What a language is called by those who speak it."""
    return _names().get(tag.partition("-")[0], tag)


@dataclass
class ModelStory:
    """The model's part of a story; `corpus`: texts to learn from in place of the declaration's."""

    corpus: Path | None = None
    sent: list[TaskHandle] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)
    story: Story = field(init=False)
    held: Holdings = field(init=False)
    charter: str = ""  # that the sites' operators accepted, by its first digits

    @property
    def folder(self) -> Path:
        return self.story.folder / "model"

    def bring(self, story: Story) -> None:
        """Fetch the texts, a folder to each site.

        Raises:
            UserError: those that were named cannot be dealt to three sites.
        """
        self.story = story
        self.held = holdings.lay_out(self.folder / "texts", self.corpus)
        if self.held.why_not:
            story.say(
                f"{quoted(self.held.why_not)}: the model learns from {self.held.source} instead"
            )

    def offer(self, site: str) -> None:
        """For now a list of the words that many documents have may leave, too."""
        self._offer(site, release="aggregate", **{"release-limit": WORDS_LIMIT})

    def tell(self, story: Story, out: Path) -> list[TaskHandle]:
        """All of it.

        Raises:
            StageError: a part did not do what it should.
        """
        story.console.print("\n[bold]One language model of three countries[/bold]\n")
        try:
            with self._timed("tokens"):
                self.prepare()
            with self._timed("training"):
                watch = self.train()
            with self._timed("comparison"):
                found = self.compare()
            self.show(found)
            self.keep(found, out)
        finally:
            kill_marked(self.folder)
        story.facts["model"] = {
            "texts": self.held.source,
            "seconds": self.seconds,
            "charter": self.charter,
            "rejoined": watch.rejoined,
            "models": [
                asdict(one) | {"mean": one.mean, "worst": one.worst} for one in found.models
            ],
            "text": found.text,
            "exported": str(out / MODEL),
        }
        return self.sent

    # --- texts become tokens, where they are ---

    def prepare(self) -> None:
        """Words counted at each site, one tokenizer of all counts, texts as tokens in a volume."""
        net, say = self.story.net, self.story.say
        say(f"Each site offers more texts, {quoted(self.held.source)}, for a model to learn from")
        count = net.map(tasks.count(self.held.held_out), tasks.parameters())
        self._ended(count, "the counting of words")
        learn = net.submit(tasks.LEARN)
        with ThreadPoolExecutor() as pool:
            list(pool.map(lambda site: self._offer(site, release="nothing"), self.held.folders))
        say(
            "The words that stand in five documents have left each site, for the tokenizer. From now on "
            f"these texts let out only what the channel [bold]{tasks.CHANNEL}[/bold] lists"
        )
        self._ended(learn, "the tokenizer")
        packs = [
            net.submit(tasks.pack(site, member, self.held.held_out))
            for member, site in SITE_OF.items()
        ]
        learn.fetch(self.tokenizer)
        for pack in packs:
            self._ended(pack, "the packing")
        self.sent += [*count.tasks(), learn, *packs]
        say(
            f"One tokenizer of {self._words()} tokens; the texts' tokens lie in a volume at each site"
        )
        self._wait_until_closed()

    def _offer(self, site: str, **card: str) -> None:
        self.story.stage.add_datasets(
            site, [self.held.folders[site]], version="1", licence=self.held.licence,
            residency="site", channel=tasks.CHANNEL, **{"channel-limit": CHANNEL_LIMIT}, **card,
        )  # fmt: skip

    def _wait_until_closed(self) -> None:
        """Sites look at their store now and then."""
        deadline = time.monotonic() + LIMIT
        while time.monotonic() < deadline:
            cards = [one for one in self.story.net.datasets() if one.name == holdings.NAME]
            if all(one.release == "nothing" for one in cards):
                return
            time.sleep(0.2)
        raise StageError("the sites do not look at their cards")

    def _ended(self, sent: TaskHandle | ArrayHandle, what: str) -> None:
        sent.wait(timeout=LIMIT)
        if not sent.ok:
            raise StageError(f"{what} did not end well: {sent.summary()}")

    def _words(self) -> int:
        from ayni.lm.tokenizer.model import load

        return load(self.tokenizer).size

    @property
    def tokenizer(self) -> Path:
        return self.folder / "tokenizer"

    @property
    def run(self) -> Path:
        """The coordinator's folder."""
        return self.folder / tasks.RUN

    # --- training ---

    def train(self) -> Watch:
        """`ayni lm train`; in mid-run a site is killed, and comes back."""
        toml = self.folder / "run.toml"
        toml.write_text(tasks.run_toml(self.tokenizer, self._words(), self.held.licence))
        rounds = f"{tasks.PHASES[0][1]} to {tasks.PHASES[-1][1]}"
        self.story.say(
            f"[bold]ayni lm train run.toml[/bold]: a task at each site, {tasks.STEPS} steps of "
            f"{tasks.ROWS * tasks.LENGTH} tokens; after {rounds} of them what changed is merged"
        )
        process = self._process("train", AYNI, "lm", "train", str(toml), "--json")
        watch = Watch(
            self.story.console,
            self.story.say,
            look=self._status,
            failed=lambda: _failure(process),
            kill=self.story.kill_site,
            revive=self.story.revive_site,
            called=called,
            shared=self.held.shared,
        )
        process.start()
        stage, net = self.story.stage, self.story.net
        self.charter = charter.accepted(stage, net, tasks.UP, watch.failed)
        self.story.say(
            "Before the first round each site's operator has accepted what the run promises (data, "
            "licences, who may hold the weights, how a party leaves): "
            f"[bold]ayni site charter accept {self.charter}[/bold]"
        )
        watch.follow()
        for site, task in json.loads((self.run / "tasks.json").read_text()).items():
            handle = self.story.net.task(task)
            self._ended(handle, f"the training at {site}")
            self.sent.append(handle)
        return watch

    def _status(self) -> dict[str, Any] | None:
        """What the coordinator wrote last."""
        path = self.run / "status.json"
        found: dict[str, Any] | None = json.loads(path.read_text()) if path.exists() else None
        return found

    def _process(self, name: str, *command: str | Sequence[str]) -> Process:
        words = [w for part in command for w in ([part] if isinstance(part, str) else part)]
        stage = self.story.stage
        env = {
            **stage.base_env(),
            "AYNI_HUB": stage.url,
            "AYNI_TOKEN": stage.secrets["tokens"]["researcher"],
            "HF_HOME": str(self.folder / "hf"),  # nothing in the person's home
            "XDG_CONFIG_HOME": str(self.folder / "config"),
            "HF_HUB_OFFLINE": "1",
            "OMP_NUM_THREADS": "1",
            "TOKENIZERS_PARALLELISM": "false",
        }
        return Process(name, words, env, self.story.folder / "logs" / f"{name}.log")

    # --- what it is worth ---

    def compare(self) -> Comparison:
        """Joint, alone and one place, on held-out text; the joint model is exported, and writes a line."""
        self.story.say(
            "The same training without the network, on public copies of the texts: each country alone "
            "with its share of compute, and one place with everything (where texts stay, there is none)"
        )
        out = self.folder / "compared"
        process = self._process(
            "compare", AYNI[:2], "ayni.demo.model.compare",
            str(self.run), str(self.folder / "texts"), str(self.tokenizer), str(out),
            str(self.held.held_out),
        )  # fmt: skip
        process.start()
        deadline = time.monotonic() + LIMIT
        while process.alive and time.monotonic() < deadline:
            time.sleep(0.1)
        if process.alive:
            raise StageError(f"the comparison did not end within {LIMIT:.0f} s")
        if why := _failure(process):
            raise StageError(why)
        return results.parse((out / "compared.jsonl").read_text().splitlines())

    def show(self, found: Comparison) -> None:
        """The table, and what it says."""
        title = "Bits per byte of text not seen (a country: what only it has)"
        table = Table(title=title, title_justify="left", box=None, padding=(0, 1))
        table.add_column("", no_wrap=True)
        table.add_column("mean", justify="right")
        table.add_column("worst", no_wrap=True, max_width=20)
        for heading in (called_together(self.held.shared), *(HOME[site] for site in found.own)):
            table.add_column(heading, justify="right")
        for one in found.ordered:
            table.add_row(*_row(one, found, self.held.shared))
        self.story.console.print(table)
        for line in findings(found):
            self.story.say(line)
        self.story.say(f"The exported model goes on: [bold]{quoted(found.text)}[/bold]")

    def keep(self, found: Comparison, out: Path) -> None:
        """Picture and model, beside the atlas."""
        import vl_convert

        records = [
            json.loads(line) for line in (self.run / "losses.jsonl").read_text().splitlines()
        ]
        svg = picture.draw(found, picture.curves(records), self.held.in_spanish, called)
        out.mkdir(parents=True, exist_ok=True)
        path = out / f"{PICTURE}.svg"
        path.write_text(svg + "\n", encoding="utf-8")
        path.with_suffix(".png").write_bytes(recompress(vl_convert.svg_to_png(svg)))
        replace(self.folder / "compared" / "model", out / MODEL)
        self.story.say(
            f"The picture: {path}, {path.with_suffix('.png')}. The model, for anybody's transformers: "
            f"{out / MODEL}"
        )

    @contextmanager
    def _timed(self, part: str) -> Iterator[None]:
        began = time.monotonic()
        yield
        self.seconds[part] = round(time.monotonic() - began, 1)


def replace(made: Path, target: Path) -> None:
    """Put an exported model in the place of an earlier one, but of nothing else.

    Raises:
        StageError: something else is there.
    """
    if target.exists():
        if not (target / "model.safetensors").is_file():
            raise StageError(f"{target} is in the way: it is no exported model; move it")
        shutil.rmtree(target)
    shutil.move(made, target)


def _failure(process: Process) -> str | None:
    """How a process failed, if it did."""
    if process.alive or (process.popen is not None and process.popen.returncode == 0):
        return None
    return f"{process.name} ended:\n{process.tail()}"


def called_together(shared: Collection[str]) -> str:
    """What the languages that several sites hold are called: one by its name, several by their number."""
    return called(*shared) if len(shared) == 1 else f"in common ({len(shared)})"


def _row(one: Measured, found: Comparison, shared: Collection[str]) -> Iterator[str]:
    names: dict[str, str] = {JOINT: "[bold]together[/bold]", ONE_PLACE: "one place"}
    yield names.get(one.name) or f"{HOME[one.name]} alone"
    yield f"{one.mean:.3f}"
    yield f"{one.bits[one.worst]:.3f} {called(one.worst)}"
    for group in (shared, *found.own.values()):
        value = one.over(group)
        yield "" if value is None else f"{value:.3f}"


def counted(count: int, what: str) -> str:
    return f"{count} {what}" if count == 1 else f"{count} {what}s"


def findings(found: Comparison) -> list[str]:
    """What the comparison says, also where it speaks against the joint model."""
    best, joint = min(found.alone, key=lambda one: one.mean), found.joint
    theirs = min(found.alone, key=lambda one: one.bits[one.worst])
    lines = [
        f"Mean over {counted(len(joint.bits), 'language')}: joint {gap(joint.mean, best.mean)} bits "
        f"against the best country alone ({HOME[best.name]}), "
        f"{gap(joint.mean, found.one_place.mean)} against one place",
        f"Worst language: joint {gap(joint.bits[joint.worst], theirs.bits[theirs.worst])} against the "
        f"best country alone ({HOME[theirs.name]})",
    ]
    if worse := found.worse_than_at_home():
        own = sum(name in joint.bits for names in found.own.values() for name in names)
        lines.append(
            f"Each country's own model knows better what only that country has: {len(worse)} of {own} "
            "languages"
        )
    return lines
