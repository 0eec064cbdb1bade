"""Checkpoints of one site's training: written aside, renamed when whole, the last few kept.

torch's distributed checkpoints, so that a run may go on with another number of ranks. They hold the
optimiser's moments and never leave the site; they are read with the trust of one's own files (torch's
format has a pickled index), so no checkpoint from elsewhere is ever put here.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
import warnings
from collections.abc import Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import torch.distributed as dist
import torch.distributed.checkpoint as dcp
from torch import Tensor

from ayni.errors import UserError
from ayni.lm.inner.progress import Progress
from ayni.lm.inner.ranks import Ranks
from ayni.lm.parameters import flat_order

log = logging.getLogger(__name__)
warnings.filterwarnings("ignore", "torch.distributed is disabled", UserWarning)  # one rank: known
_PREFIX, _PART = "checkpoint-", ".part"
_PROGRESS, _MANIFEST = "progress.json", "manifest.json"


class Torn(Exception):
    """A checkpoint that is not whole."""


class Checkpoints:
    """A folder of checkpoints. Every rank has one, on the same folder."""

    def __init__(self, folder: Path, ranks: Ranks, *, keep: int = 2) -> None:
        self.folder = folder
        self.keep = keep
        self._background = bool(
            ranks.device.type == "cuda"
        )  # a copy to the CPU, then written beside
        self._pending: Future[Any] | None = None
        # of their own: a background save must not speak into the training's collectives
        self._group: Any = dist.new_group(backend="gloo") if ranks.count > 1 else None
        if ranks.first:
            folder.mkdir(parents=True, exist_ok=True)
            for torn in folder.glob(f"{_PREFIX}*{_PART}"):
                shutil.rmtree(torn)
        numbers = [_number(path) for path in _found(folder)] if ranks.first else []
        self._next: int = self._agree(max(numbers, default=0) + 1)

    # --- writing ---------------------------------------------------------------------------

    def save(
        self, tensors: dict[str, Tensor], progress: Progress, ranks: Ranks, *, wait: bool
    ) -> None:
        """Write one; without `wait`, on a GPU, while training goes on.

        Raises:
            UserError: it cannot be written, or the one before could not; earlier ones are untouched.
        """
        self.finish()
        final = self.folder / f"{_PREFIX}{self._next:08d}"
        part = final.with_name(final.name + _PART)
        self._next += 1
        text = json.dumps(progress.to_json())  # now: training goes on while tensors are written
        try:
            if self._background and not wait:
                saving: Any = dcp.async_save(
                    tensors,
                    checkpoint_id=part,
                    process_group=self._group,
                    no_dist=ranks.count == 1,
                )
                self._pending = _then(saving, lambda: self._seal(part, final, text, ranks))
            else:
                dcp.save(
                    tensors,
                    checkpoint_id=part,
                    process_group=self._group,
                    no_dist=ranks.count == 1,
                )
                self._seal(part, final, text, ranks)
        except (OSError, dcp.api.CheckpointException) as error:
            raise _unwritten(self.folder, error) from error
        if wait:
            ranks.wait()  # nobody leaves before the name is there

    def finish(self) -> None:
        """Wait for the one that is being written.

        Raises:
            UserError: it could not be written.
        """
        pending, self._pending = self._pending, None
        try:
            if pending:
                pending.result()
        except (OSError, dcp.api.CheckpointException) as error:
            raise _unwritten(self.folder, error) from error

    def _seal(self, part: Path, final: Path, progress: str, ranks: Ranks) -> None:
        """All ranks have written: say what belongs to it, give it its name, let old ones go."""
        if not ranks.first:
            return
        _write(part / _PROGRESS, progress)
        files = [path for path in sorted(part.iterdir()) if path.name != _MANIFEST]
        _write(part / _MANIFEST, json.dumps({path.name: _fingerprint(path) for path in files}))
        part.rename(final)
        _sync(self.folder)
        for old in _found(self.folder)[self.keep :]:
            shutil.rmtree(old)

    # --- reading ---------------------------------------------------------------------------

    def load(self, tensors: dict[str, Tensor], ranks: Ranks) -> Progress | None:
        """Read the newest whole checkpoint into the tensors; None where there is none.

        A torn one is passed over, with a warning that names what is wrong.

        Raises:
            UserError: it is of another model or optimiser, by the first tensor that differs.
        """
        self.finish()
        path, progress = self._agree(self._newest() if ranks.first else (None, None))
        if path is None:
            return None
        _check_shapes(path, tensors)
        dcp.load(
            tensors,
            checkpoint_id=path,
            process_group=self._group,
            no_dist=ranks.count == 1,
        )
        return Progress.from_json(progress)

    def _newest(self) -> tuple[Path | None, Any]:
        for path in _found(self.folder):
            try:
                return path, _verify(path)
            except (Torn, OSError, ValueError) as error:
                log.warning("%s is not whole (%s): trying the one before", path, error)
        return None, None

    def _agree(self, value: Any) -> Any:
        """What the first rank says."""
        if self._group is None:
            return value
        said = [value]
        dist.broadcast_object_list(said, src=0, group=self._group)
        return said[0]


def _found(folder: Path) -> list[Path]:
    """The checkpoints, newest first."""
    paths = [p for p in folder.glob(f"{_PREFIX}*") if p.name.removeprefix(_PREFIX).isdigit()]
    return sorted(paths, key=_number, reverse=True)


def _number(path: Path) -> int:
    return int(path.name.removeprefix(_PREFIX))


def _verify(path: Path) -> Any:
    """The progress in a checkpoint whose every file is as it was written."""
    manifest: dict[str, list[Any]] = json.loads((path / _MANIFEST).read_text())
    for name, wanted in manifest.items():
        if not (path / name).is_file():
            raise Torn(f"{name} is missing")
        if _fingerprint(path / name) != wanted:
            raise Torn(f"{name} is not what was written")
    return json.loads((path / _PROGRESS).read_text())


def _fingerprint(path: Path) -> list[Any]:
    with path.open("rb") as file:
        return [path.stat().st_size, hashlib.file_digest(file, "blake2b").hexdigest()]


def _check_shapes(path: Path, tensors: dict[str, Tensor]) -> None:
    metadata = dcp.FileSystemReader(path).read_metadata().state_dict_metadata
    found = {name: tuple(entry.size) for name, entry in metadata.items()}
    for name in flat_order(set(found) | set(tensors)):
        wanted = tuple(tensors[name].shape) if name in tensors else None
        if wanted != found.get(name):
            raise UserError(
                f"{path}: {name} is {_told(found.get(name))} there and {_told(wanted)} in this run: "
                "it belongs to another model or optimiser; name the run, or its volume, anew"
            )


def _told(shape: tuple[int, ...] | None) -> str:
    return "missing" if shape is None else f"of shape {list(shape)}"


def _then(saving: Future[Any], finish: Any) -> Future[Any]:
    """A future that is done when `finish` ran after `saving`."""
    done: Future[Any] = Future()

    def after(saved: Future[Any]) -> None:
        try:
            saved.result()
            finish()
        except BaseException as error:
            done.set_exception(error)  # raised by whoever waits for it
        else:
            done.set_result(None)

    saving.add_done_callback(after)
    return done


def _write(path: Path, text: str) -> None:
    with path.open("w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())


def _sync(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _unwritten(folder: Path, error: BaseException) -> UserError:
    return UserError(
        f"no checkpoint can be written in {folder} ({_reason(error)}): make room there; earlier "
        "checkpoints are whole and the run goes on from them"
    )


def _reason(error: BaseException) -> str:
    causes: Iterator[Any] = iter(getattr(error, "failures", {}).values())
    first = next(causes, error)
    return str(first[0] if isinstance(first, tuple) else first).splitlines()[0]
