"""Losses on held-out documents."""

from __future__ import annotations

import math
from typing import Any

import pytest

torch = pytest.importorskip("torch")

from ayni.lm.inner import model
from ayni.lm.inner.evaluate import evaluate
from tests.lm.inner.small import SHAPE, Documents, documents


@pytest.fixture
def net() -> Any:
    return model.build(model.config_of(SHAPE), seed=2)


def test_whole_documents_have_the_loss_that_transformers_gives_each_alone(net: Any) -> None:
    docs = Documents([8, 3, 5, 7, 24, 1], ["es", "quy", "es", "quy", "ay", "ay"])
    # rows of 24 tokens: the fifth document is cut in two by the end of the first row
    found = evaluate(model.Trainee(net), docs, length=48, rows=2)
    for language in ("es", "quy", "ay"):
        nats, tokens = 0.0, 0
        for i in range(len(docs)):
            if docs.language(i) == language and len(docs.tokens(i)) > 1:
                ids = torch.tensor(docs.tokens(i).astype(int))[None]
                nats += float(net(input_ids=ids, labels=ids).loss.detach()) * (ids.shape[1] - 1)
                tokens += ids.shape[1] - 1
        assert found[language].tokens == tokens
        assert found[language].nats == pytest.approx(nats, rel=1e-5)


@pytest.mark.parametrize("rows", [1, 3, 50])
def test_how_many_rows_go_at_once_changes_nothing(net: Any, rows: int) -> None:
    wanted = evaluate(model.Trainee(net), documents(), length=24)
    found = evaluate(model.Trainee(net), documents(), length=24, rows=rows)
    for language, loss in wanted.items():
        assert found[language].tokens == loss.tokens
        assert found[language].nats == pytest.approx(loss.nats, rel=1e-6)


def test_fewer_tokens_than_a_row_are_evaluated_too(net: Any) -> None:
    found = evaluate(model.Trainee(net), Documents([4], ["es"]), length=32)
    assert found["es"].tokens == 3
    assert found["es"].mean == pytest.approx(math.log(48), rel=0.1)


def test_a_model_in_training_stays_in_training(net: Any) -> None:
    trainee = model.Trainee(net).train()
    evaluate(trainee, documents(), length=24)
    assert net.training
