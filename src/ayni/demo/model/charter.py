"""The run's charter: what it promises, and the operators who accept it, each at their own site."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Collection
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from ayni.client import Network
from ayni.client.channels import Channel, ChannelInfo
from ayni.client.errors import NotFound
from ayni.demo.stage import Stage, StageError, ayni

LIMIT = 120.0  # seconds until all sites have asked, on a slow machine
_SHOWN = 12  # digits of a digest that people are shown

_DATA = (
    "Each country's texts, which its site offers as a dataset, stay at that site. What leaves it is what the "
    "channel lists: changes of the weights, losses by language, what was consumed."
)
_HOLDERS = (
    "The three countries' centres, and whoever is given the released model under its licence."
)
_LEAVING = (
    "A site's operator refuses the charter: from then on nothing more leaves that site. What it brought to "
    "versions that were made stays in them, and on record."
)


def toml(licence: str) -> str:
    """The section of `run.toml`. `licence`: of the texts."""
    said = {
        "data": _DATA,
        "licences": f"The texts: {licence}. The model: Apache-2.0.",
        "holders": _HOLDERS,
        "leaving": _LEAVING,
    }
    lines = (f"{key} = {json.dumps(value, ensure_ascii=False)}" for key, value in said.items())
    return "\n".join(["\n[charter]", *lines, ""])


def accepted(stage: Stage, network: Network, channel: str, failed: Callable[[], str | None]) -> str:
    """Wait until every site was asked, and let its operator accept. The charter's digest, as people see it.

    Args:
        failed: why nobody will be asked any more, if so.

    Raises:
        StageError: a site was not asked in time, or its operator could not answer.
    """
    digest = _asked(network.channel(channel), stage.specs, failed)[:_SHOWN]
    with ThreadPoolExecutor() as pool:
        list(pool.map(partial(_accept, stage, digest), stage.specs))
    return digest


def _asked(channel: Channel, sites: Collection[str], failed: Callable[[], str | None]) -> str:
    deadline = time.monotonic() + LIMIT
    while time.monotonic() < deadline:
        found = _look(channel)
        if found and found.charter_digest and {one.site for one in found.answers} >= set(sites):
            return found.charter_digest
        if why := failed():
            raise StageError(why)
        time.sleep(0.2)
    raise StageError(f"the sites were not asked for the charter within {LIMIT:.0f} s")


def _look(channel: Channel) -> ChannelInfo | None:
    try:
        return channel.info
    except NotFound:  # not made yet
        return None


def _accept(stage: Stage, digest: str, site: str) -> None:
    """What the operator types at the site."""
    config = str(stage.site_folder(site) / "agent.toml")
    ayni("site", "charter", "accept", digest, "--config", config, "--json", env=stage.base_env())
