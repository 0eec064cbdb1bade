from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from ayni.transfer import Answer, Described, Manifest, Mover, Outgoing
from ayni.transfer.blocks import block_length
from ayni.transfer.http import Patience
from ayni.transfer.wire import Block, MissingBlock
from tests.hub.store.server import WEB, RunningServer, running

QUICK = Patience(tries=4, first=0.001, longest=0.01)


@pytest.fixture(scope="session")
def file_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    with running(tmp_path_factory.mktemp("fileserver")) as server:
        yield server


class Hub:
    """What a hub does about blocks, over a real file server."""

    uploads = 0

    def __init__(self, server: RunningServer) -> None:
        self.server = server
        self.keys: dict[Described, str] = {}
        self.asked = 0
        self.seconds = 60  # for which URLs hold

    def _key(self, described: Described, n: int) -> str:
        if described not in self.keys:
            Hub.uploads += 1
            self.keys[described] = f"{Hub.uploads:032x}"
        return f"1/{self.keys[described]}/{n}"

    def _there(self, described: Described, n: int) -> bool:
        return WEB.head(self.server.get_url(self._key(described, n))).status_code == 200

    def answer(self, described: Described) -> Answer:
        self.asked += 1
        missing = []
        for n, sha256 in enumerate(described.blocks):
            if not self._there(described, n):
                size = block_length(n, described.size, described.block_size)
                key = self._key(described, n)
                url = self.server.put_url(key, size, sha256, self.seconds)
                missing.append(MissingBlock(n=n, url=url))
        return Answer(upload=f"u{self.asked}", missing=missing, ready=not missing)

    def ask(self, files: Sequence[Outgoing]) -> list[Answer]:
        return [self.answer(file.described) for file in files]

    def manifest(self, described: Described, seconds: int = 60) -> Manifest:
        return Manifest(
            path="remote/file",
            size=described.size,
            sha256=described.sha256,
            block_size=described.block_size,
            blocks=[
                Block(
                    n=n,
                    size=block_length(n, described.size, described.block_size),
                    sha256=sha256,
                    url=self.server.get_url(self._key(described, n), seconds),
                )
                for n, sha256 in enumerate(described.blocks)
            ],
        )

    def bytes_of(self, described: Described) -> bytes:
        urls = [block.url for block in self.manifest(described).blocks]
        return b"".join(WEB.get(url).raise_for_status().content for url in urls)


@pytest.fixture
def hub(file_server: RunningServer) -> Hub:
    return Hub(file_server)


@pytest.fixture
def mover() -> Iterator[Mover]:
    with Mover(workers=3, patience=QUICK) as mover:
        yield mover


@pytest.fixture
def big(tmp_path: Path) -> Path:
    """A file of five blocks of 64 KiB and a bit."""
    from tests.transfer.flaky import content

    path = tmp_path / "big"
    path.write_bytes(content(5 * 65_536 + 100))
    return path
