"""Templates and their parameters."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from ayni.tes.arrays import Array, expand, fill, placeholders

TASK = {"executors": [{"image": "host", "command": ["echo", "{{x}} {{index}}"]}]}


def test_a_task_finds_its_values_in_texts_and_in_its_environment():
    task = expand(TASK, 7, {"x": "siete"})
    executor = task["executors"][0]
    assert executor["command"] == ["echo", "siete 7"]
    assert executor["env"] == {"AYNI_ARRAY_INDEX": "7", "AYNI_PARAM_x": "siete"}


def test_the_templates_own_environment_wins():
    template = {
        "executors": [{"image": "h", "command": ["x"], "env": {"AYNI_ARRAY_INDEX": "mine"}}]
    }
    assert expand(template, 0, None)["executors"][0]["env"] == {"AYNI_ARRAY_INDEX": "mine"}


def test_a_value_that_looks_like_a_placeholder_is_not_filled_again():
    assert fill("{{x}}", {"x": "{{y}}", "y": "z"}) == "{{y}}"


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"count": 1, "parameters": [{"x": "1"}]},
        {"count": 1},  # the template uses x
        {"parameters": [{"y": "1"}]},
        {"parameters": [{"x": "1", "index": "2"}]},
        {"parameters": [{"x y": "1"}]},
        {"parameters": [{"x": "\0"}]},
    ],
)
def test_an_array_that_makes_no_sense_is_refused(fields):
    with pytest.raises(ValidationError):
        Array(task=TASK, **fields)


json = st.recursive(
    st.text() | st.sampled_from(["{{x}}", "a{{ x }}b", "{{y}}", "{{"]),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@given(json, st.text())
def test_filling_leaves_no_placeholder_of_what_is_given(template, value):
    filled = fill(template, {"x": value})
    if "{" not in value and "}" not in value:
        assert placeholders(filled) == placeholders(template) - {"x"}
