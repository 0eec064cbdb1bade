"""The project's files at the hub: list, put, get, remove. Every transfer may be stopped and resumed."""

from __future__ import annotations

import hashlib
import posixpath
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from ayni.client.connection import Connection
from ayni.client.errors import AyniError, NotFound, TransferFailed
from ayni.client.models import StoredFile
from ayni.client.outputs import ToFetch
from ayni.client.progress import Moved, transfer_bar
from ayni.tes import urls
from ayni.transfer import Described, TransferError
from ayni.transfer.project import ProjectFiles

PAGE = 1000  # files in one page of a listing
SIDE_BY_SIDE = 4  # files sent at once; the blocks of each go in parallel too
BATCH = 200  # files whose manifests are held at once


@dataclass(frozen=True, slots=True)
class ToSend:
    """A local file, where it goes in the project, and its hashes where they are known already."""

    source: Path
    path: str
    described: Described | None = None

    @property
    def size(self) -> int:
        return self.described.size if self.described else self.source.stat().st_size


class Store:
    """Files of one project. Paths are relative to it, or whole `ayni://PROJECT/…` URLs."""

    def __init__(self, connection: Connection, project: Callable[[], str]) -> None:
        self._connection = connection
        self._project = project

    def ls(self, prefix: str = "") -> Iterator[StoredFile]:
        """The files whose paths begin with `prefix`, in order."""
        start = self._inner(prefix) if prefix.startswith(urls.SCHEME) else prefix.lstrip("/")
        token: str | None = None
        while True:
            answer = self._connection.get(
                "/files", prefix=start or None, page_size=PAGE, page_token=token
            )
            for file in answer["files"]:
                yield StoredFile.model_validate(file)
            if not (token := answer.get("next_page_token")):
                return

    def put(
        self, source: str | Path, path: str = "", *, progress: bool = False
    ) -> list[StoredFile]:
        """Send a file or a folder. Putting again after an interruption goes on where it was.

        Args:
            path: the name in the project; `folder/` puts it into a folder, under its own name.

        Raises:
            TransferFailed, AyniError: it cannot be read, the project is full, …
        """
        local = Path(source)
        target = self._inner(path) + ("/" if path.endswith("/") else "")
        if not target or target.endswith("/"):
            target += local.resolve().name
        if not local.is_dir():
            files = [ToSend(local, _clean(target))]
        else:
            files = [ToSend(p, _clean(f"{target}/{name}")) for name, p in walk(local)]
            if not files:
                raise AyniError(f"{local} holds no file to send")
        return self.send(files, progress=progress)

    def get(self, path: str, target: str | Path = ".", *, progress: bool = False) -> list[Path]:
        """Bring a file, or a folder with all beneath it.

        Args:
            target: a name for it, or a folder that exists, into which it is put.

        Raises:
            NotFound: there is no such file or folder.
        """
        inner = self._inner(path)
        local = Path(target)
        if local.is_dir() and inner:
            local = local / posixpath.basename(inner)
        found = list(self.ls(inner))
        for file in found:
            if file.path == inner:
                one = ToFetch(file.path, local.name, file.size, file.sha256)
                return self.bring([one], local.parent, progress=progress)
        base = f"{inner}/" if inner else ""
        inside = [f for f in found if f.path.startswith(base)]
        if not inside:
            raise NotFound(f"there is no {inner!r} in the project; `ayni store ls` lists what is")
        files = [ToFetch(f.path, _clean(f.path[len(base) :]), f.size, f.sha256) for f in inside]
        return self.bring(files, local, progress=progress)

    def rm(self, path: str, *, recursive: bool = False) -> int:
        """Remove a file, or with `recursive` all that lies beneath a folder. How many went.

        Raises:
            NotFound: there is no such file or folder.
        """
        inner = self._inner(path)
        if not recursive:
            self._connection.delete("/files", path=inner)
            return 1
        count = int(self._connection.delete("/files", prefix=inner)["deleted"])
        if not count:
            raise NotFound(f"there is no folder {inner!r} in the project")
        return count

    def send(self, files: Sequence[ToSend], *, progress: bool = False) -> list[StoredFile]:
        """Send local files, several at a time."""
        try:
            total = sum(file.size for file in files)
        except OSError as error:
            raise AyniError(f"cannot read {error.filename}: {error.strerror}") from error
        stop = threading.Event()
        with (
            transfer_bar("sending", total, progress) as moved,
            self._connection.mover() as mover,
            ThreadPoolExecutor(SIDE_BY_SIDE, thread_name_prefix="ayni-put") as pool,
        ):
            store = ProjectFiles(self._connection.client, mover)

            def one(file: ToSend) -> StoredFile:
                done = store.put(
                    file.source, file.path, described=file.described, stop=stop, progress=moved
                )
                return StoredFile(path=done.path, size=done.size, sha256=done.sha256)

            jobs = [pool.submit(one, file) for file in files]
            try:
                return [job.result() for job in jobs]
            except BaseException as error:
                stop.set()
                pool.shutdown(cancel_futures=True)
                if isinstance(error, TransferError):
                    raise TransferFailed(str(error)) from error
                raise

    def bring(
        self, files: Sequence[ToFetch], folder: Path, *, progress: bool = False
    ) -> list[Path]:
        """Fetch files beneath `folder`. Those that lie there already, the same, are left alone.

        Raises:
            TransferFailed: one did not arrive; the others did.
        """
        pairs = [(file, folder / file.name) for file in files]
        wanted = [(file, target) for file, target in pairs if not _same(file, target)]
        total = sum(file.size for file, _ in wanted)
        errors: list[TransferError] = []
        with (
            transfer_bar("fetching", total, progress) as moved,
            self._connection.mover() as mover,
        ):
            store = ProjectFiles(self._connection.client, mover)
            for start in range(0, len(wanted), BATCH):
                errors += _fetch(store, wanted[start : start + BATCH], moved)
        if errors:
            more = f" (and {len(errors) - 1} more failed)" if len(errors) > 1 else ""
            raise TransferFailed(f"{errors[0]}{more}") from errors[0]
        return [target for _, target in pairs]

    def cat(self, path: str, folder: Path) -> Path:
        """Bring one file into `folder` under a name of no meaning; for who only wants its bytes."""
        file = ToFetch(self._inner(path), "content")
        return self.bring([file], folder)[0]

    def _inner(self, path: str) -> str:
        """The path in the project."""
        if not path.startswith(urls.SCHEME):
            return _clean(path)
        try:
            url = urls.parse(path)
        except urls.UrlError as error:
            raise AyniError(str(error)) from error
        if url.owner != self._project():
            raise AyniError(
                f"{path[:200]} is not of this token's project, which is {self._project()}"
            )
        return url.path


def walk(folder: Path) -> Iterator[tuple[str, Path]]:
    """The files beneath a folder, in order, with their relative names. Links are followed once,
    to files only: what hangs in a loop of folders would never end.

    Raises:
        AyniError: a folder cannot be read, or a name is no UTF-8.
    """
    try:
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                name = path.relative_to(folder).as_posix()
                name.encode()
                yield name, path
    except OSError as error:
        raise AyniError(f"cannot read {error.filename}: {error.strerror}") from error
    except UnicodeEncodeError as error:
        raise AyniError(f"a file's name beneath {folder} is no UTF-8; rename it") from error


def _clean(path: str) -> str:
    try:
        return urls.clean_path(path)
    except urls.UrlError as error:
        raise AyniError(f"{path[:200]!r}: {error}") from error


def _same(file: ToFetch, target: Path) -> bool:
    """Whether the file is here already, whole and the same."""
    try:
        if file.sha256 is None or target.stat().st_size != file.size:
            return False
        with target.open("rb") as source:
            return hashlib.file_digest(source, "sha256").hexdigest() == file.sha256
    except OSError:
        return False  # whatever is there will be replaced, or the replacement will say why not


def _fetch(
    store: ProjectFiles, wanted: Sequence[tuple[ToFetch, Path]], moved: Moved
) -> list[TransferError]:
    try:
        for _, target in wanted:
            target.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise TransferFailed(f"cannot make {error.filename}: {error.strerror}") from error
    pairs = [(file.path, target) for file, target in wanted]
    return [error for error in store.get_many(pairs, progress=moved) if error is not None]
