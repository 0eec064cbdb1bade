"""The inner loop."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from ayni.errors import UserError
from ayni.lm.inner.progress import Progress, Round, Stretch
from ayni.lm.inner.settings import Data, Optimiser
from ayni.lm.inner.train import Diverged
from tests.lm.inner.small import documents, trainer, training


def go(site: Any, steps: int, **given: Any) -> Any:
    return site.round(Round(site.progress.version, steps, site.progress.steps), **given)


def snapshot(site: Any) -> dict[str, Any]:
    return {name: t.detach().clone() for name, t in site._tensors().items()}


def equal(one: dict[str, Any], two: dict[str, Any]) -> bool:
    return one.keys() == two.keys() and all(torch.equal(one[n], two[n]) for n in one)


@pytest.mark.parametrize("name", ["adamw", "muon"])
def test_the_loss_falls_in_every_language(name: Any) -> None:
    site = trainer(training(optimiser=Optimiser(name=name, lr=5e-3)))
    first, last = go(site, 10), go(site, 60)
    last = go(site, 10)
    assert set(last.losses) == {"es", "quy"}
    for language, loss in last.losses.items():
        assert loss.mean < 0.75 * first.losses[language].mean


def test_what_a_round_counts_is_what_was_predicted() -> None:
    site = trainer()
    brought = go(site, 5)
    from ayni.lm.inner import packing

    wanted = sum(packing.batch([site.order.row(i)]).predicted for i in range(5 * 4))
    assert brought.tokens == wanted == sum(loss.tokens for loss in brought.losses.values())
    assert (brought.version, brought.steps, site.progress.rows) == (0, 5, 20)


def test_the_pseudo_gradient_is_old_minus_new_in_the_flat_order() -> None:
    site = trainer()
    go(site, 3)
    found = dict(site.pseudo_gradient())
    assert list(found) == sorted(found)
    for name, array in found.items():
        wanted = (site.base[name] - site.parameters[name]).detach().numpy()
        assert array.dtype == np.float32
        assert np.array_equal(array, wanted)
        assert array.any(), name


def test_two_sites_that_apply_the_same_update_hold_the_same_weights() -> None:
    one, two = trainer(site="cl"), trainer(site="mx")
    assert one.digest() == two.digest()
    go(one, 3)
    go(two, 4)
    update = {n: a * np.float32(0.5) for n, a in one.pseudo_gradient()}
    assert one.apply(update.items(), 1) == two.apply(update.items(), 1) == one.digest()
    for name, tensor in one.parameters.items():
        assert torch.equal(tensor, two.parameters[name])
        assert torch.equal(tensor, one.base[name])


def test_a_site_alone_that_takes_its_whole_step_is_where_its_training_was() -> None:
    apart, whole = trainer(), trainer()
    for version in range(3):
        go(apart, 4)
        apart.apply(list(apart.pseudo_gradient()), version + 1)
    go(whole, 12)
    for name, tensor in whole.parameters.items():
        torch.testing.assert_close(apart.parameters[name], tensor, rtol=1e-4, atol=1e-5)


def test_an_outer_round_resets_neither_moments_nor_schedule_nor_the_place_in_the_data() -> None:
    site = trainer()
    go(site, 4)
    before = snapshot(site)
    rows = site.progress.rows
    site.apply([(n, a * 0) for n, a in site.pseudo_gradient()], 1)
    after = snapshot(site)
    moments = [name for name in before if name.startswith("moments/")]
    assert all(torch.equal(before[name], after[name]) for name in moments)
    assert (site.progress.rows, site.progress.steps) == (rows, 4)


def test_a_site_that_trained_on_meanwhile_keeps_its_share_and_its_round() -> None:
    here, overlapping = trainer(site="cl"), trainer(site="cl")
    go(here, 4)
    go(overlapping, 4)
    update = {n: a / 2 for n, a in here.pseudo_gradient()}
    overlapping.progress.forget()  # sent; the next round begins before the answer
    overlapping.round(Round(0, 2, 4))
    ahead = snapshot(overlapping)
    assert overlapping.apply(update.items(), 1, mix=0.5) == here.apply(update.items(), 1)
    for name, p in overlapping.parameters.items():
        middle = (ahead[f"model/{name}"] + overlapping.base[name]) / 2
        torch.testing.assert_close(p.detach(), middle)
    brought = overlapping.round(Round(1, 5, 4))
    assert (brought.version, brought.steps, overlapping.progress.steps) == (1, 5, 9)


def test_what_is_brought_of_a_fragment_is_what_was_trained_since_it_was_brought_last() -> None:
    site = trainer(fragments=2)
    site.train(Stretch(0, 3))
    first = site.progress.bring("part-0")
    site.train(Stretch(3, 5))
    second, other = site.progress.bring("part-0"), site.progress.bring("part-1")
    assert (first.at, first.steps, second.at, second.steps) == (3, 3, 5, 2)
    assert (other.at, other.steps, other.tokens) == (5, 5, first.tokens + second.tokens)
    again = Progress.from_json(json.loads(json.dumps(site.progress.to_json())))
    assert again == site.progress


def test_weights_that_were_asked_for_stay_what_they_were() -> None:
    site = trainer()
    held = dict(site.weights())
    before = {n: a.copy() for n, a in held.items()}
    go(site, 1)
    site.apply(list(site.pseudo_gradient()), 1)
    assert all(np.array_equal(held[n], before[n]) for n in held)


@pytest.mark.parametrize("mix", [0.0, 0.5])
def test_a_fragment_of_the_parameters_is_sent_and_updated_alone(mix: float) -> None:
    site = trainer(fragments=2)
    site.train(Stretch(0, 2))
    assert set(site.fragments) == {"part-0", "part-1"}
    for fragment, names in site.fragments.items():
        before = snapshot(site)
        update = list(site.pseudo_gradient(fragment))
        assert [name for name, _ in update] == sorted(names)
        assert site.apply(update, 1, fragment, mix=mix) == site.digest(fragment)
        after = snapshot(site)
        changed = {n for n in before if not torch.equal(before[n], after[n])}
        assert {n.removeprefix("base/") for n in changed if n.startswith("base/")} == set(names)
        assert {n for n in changed if n.startswith("moments/")} == set()
        assert site.progress.parts[fragment].done == (2 if mix else 0)
    for name, p in site.parameters.items():  # its own steps came back: it is where it was
        torch.testing.assert_close(p, site.base[name], rtol=1e-5, atol=1e-6)


def test_a_site_back_from_afar_takes_the_current_weights_and_counts_what_it_gives_up() -> None:
    here, away = trainer(site="cl"), trainer(site="mx")
    go(here, 2)
    here.apply(list(here.pseudo_gradient()), 5)
    lost = go(away, 3).tokens
    assert away.take(here.weights(), 5) == lost
    assert away.digest() == here.digest()
    assert away.progress.version == 5
    assert away.progress.tokens == 0


def test_the_rate_that_people_set_scales_the_steps() -> None:
    still, moving = trainer(), trainer()
    still.round(Round(0, 2, 0, lr_scale=0.0))
    moving.round(Round(0, 2, 0))
    assert not any(a.any() for _, a in still.pseudo_gradient())
    assert any(a.any() for _, a in moving.pseudo_gradient())


def test_small_portions_give_the_gradient_of_the_whole_batch() -> None:
    whole = trainer(training(data=Data(length=24, batch=4)))
    parts = trainer(training(data=Data(length=24, batch=4, micro_batch=1)))
    go(whole, 3)
    go(parts, 3)
    for name, tensor in whole.parameters.items():
        torch.testing.assert_close(parts.parameters[name], tensor, rtol=1e-4, atol=1e-5)


def test_making_activations_again_changes_nothing() -> None:
    plain, other = trainer(), trainer(training(recompute=True))
    go(plain, 3)
    go(other, 3)
    assert equal(snapshot(plain), snapshot(other))


def test_half_precision_trains_and_keeps_full_weights() -> None:
    settings = training().model_copy(update={"precision": "bf16"})
    site = trainer(settings)
    first = go(site, 5).loss
    go(site, 40)
    assert go(site, 5).loss < first
    assert {t.dtype for t in site.parameters.values()} == {torch.float32}
    plain = trainer()
    update = list(site.pseudo_gradient())
    assert site.apply(update, 1) == plain.apply(update, 1)


def test_in_half_precision_other_weights_are_evaluated_as_they_are() -> None:
    settings = training().model_copy(update={"precision": "bf16"})
    site, fresh = trainer(settings), trainer(settings)
    site.evaluate(documents())
    for one in (site, fresh):
        one.apply([(n, w * np.float32(0.5)) for n, w in one.weights()], 1)
    assert site.evaluate(documents()) == fresh.evaluate(documents())


def test_a_loss_that_is_no_number_stops_before_the_step() -> None:
    site = trainer()
    go(site, 2)
    with torch.no_grad():
        site.parameters["model.layers.1.mlp.up_proj.weight"][0, 0] = float("nan")
    before = snapshot(site)
    with pytest.raises(Diverged, match=r"loss of es at step 2 is nan: nothing of this round was"):
        go(site, 2)
    after = snapshot(site)
    assert all(torch.equal(before[n], after[n]) for n in before if "moments" in n)


def test_a_gradient_that_is_no_number_stops_before_the_step(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    site = trainer()
    before = snapshot(site)
    monkeypatch.setattr(site._optimisers, "clip", lambda: torch.tensor(float("inf")))
    with pytest.raises(Diverged, match=r"the gradient's norm at step 0 is inf: nothing of this"):
        go(site, 1)
    assert equal(before, snapshot(site))
    assert all(p.grad is None for p in site.parameters.values())


def test_what_was_read_ahead_is_not_trained_on_by_somebody_who_is_elsewhere() -> None:
    here, there = trainer(), trainer()
    go(here, 2)
    go(there, 2)
    here.progress.rows = there.progress.rows = 40  # as a checkpoint would put them
    there._ahead = None
    assert go(here, 1).losses == go(there, 1).losses


@pytest.mark.parametrize(
    "name, array, said",
    [
        ("model.surprise", np.zeros(3, np.float32), "which the model has not"),
        ("model.norm.weight", np.zeros(3, np.float32), r"shape \[3\], the model's is \[32\]"),
        ("model.norm.weight", np.full(32, np.nan, np.float32), "not finite"),
    ],
)
def test_an_update_that_is_not_this_models_is_refused(name: str, array: Any, said: str) -> None:
    site = trainer()
    before = site.digest()
    with pytest.raises(UserError, match=said):
        site.apply([(name, array)], 1)
    assert site.digest() == before
    assert site.progress.version == 0


def test_weights_that_lack_a_parameter_are_refused() -> None:
    site = trainer()
    weights = dict(site.weights())
    del weights["model.norm.weight"]
    with pytest.raises(UserError, match=r"lacks model\.norm\.weight"):
        site.take(weights.items(), 1)


def test_muon_takes_the_hidden_matrices_and_adamw_the_rest() -> None:
    site = trainer(training(optimiser=Optimiser(name="muon")))
    kinds = {"momentum_buffer": set(), "exp_avg": set()}
    for key in site._optimisers.state():
        name, _, moment = key.partition("/")
        if moment in kinds:
            kinds[moment].add(name)
    assert all("proj" in name for name in kinds["momentum_buffer"])
    assert not any("proj" in name for name in kinds["exp_avg"])
    assert kinds["momentum_buffer"] | kinds["exp_avg"] == set(site.parameters)


def test_norms_do_not_decay() -> None:
    site = trainer(training(optimiser=Optimiser(name="adamw", weight_decay=0.5)))
    groups = site._optimisers._all[0].param_groups
    decays = {id(p): group["weight_decay"] for group in groups for p in group["params"]}
    for name, p in site.parameters.items():
        assert decays[id(p)] == (0.0 if p.ndim == 1 else 0.5), name
