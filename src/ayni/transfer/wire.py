"""What the hub answers about blocks, checked before it is used."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from ayni.transfer.blocks import block_count, block_length

Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Url = Annotated[str, Field(pattern=r"^https?://[^\s]+$")]


class Wire(BaseModel):
    # A newer hub may say more; what an older client does not know, it passes over.
    model_config = ConfigDict(extra="ignore")


class MissingBlock(Wire):
    n: int = Field(ge=0)
    url: Url


class Answer(Wire):
    """To a declaration. `missing` may be only a first part of all that is missing.

    `ready` is said when every block is in the store and verified; until then: send what is missing,
    and declare again (with nothing missing, the store is still verifying).
    """

    upload: str
    missing: list[MissingBlock] = []
    ready: bool = False


class Block(Wire):
    n: int = Field(ge=0)
    size: int = Field(gt=0)
    sha256: Sha256
    url: Url


class Manifest(Wire):
    """A committed file and where its blocks are."""

    path: str = ""
    size: int = Field(ge=0)
    sha256: Sha256
    block_size: int = Field(gt=0)
    blocks: list[Block]

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if len(self.blocks) != block_count(self.size, self.block_size):
            raise ValueError("the manifest's blocks do not add up to its size")
        for n, block in enumerate(self.blocks):
            if block.n != n or block.size != block_length(n, self.size, self.block_size):
                raise ValueError(f"block {n} of the manifest has a wrong number or size")
        return self
