"""A small /etc for sandboxes: enough for programs to find users, names and certificates."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

_FILES = {
    "passwd": "ayni:x:1000:1000:ayni:/work:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n",
    "group": "ayni:x:1000:\nnogroup:x:65534:\n",
    "hosts": "127.0.0.1 localhost ayni\n::1 localhost\n",
    "hostname": "ayni\n",
    "nsswitch.conf": "passwd: files\ngroup: files\nhosts: files dns\n",
    "resolv.conf": "",
}
# Read by nearly every program of a distribution, and nobody's secret.
_COPIED = (
    "ld.so.cache", "ld.so.conf", "ld.so.conf.d", "alternatives", "mime.types", "services",
    "protocols", "os-release", "fonts", "magic", "locale.alias", "R", "perl", "java-17-openjdk",
    "java-21-openjdk", "OpenCL", "crypto-policies", "pki/tls", "pki/ca-trust/extracted",
    "ssl/certs", "ssl/openssl.cnf", "ssl/cert.pem", "ca-certificates.conf",
)  # fmt: skip


def write_etc(folder: Path) -> Path:
    """Write the folder, or bring it up to date: jobs that run may have it open.

    Returns:
        The folder.
    """
    _make_folder(folder)
    for name, text in _FILES.items():
        _write(folder / name, text)
    for name in _COPIED:
        source, target = Path("/etc") / name, folder / name
        for parent in reversed(target.relative_to(folder).parents):
            _make_folder(folder / parent)
        _copy(source, target)
    _copy(Path("/etc/localtime"), folder / "localtime")
    return folder


def _make_folder(path: Path) -> None:
    path.mkdir(exist_ok=True)
    path.chmod(0o755)


def _copy(source: Path, target: Path) -> None:
    """Copy what anybody may read; links as links, so that they lead within the sandbox."""
    if source.is_symlink():
        _replace(target, lambda part: part.symlink_to(source.readlink()))
    elif source.is_dir():
        _make_folder(target)
        for entry in source.iterdir():
            _copy(entry, target / entry.name)
    elif source.is_file() and source.stat().st_mode & 0o004 and not _same(source, target):
        _replace(target, lambda part: shutil.copy2(source, part))


def _same(source: Path, target: Path) -> bool:
    if not target.is_file():
        return False
    old, new = target.stat(), source.stat()
    return (old.st_size, old.st_mtime_ns) == (new.st_size, new.st_mtime_ns)


def _write(target: Path, text: str) -> None:
    def write(part: Path) -> None:
        part.write_text(text)
        part.chmod(0o644)

    _replace(target, write)


def _replace(target: Path, make: Callable[[Path], object]) -> None:
    part = target.with_name(f".{target.name}.{os.getpid()}")
    make(part)
    part.replace(target)
