"""`ayni lm plan`: from run.toml to a plan, and to what stands in its way."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from ayni.lm import config
from ayni.lm.inner.settings import Training
from ayni.lm.obstacles import remedy
from ayni.lm.plan import memory
from ayni.lm.planning import Facts, make, shape_of
from tests.lm.test_commands import ayni, mistake, said

BILLION = """
run = "grande"
retention = {retention}

[model.shape]
vocab_size = 128256
hidden_size = 2048
intermediate_size = 8192
layers = 16
heads = 32
kv_heads = 8
context = 8192

[training.data]
length = 4096
batch = {batch}
{training}

[outer]
steps = {steps}
warm = {warm}
{outer}
codec = "{codec}"
quorum = 2

[[sites]]
site = "santiago"
data = "ayni://santiago/shards/"
volume = "grande"
gpus = 4
device = "H100"
mem = "64G"
time = "24h"

[[sites]]
site = "mexico"
data = "ayni://mexico/shards/"
volume = "grande"
gpus = 4
device = "H100"
mem = "64G"
time = "24h"
{more}
"""


def written(folder: Path, text: str = BILLION, **changed: Any) -> Path:
    plain = {
        "steps": 2000, "training": "micro_batch = 1", "codec": "int4_deflate", "more": "",
        "retention": 30, "batch": 4096, "warm": 20, "outer": "",
    }  # fmt: skip
    path = folder / "run.toml"
    path.write_text(text.format(**(plain | changed)))
    return path


def warnings(path: Path, **facts: dict[str, str]) -> list[str]:
    return list(make(config.load(path), Facts(**facts)).warnings)


def test_a_sound_run_has_a_plan_without_a_warning(tmp_path: Path) -> None:
    path = written(tmp_path)
    found = said("plan", path, "--link", "10G")
    assert found["warnings"] == []
    assert found["parameters"] == 1_235_814_400
    assert [one["site"] for one in found["sites"]] == ["santiago", "mexico"]
    assert found["tokens"] == 2 * 2000 * 4096 * 4096
    for one in found["sites"]:
        assert one["fits"] and one["machine"]["name"] == "4 × H100"
        assert one["gpu_hours"] == pytest.approx(4 * found["hours"])
        parts = {k: v for k, v in one["memory"].items() if k != "total"}
        assert one["memory"]["total"] == sum(parts.values())


def test_people_get_a_table_and_on_stderr_what_stands_in_the_way(tmp_path: Path) -> None:
    done = ayni("plan", written(tmp_path, training=""))
    assert "1,235,814,400 parameters" in done.stdout and "GPU-HOURS" in done.stdout
    assert "a GPU needs" in done.stderr and "a GPU needs" not in done.stdout


def test_the_room_at_the_store_is_said(tmp_path: Path) -> None:
    """Without history: contributions of two rounds and 40 updates in 4 bits, five snapshots in float32."""
    path = written(tmp_path, codec="int4")
    found = said("plan", path)
    blob, rounds = found["round_bytes"] / 2, found["rounds"]
    assert found["store"] == (14 + rounds) * blob + (rounds // 10 + 2) * 4 * found["parameters"]
    path.write_text("history = false\n" + path.read_text())
    found = said("plan", path)
    assert found["store"] == 44 * blob + 5 * 4 * found["parameters"]
    assert "at the project's store, which its quota must hold" in ayni("plan", path).stdout


def test_what_is_said_of_a_site_counts_before_what_is_said_of_all(tmp_path: Path) -> None:
    path = written(tmp_path)
    found = said(
        "plan", path, "--device", "V100 32GB", "--device", "mexico=H200", "--mfu", "0.5",
        "--link", "santiago=2G", "--memory", "mexico=100GB", "--tflops", "mexico=500",
    )  # fmt: skip
    one, two = (site["machine"] for site in found["sites"])
    assert (one["name"], one["half"], one["flops"]) == ("4 × V100 32GB", False, 15.7e12)
    assert (two["flops"], two["memory"], two["half"]) == (500e12, 100e9, True)
    assert (one["up"], two["up"], one["efficiency"]) == (2e9, 1e8, 0.5)


@pytest.mark.parametrize(
    ("option", "said_of", "reason"),
    [
        ("--device", "H300", "is not known"),
        ("--link", "lima=1G", "has no site lima"),
        ("--link", "soon", "no speed"),
        ("--mfu", "1.5", "no share"),
        ("--tflops", "0", "above 0"),
        ("--tflops", "-3", "above 0"),
        ("--memory", "much", "mem"),
    ],
)
def test_what_cannot_be_is_said_in_a_line(
    tmp_path: Path, option: str, said_of: str, reason: str
) -> None:
    assert reason in mistake("plan", written(tmp_path), option, said_of)


def test_the_same_said_twice_is_a_mistake(tmp_path: Path) -> None:
    assert "said twice" in mistake("plan", written(tmp_path), "--link", "1G", "--link", "2G")


@pytest.mark.parametrize("key", ['device = "H300"', 'link = "soon"'])
def test_so_is_what_stands_in_the_file(tmp_path: Path, key: str) -> None:
    text = BILLION.replace('device = "H100"', key, 1)
    assert "sites.0" in mistake("plan", written(tmp_path, text))


def test_a_gpu_that_nobody_names_is_taken_for_one_and_said_to_be(tmp_path: Path) -> None:
    text = BILLION.replace('device = "H100"\n', "", 1)
    warning, *_ = warnings(written(tmp_path, text), link={"": "10G"})
    assert "taken for an A100" in warning and "--device santiago=NAME" in warning
    assert not warnings(
        written(tmp_path, text), tflops={"": "900"}, memory={"": "80GB"}, link={"": "10G"}
    )


# --- what stands in the way -------------------------------------------------------------------


@pytest.mark.parametrize("device", ["H200", "H100", "A100", "A10", "T4"])
@pytest.mark.parametrize("count", [1, 4])
def test_a_remedy_is_one(tmp_path: Path, device: str, count: int) -> None:
    """What it says to write makes the model fit, wherever it says that there is a way."""
    path = written(tmp_path, training="")
    run = config.load(path)
    shape = shape_of(run)
    planned = make(run, Facts(device={"": device}))
    machine = planned.machines[0]
    text = remedy(shape, run.training, machine)
    data = run.training.data
    if "micro_batch = 1" in text:
        data = data.model_copy(update={"micro_batch": 1})
    ranks = int(text.split(" on ")[1].split()[0]) if " on " in text else machine.count
    changed = Training(data=data, recompute="recompute = true" in text)
    fits = memory(shape, changed, ranks, half=machine.half).total <= machine.memory
    assert fits != text.startswith("choose a smaller model")


def test_a_site_without_gpus_asks_for_memory(tmp_path: Path) -> None:
    more = '[[sites]]\nsite = "bogota"\ndata = "/shards"\nvolume = "grande"\ncores = 64\ntime = "2000h"'
    found = warnings(written(tmp_path, more=more), link={"": "10G"})
    assert any("bogota: a task needs" in one and 'write mem = "' in one for one in found)
    assert any("bogota: its rounds come" in one and "are discarded" in one for one in found)


def test_a_host_without_room_is_told_beforehand(tmp_path: Path) -> None:
    (found,) = warnings(
        written(tmp_path, BILLION.replace('mem = "64G"\n', "", 1)), link={"": "10G"}
    )
    assert found == 'santiago: its host needs 20.8 GB and the task gets 1.1 GB: write mem = "20GiB"'


@pytest.mark.parametrize("codec", ["int8", "int4"])
def test_a_slow_link_is_named_with_what_helps(tmp_path: Path, codec: str) -> None:
    found = warnings(written(tmp_path, codec=codec), link={"": "10M"})
    assert all("for the rest it exchanges: write a larger outer.last" in one for one in found[:1])
    assert ('codec = "int4"' in found[0]) == (codec == "int8")


def test_where_a_link_is_slow_it_is_proposed_to_train_on_meanwhile(tmp_path: Path) -> None:
    (found, *_) = warnings(written(tmp_path, batch=1024), link={"": "100M"})
    _, _, proposed = found.partition("; or train on meanwhile: ")
    keys = proposed.replace(", ", "\n")
    assert keys.startswith("fragments = 8\noverlap = ")
    assert not warnings(written(tmp_path, batch=1024, outer=keys), link={"": "100M"})


# --- the overlap ------------------------------------------------------------------------------


def overlapped(folder: Path, overlap: int, **changed: Any) -> list[str]:
    path = written(folder, outer=f"fragments = 8\noverlap = {overlap}", **changed)
    return [one for one in warnings(path, link={"": "100M"}) if "outer.overlap" in one]


@pytest.mark.parametrize(
    ("overlap", "said_of"),
    [(1, "is shorter than an exchange"), (50, "is longer than an exchange")],
)
def test_an_overlap_that_does_not_fit_the_exchange_is_told_with_the_one_that_does(
    tmp_path: Path, overlap: int, said_of: str
) -> None:
    (found,) = overlapped(tmp_path, overlap, batch=512)
    assert f"outer.overlap = {overlap} {said_of}" in found and "inner steps of santiago" in found
    assert ("sites wait" in found) == (overlap == 1)
    _, _, better = found.partition("write overlap = ")
    assert overlapped(tmp_path, int(better.split(",")[0]), batch=512) == []


def test_where_an_exchange_takes_longer_than_a_round_no_overlap_helps(tmp_path: Path) -> None:
    (found,) = overlapped(tmp_path, 50, batch=16)
    assert "whatever outer.overlap is: write a larger outer.last" in found


def test_more_fragments_are_proposed_where_an_answer_would_be_merged_very_late(
    tmp_path: Path,
) -> None:
    path = written(tmp_path, batch=512, warm=0, outer="first = 50\nfragments = 2\noverlap = 1")
    (found,) = (one for one in warnings(path, link={"": "100M"}) if "outer.overlap" in one)
    assert ", or fragments = " in found and "costs the loss less" in found


def test_what_an_exchange_takes_is_said_to_people_and_to_programs(tmp_path: Path) -> None:
    path = written(tmp_path, outer="fragments = 8\noverlap = 2")
    shown = " ".join(ayni("plan", path).stdout.split())
    found = said("plan", path)["exchange"]
    assert f"an exchange of one of 8 fragments: encode {found['encode']:.1f} s, send" in shown
    assert f"{found['needed']} inner steps of santiago (outer.overlap = 2;" in shown
    parts = (found[name] for name in ("encode", "send", "merge", "bring", "queue"))
    assert found["seconds"] == pytest.approx(sum(parts))
    assert found["needed"] >= found["seconds"] / found["step_seconds"] > found["needed"] - 1
    assert (found["fragments"], found["overlap"], found["length"]) == (8, 2, 50)


def test_who_waits_for_slower_sites_is_told(tmp_path: Path) -> None:
    found = warnings(written(tmp_path), device={"mexico": "A10"}, link={"": "10G"})
    assert any("santiago" in one and "waits for slower sites" in one for one in found)


def test_chains_and_messages_must_last_as_long_as_the_run(tmp_path: Path) -> None:
    path = written(
        tmp_path, BILLION.replace('time = "24h"', 'time = "10m"', 1), steps=200_000, retention=1
    )
    found = warnings(path, link={"": "10G"})
    assert any("write chain = " in one or "write a longer time" in one for one in found)
    assert any("write retention = " in one for one in found)


def test_messages_are_never_asked_to_be_kept_longer_than_a_hub_does(tmp_path: Path) -> None:
    (found,) = [one for one in warnings(written(tmp_path, steps=100_000_000)) if "messages" in one]
    assert found.startswith("messages are kept 365 days at most") and "retention = " not in found


@pytest.mark.parametrize("command", ["plan", "train --dry-run"])
def test_a_folder_that_is_not_there_is_told_before_anything_is_spent(
    tmp_path: Path, command: str
) -> None:
    text = BILLION.replace("retention =", 'tokenizer = "nowhere"\nretention =')
    name, *options = command.split()
    if name == "train":
        pytest.importorskip("torch")
    told = mistake(name, written(tmp_path, text), *options)
    assert told.startswith("tokenizer: there is no folder nowhere")


# --- checkpoints ------------------------------------------------------------------------------


def test_a_checkpoints_shape_is_that_of_its_configuration(tmp_path: Path) -> None:
    known = config.load(written(tmp_path)).model.shape
    assert known is not None
    (tmp_path / "config.json").write_text(
        json.dumps(
            {
                "model_type": "llama", "vocab_size": 128256, "hidden_size": 2048, "num_hidden_layers": 16,
                "intermediate_size": 8192, "num_attention_heads": 32, "num_key_value_heads": 8,
                "max_position_embeddings": 8192, "tie_word_embeddings": True, "rope_scaling": None,
            }
        )
    )  # fmt: skip
    text = BILLION[: BILLION.index("[model.shape]")] + f'[model]\ncheckpoint = "{tmp_path}"\n' + BILLION[
        BILLION.index("[training.data]") :
    ]  # fmt: skip
    assert shape_of(config.load(written(tmp_path, text))) == known
    longer = text.replace("length = 4096", "length = 8193")
    assert "training.data.length: 8193 tokens" in mistake("plan", written(tmp_path, longer))
    (tmp_path / "config.json").write_text('{"model_type": "gpt2"}')
    assert "a plan cannot be made from it" in mistake("plan", written(tmp_path, text))
