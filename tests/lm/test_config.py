"""`run.toml`: what is understood, and how what is not is refused."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
from pydantic import ValidationError

from ayni.errors import UserError
from ayni.lm import config, launch
from ayni.lm.inner.schedule import factor
from ayni.lm.outer.codec import Codec
from ayni.tes.models import document
from ayni.tes.shape import shape_of
from tests.docs.pages import ROOT

GOOD = """
run = "prueba"

[model.shape]
vocab_size = 600
hidden_size = 64
intermediate_size = 128
layers = 2
heads = 4
context = 64

[training.data]
length = 64
batch = 4

[outer]
steps = 200
first = 5
last = 20
codec = "int8"
quorum = 1

[[sites]]
site = "bogota"
data = "ayni://bogota/shards/"
volume = "prueba"
time = "30m"

[[sites]]
site = "cdmx"
data = "/state/shards"
volume = "prueba"
cores = 4
"""


def written(folder: Path, text: str = GOOD) -> Path:
    path = folder / "run.toml"
    path.write_text(text)
    return path


def test_a_run_is_read_and_kept_as_it_was_understood(tmp_path: Path) -> None:
    run = config.load(written(tmp_path))
    assert (run.outer.run, run.outer.codec, run.outer.schedule.steps) == ("prueba", Codec.INT8, 200)
    assert (run.outer.schedule.inner_steps(0), run.outer.schedule.inner_steps(100)) == (5, 20)
    kept = config.keep(run, tmp_path / "prueba")
    assert config.load(kept) == run
    assert config.keep(run, tmp_path / "prueba") == kept


def test_phases_may_be_written_out(tmp_path: Path) -> None:
    phases = "phases = [{ from_step = 0, inner_steps = 3 }, { from_step = 9, inner_steps = 30, lr = 0.7 }]"
    run = config.load(written(tmp_path, GOOD.replace("first = 5\nlast = 20", phases)))
    assert [phase.inner_steps for phase in run.outer.schedule.phases] == [3, 30]
    assert config.load(config.keep(run, tmp_path / "prueba")) == run


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ('run = "prueba"', "", "run: is missing"),
        ('run = "prueba"', 'run = "La Prueba"', "run: "),
        ('run = "prueba"', 'run = "prueba"\nsead = 1', "sead: there is no such key"),
        ("hidden_size = 64", "hidden_size = 65", "model.shape: hidden_size must be"),
        ("batch = 4", "batch = 0", "training.data.batch: "),
        ("steps = 200", "", "outer.steps: is missing"),
        ("steps = 200", 'steps = "many"', "outer.steps: 'many' cannot be; write a whole number"),
        ("steps = 200", "steps = 4294967296", "outer.steps: 4294967296 cannot be; write 1000000000 or less"),
        ("first = 5", "first = 0", "outer.first: 0 cannot be; write 1 or more"),
        ("first = 5", "first = inf", "outer.first: inf cannot be; write a whole number"),
        ("last = 20", f"last = {10**400}", "outer.last: 1000"),
        ("last = 20", "warm = 10.5", "outer.warm: 10.5 cannot be; write a whole number"),
        ("last = 20", "warm = 201", "outer.warm: the run has 200 steps; write no more"),
        ("last = 20", "lr = -1", "outer.lr: -1 cannot be; write more than 0"),
        ("last = 20", "lr = 1000", "outer.lr: 1000 cannot be; write 100"),
        ("last = 20", "lr = nan", "outer.lr: nan cannot be; write a number that is finite"),
        ("last = 20", "phases = []", "outer.first: phases say the length of rounds"),
        ("first = 5", "schedule = {}", "outer.schedule: there is no such key"),
        ("first = 5", 'run = "otra"', "outer.run: there is no such key"),
        ('codec = "int8"', 'codec = "int7"', "outer.codec: 'int7' is none; there are float32"),
        ("quorum = 1", "clip = 5.0\nrefuse = 4.0", "outer.refuse: norms are clipped from 5.0 on"),
        ("quorum = 1", "mix = 0.7", "outer.mix: means nothing without overlap"),
        ("quorum = 1", "grace = inf", "outer.grace: inf cannot be; write"),
        ("layers = 2", "layers = 2000000000", "model.shape.layers: 2000000000 cannot be; write 4096 or less"),
        ("hidden_size = 64", "hidden_size = 8000000000", "model.shape.hidden_size: 8000000000 cannot be"),
        ("layers = 2", "layers = 4000\nrope_theta = inf", "model.shape.rope_theta: inf cannot be"),
        ("hidden_size = 64\nintermediate_size = 128\nlayers = 2", "hidden_size = 131072\n"
         "intermediate_size = 1048576\nlayers = 4096", "model.shape: 2e+15 parameters are more than"),
        ("length = 64", 'length = "32"', "training.data.length: '32' cannot be; write a whole number"),
        ("length = 64", "length = 65", "training.data.length: 65 tokens, and the model's context are 64"),
        ("length = 64", "temperature = inf", "training.data.temperature: inf cannot be"),
        ("[training.data]", "[training.optimiser]\nlr = inf\n[training.data]", "training.optimiser.lr: inf"),
        ("[training.data]", f"[training.optimiser]\nlr = {10**400}\n[training.data]",
         "training.optimiser.lr: "),
        ("[training.data]", "[training.optimiser]\nweight_decay = inf\n[training.data]",
         "training.optimiser.weight_decay: inf cannot be"),
        ("[training.data]", f"[training]\nseed = {1 << 64}\n[training.data]", "training.seed: 184467"),
        ("[training.data]", "[training.schedule]\nwarmup = 200\n[training.data]",
         "training.schedule.warmup: the run has 200 steps; write fewer"),
        ("[training.data]", "[training.schedule]\ndecay_from = 200\n[training.data]",
         "training.schedule.decay_from: the run ends at step 200"),
        ("[training.data]", "[training.schedule]\ndecay_from = 180\ndecay_steps = 30\n[training.data]",
         "training.schedule.decay_steps: after step 180 the run has 20 steps left"),
        ("[training.data]", "[training.schedule]\ndecay_from = 180\ndecay_steps = 0\n[training.data]",
         "training.schedule.decay_steps: 0 is no decay"),
        ('run = "prueba"', 'run = "prueba"\nretention = 366', "retention: 366 cannot be; write 365 or less"),
        ("quorum = 1", "quorum = 3", "outer.quorum: 3 of 2 sites"),
        ("quorum = 1", "snapshot_every = 900", "outer.snapshot_every: a head would be too long"),
        ("quorum = 1", "grease = 3", "outer.grease: there is no such key"),
        ("quorum = 1", "fragments = 3", "outer.fragments: a model of 2 layers has no more than 2"),
        ("quorum = 1", "overlap = 3\nevaluate = true", "outer.evaluate: versions are judged by"),
        ("quorum = 1", "fragments = 2\nleave_one_out = 5", "outer.leave_one_out: versions are"),
        ('site = "cdmx"', 'site = "bogota"', "a site stands there twice"),
        ('data = "/state/shards"', 'data = "shards"', "sites.1.data: "),
        ('data = "/state/shards"', "", "sites.1.data: is missing"),
        ("cores = 4", 'cores = "four"', "sites.1.cores: 'four' cannot be; write a whole number (site cdmx)"),
        ("cores = 4", "cores = true", "sites.1.cores: True cannot be; write a whole number (site cdmx)"),
        ("cores = 4", 'warning = "x"', "sites.1.warning: 'x' is no duration; write 90s, 15m"),
        ("cores = 4", 'time = "soon"', "sites.1.time: 'soon' is no duration; write 90s, 15m"),
        ("cores = 4", 'mem = "much"', "sites.1.mem: 'much' is no size; write 8GiB"),
        ("cores = 4", 'disk = "x"', "sites.1.disk: 'x' is no size; write 8GiB, 512MiB or a number of "
         "bytes (site cdmx)"),
        ('data = "/state/shards"', 'data = "ayni://bogota/shards/"', "sites: cdmx is given data of bogota"),
        ("cores = 4", "gpus = 3", "sites: cdmx has 3 ranks, which cannot share"),
        ("[model.shape]", "[model", "not TOML"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_refused_with_its_field(
    tmp_path: Path, old: str, new: str, told: str
) -> None:
    assert old in GOOD
    with pytest.raises(UserError) as refused:
        config.load(written(tmp_path, GOOD.replace(old, new, 1)))
    assert told in str(refused.value) and "run.toml" in str(refused.value)
    assert "://errors.pydantic" not in str(refused.value)
    assert "\n" not in str(refused.value)


def test_hubs_keep_messages_as_long_as_a_run_may_ask_for() -> None:
    from ayni.hub.channels.api import ChannelIn

    allowed = {"name": "a", "schema": {}}
    assert ChannelIn.model_validate({**allowed, "retention": config.MOST_DAYS}).retention
    with pytest.raises(ValidationError, match="retention"):
        ChannelIn.model_validate({**allowed, "retention": config.MOST_DAYS + 1})


SCHEDULE = "[training.schedule]\n{}\n[training.data]"


@pytest.mark.parametrize(
    ("written_", "warmup", "decay"),
    [
        ("", 20, (180, 20)),
        ("warmup = 100", 100, (180, 20)),
        ("warmup = 190", 190, (190, 10)),
        ("decay_steps = 0", 20, (None, 0)),
        ("decay_steps = 50", 20, (150, 50)),
        ("decay_from = 150", 20, (150, 50)),
        ("decay_from = 150\ndecay_steps = 10", 20, (150, 10)),
    ],
)
def test_a_run_decays_in_its_last_tenth_unless_it_is_told_otherwise(
    tmp_path: Path, written_: str, warmup: int, decay: tuple[int | None, int]
) -> None:
    text = GOOD.replace("[training.data]", SCHEDULE.format(written_))
    run = config.load(written(tmp_path, text))
    found = run.training.schedule
    assert (found.warmup, (found.decay_from, found.decay_steps)) == (warmup, decay)
    assert config.load(config.keep(run, tmp_path / "prueba")) == run
    assert factor(found, 199) == (0.0 if decay[1] else 1.0)


def test_the_documentation_s_example_is_a_run(tmp_path: Path) -> None:
    page = (ROOT / "docs/users/joint-model.md").read_text()
    example = page.partition("```toml\n")[2].partition("```")[0]
    assert config.load(written(tmp_path, example)).named_sites == "santiago, bogota"


def test_no_file_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="name a run's configuration"):
        config.load(tmp_path / "nowhere.toml")


def test_a_folder_is_one_run_s(tmp_path: Path) -> None:
    config.keep(config.load(written(tmp_path)), tmp_path / "prueba")
    other = config.load(written(tmp_path, GOOD.replace("batch = 4", "batch = 8")))
    with pytest.raises(UserError, match="name the run anew"):
        config.keep(other, tmp_path / "prueba")


def test_each_site_gets_a_chained_task_on_its_volume_and_channels(tmp_path: Path) -> None:
    run = config.load(written(tmp_path))
    config.keep(run, tmp_path)
    made = launch.drafts(run, tmp_path)
    tasks = {site: document(one.task("ayni://quinua/r")) for site, one in made.items()}
    wishes = tasks["bogota"]["resources"]["backend_parameters"]
    assert wishes["channels"] == "prueba-up:out,prueba-down:in"
    assert (wishes["chain"], wishes["volume"], wishes["site"]) == ("100", "prueba:/state", "bogota")
    paths = {one["path"]: one.get("url") for one in tasks["bogota"]["inputs"]}
    assert paths["/work/data"] == "ayni://bogota/shards/"
    assert set(paths) == {"/work/data", "/work/run.json"}
    (command,) = tasks["cdmx"]["executors"]
    assert command["env"]["DATA"] == "/state/shards"
    assert "/state/shards" not in " ".join(command["command"])
    assert tasks["cdmx"]["resources"]["cpu_cores"] == 4
    assert [tasks[site]["executors"][0]["env"]["OMP_NUM_THREADS"] for site in sorted(tasks)] == [
        "1",
        "4",
    ]


def test_the_warning_before_a_link_s_end_is_the_site_s_own(tmp_path: Path) -> None:
    text = GOOD.replace('time = "30m"', 'time = "30m"\nwarning = "10m"')
    run = config.load(written(tmp_path, text))
    config.keep(run, tmp_path)
    tasks = {s: one.task("ayni://quinua/r") for s, one in launch.drafts(run, tmp_path).items()}
    warned = {s: shape_of(task).warned for s, task in tasks.items()}
    assert warned == {"bogota": 600, "cdmx": 300}


def test_a_site_gets_the_shape_of_a_checkpoint_and_its_weights_by_the_channel(
    tmp_path: Path,
) -> None:
    (tmp_path / "base").mkdir()
    (tmp_path / "base" / "config.json").write_text("{}")
    shape = GOOD[GOOD.index("[model.shape]") : GOOD.index("[training.data]")]
    continued = GOOD.replace(shape, f'[model]\ncheckpoint = "{tmp_path}/base"\n\n')
    run = config.load(written(tmp_path, continued))
    assert config.load(config.keep(run, tmp_path)) == run
    task = document(launch.drafts(run, tmp_path)["cdmx"].task("ayni://quinua/r"))
    assert {one["path"] for one in task["inputs"]} == {
        "/work/run.json",
        "/work/checkpoint/config.json",
    }


def test_a_site_of_several_ranks_starts_them_on_each_of_its_nodes(tmp_path: Path) -> None:
    text = GOOD.replace("cores = 4", "cores = 4\ngpus = 2\nnodes = 2")
    run = config.load(written(tmp_path, text))
    site = run.at("cdmx")
    assert (site.ranks_a_node, site.all_ranks, site.all_cores, site.all_gpus) == (2, 4, 8, 4)
    config.keep(run, tmp_path)
    made = launch.drafts(run, tmp_path)
    tasks = {name: document(one.task("ayni://quinua/r")) for name, one in made.items()}
    commands = {name: " ".join(one["executors"][0]["command"]) for name, one in tasks.items()}
    assert "ayni.lm.node" in commands["cdmx"] and "ayni.lm.site" in commands["bogota"]
    wishes = tasks["cdmx"]["resources"]["backend_parameters"]
    assert (wishes["nodes"], wishes["gpus"]) == ("2", "2") and "network" in wishes
    assert "network" not in tasks["bogota"]["resources"]["backend_parameters"]


CHARTER = """
[charter]
data = "Textos públicos; se quedan en su sitio."
licences = "CC BY 4.0; el modelo, Apache 2.0."
holders = "Los miembros, y quien los pida cuando el modelo se publique."
leaving = '''
Avisa; sus aportes hasta allí se quedan.
Nada más sale de su sitio.
'''
"""


def test_a_charter_is_the_same_text_each_time_and_all_of_it_is_in_it(tmp_path: Path) -> None:
    run = config.load(written(tmp_path, GOOD + CHARTER))
    assert config.load(config.keep(run, tmp_path / "run")).charter_text == run.charter_text
    assert run.charter_text == (
        "# Charter of the training run prueba\n\nSites: bogota, cdmx\n\n"
        "## Data\n\nTextos públicos; se quedan en su sitio.\n\n"
        "## Licences\n\nCC BY 4.0; el modelo, Apache 2.0.\n\n"
        "## Who may hold the weights\n\n"
        "Los miembros, y quien los pida cuando el modelo se publique.\n\n"
        "## How a party leaves\n\n"
        "Avisa; sus aportes hasta allí se quedan.\nNada más sale de su sitio.\n"
    )
    assert config.load(written(tmp_path)).charter_text == ""


def test_a_charter_that_leaves_something_out_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"charter\.holders: is missing"):
        config.load(written(tmp_path, GOOD + CHARTER.replace("holders =", "more =")))


def test_the_run_that_is_kept_names_its_tokenizer_by_its_content(tmp_path: Path) -> None:
    folder, kept = tmp_path / "words", tmp_path / "kept"
    folder.mkdir()
    (folder / "tokenizer.json").write_text("{}")
    run = config.load(written(tmp_path, f"tokenizer = '{folder}'\n{GOOD}"))
    path = config.keep(run, kept)
    known = config.load(path).tokenizer_sha256
    assert known == hashlib.sha256(b"{}").hexdigest()
    (folder / "tokenizer.json").write_text("{ }")
    with pytest.raises(UserError, match="told otherwise"):
        config.keep(run, kept)
    with pytest.raises(UserError, match=r"tokenizer: .* holds another"):
        config.with_tokenizer(config.load(path))
    (folder / "tokenizer.json").unlink()
    assert config.load(config.keep(run, kept)).tokenizer_sha256 == known, (
        "and a restart needs it not"
    )
