"""The system calls that Python's standard library lacks, as functions that raise OSError.

Numbers from 424 on are the same on every architecture (Linux, arch/*/syscall.tbl).
"""

from __future__ import annotations

import ctypes
import os
import signal
from typing import Any

CLONE_NEWNS = 0x00020000
CLONE_NEWUTS = 0x04000000
CLONE_NEWIPC = 0x08000000
CLONE_NEWUSER = 0x10000000
CLONE_NEWPID = 0x20000000
CLONE_NEWNET = 0x40000000

MOUNT_ATTR_RDONLY = 0x1
MOUNT_ATTR_NOSUID = 0x2
MOUNT_ATTR_NODEV = 0x4
MOUNT_ATTR_NOEXEC = 0x8

_SYS_OPEN_TREE = 428
_SYS_MOVE_MOUNT = 429
_SYS_FSOPEN = 430
_SYS_FSCONFIG = 431
_SYS_FSMOUNT = 432
_SYS_CLONE3 = 435
_SYS_MOUNT_SETATTR = 442
_SYS_PIVOT_ROOT = {"x86_64": 155, "aarch64": 41}
_SYS_CAPSET = {"x86_64": 126, "aarch64": 91}

_AT_FDCWD = -100
_AT_EMPTY_PATH = 0x1000
_AT_RECURSIVE = 0x8000
_OPEN_TREE_CLONE = 1
_MOVE_MOUNT_F_EMPTY_PATH = 0x4
_FSCONFIG_SET_STRING = 1
_FSCONFIG_CMD_CREATE = 6
_MS_REC = 0x4000
_MS_PRIVATE = 1 << 18
_MNT_DETACH = 2
_PR_SET_PDEATHSIG = 1
_PR_SET_DUMPABLE = 4
_PR_SET_CHILD_SUBREAPER = 36
_PR_SET_NO_NEW_PRIVS = 38
_LINUX_CAPABILITY_VERSION_3 = 0x20080522

# PyDLL: the lock is kept, so that the child of a clone() is in the same state as that of a fork().
_libc = ctypes.PyDLL(None, use_errno=True)
_libc.syscall.restype = ctypes.c_long


def _check(result: int, what: str) -> int:
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, f"{what}: {os.strerror(code)}")
    return result


def _syscall(what: str, number: int, *arguments: Any) -> int:
    return _check(int(_libc.syscall(ctypes.c_long(number), *arguments)), what)


class _CloneArgs(ctypes.Structure):
    _fields_ = [
        (name, ctypes.c_uint64)
        for name in (
            *("flags", "pidfd", "child_tid", "parent_tid", "exit_signal", "stack"),
            *("stack_size", "tls", "set_tid", "set_tid_size", "cgroup"),
        )
    ]


def clone(flags: int) -> int:
    """fork() into new namespaces: 0 in the child, its process id in the parent."""
    arguments = _CloneArgs(flags=flags, exit_signal=signal.SIGCHLD)
    return _syscall(
        "clone", _SYS_CLONE3, ctypes.byref(arguments), ctypes.c_size_t(ctypes.sizeof(arguments))
    )


def open_tree(path: str) -> int:
    """A detached copy of what is mounted at a path, with all beneath it."""
    flags = _OPEN_TREE_CLONE | _AT_RECURSIVE | os.O_CLOEXEC
    return _syscall(
        f"open_tree {path}", _SYS_OPEN_TREE, ctypes.c_int(_AT_FDCWD), os.fsencode(path), flags
    )


class _MountAttr(ctypes.Structure):
    _fields_ = [
        (name, ctypes.c_uint64) for name in ("attr_set", "attr_clr", "propagation", "userns_fd")
    ]


def mount_setattr(mount: int, attributes: int, path: str = "") -> None:
    """Add attributes (MOUNT_ATTR_*) to a mount and all beneath it."""
    attr = _MountAttr(attr_set=attributes)
    _syscall(
        "mount_setattr",
        _SYS_MOUNT_SETATTR,
        ctypes.c_int(mount),
        os.fsencode(path),
        _AT_EMPTY_PATH | _AT_RECURSIVE,
        ctypes.byref(attr),
        ctypes.c_size_t(ctypes.sizeof(attr)),
    )


def new_mount(filesystem: str, attributes: int, **options: str) -> int:
    """A detached mount of a new file system (proc, tmpfs, devpts, …)."""
    context = _syscall(f"fsopen {filesystem}", _SYS_FSOPEN, filesystem.encode(), 1)
    try:
        for key, value in options.items():
            _syscall(
                f"fsconfig {filesystem} {key}",
                _SYS_FSCONFIG,
                context,
                _FSCONFIG_SET_STRING,
                key.encode(),
                value.encode(),
                0,
            )
        _syscall(f"mount {filesystem}", _SYS_FSCONFIG, context, _FSCONFIG_CMD_CREATE, None, None, 0)
        return _syscall(f"mount {filesystem}", _SYS_FSMOUNT, context, 1, attributes)
    finally:
        os.close(context)


def move_mount(mount: int, target: str) -> None:
    """Attach a detached mount at a path; closes its descriptor."""
    _syscall(
        f"mount on {target}",
        _SYS_MOVE_MOUNT,
        ctypes.c_int(mount),
        b"",
        ctypes.c_int(_AT_FDCWD),
        os.fsencode(target),
        _MOVE_MOUNT_F_EMPTY_PATH,
    )
    os.close(mount)


def make_mounts_private() -> None:
    _check(_libc.mount(None, b"/", None, ctypes.c_ulong(_MS_REC | _MS_PRIVATE), None), "mount /")


def pivot_to_cwd() -> None:
    """Make the current directory (a mount) the root, and let go of the old one."""
    _syscall("pivot_root", _SYS_PIVOT_ROOT[os.uname().machine], b".", b".")
    _check(_libc.umount2(b".", _MNT_DETACH), "umount of the old root")
    os.chdir("/")


def _prctl(option: int, value: int) -> None:
    _check(_libc.prctl(option, ctypes.c_ulong(value), 0, 0, 0), "prctl")


def die_with_parent() -> None:
    """Be killed when the parent dies. A change of credentials forgets it: call it after."""
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def become_subreaper() -> None:
    """Inherit the orphans among the descendants."""
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)


def forbid_new_privileges() -> None:
    _prctl(_PR_SET_NO_NEW_PRIVS, 1)


def hide_memory() -> None:
    """Deny other processes of this user to trace this one or to read its memory."""
    _prctl(_PR_SET_DUMPABLE, 0)


def drop_capabilities() -> None:
    header = (ctypes.c_uint32 * 2)(_LINUX_CAPABILITY_VERSION_3, 0)
    _syscall("capset", _SYS_CAPSET[os.uname().machine], header, (ctypes.c_uint32 * 6)())


def set_hostname(name: str) -> None:
    _check(_libc.sethostname(name.encode(), len(name)), "sethostname")
