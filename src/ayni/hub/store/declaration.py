"""What somebody declares before sending: a path and the hashes of its blocks."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from ayni.hub.calls.models import Project

MIN_BLOCK = 64 << 10
MAX_BLOCK = 64 << 20
MAX_BLOCKS = 65_536
MAX_SIZE = MAX_BLOCKS * MAX_BLOCK
_EMPTY = hashlib.sha256().hexdigest()

Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class Blocks(BaseModel):
    """Sizes in bytes, hashes as SHA-256 in small hex letters, of the whole and of each block."""

    model_config = ConfigDict(extra="forbid", strict=True)

    size: int = Field(ge=0, le=MAX_SIZE)
    sha256: Sha256
    block_size: int = Field(ge=MIN_BLOCK, le=MAX_BLOCK)
    blocks: list[Sha256] = Field(max_length=MAX_BLOCKS)

    @model_validator(mode="after")
    def _add_up(self) -> Self:
        count = block_count(self.size, self.block_size)
        if len(self.blocks) != count:
            raise ValueError(
                f"{self.size} bytes in blocks of {self.block_size} are {count} blocks; "
                f"'blocks' has {len(self.blocks)} hashes"
            )
        if count == 0 and self.sha256 != _EMPTY:
            raise ValueError("'sha256' is not that of an empty file")
        if count == 1 and self.sha256 != self.blocks[0]:
            raise ValueError("'sha256' must be that of the only block")
        return self


@dataclass(frozen=True, slots=True)
class Declaration:
    """Who wants to write what, and where. `attempt` None: a person does."""

    project: Project
    path: str
    blocks: Blocks
    attempt: int | None = None

    @property
    def place(self) -> tuple[int, str]:
        return self.project.pk, self.path


class Refused(Exception):
    """A declaration or a commit that cannot be met.

    Attributes:
        code: for programs: `quota`, `taken`, `path`, …
        status: as HTTP has it.
        retryable: the same may be met later.
    """

    def __init__(
        self, code: str, message: str, *, status: int = 409, retryable: bool = False
    ) -> None:
        super().__init__(message)
        self.code = code
        self.status = status
        self.retryable = retryable


def taken(path: str, by: str) -> Refused:
    """`path` cannot be a file, because of the file `by` above or beneath it."""
    if by.startswith(f"{path}/"):
        why = f"{path} is a folder: it holds {by}"
    else:
        why = f"{by} is a file, so nothing can lie beneath it"
    return Refused("taken", f"{why}; choose another path or delete that file")


def block_count(size: int, block_size: int) -> int:
    return -(-size // block_size)


def block_length(n: int, size: int, block_size: int) -> int:
    """Bytes in block `n`; the last one may be short."""
    return min(block_size, size - n * block_size)
