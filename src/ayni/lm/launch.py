"""A run on the network: its channels, and the tasks that train at its sites."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import partial
from pathlib import Path

from ayni.client.channels import Channel
from ayni.client.draft import Draft, draft
from ayni.client.keys import SiteKeys
from ayni.client.network import Network
from ayni.errors import UserError
from ayni.lm import wire
from ayni.lm.config import RESOLVED, Run, Site
from ayni.lm.files import written
from ayni.lm.lines import Lines
from ayni.lm.steering import KEYS as STEERING_KEYS
from ayni.lm.steering import Steering
from ayni.lm.tasks import TAG, name_of

TASKS = "tasks.json"
KEYS = "site-keys.json"
_COMMAND = 'exec python3 -m ayni.lm.{} run.json --site "$SITE" --state "$AYNI_ROOT/state" --data '


def check_project(network: Network, run: Run) -> None:
    """Raises UserError: the token is of another project than the run."""
    if run.project is not None and network.project != run.project:
        raise UserError(
            f"project: the run is of {run.project}, the token of {network.project}; sign in with one "
            f"of {run.project} (ayni login)"
        )


def connect(network: Network, run: Run, count: int, folder: Path) -> Lines:
    """The run's channels, made if they are not there.

    Args:
        count: the model's values, which bound what may be sent.
        folder: the run's, where the keys of sites and of people who may steer are pinned.

    Raises:
        AyniError: there are others of these names; the remedy is to name the run anew.
        UserError: who coordinates has no key that can be used.
    """
    up, down = wire.up_schema(run.outer, count), wire.down_schema(count)
    keys = SiteKeys(folder / KEYS, network.signing_key)
    steering = Steering(network.project, run, folder / STEERING_KEYS)
    steering.begin()
    kept, charter = run.retention, run.charter_text
    return Lines(
        up=network.make_channel(run.up, up, retention=kept, charter=charter),
        down=network.make_channel(run.down, down, retention=kept, charter=charter),
        wishes=wishes(network, run),
        check=partial(keys.check, network.project, run.up),
        steering=steering,
    )


def wishes(network: Network, run: Run) -> Channel:
    """The channel of people who steer."""
    return network.make_channel(run.steering, wire.wishes_schema(), retention=run.retention)


def members(network: Network, run: Run) -> dict[str, str]:
    """The members of the alliance to which the run's sites belong, as the hub says."""
    named = {one.site for one in run.sites}
    return {s.name: s.member for s in network.sites() if s.name in named and s.member}


def drafts(run: Run, folder: Path) -> dict[str, Draft]:
    """The task of each site.

    Args:
        folder: with the resolved configuration.

    Raises:
        InvalidTask: what cannot be; the message names the field.
    """
    return {one.site: _draft(run, one, folder) for one in run.sites}


def _draft(run: Run, site: Site, folder: Path) -> Draft:
    inputs = {"run.json": str(folder / RESOLVED)}
    if site.dataset:
        inputs["data"] = site.data
    if run.model.checkpoint is not None:
        inputs["checkpoint/config.json"] = str(run.model.checkpoint / "config.json")
    command = _COMMAND.format("site" if site.all_ranks == 1 else "node")
    return draft(
        command + ("data" if site.dataset else '"$AYNI_ROOT$DATA"'),
        name=name_of(run.run, site.site),
        inputs=inputs,
        # Else a trainer has as many threads as the node has cores, whatever it was given of them.
        env={"SITE": site.site, "DATA": site.data, "OMP_NUM_THREADS": str(site.cores or 1)},
        **site.task,
        channels=[f"{run.up}:out", f"{run.down}:in"],
        tags={TAG: run.run},
    )


def submit(network: Network, made: Mapping[str, Draft], folder: Path) -> dict[str, str]:
    """Send the tasks that are not under way; what was sent is written down one by one.

    Should one be sent twice after all, its volume lets only one of them work.
    """
    path = folder / TASKS
    tasks: dict[str, str] = json.loads(path.read_text()) if path.exists() else {}
    for site, one in made.items():
        if site in tasks and not network.task(tasks[site]).refresh().final:
            continue
        tasks[site] = network.send(one).id
        with written(path) as file:
            file.write(json.dumps(tasks, indent=2).encode())
    return tasks
