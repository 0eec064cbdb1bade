"""Numbers, sizes, times and names of nodes, as Slurm writes them."""

from __future__ import annotations

import pytest
from hypothesis import given

from ayni.agent.executors.slurm import values
from tests.agent.executors.slurm import answers


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("(null)", 0),
        ("gpu", 1),
        ("gpu:2", 2),
        ("gpu:a100:4(S:0-1)", 4),
        ("gpu:a100:2,gpu:v100:1", 3),
        ("mps:100", 0),
    ],
)
def test_gpus_are_counted_however_they_are_declared(text, count):
    assert values.gres(text) == count


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("00:10:00", 600),
        ("2-00:00:00", 2 * values.DAY),
        ("1-12", values.DAY + 12 * 3600),
        ("05:30", 330),
        ("UNLIMITED", values.FOREVER),
    ],
)
def test_a_limit_is_in_seconds(text, seconds):
    assert values.limit(text) == seconds


@pytest.mark.parametrize(
    ("text", "size"),
    [("64M", 64 << 20), ("3396K", 3396 << 10), ("3.50M", 3670016), ("4G", 4 << 30), ("", 0)],
)
def test_a_size_is_in_bytes(text, size):
    assert values.size(text) == size


@given(answers.JUNK)
def test_values_are_never_negative(junk):
    assert values.size(junk) >= 0
    assert values.duration(junk) >= 0
    assert values.limit(junk) >= 0
    assert values.gres(junk) >= 0
    assert (values.moment(junk) or 0) >= 0


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("a-n[1-3,07],b", ["a-n1", "a-n2", "a-n3", "a-n07", "b"]),
        ("r[1-2]n[09-10]", ["r1n09", "r1n10", "r2n09", "r2n10"]),
        ("node", ["node"]),
        ("gpu[a,b]", ["gpua", "gpub"]),
        ("(null)", []),
        ("", []),
    ],
)
def test_lists_of_hosts_are_the_names_that_they_stand_for(text, names):
    assert list(values.hosts(text)) == names
