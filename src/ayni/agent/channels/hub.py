"""What the relay asks the hub. Blobs themselves go past it, by signed URL."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import httpx
from pydantic import BaseModel, ValidationError

from ayni.agent.hub import Hub, HubError
from ayni.protocol.channels import (
    BlobRequest,
    CharterRequest,
    Outgoing,
    Posted,
    PostReply,
    PostRequest,
    ReadReply,
    ReadRequest,
    Want,
)
from ayni.protocol.charters import CharterReply
from ayni.transfer import Manifest

TIMEOUT = 30.0  # seconds, beside what the hub may hold a question

M = TypeVar("M", bound=BaseModel)


class ChannelHub:
    """May be used by several threads.

    Args:
        http: has the hub's address as `base_url` and the site's key in its headers.
    """

    def __init__(self, http: httpx.Client) -> None:
        self._hub = Hub(http, TIMEOUT)

    def post(self, messages: Sequence[Outgoing]) -> list[Posted]:
        """What became of each message.

        Raises:
            HubError: no answer, or none that can be used.
        """
        answer = self._ask("post", PostRequest(messages=list(messages)), PostReply)
        if len(answer.results) != len(messages):
            raise HubError("the hub answered something else than was asked")
        return answer.results

    def read(self, wants: Sequence[Want], wait: float) -> ReadReply:
        """Messages after what is known; held for `wait` seconds while there is none.

        Raises:
            HubError: no answer, or none that can be used.
        """
        return self._ask("read", ReadRequest(wants=list(wants), wait=wait), ReadReply, wait)

    def blob(self, attempt: str, channel: str, sequence: int) -> Manifest:
        """Where the blocks of a message's blob are.

        Raises:
            HubError: there is none any more (404), or no answer.
        """
        asked = BlobRequest(attempt=attempt, channel=channel, sequence=sequence)
        return self._ask("blob", asked, Manifest)

    def charter(self, attempt: str, channel: str) -> str:
        """The text of a channel's charter, as the hub has it.

        Raises:
            HubError: there is none (404), or no answer.
        """
        asked = CharterRequest(attempt=attempt, channel=channel)
        return self._ask("charter", asked, CharterReply).text

    def _ask(self, what: str, body: BaseModel, kind: type[M], wait: float = 0.0) -> M:
        path = f"/agent/v1/channels/{what}"
        response = self._hub.post(path, body.model_dump_json(), wait, pack=False)
        try:
            return kind.model_validate_json(response.content)
        except ValidationError as error:
            raise HubError("the hub's answer cannot be understood") from error
