"""Several documents in one row."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from torch.nn.attention.flex_attention import flex_attention

from ayni.lm.inner import model, packing
from ayni.lm.inner.order import Row
from ayni.lm.inner.settings import Family, Shape
from tests.lm.inner.small import SHAPE


def row(*documents: list[int]) -> Row:
    tokens = np.concatenate([np.array(d) for d in documents])
    segments = np.repeat(np.arange(len(documents)), [len(d) for d in documents])
    return Row(tokens, segments, np.zeros_like(tokens))


FIRST, OTHER, SECOND = [5, 9, 9, 2, 40], [1, 33, 7, 7, 12], [8, 20, 3, 3, 31, 6, 17]


def logits(net: Any, batch: packing.Batch) -> Any:
    mask = packing.mask(batch.positions, "sdpa")
    with torch.no_grad():
        return net(input_ids=batch.tokens, position_ids=batch.positions, attention_mask=mask).logits


@pytest.fixture(params=["llama", "mistral", "qwen2", "qwen3"])
def net(request: pytest.FixtureRequest) -> Any:
    family: Family = request.param
    shape = Shape(**{**SHAPE.model_dump(), "family": family})
    return model.build(model.config_of(shape), seed=1)


def test_changing_one_document_leaves_the_others_logits_alone(net: Any) -> None:
    one = logits(net, packing.batch([row(FIRST, SECOND)]))
    other = logits(net, packing.batch([row(OTHER, SECOND)]))
    assert not torch.equal(one[:, :5], other[:, :5])
    assert torch.equal(one[:, 5:], other[:, 5:])


def test_packed_logits_are_those_of_each_document_alone(net: Any) -> None:
    packed = logits(net, packing.batch([row(FIRST, SECOND)]))
    alone = [net(input_ids=torch.tensor([d])).logits.detach() for d in (FIRST, SECOND[:-1])]
    torch.testing.assert_close(packed, torch.cat(alone, dim=1), rtol=1e-5, atol=1e-6)


def test_rows_of_one_batch_do_not_see_each_other(net: Any) -> None:
    both = logits(net, packing.batch([row(FIRST, SECOND), row(SECOND, FIRST)]))
    one = logits(net, packing.batch([row(SECOND, FIRST)]))
    torch.testing.assert_close(both[1:], one, rtol=1e-5, atol=1e-6)


def test_flex_attention_with_its_block_mask_is_sdpa_with_the_dense_mask() -> None:
    positions = packing.batch([row(FIRST, SECOND), row(SECOND, FIRST)]).positions
    query, key, value = torch.randn(3, 2, 4, positions.shape[1], 8)
    block = packing.mask(positions, "flex_attention")
    dense = packing.mask(positions, "sdpa")
    torch.testing.assert_close(
        flex_attention(query, key, value, block_mask=block),
        torch.nn.functional.scaled_dot_product_attention(query, key, value, attn_mask=dense),
    )


def test_the_block_mask_allows_what_the_dense_mask_allows() -> None:
    positions = packing.batch([row(FIRST, SECOND), row(SECOND, [3], FIRST[:-1])]).positions
    dense = packing.mask(positions, "sdpa")
    block = packing.mask(positions, "flex_attention")
    q = torch.arange(positions.shape[1])
    rows = torch.arange(2)[:, None, None]
    assert torch.equal(block.mask_mod(rows, 0, q[:, None], q[None, :]), dense[:, 0])


def test_no_token_is_asked_to_predict_the_next_document() -> None:
    batch = packing.batch([row([1, 2, 3], [4], [5, 6])])
    assert batch.tokens.tolist() == [[1, 2, 3, 4, 5]]
    assert batch.targets.tolist() == [[2, 3, -100, -100, 6]]
    assert batch.positions.tolist() == [[0, 1, 2, 0, 0]]
    assert batch.predicted == 3
