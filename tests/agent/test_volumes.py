"""Who may have a volume, what it inherits, and when it goes."""

from __future__ import annotations

import json
import os
import shutil
import stat
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    initialize,
    invariant,
    rule,
)

from ayni.agent import volumes
from ayni.agent.sections import VolumesSection
from ayni.agent.staging.errors import StagingError
from ayni.agent.supervisor import sharing
from ayni.agent.volume_files import Key, VolumeFiles
from ayni.agent.volumes import InUse, Mounted, Volumes
from ayni.protocol.release import FREE, Gate, Release, Rule
from ayni.tes.volumes import Mount

CLOSED = Rule(Release.NOTHING, 0, "censo")
SOME = Rule(Release.AGGREGATE, 1000, "censo")
RW, RO = Mount("state", "/state"), Mount("state", "/state", write=False)


@dataclass
class Time:
    now: float = 1_000_000.0

    def __call__(self) -> float:
        return self.now


@dataclass
class Rig:
    """A site's volumes, with a clock and a disk that a test turns."""

    base: Path
    time: Time = field(default_factory=Time)
    cards: dict[str, Rule] = field(default_factory=dict)
    limits: dict[str, Any] = field(default_factory=dict)
    table: Volumes = field(init=False)

    def __post_init__(self) -> None:
        self.start()

    def start(self) -> None:
        """As an agent that starts: nothing is known but what lies on the disk."""
        self.table = Volumes(
            self.base, VolumesSection(**self.limits), shutil.rmtree, self.cards.get,
            wall=self.time, clock=self.time,
        )  # fmt: skip

    def mount(self, attempt: str, *mounts: Mount, rule: Rule = FREE, **more: Any) -> Mounted:
        names = [] if rule.free else [rule.dataset]
        project = more.pop("project", "clima")
        return self.table.mount(attempt, project, mounts or (RW,), rule, names, **more)

    def data(self, name: str = "state") -> Path:
        return self.base / "clima" / name / "data"

    def write(self, size: int, name: str = "state") -> None:
        (self.data(name) / "x").write_bytes(b"x" * size)
        self.time.now += 1e6
        self.table.measure()


@pytest.fixture
def rig(tmp_path: Path) -> Rig:
    return Rig(tmp_path / "volumes")


def test_a_volume_is_made_by_its_first_writer_and_stays(rig: Rig) -> None:
    [bind] = rig.mount("a").binds
    assert (bind.source, bind.target, bind.writable) == (rig.data(), "/state", True)
    (bind.source / "x").write_text("1")
    rig.table.release("a")
    [again] = rig.mount("b", RO).binds
    assert (again.source / "x").read_text() == "1" and not again.writable


def test_one_that_only_reads_finds_no_volume_where_there_is_none(rig: Rig) -> None:
    with pytest.raises(StagingError, match="there is no volume state here"):
        rig.mount("a", RO)


def test_another_project_never_sees_it(rig: Rig) -> None:
    first = rig.mount("a")
    second = rig.mount("b", project="maiz")
    assert first.binds[0].source != second.binds[0].source


@pytest.mark.parametrize("project", ["..", "", "A", "a/b", ".trash"])
def test_a_hostile_name_of_a_project_leads_nowhere(rig: Rig, project: str) -> None:
    with pytest.raises(StagingError, match="no name of a project"):
        rig.mount("a", project=project)


def test_one_writes_at_a_time_and_others_read_beside_it(rig: Rig) -> None:
    rig.mount("a")
    with pytest.raises(InUse, match="attempt a writes to it"):
        rig.mount("b")
    rig.mount("reader", RO)
    rig.table.release("a")
    rig.mount("b")


def test_an_attempt_that_asks_again_gets_the_same(rig: Rig) -> None:
    assert rig.mount("a") == rig.mount("a")


def test_all_volumes_are_given_or_none(rig: Rig) -> None:
    rig.mount("a", Mount("one", "/one"))
    with pytest.raises(InUse):
        rig.mount("b", Mount("two", "/two"), Mount("one", "/one"))
    rig.mount("c", Mount("two", "/two"))


# --- what restricted data leaves -------------------------------------------------------------


def test_what_restricted_data_touched_binds_all_who_come_after(rig: Rig) -> None:
    assert rig.mount("a", rule=SOME).rule == SOME
    rig.table.release("a")
    found = rig.mount("b", RO)
    assert (found.rule, found.datasets) == (SOME, ("censo",))
    rig.start()
    assert rig.mount("c", RO).rule == SOME


def test_what_its_data_lets_out_by_channels_goes_with_it(rig: Rig) -> None:
    gate = Gate("censo", ("clima/deltas",), 5)
    bound = replace(CLOSED, gates=(gate,))
    rig.mount("a", rule=bound)
    rig.table.release("a")
    rig.start()
    assert rig.mount("b", RO).rule == bound
    [told] = rig.table.offer().held
    assert [(g.dataset, g.channels, g.limit) for g in told.gates] == [
        ("censo", ["clima/deltas"], 5)
    ]


def test_it_is_noted_before_the_attempt_runs(rig: Rig) -> None:
    rig.mount("a", rule=CLOSED)
    noted = json.loads((rig.base / "clima/state/volume.json").read_text())
    assert noted["rule"] == {"release": "nothing", "limit": 0, "dataset": "censo", "gates": []}


def test_it_spreads_from_a_volume_that_is_read_to_one_that_is_written(rig: Rig) -> None:
    rig.mount("a", rule=CLOSED)
    rig.table.release("a")
    rig.mount("b", RO, Mount("other", "/other"))
    rig.table.release("b")
    assert rig.mount("c", Mount("other", "/o", write=False)).rule == CLOSED


def test_a_reader_of_restricted_data_leaves_what_it_only_reads_as_it_was(rig: Rig) -> None:
    rig.mount("a")
    rig.table.release("a")
    assert rig.mount("b", RO, rule=CLOSED).rule == CLOSED
    rig.table.release("b")
    assert rig.mount("c", RO).rule.free


def test_no_one_reads_what_becomes_restricted_while_it_is_judged_to_be_free(rig: Rig) -> None:
    rig.mount("a")
    rig.table.release("a")
    rig.mount("reader", RO)
    with pytest.raises(InUse, match="reads it under another rule"):
        rig.mount("writer", rule=SOME)
    rig.mount("beside", Mount("new", "/n"), rule=SOME)
    rig.table.release("reader")
    rig.mount("writer", rule=SOME)


def test_a_judge_that_refuses_leaves_the_volume_untouched(rig: Rig) -> None:
    rig.mount("a")
    rig.table.release("a")

    def refuse(rule: Rule) -> None:
        raise StagingError("release", "no")

    with pytest.raises(StagingError, match="no"):
        rig.mount("b", rule=CLOSED, judge=refuse)
    assert rig.mount("c").rule.free


def test_a_card_that_has_become_stricter_holds_for_what_was_written_before(rig: Rig) -> None:
    rig.mount("a", rule=SOME)
    rig.table.release("a")
    rig.cards["censo"] = CLOSED
    assert rig.mount("b", RO).rule.release is Release.NOTHING
    rig.cards["censo"] = FREE
    assert rig.mount("b", RO).rule == SOME


def test_what_is_written_and_unknown_is_given_to_nobody(rig: Rig) -> None:
    rig.mount("a", rule=CLOSED)
    (rig.data() / "x").write_text("secret")
    rig.table.release("a")
    (rig.base / "clima/state/volume.json").write_text("{")
    rig.start()
    with pytest.raises(StagingError, match="in disorder"):
        rig.mount("b")


def test_the_size_of_what_is_restricted_is_told_roughly(rig: Rig) -> None:
    rig.mount("a", rule=CLOSED)
    rig.write(5_000_000)
    [told] = rig.table.offer().held
    assert (told.size, told.release, told.dataset) == (1 << 23, "nothing", "censo")


# --- leases -----------------------------------------------------------------------------------


def lease(rig: Rig) -> dict[str, Any] | None:
    path = rig.base / "clima/state/lease"
    return json.loads(path.read_text()) if path.exists() else None


def test_the_lease_names_who_writes_and_goes_with_it(rig: Rig) -> None:
    [path] = rig.mount("a").leases
    assert lease(rig) == {"attempt": "a", "after": 0.0} and path.name == "lease"
    rig.table.release("a")
    assert lease(rig) is None


def test_after_a_writer_that_nobody_saw_end_the_next_one_waits_until_it_must_have_seen(
    rig: Rig,
) -> None:
    rig.mount("a")
    rig.table.release("a", sure=False)
    with pytest.raises(InUse, match="last writer must have ended"):
        rig.mount("b")
    assert (lease(rig) or {})["attempt"] == "b"
    rig.start()  # the wait is not forgotten
    with pytest.raises(InUse):
        rig.mount("b")
    rig.time.now += volumes.FENCE
    rig.mount("b")


def test_an_agent_that_starts_again_knows_who_has_what(rig: Rig) -> None:
    binds = rig.mount("a").binds
    rig.start()
    rig.table.recall("a", binds)
    with pytest.raises(InUse, match="attempt a writes"):
        rig.mount("b")
    rig.table.release("a")
    rig.mount("b")


# --- local users ------------------------------------------------------------------------------


def test_a_local_user_writes_in_it_and_replaces_nothing_of_the_agents(rig: Rig) -> None:
    group = os.getgid()
    rig.table.group_of = lambda project: group
    rig.mount("a")
    folder = rig.base / "clima/state"
    modes = [stat.S_IMODE(path.stat().st_mode) for path in (folder.parent, folder, rig.data())]
    assert modes == [sharing.READ, sharing.KEEP, sharing.WRITE]
    assert sharing.handed_to(str(folder)) == group, "it could not be removed otherwise"
    assert stat.S_IMODE((folder / "lease").stat().st_mode) == 0o644


def test_a_volume_of_a_project_that_has_another_local_user_now_is_given_to_nobody(rig: Rig) -> None:
    rig.table.group_of = lambda project: os.getgid()
    rig.mount("a")
    rig.table.release("a")
    rig.table.group_of = lambda project: os.getgid() + 1
    with pytest.raises(StagingError, match="another local user's"):
        rig.mount("b")


# --- quota, retention, removal ----------------------------------------------------------------


def test_a_project_that_holds_all_that_it_may_cannot_write(rig: Rig) -> None:
    rig.limits |= {"quota": 1 << 20, "projects": {"gran-*": 1 << 40}}
    rig.start()
    rig.mount("a")
    rig.write(2 << 20)
    rig.table.release("a")
    assert rig.table.offer().full == ["clima"]
    with pytest.raises(StagingError, match=r"all that the site allows \(1.0 MiB\)") as failed:
        rig.mount("b", Mount("other", "/o"))
    assert not failed.value.retryable and failed.value.code == "quota"
    rig.mount("c", RO)
    rig.mount("d", project="gran-clima")


def test_who_writes_while_its_project_holds_too_much_is_named(rig: Rig) -> None:
    rig.limits |= {"quota": 1 << 20}
    rig.start()
    rig.mount("a")
    rig.mount("reader", RO)
    rig.mount("other", project="maiz")
    assert rig.table.over() == []
    rig.write(2 << 20)
    assert rig.table.over() == ["a"]


def test_what_nobody_uses_goes_and_what_somebody_has_stays(rig: Rig) -> None:
    rig.mount("a")
    rig.time.now += 200 * 86400
    rig.table.sweep()
    assert rig.data().exists()
    rig.table.release("a")
    rig.time.now += 89 * 86400
    rig.table.sweep()
    assert rig.data().exists()
    rig.time.now += 2 * 86400
    rig.table.sweep()
    assert not rig.data().exists() and rig.table.offer().held == []


def test_what_is_asked_to_go_goes_once_nobody_has_it(rig: Rig) -> None:
    rig.mount("a")
    [told] = rig.table.offer().held
    rig.table.unwanted = frozenset({told.id})
    rig.table.sweep()
    assert rig.data().exists()
    with pytest.raises(InUse, match="being deleted"):
        rig.mount("b")
    rig.table.release("a")
    rig.table.sweep()
    assert not rig.data().exists()
    rig.mount("b")
    assert rig.table.offer().held[0].id != told.id


def test_an_operator_may_ask_the_same(rig: Rig) -> None:
    rig.mount("a")
    rig.table.release("a")
    VolumeFiles(rig.base).ask_to_remove(Key("clima", "state"))
    rig.table.sweep()
    assert VolumeFiles(rig.base).look() == []


def test_what_is_large_is_measured_as_seldom_as_that_takes_long(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks = []

    def slowly(path: Path) -> int:
        looks.append(path)
        rig.time.now += 10
        return 1

    monkeypatch.setattr(volumes.disk, "measure", slowly)
    rig.mount("a")
    rig.table.measure()
    rig.time.now += 900
    rig.table.measure()
    assert len(looks) == 1
    rig.time.now += 101
    rig.table.measure()
    assert len(looks) == 2
    rig.table.release("a")
    rig.time.now += 1001
    rig.table.measure()
    rig.time.now += 1001
    rig.table.measure()
    assert len(looks) == 3, "what nobody writes to is measured once more, and then no more"


# --- whatever happens -------------------------------------------------------------------------


class Anything(RuleBasedStateMachine):
    """Attempts come and go, the agent is killed: two never write, and no rule is ever loosened."""

    attempts: Bundle[str] = Bundle("attempts")

    @initialize()
    def begin(self) -> None:
        import tempfile

        self.folder = Path(tempfile.mkdtemp(prefix="ayni-volumes-"))
        self.rig = Rig(self.folder / "volumes")
        self.count = 0
        self.has: dict[str, Mounted] = {}
        self.written: dict[str, set[Rule]] = {"one": {FREE}, "two": {FREE}}

    def teardown(self) -> None:
        shutil.rmtree(self.folder)

    @rule(
        target=attempts,
        modes=st.dictionaries(st.sampled_from(["one", "two"]), st.booleans(), min_size=1),
        under=st.sampled_from([FREE, SOME, CLOSED]),
    )
    def begin_one(self, modes: dict[str, bool], under: Rule) -> str:
        self.count += 1
        attempt = f"a{self.count}"
        mounts = [Mount(name, f"/{name}", write) for name, write in modes.items()]
        try:
            found = self.rig.mount(attempt, *mounts, rule=under)
        except StagingError:
            return attempt
        self.has[attempt] = found
        for name, write in modes.items():
            if write:
                self.written[name] |= {found.rule}
        return attempt

    @rule(attempt=consumes(attempts), sure=st.booleans())
    def end_one(self, attempt: str, sure: bool) -> None:
        self.rig.table.release(attempt, sure=sure)
        self.has.pop(attempt, None)

    @rule()
    def kill_the_agent(self) -> None:
        self.rig.start()
        for attempt, found in self.has.items():
            self.rig.table.recall(attempt, found.binds)

    @rule()
    def wait(self) -> None:
        self.rig.time.now += volumes.FENCE

    @invariant()
    def two_never_write(self) -> None:
        writers = [b.source for m in self.has.values() for b in m.binds if b.writable]
        assert len(writers) == len(set(writers))

    @invariant()
    def whoever_has_a_volume_is_bound_by_all_that_was_written_there(self) -> None:
        for found in self.has.values():
            for bind in found.binds:
                for under in self.written[bind.target[1:]]:
                    assert _as_strict(found.rule, under), (found, under)


def _as_strict(rule: Rule, other: Rule) -> bool:
    order = [FREE.release, Release.AGGREGATE, Release.NOTHING]
    return order.index(rule.release) >= order.index(other.release)


TestAnything = Anything.TestCase
