"""`make fault`: runs of many tasks over three sites while everything is killed at random.

    python -m tests.fault --kills 200 --seed 1

Ends with 0 if every task of every run is in exactly one final state, every output was committed once and
is right, every attempt was booked once, each message of a channel came once and in order, and no process is
left behind; otherwise with 1 and what broke.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import httpx

from ayni.demo.alliance import SITE_OF, clusters
from ayni.demo.stage import SiteSpec, Stage
from tests.fault import talk
from tests.fault.batch import Operator, SlurmPunisher, reconciled
from tests.fault.mischief import Mischief
from tests.fault.punisher import Punisher
from tests.fault.verdict import Evidence, judge

SITES = (("cl", "CL", -33.45, -70.66), ("mx", "MX", 19.43, -99.13), ("co", "CO", 4.71, -74.07))
TASK = {
    "name": "fault",
    "executors": [
        {
            "image": "host",
            "command": [
                "sh",
                "-c",
                'set -e; sleep "$AYNI_PARAM_nap"; '
                'printf %s "$AYNI_PARAM_word" > "$AYNI_ROOT/out/r.txt"; echo done',
            ],
        }
    ],
    "outputs": [{"url": "ayni://fault/out/{{index}}.txt", "path": "/out/r.txt"}],
    "resources": {
        "cpu_cores": 1,
        "ram_gb": 0.1,
        "backend_parameters": {"max_attempts": "20", "walltime": "60"},
    },
}
ALLIANCE = {
    "members": [{"code": c, "name": c} for _, c, _, _ in SITES],
    "institutions": [{"name": f"Centro {c}", "member": c} for _, c, _, _ in SITES],
    "people": [{"email": "fault@example.org", "name": "Fault Run", "institution": "Centro CO"}],
    "projects": [
        {
            "name": "fault",
            "title": "Fault",
            "institution": "Centro CO",
            "people": ["fault@example.org"],
        }
    ],
    "tokens": [{"label": "researcher", "person": "fault@example.org", "project": "fault"}],
}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--tasks", type=int, default=500, help="a run")
    parser.add_argument("--kills-a-run", type=int, default=50)
    parser.add_argument("--slurm", type=Path, help="clusters.json: the sites are its clusters")
    parser.add_argument("--keep", action="store_true", help="keep the folder of a run that failed")
    options = parser.parse_args()
    left, number, total = options.kills, 0, Counter[str]()
    while left > 0:
        kills = min(left, options.kills_a_run)
        broken, killed = run(options, options.seed + number, kills)
        total += killed
        if broken:
            print("\n".join(broken[:50]), file=sys.stderr)
            print(
                f"fault run {number}, seed {options.seed + number}: {len(broken)} broken promises"
            )
            return 1
        left, number = left - kills, number + 1
    print(
        f"{number} runs of {options.tasks} tasks, {sum(total.values())} kills {dict(total)}: nothing lost"
    )
    print(f"{number} passed, 0 failed")
    return 0


def run(options: argparse.Namespace, seed: int, kills: int) -> tuple[list[str], Counter[str]]:
    """One run; the broken promises and the kills. In a child process: Django is set up for one state."""
    folder = Path(tempfile.mkdtemp(prefix="ayni-fault-"))
    pid = os.fork()
    if pid == 0:
        try:
            result = one_run(folder, seed, options.tasks, kills, options.slurm)
        except BaseException as error:
            import traceback

            traceback.print_exc()
            result = ([f"the harness itself failed: {error!r}"], Counter())
        (folder / "result.json").write_text(json.dumps(result))
        os._exit(0)
    os.waitpid(pid, 0)
    broken, killed = json.loads((folder / "result.json").read_text())
    if broken and options.keep:
        print(f"kept {folder}", file=sys.stderr)
    else:
        shutil.rmtree(folder, ignore_errors=True)
    return broken, Counter(killed)


def one_run(
    folder: Path, seed: int, count: int, kills: int, slurm: Path | None
) -> tuple[list[str], Counter[str]]:
    rng = random.Random(seed)
    engines = clusters(slurm) if slurm else {}
    specs = [
        SiteSpec(n, n.upper(), c, f"Centro {c}", lat, lon, cores=3, allow_unsandboxed=True,
                 images={"host": {"runtime": "host"}}, slurm=engines.get(SITE_OF[c], {}))
        for n, c, lat, lon in SITES
    ]  # fmt: skip
    stage = Stage(folder, ALLIANCE, specs)
    proxies = {spec.name: Mischief(stage.port, seed * 10 + i) for i, spec in enumerate(specs)}
    stage.hub_through = {name: proxy.url for name, proxy in proxies.items()}
    stage.start_hub()
    operator = Operator([str(engine["conf"]) for engine in engines.values()])
    operator.start()
    try:
        for spec in specs:
            stage.prepare_site(spec.name)
            stage.sites[spec.name].start()
        parameters = [
            {"nap": f"{rng.uniform(0.02, 1.5):.2f}", "word": f"{i}-{rng.getrandbits(64):x}"}
            for i in range(count)
        ]
        api = httpx.Client(
            base_url=f"{stage.url}/api/v1", timeout=30, trust_env=False,
            headers={"Authorization": f"Bearer {stage.secrets['tokens']['researcher']}"},
        )  # fmt: skip
        reply = api.post("/arrays", json={"task": TASK, "parameters": parameters})
        reply.raise_for_status()
        array = reply.json()["id"]
        talkers = talk.begin(api, [spec.name for spec in specs])
        punisher = (
            SlurmPunisher(stage, rng, clusters=list(engines)) if slurm else Punisher(stage, rng)
        )
        say(f"seed {seed}: {count} tasks, {kills} kills")
        punish(punisher, api, array, kills, rng)
        for proxy in proxies.values():
            proxy.quiet = True
        finished = wait(api, array) and ended(api, talkers)
        operator.clear()
        unequal = [word for spec in specs if slurm for word in reconciled(stage, spec.name)]
        deeds = sum((p.deeds for p in proxies.values()), Counter[str]())
    finally:
        stage.stop()
        operator.stop()
        for proxy in proxies.values():
            proxy.close()
    os.environ.update({k: v for k, v in stage.hub_env().items() if k.startswith("AYNI_")})
    os.environ["DJANGO_SETTINGS_MODULE"] = "ayni.hub.settings"
    import django

    django.setup()
    evidence = Evidence(
        {i: p["word"].encode() for i, p in enumerate(parameters)},
        punisher.dead_payloads, punisher.dead_supervisors, folder,
    )  # fmt: skip
    broken, ends = judge(evidence)
    unheard, came = talk.judge({spec.name: stage.site_folder(spec.name) for spec in specs})
    broken += unequal + unheard
    if not finished:
        broken.insert(0, "the run did not come to its end in time")
    say(f"  ended {dict(ends)}; killed {dict(punisher.kills)}; requests {dict(deeds)}; said {came}")
    return broken, punisher.kills


def punish(
    punisher: Punisher, api: httpx.Client, array: str, kills: int, rng: random.Random
) -> None:
    """Kill at random moments, spread over the run, until the kills or the tasks are used up."""
    while sum(punisher.kills.values()) < kills:
        kind = punisher.kill_one()
        say(f"  {sum(punisher.kills.values())}/{kills} {kind}", end="\r")
        time.sleep(rng.expovariate(1 / 0.7))


def counts(api: httpx.Client, array: str) -> dict[str, int]:
    try:
        reply = api.get(f"/arrays/{array}")
    except httpx.HTTPError:
        return {}  # the hub is down just now
    return dict(reply.json()["counts"]) if reply.is_success else {}


FINAL = {"COMPLETE", "EXECUTOR_ERROR", "SYSTEM_ERROR", "CANCELED"}


def ended(api: httpx.Client, tasks: Sequence[str], limit: float = 300) -> bool:
    """Wait for some tasks; one whose payload was killed ended with that."""
    deadline = time.monotonic() + limit
    left = list(tasks)
    while left and time.monotonic() < deadline:
        left = [task for task in left if api.get(f"/tasks/{task}").json()["state"] not in FINAL]
        time.sleep(0.5)
    return not left


def wait(api: httpx.Client, array: str, limit: float = 300) -> bool:
    deadline = time.monotonic() + limit
    while time.monotonic() < deadline:
        now = counts(api, array)
        if now and not {k for k, v in now.items() if v} - FINAL:
            time.sleep(3)  # the last usage and the killing of superseded attempts
            return True
        time.sleep(0.5)
    return False


def say(text: str, **more: Any) -> None:
    print(text, flush=True, **more)


if __name__ == "__main__":
    threading.excepthook = threading.__excepthook__
    sys.exit(main())
