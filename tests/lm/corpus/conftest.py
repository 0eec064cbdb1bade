"""What the tests of packed texts share."""

from __future__ import annotations

import pytest

from ayni.lm.tokenizer import model


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> model.Loaded:
    """A tokenizer of the bytes and two merges."""
    folder = tmp_path_factory.mktemp("tokenizer")
    model.save([(b"a", b"b"), (b"ab", b"c")], folder)
    return model.load(folder)
