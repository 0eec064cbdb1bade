"""One model trained over three real Slurm clusters, while what may happen there happens."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("torch")
pytest.importorskip("regex")

from tests.joint.configuration import Plan
from tests.joint.network import SHORT, Countries, countries, disturb
from tests.joint.reference import train
from tests.joint.texts import prepare
from tests.live.conftest import SLURM

pytestmark = [pytest.mark.live, pytest.mark.needs("slurm")]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Countries]:
    with countries(prepare(tmp_path_factory.mktemp("texts")), SLURM) as found:
        yield found


def test_walltimes_a_drained_site_and_a_killed_coordinator_change_no_bit(
    world: Countries, tmp_path: Path
) -> None:
    """All three contributions of each round are waited for, so the tokens are the same, too.

    How far a run ends that does not wait: `make joint SITES=slurm`.
    """
    texts = world.texts
    plan = Plan(texts.words, inner_steps=10, time=60, warning=30, partition=SHORT)
    how = {"seed": 1, "steps": 120}
    training = world.train(plan.write(tmp_path, "prueba", quorum=3, **how), "prueba")
    disturb(training, missed=0)
    links = {site: training.links(site) for site in texts.shards}
    disturbed = training.result()
    for site, states in links.items():
        assert len(states) >= 2, site
        assert set(states[:-1]) == {"unfinished"}, site
        assert states[-1] == "complete", site
    alone = train(plan.load(tmp_path, "sola", **how), tmp_path / "here", texts.shards)
    assert disturbed.merged == alone.merged == dict.fromkeys(texts.shards, 12)
    assert disturbed.tokens == alone.tokens
    assert (disturbed.digest, disturbed.loss) == (alone.digest, alone.loss)


def test_a_site_trains_over_two_nodes_where_its_texts_card_gives_them_their_network(
    world: Countries, tmp_path: Path
) -> None:
    texts = world.texts
    plan = Plan(texts.words, inner_steps=10, time=600, warning=30, nodes={"mexico": 2})
    how = {"seed": 1, "steps": 40}
    training = world.train(plan.write(tmp_path, "ancha", quorum=3, **how), "ancha")
    training.end()
    wide = training.result()
    assert max(world.clusters["mexico"].nodes_of_jobs()) == 2
    alone = train(plan.load(tmp_path, "sola", **how), tmp_path / "here", texts.shards)
    assert wide.merged == dict.fromkeys(texts.shards, 4)
    assert wide.tokens == alone.tokens, "the data's order does not hang on the number of ranks"
    assert wide.loss == pytest.approx(alone.loss, rel=1e-4), "but sums of floats do"
