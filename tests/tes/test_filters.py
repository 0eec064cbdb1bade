"""What `GET /tasks` may be asked."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ayni.tes.filters import Filters, Query, QueryError, parse_query
from ayni.tes.models import State, View


def test_nothing_asked_is_all_minimal_256_a_page():
    assert parse_query({}) == Query(Filters(), View.MINIMAL, 256, "")


@pytest.mark.parametrize(
    ("keys", "values", "tags"),
    [
        (["a"], ["1"], [("a", "1")]),
        (["a"], [], [("a", None)]),
        (["a"], [""], [("a", None)]),
        (["a", "b"], ["1"], [("a", "1"), ("b", None)]),
        (["a", "b"], ["", "2"], [("a", None), ("b", "2")]),
        (["a", "a"], ["1", "2"], [("a", "1"), ("a", "2")]),
    ],
)
def test_tags_are_zipped_in_order_and_a_missing_value_matches_any(keys, values, tags):
    query = parse_query({"tag_key": keys, "tag_value": values})
    assert list(query.filters.tags) == tags


@pytest.mark.parametrize(
    ("parameters", "field"),
    [
        ({"page_size": ["2048"]}, "page_size"),
        ({"page_size": ["0"]}, "page_size"),
        ({"page_size": ["१२"]}, "page_size"),
        ({"page_size": ["1e3"]}, "page_size"),
        ({"state": ["queued"]}, "state"),
        ({"view": ["ALL"]}, "view"),
        ({"tag_value": ["1"]}, "tag_value"),
        ({"name_prefix": ["a\0"]}, "name_prefix"),
        ({"name_prefix": ["\ud800"]}, "name_prefix"),
    ],
)
def test_what_cannot_be_understood_names_the_parameter(parameters, field):
    with pytest.raises(QueryError) as caught:
        parse_query(parameters)
    assert caught.value.field == field


NAMES = st.sampled_from(
    ["name_prefix", "state", "view", "page_size", "page_token", "tag_key", "tag_value", "other"]
)


@given(st.dictionaries(NAMES, st.lists(st.text(max_size=5), max_size=3)))
def test_whatever_is_asked_is_understood_or_refused(parameters):
    try:
        query = parse_query(parameters)
    except QueryError as error:
        assert error.field in parameters
    else:
        assert 1 <= query.page_size < 2048


filters = st.builds(
    Filters,
    name_prefix=st.text(max_size=3),
    state=st.none() | st.sampled_from(State),
    tags=st.lists(st.tuples(st.text(max_size=2), st.none() | st.text(max_size=2))).map(tuple),
)


@given(filters, filters)
def test_fingerprints_tell_questions_apart(one, other):
    assert (one.fingerprint("p") == other.fingerprint("p")) == (one == other)
    assert one.fingerprint("p") != one.fingerprint("q")
