"""The agent's TOML: what is read, and how mistakes are told."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ayni.agent import config, engine, sections
from ayni.agent.executors.slurm.script import Rules, Terms
from ayni.agent.runtimes.bare import BareRuntime
from ayni.agent.runtimes.choose import NoSandbox
from ayni.errors import UserError
from ayni.tes.units import parse_size, show_duration, show_size

ROOT = Path(__file__).parents[2]
HUB = 'hub = "https://hub.example"\n'
SLURM = HUB + '[executor]\nkind = "slurm"\n[executor.slurm]\nshared = "/scratch/ayni"\n'


def read(text: str) -> config.Config:
    return config.parse(text, Path("/etc/ayni/agent.toml"))


def test_the_documented_example_is_right_and_shows_every_key() -> None:
    path = ROOT / "docs/operators/agent.example.toml"
    loaded = config.load(path)
    assert loaded.policy.max_memory == 256 << 30
    assert loaded.image("ubuntu:20.04") == loaded.images["host"]
    text = path.read_text()
    found = {
        "": config.Config,
        "policy": config.PolicySection,
        "images": config.Image,
        "executor": config.ExecutorSection,
        "slurm": sections.SlurmSection,
        "projects": sections.ProjectSection,
        "partition": config.PartitionSection,
        "store": config.StoreSection,
        "https": config.HttpsSection,
        "limits": config.LimitsSection,
        "volumes": sections.VolumesSection,
    }
    for section in found.values():
        for key in section.model_fields.keys() - found.keys():
            assert f"{key} = " in text, f"{key} is not in the example"


def test_one_line_is_enough() -> None:
    loaded = read(HUB)
    assert loaded.production
    assert not loaded.allow_unsandboxed
    assert loaded.network_policy.images == ["host"]
    assert loaded.network_policy.network is False


def test_relative_paths_count_from_the_files_folder() -> None:
    loaded = read('hub = "http://hub"\nstate = "state"\n[store]\nfolder = "../data"')
    assert loaded.state == Path("/etc/ayni/state")
    assert loaded.key_path == Path("/etc/ayni/state/site.key")
    assert loaded.store_folder == Path("/etc/ayni/../data")


@pytest.mark.parametrize(
    ("text", "key", "remedy"),
    [
        ("", "hub", "is missing; add it"),
        ('hub = "ftp://x"', "hub", "write https://"),
        ('hub = "https://me:secret@x"', "hub", "write https://"),
        (HUB + "[policy]\nmax_core = 1", "policy.max_core", "did you mean 'max_cores'?"),
        (HUB + '[policy]\nmax_memory = "8 gigs"', "policy.max_memory", "write 8GiB"),
        (HUB + '[policy]\nmax_walltime = "long"', "policy.max_walltime", "write 90s"),
        (HUB + '[policy]\nmembers = ["Chile"]', "policy.members", "write CL"),
        (HUB + '[policy]\ntimezone = "Mars"', "policy.timezone", "America/Santiago"),
        (HUB + '[policy]\ntimezone = "America"', "policy.timezone", "America/Santiago"),
        (
            HUB + '[policy]\nhours = [{begin = "20:00Z", end = "01:00"}]',
            "policy.hours.0.begin",
            "without a zone",
        ),
        (HUB + '[policy]\nhours = [{begin = "25:00", end = "01:00"}]', "policy.hours.0.begin", ""),
        (HUB + "images = {}", "images", "runs nothing"),
        (HUB + '[images.a]\nalias = "b"', "images.a.alias", "not an image that stands"),
        (HUB + '[images.a]\nruntime = "docker"', "images.a.runtime", "charliecloud"),
        (HUB + '[images.a]\nruntime = "apptainer"', "images.a", "needs 'image'"),
        (HUB + '[images.a]\nprefixes = ["opt"]', "images.a", "absolute"),
        (HUB + '[images.a]\nmodules = ["gcc; id"]', "images.a.modules", "match"),
        (HUB + '[images.a]\nmodules = ["--help"]', "images.a.modules", "match"),
        (
            HUB + '[images.a]\nruntime = "apptainer"\nimage = "x.sif"\nmodules = ["gcc"]',
            "images.a",
            "leave them out",
        ),
        (HUB + '[partition]\ndepth = "deep"', "partition.depth", "auto"),
        (HUB + '[executor]\nkind = "pbs"', "executor.kind", "local"),
        (HUB + '[executor]\npin = "yes"', "executor.pin", "'yes' is neither \"auto\" nor true"),
        (HUB + "[executor]\npin = 2", "executor.pin", ""),
        (HUB + "[polcy]", "polcy", "did you mean 'policy'?"),
        ('sandbox = "none"\n' + HUB, "sandbox", "allow_unsandboxed = true"),
        (SLURM + "qso = 1", "executor.slurm.qso", "did you mean 'qos'?"),
        (SLURM + "projects.maize.acount = 1", "projects.maize.acount", "did you mean 'account'?"),
        ('sandbox = "none"\nproduction = false\n' + SLURM, "sandbox", "take the line out"),
        ("allow_unsandboxed = true\n" + SLURM, "allow_unsandboxed", "take the line out"),
        ("hub = ", "/etc/ayni/agent.toml", "no TOML"),
    ],
)
def test_a_mistake_is_told_with_its_key_and_the_remedy(text: str, key: str, remedy: str) -> None:
    with pytest.raises(UserError) as error:
        read(text)
    assert key in str(error.value)
    assert remedy in str(error.value)
    assert "secret" not in str(error.value)


@pytest.mark.parametrize(
    ("said", "kernel", "pinned"),
    [
        ("", False, True),
        ("", True, False),
        ('pin = "auto"', False, True),
        ("pin = true", True, True),
        ("pin = false", False, False),
    ],
)
def test_tasks_are_tied_to_cores_where_the_kernel_does_not_hold_them_to_theirs(
    monkeypatch: pytest.MonkeyPatch, said: str, kernel: bool, pinned: bool
) -> None:
    monkeypatch.setattr("ayni.agent.supervisor.cgroup.holds_cores", lambda path: kernel)
    assert engine.pins(read(f"{HUB}[executor]\n{said}")) is pinned


def test_the_local_executor_is_told_whether_to_tie_tasks_to_cores(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    told: list[bool] = []

    def opened(*_: Any, pin: bool, **__: Any) -> Any:
        told.append(pin)
        return SimpleNamespace(findings=[])

    monkeypatch.setattr(engine, "LocalExecutor", opened)
    for pin in ("true", "false"):
        head = f'{HUB}state = "{tmp_path}"\nsandbox = "none"\nproduction = false\n'
        engine.start(read(f"{head}[executor]\npin = {pin}"))
    assert told == [True, False]


@pytest.mark.parametrize("said", ["", "production = false\n"])
def test_one_account_for_all_projects_never_does_without_a_sandbox(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, said: str
) -> None:
    def none_works(folder: Path, *, allow_unsandboxed: bool) -> Any:
        assert not allow_unsandboxed
        raise NoSandbox("no sandbox works here")

    monkeypatch.setattr(engine, "host_runtime", none_works)
    site = read(said + SLURM.replace("/scratch/ayni", str(tmp_path)))
    with pytest.raises(UserError, match=r"no sandbox works here\.$"):
        engine.start(site)


def test_a_site_of_its_own_machine_may_do_without_a_sandbox() -> None:
    local = HUB + '[executor]\nkind = "local"\n[executor.slurm]\nshared = "/scratch/ayni"\n'
    assert not read('allow_unsandboxed = true\nsandbox = "none"\n' + local).needs_sandbox


def test_the_terms_of_projects_reach_the_executor(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    opened: list[Rules] = []

    def executor(*arguments: Any, **_: Any) -> Any:
        opened.append(arguments[4])
        return SimpleNamespace(findings=[])

    monkeypatch.setattr(engine, "SlurmExecutor", executor)
    monkeypatch.setattr(engine, "host_runtime", lambda *_, **__: (BareRuntime(), []))
    text = SLURM.replace("/scratch/ayni", str(tmp_path)) + 'account = "ayni"\n'
    engine.start(read(text + '[executor.slurm.projects."clima-*"]\naccount = "a"\nqos = "long"'))
    assert opened[0].terms("clima-norte") == Terms("a", "long", None)
    assert opened[0].terms("maize") == Terms("ayni", None, None)


def test_every_mistake_is_told_at_once() -> None:
    with pytest.raises(UserError, match=r"policy\.max_cores.*executor\.cores"):
        read(HUB + "[policy]\nmax_cores = 0\n[executor]\ncores = 0")


def test_without_a_file_the_person_is_told_how_to_make_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(UserError, match="ayni site register"):
        config.load(tmp_path / "agent.toml")
    monkeypatch.setenv("AYNI_SITE_CONFIG", str(tmp_path / "other.toml"))
    with pytest.raises(UserError, match=r"other\.toml"):
        config.load()
    (tmp_path / "other.toml").write_text(HUB)
    assert config.load().hub == "https://hub.example"


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("500", 500),
        ("64KiB", 65536),
        ("8GiB", 8 << 30),
        ("8G", 8 << 30),
        ("2GB", 2 * 10**9),
        ("1.5 MiB", 1572864),
    ],
)
def test_sizes_are_read_as_people_write_them(text: str, size: int) -> None:
    assert parse_size(text) == size


@given(st.text(max_size=12))
def test_a_size_is_read_or_refused_never_anything_else(text: str) -> None:
    try:
        assert parse_size(text) >= 0
    except ValueError as error:
        assert "8GiB" in str(error)


def test_sizes_and_durations_are_shown_short() -> None:
    assert [show_size(n) for n in (0, 1536, 20 << 30)] == ["0 B", "1.5 KiB", "20 GiB"]
    assert [show_duration(n) for n in (5, 75, 3700, 90000)] == [
        "5 s",
        "1 min 15 s",
        "1 h 1 min",
        "1 d 1 h",
    ]
