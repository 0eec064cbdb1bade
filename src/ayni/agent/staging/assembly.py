"""Staging as an agent has it: all parts put together from the operator's configuration."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import httpx

from ayni.agent.channels.book import Book
from ayni.agent.channels.hub import ChannelHub
from ayni.agent.charters import Charters
from ayni.agent.config import Config
from ayni.agent.datasets import Datasets
from ayni.agent.hub import HubError
from ayni.agent.staging.addresses import Rules
from ayni.agent.staging.beneath import Maker
from ayni.agent.staging.cache import Cache
from ayni.agent.staging.errors import StagingError
from ayni.agent.staging.filling import Settings
from ayni.agent.staging.finish import Finisher
from ayni.agent.staging.folders import Folders, Unlock
from ayni.agent.staging.https import Web
from ayni.agent.staging.hub import HubFiles
from ayni.agent.staging.inputs import Stager
from ayni.agent.volumes import Volumes
from ayni.protocol import release
from ayni.protocol.messages import Assignment
from ayni.transfer import Mover
from ayni.transfer.http import trust


@dataclass(frozen=True, slots=True)
class Staging:
    """What the agent's cycle uses."""

    folders: Folders
    datasets: Datasets
    volumes: Volumes
    stager: Stager
    finisher: Finisher
    hub: HubFiles
    mover: Mover
    book: Book
    charters: Charters
    _web: Web

    def close(self) -> None:
        """Wait for what is under way; set the `stop` events first to make that short."""
        self.stager.close()
        self.finisher.close()
        self.mover.close()
        self._web.close()


def assemble(
    config: Config,
    site: str,
    http: httpx.Client,
    *,
    sandboxed: bool,
    unlock: Unlock | None = None,
    group_of: Callable[[str], int | None] = lambda project: None,
    maker_of: Callable[[str, str], Maker | None] = lambda project, attempt: None,
) -> Staging:
    """Put it together.

    Args:
        config: the agent's.
        site: this site's name in the network.
        http: speaks to the hub with the site's key.
        sandboxed: whether jobs are kept from the host's files.
        unlock: as of `Folders`.
        group_of: as of `Volumes`.
        maker_of: as of `Stager`.

    Raises:
        TransferError: the private authority's file cannot be used.
        OSError: a folder cannot be made.
    """
    reserved = {str(prefix) for image in config.images.values() for prefix in image.prefixes}
    settings = Settings(
        site=site,
        sandboxed=sandboxed,
        reserved=tuple(sorted(reserved)),
        max_https=config.https.max_input,
        disk=config.limits.work,
        transfers=config.limits.transfers,
    )
    rules = Rules(tuple(config.policy.https_from), tuple(config.https.private_hosts))
    web = Web(rules, tls=trust(config.https.ca_file))
    mover = Mover(workers=config.limits.transfers, ca=config.https.ca_file)
    hub = HubFiles(http)
    folders = Folders(
        config.work_folder,
        limit=config.limits.work,
        keep_failed=config.limits.keep_failed,
        unlock=unlock,
    )
    datasets = Datasets(config.store_folder)
    book = Book(config.state)
    cache = Cache(config.cache_folder, config.limits.cache, mover)

    def rule_of(name: str) -> release.Rule | None:
        dataset = datasets.get(name)
        return None if dataset is None else release.rule_of(dataset.status)

    charters, channels = Charters(config.state), ChannelHub(http)

    def text_of(attempt: str, channel: str) -> str:
        try:
            return channels.charter(attempt, channel)
        except HubError as error:
            message = f"the charter of channel {channel} cannot be read: {error}"
            raise StagingError("charter", message, retryable=error.status != 404) from error

    def admit(assignment: Assignment) -> None:
        charters.admit(assignment, text_of)

    volumes = Volumes(config.volumes_folder, config.volumes, folders.throw_away, rule_of, group_of)
    return Staging(
        folders=folders,
        datasets=datasets,
        finisher=Finisher(settings, datasets, hub, mover, web, spent=book.spent),
        hub=hub,
        mover=mover,
        book=book,
        volumes=volumes,
        charters=charters,
        stager=Stager(settings, folders, datasets, hub, cache, web, volumes, admit, maker_of),
        _web=web,
    )
