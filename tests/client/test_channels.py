"""Channels from outside: the library and the commands, against the real hub."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from ayni.client import BadRequest, Conflict, Network
from ayni.client.errors import AyniError, NotFound, TransferFailed
from ayni.transfer import Manifest
from ayni.transfer.project import ProjectFiles
from tests.client.conftest import Run
from tests.hub.channels.support import SCHEMA, SUMS


def test_messages_are_sent_read_and_waited_for(network: Network) -> None:
    made = network.make_channel("sums", SCHEMA, retention=3)
    assert [c.name for c in network.channels()] == ["sums"]
    for n in range(3):
        assert made.send("sums", {"count": n, "total": 0}) == n + 1
    channel = network.channel("sums")
    assert [m.body["count"] for m in channel.messages()] == [0, 1, 2]
    assert [m.sequence for m in channel.receive(after=1, timeout=0)] == [2, 3]
    assert channel.info.last == 3 and channel.info.rules["rate"] == 100


def test_a_message_with_a_key_is_sent_once(network: Network) -> None:
    channel = network.make_channel("sums", SCHEMA)
    assert channel.send("sums", SUMS, key="round-1") == channel.send("sums", SUMS, key="round-1")
    with pytest.raises(Conflict):
        channel.send("sums", {"count": 1, "total": 1}, key="round-1")


def test_a_blob_comes_back_as_it_was_sent(network: Network, tmp_path: Path) -> None:
    channel = network.make_channel("sums", SCHEMA)
    file = tmp_path / "weights"
    file.write_bytes(bytes(range(256)) * 800)
    channel.send("delta", blob=file)
    channel.send("delta", blob=b"")
    first, second = channel.messages()
    assert channel.fetch(first, tmp_path / "a").read_bytes() == file.read_bytes()
    assert channel.fetch(second, tmp_path / "b").read_bytes() == b""
    channel.send("sums", SUMS)
    with pytest.raises(AyniError, match="has no blob"):
        channel.fetch(next(channel.messages(2)), tmp_path / "c")


def test_a_blob_may_be_deleted_before_its_time_and_its_message_stays(
    network: Network, tmp_path: Path
) -> None:
    channel = network.make_channel("sums", SCHEMA)
    for data in (b"quinua", b"maize!"):
        channel.send("delta", blob=data)
    first, second = channel.messages()
    assert first.blob is not None and second.blob is not None
    assert channel.held() == {first.blob.sha256: 6, second.blob.sha256: 6}
    for _ in range(2):
        channel.drop(first.blob.sha256)
    assert channel.held() == {second.blob.sha256: 6}
    assert [one.sequence for one in channel.messages()] == [1, 2]
    with pytest.raises(TransferFailed):
        channel.fetch(first, tmp_path / "a")
    assert channel.fetch(second, tmp_path / "b").read_bytes() == b"maize!"


def test_a_blob_that_is_another_than_its_message_names_is_not_taken(
    network: Network, tmp_path: Path
) -> None:
    """The sender's signature is over the message: what the hub says of the blob is not."""
    channel = network.make_channel("sums", SCHEMA)
    channel.send("delta", blob=b"quinua")
    [message] = channel.messages()
    assert message.blob is not None
    manifest = ProjectFiles.manifest

    def other(files: ProjectFiles, path: str) -> Manifest:
        return manifest(files, path).model_copy(update={"sha256": "0" * 64})

    with pytest.MonkeyPatch.context() as patch, pytest.raises(TransferFailed, match="asked for"):
        patch.setattr(ProjectFiles, "manifest", other)
        channel.fetch(message, tmp_path / "a")
    assert not list(tmp_path.iterdir())


def test_what_the_schema_does_not_list_is_told_with_its_field(network: Network) -> None:
    channel = network.make_channel("sums", SCHEMA)
    with pytest.raises(BadRequest, match="secret"):
        channel.send("sums", {**SUMS, "secret": 1})
    with pytest.raises(BadRequest, match=r"kinds\.x"):
        network.make_channel("other", {"kinds": {"x": {"fields": 1}}})


def test_a_channel_that_is_not_there_is_told(network: Network) -> None:
    with pytest.raises(NotFound):
        network.channel("sums").send("sums", SUMS)
    with pytest.raises(AyniError, match="no name of a channel"):
        network.channel("../x")


SCHEMA_TOML = """
rate = 600
[kinds.sums.fields]
count = { type = "integer", minimum = 0, maximum = 1000 }
[kinds.delta]
blob = { max_bytes = 1000 }
"""


def test_the_commands_make_send_show_and_delete(cli: Run, tmp_path: Path) -> None:
    schema = tmp_path / "sums.toml"
    schema.write_text(SCHEMA_TOML)
    assert cli("channels", "create", "sums", "--schema", str(schema)).out == "sums\n"
    assert cli("channels", "send", "sums", "sums", "--body", '{"count": 3}').out == "1\n"
    blob = tmp_path / "blob"
    blob.write_bytes(b"weights")
    assert cli("channels", "send", "sums", "delta", "--blob", str(blob), "--key", "a").out == "2\n"
    lines = cli("channels", "tail", "sums", "--json").out.splitlines()
    assert [json.loads(line)["kind"] for line in lines] == ["sums", "delta"]
    assert '{"count": 3}' in cli("channels", "tail", "sums").out
    assert cli("channels", "fetch", "sums", "2", str(tmp_path / "back")).code == 0
    assert (tmp_path / "back").read_bytes() == b"weights"
    assert cli("channels", "list", "--json").json["channels"][0]["last"] == 2
    assert cli("channels", "show", "sums", "--json").json["schema"]["rate"] == 600
    assert cli("channels", "delete", "sums").code == 0
    assert cli("channels", "list", "--json").json == {"channels": []}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["create", "Sums", "--schema", "{schema}"], "name"),
        (["create", "sums", "--schema", "{none}"], "No such file"),
        (["create", "sums", "--schema", "{bad}"], "cannot be read"),
        (["send", "none", "k"], "channel"),
        (["send", "none", "k", "--body", "x"], "--body is no JSON"),
        (["send", "none", "k", "--body", "[]"], "must be an object"),
        (["send", "none", "k", "--blob", "{none}"], "none"),
        (["fetch", "none", "1", "{none}"], "channel"),
        (["delete", "none"], "channel"),
        (["tail", "No"], "no name of a channel"),
    ],
)
def test_a_mistake_is_one_line(cli: Run, tmp_path: Path, arguments: list[str], said: str) -> None:
    (tmp_path / "sums.toml").write_text(SCHEMA_TOML)
    (tmp_path / "bad.toml").write_text("= x")
    names: dict[str, Any] = {
        "schema": tmp_path / "sums.toml", "bad": tmp_path / "bad.toml", "none": tmp_path / "none",
    }  # fmt: skip
    done = cli("channels", *(text.format(**names) for text in arguments))
    assert done.code != 0 and said in done.err
    assert len(done.err.strip().splitlines()) == 1, done.err
