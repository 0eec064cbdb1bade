"""The loss behind the last layer."""

from __future__ import annotations

from typing import Any

import pytest

torch = pytest.importorskip("torch")

from ayni.lm.inner import head, packing

TOKENS, WIDTH, WORDS = 23, 8, 40


@pytest.fixture
def given() -> Any:
    draw = torch.Generator().manual_seed(1)
    hidden = torch.randn(TOKENS, WIDTH, generator=draw)
    weight = torch.randn(WORDS, WIDTH, generator=draw)
    targets = torch.randint(0, WORDS, (TOKENS,), generator=draw)
    targets[::5] = packing.IGNORED
    return hidden, weight, targets


def by_autograd(hidden: Any, weight: Any, targets: Any, share: float) -> Any:
    hidden, weight = hidden.clone().requires_grad_(), weight.clone().requires_grad_()
    each = torch.nn.functional.cross_entropy(hidden @ weight.T, targets, reduction="none")
    (each.sum() * share).backward()
    return each.detach(), hidden.grad, weight.grad


def by_head(hidden: Any, weight: Any, targets: Any, share: float) -> Any:
    hidden, weight = hidden.clone().requires_grad_(), weight.clone().requires_grad_()
    total, each = head.losses(hidden, weight, targets, torch.tensor(share))
    assert not each.requires_grad
    torch.testing.assert_close(total.detach(), each.sum() * share)
    total.backward()
    return each, hidden.grad, weight.grad


@pytest.mark.parametrize("at_once", [1, 4, 7, TOKENS])
def test_losses_and_gradients_are_autograds_however_many_tokens_go_at_once(
    given: Any, at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(head, "LOGITS", at_once * WORDS)
    wanted = by_autograd(*given, 0.125)
    for ours, theirs in zip(by_head(*given, 0.125), wanted, strict=True):
        torch.testing.assert_close(ours, theirs)


def test_without_a_gradient_the_losses_are_the_same(given: Any) -> None:
    with torch.no_grad():
        total, each = head.losses(*given, torch.tensor(1.0))
    torch.testing.assert_close(each, by_head(*given, 1.0)[0])
    assert not total.requires_grad


def test_in_half_precision_gradients_are_close_and_of_its_type(given: Any) -> None:
    hidden, weight, targets = given
    _, *ours = by_head(hidden.bfloat16(), weight.bfloat16(), targets, 1 / 300)
    _, *wanted = by_autograd(hidden, weight, targets, 1 / 300)
    for a, b in zip(ours, wanted, strict=True):
        assert a.dtype == torch.bfloat16
        assert float((a.float() - b).norm() / b.norm()) < 0.02


def test_what_is_ignored_has_neither_loss_nor_gradient(given: Any) -> None:
    each, to_hidden, _ = by_head(*given, 1.0)
    ignored = given[2] == packing.IGNORED
    assert not each[ignored].any() and not to_hidden[ignored].any()
    assert each[~ignored].all()
