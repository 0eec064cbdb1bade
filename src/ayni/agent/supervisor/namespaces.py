"""The sandbox: new user, mount, process, IPC, host-name and (mostly) network namespaces.

It is built by the kernel alone, in the forked child, with no program between. The child is the
first process of its namespace: when it ends, and it ends with its supervisor, the kernel kills
everything in there. Needs Linux 5.12 (mount_setattr); `runtimes.probe` says what is missing.
"""

from __future__ import annotations

import fcntl
import os
import socket
import stat
import struct
from typing import Any, NamedTuple

from ayni.agent.supervisor import libc

INNER_ID = 1000  # who the job is inside: nobody in particular, and not root
NOBODY = 65534  # who it is outside, when the agent is root
_NAMESPACES = (
    libc.CLONE_NEWUSER
    | libc.CLONE_NEWNS
    | libc.CLONE_NEWPID
    | libc.CLONE_NEWIPC
    | libc.CLONE_NEWUTS
)
_SAFE = libc.MOUNT_ATTR_NOSUID | libc.MOUNT_ATTR_NODEV
_DEVICE_LINKS = {
    "fd": "/proc/self/fd",
    "stdin": "/proc/self/fd/0",
    "stdout": "/proc/self/fd/1",
    "stderr": "/proc/self/fd/2",
    "ptmx": "pts/ptmx",
}
DEVICES = tuple(f"/dev/{name}" for name in ("null", "zero", "full", "random", "urandom", "tty"))


def clone(network: bool) -> int:
    """fork() into the namespaces. The child must wait for `map_ids` before it goes on."""
    return libc.clone(_NAMESPACES | (0 if network else libc.CLONE_NEWNET))


def outer_ids() -> tuple[int, int]:
    """Who the job is outside: the agent's own user, or nobody where that is root."""
    return (NOBODY, NOBODY) if os.geteuid() == 0 else (os.geteuid(), os.getegid())


def map_ids(pid: int) -> None:
    """Called by the parent: say who the child is."""
    uid, gid = outer_ids()
    if os.geteuid() != 0:
        _write(f"/proc/{pid}/setgroups", "deny")
    _write(f"/proc/{pid}/uid_map", f"{INNER_ID} {uid} 1")
    _write(f"/proc/{pid}/gid_map", f"{INNER_ID} {gid} 1")


def give_away(root: str) -> None:
    """Where the agent is root, let the job own its folder.

    What has a second name elsewhere (a hard link into a store) keeps its owner: the job reads it
    and cannot write it.
    """
    uid, gid = outer_ids()
    if os.geteuid() != 0:
        return
    os.lchown(root, uid, gid)
    for folder, folders, files, here in os.fwalk(root, follow_symlinks=False):
        del folder
        for name in (*folders, *files):
            found = os.stat(name, dir_fd=here, follow_symlinks=False)
            if found.st_nlink == 1 or name in folders:
                os.chown(name, uid, gid, dir_fd=here, follow_symlinks=False)


def enter(sandbox: dict[str, Any], *, from_root: bool) -> int:
    """Called by the child, once it is mapped: build the sandbox and give up all privilege.

    Args:
        sandbox: what to build.
        from_root: the parent is root, so that there are groups to leave.

    Returns:
        A descriptor of /dev/shm, by which the supervisor sees how much memory it takes.

    Raises:
        OSError: the kernel refused a step; it is named in the error.
    """
    libc.make_mounts_private()
    libc.set_hostname("ayni")
    if not sandbox["network"]:
        _loopback_up()
    shm = _attach_files(sandbox, from_root)
    if sandbox["root"] is not None:
        # A user namespace within would be the way to most of the kernel's recent holes.
        _write("/proc/sys/user/max_user_namespaces", "0")
    libc.drop_capabilities()
    libc.forbid_new_privileges()
    libc.hide_memory()
    return shm


class _Mount(NamedTuple):
    target: str
    tree: int
    is_folder: bool


def _attach_files(sandbox: dict[str, Any], from_root: bool) -> int:
    """The job's folder becomes `/`, the rest is attached in it, and nothing else is left.

    Without a root of its own (for a container program, which makes one) the host's files stay.
    All sources are opened before the root changes and attached after it, so that a link that an
    earlier command made leads nowhere outside.
    """
    attributes = {True: _SAFE, False: _SAFE | libc.MOUNT_ATTR_RDONLY}
    mounts = [_open(m["source"], m["target"], attributes[m["writable"]]) for m in sandbox["mounts"]]
    devices = [_open(path, path, libc.MOUNT_ATTR_NOSUID) for path in sandbox["devices"]]
    proc = libc.new_mount("proc", _SAFE | libc.MOUNT_ATTR_NOEXEC)
    path = sandbox["root"]
    if path is not None:
        root = libc.open_tree(path)
        libc.mount_setattr(root, _SAFE)
        libc.move_mount(root, path)
        os.chdir(path)
    _become_inner(from_root)
    dev = libc.new_mount("tmpfs", libc.MOUNT_ATTR_NOSUID, size="1m", mode="755")
    shm = libc.new_mount("tmpfs", _SAFE, size=str(sandbox["shm"]), mode="1777")
    pts = libc.new_mount("devpts", libc.MOUNT_ATTR_NOSUID, ptmxmode="0666", mode="620")
    if path is not None:
        libc.pivot_to_cwd()
        for folder in sandbox["folders"]:
            os.makedirs(folder, exist_ok=True)
    _attach(_Mount("/proc", proc, True))
    _attach(_Mount("/dev", dev, True))
    for name, target in _DEVICE_LINKS.items():
        os.symlink(target, f"/dev/{name}")
    _attach(_Mount("/dev/pts", pts, True))
    _attach(_Mount("/dev/shm", shm, True))  # noqa: S108
    for mount in (*devices, *mounts):
        _attach(mount)
    return os.open("/dev/shm", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)  # noqa: S108


def _open(source: str, target: str, attributes: int) -> _Mount:
    tree = libc.open_tree(source)
    libc.mount_setattr(tree, attributes)
    return _Mount(target, tree, stat.S_ISDIR(os.fstat(tree).st_mode))


def _attach(mount: _Mount) -> None:
    """Attach a mount, on a folder or file that is made where there is none.

    Another rank of the job may make it at the same time, in the same folder on the shared disk.
    """
    if os.path.exists(mount.target):
        pass
    elif mount.is_folder:
        os.makedirs(mount.target, exist_ok=True)
    else:
        os.makedirs(os.path.dirname(mount.target), exist_ok=True)
        os.close(os.open(mount.target, os.O_CREAT | os.O_RDONLY | os.O_CLOEXEC, 0o644))
    libc.move_mount(mount.tree, mount.target)


def _become_inner(from_root: bool) -> None:
    """Be the job's user; the capabilities within the sandbox stay until they are dropped."""
    if from_root:
        os.setgroups([])
    os.setresgid(INNER_ID, INNER_ID, INNER_ID)
    os.setresuid(INNER_ID, INNER_ID, INNER_ID)


def _loopback_up() -> None:
    siocgifflags, siocsifflags, iff_up = 0x8913, 0x8914, 1
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        request = struct.pack("16sh14x", b"lo", 0)
        flags = struct.unpack("16sh14x", fcntl.ioctl(sock, siocgifflags, request))[1]
        fcntl.ioctl(sock, siocsifflags, struct.pack("16sh14x", b"lo", flags | iff_up))


def _write(path: str, text: str) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(fd, text.encode())
    finally:
        os.close(fd)
