"""Start one command of a job: fork, sandbox, exec.

The parent hears from the child by a socket: first whether the sandbox stands, then, by its closing,
that the command has been started (or has failed, which its log and its exit code tell).
"""

from __future__ import annotations

import contextlib
import errno
import os
import resource
import signal
import socket
from collections.abc import Callable
from typing import Any, NoReturn

from ayni.agent.supervisor import libc, namespaces

_GO = b"go"
_NOT_FOUND = 127  # as a shell has it
_NOT_EXECUTABLE = 126
_HEADROOM = 16  # processes over the limit that can start, so that the watcher sees that it is over
_SIGNALS = (signal.SIGPIPE, signal.SIGXFSZ, signal.SIGTERM, signal.SIGCHLD)  # to their defaults
_KILL_FIRST = "500"  # when the machine runs out of memory: jobs before the agent


def start(
    command: dict[str, Any],
    limits: dict[str, Any],
    sandbox: dict[str, Any] | None,
    streams: tuple[int, int, int],
    started: Callable[[int], None],
) -> tuple[int, socket.socket]:
    """Start a command.

    Args:
        command: `argv`, `env` and `cwd`, as the sandbox sees them.
        limits: of the job.
        sandbox: what to build around it; None for none.
        streams: the descriptors that become its standard input, output and error.
        started: called with the child's process id while the child waits.

    Returns:
        The process that stands for the command, and the socket by which it reports.
    """
    from_root = os.geteuid() == 0
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    pid = os.fork() if sandbox is None else namespaces.clone(sandbox["network"])
    if pid == 0:
        _child(command, limits, sandbox, streams, from_root, ours, theirs)
    theirs.close()
    if sandbox is not None:
        namespaces.map_ids(pid)
    started(pid)
    ours.send(_GO)
    ours.setblocking(False)
    return pid, ours


def heard(control: socket.socket) -> tuple[str, int | None] | None:
    """What the child says: an error (empty for none) and a descriptor of its /dev/shm.

    None once it has closed, which it does on starting the command; ("", None) for nothing yet.
    """
    try:
        data, fds, _, _ = socket.recv_fds(control, 4096, 1)
    except BlockingIOError:
        return "", None
    if not data:
        return None
    return data[1:].decode("utf-8", "replace"), fds[0] if fds else None


def _child(
    command: dict[str, Any],
    limits: dict[str, Any],
    sandbox: dict[str, Any] | None,
    streams: tuple[int, int, int],
    from_root: bool,
    ours: socket.socket,
    theirs: socket.socket,
) -> NoReturn:
    code = _NOT_EXECUTABLE
    try:
        ours.close()
        os.setsid()
        _prefer_to_kill()
        if theirs.recv(len(_GO)) != _GO:  # the supervisor is gone
            os._exit(code)
        if sandbox is None:
            libc.die_with_parent()
            theirs.send(b"+")  # fails if the supervisor died before the line above
            _exec(command, streams)
        shm = namespaces.enter(sandbox, from_root=from_root)
        libc.die_with_parent()
        socket.send_fds(theirs, [b"+"], [shm])
        code = _run_as_init(command, limits, streams)
    except BaseException as error:  # never back into the supervisor's code
        with contextlib.suppress(OSError):
            theirs.send(b"-" + str(error).encode("utf-8", "replace")[:4000])
    os._exit(code)


def _run_as_init(
    command: dict[str, Any], limits: dict[str, Any], streams: tuple[int, int, int]
) -> int:
    """The first process of a sandbox: it starts the command, buries orphans, and ends with it."""
    try:
        _prepare(command, limits["processes"] + _HEADROOM)
        main = _spawn(command, streams)
    except OSError as error:
        return _explain(command, error, streams[2])
    os.closerange(0, 1 << 20)
    while True:
        pid, status = os.wait()
        if pid == main:
            return exit_code(status)


def exit_code(status: int) -> int:
    """A wait status as a shell shows it: 128 and the signal for a killed process."""
    code = os.waitstatus_to_exitcode(status)
    return 128 - code if code < 0 else code


def _prepare(command: dict[str, Any], processes: int | None) -> None:
    """What a command inherits: limits, umask, working directory."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if processes is not None:
        hard = resource.getrlimit(resource.RLIMIT_NPROC)[1]
        most = processes if hard == resource.RLIM_INFINITY else min(processes, hard)
        resource.setrlimit(resource.RLIMIT_NPROC, (most, most))
    os.umask(0o022)
    with contextlib.suppress(FileExistsError):
        os.makedirs(command["cwd"])
    os.chdir(command["cwd"])


def _spawn(command: dict[str, Any], streams: tuple[int, int, int]) -> int:
    """Start the command by posix_spawn(3), which copies no memory; what is open closes by itself."""
    missing: OSError = FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
    actions = [(os.POSIX_SPAWN_DUP2, fd, target) for target, fd in enumerate(streams)]
    for path in _candidates(command):
        try:
            return os.posix_spawn(
                path,
                command["argv"],
                command["env"],
                file_actions=actions,
                setsid=True,
                setsigmask=(),
                setsigdef=_SIGNALS,
            )
        except (FileNotFoundError, NotADirectoryError):
            continue
        except PermissionError as error:
            missing = error
    raise missing


def _candidates(command: dict[str, Any]) -> list[str]:
    name: str = command["argv"][0]
    if "/" in name:
        return [name]
    folders = command["env"].get("PATH", os.defpath).split(":")
    return [f"{folder or '.'}/{name}" for folder in folders]


def _exec(command: dict[str, Any], streams: tuple[int, int, int]) -> NoReturn:
    """Become the command."""
    try:
        for target, fd in enumerate(streams):
            os.dup2(fd, target)
        first = 3
        if command["arguments"] is not None:
            os.dup2(os.open(command["arguments"], os.O_RDONLY), first)
            os.set_inheritable(first, True)
            first += 1
        for number in _SIGNALS:
            signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        _prepare(command, processes=None)
        for fd in sorted(command.get("keep", ())):  # that a rank talks by to its launcher
            os.closerange(first, fd)
            first = fd + 1
        os.closerange(first, 1 << 20)
        os.execvpe(command["argv"][0], command["argv"], command["env"])  # noqa: S606
    except OSError as error:
        os._exit(_explain(command, error, 2))


def _explain(command: dict[str, Any], error: OSError, log: int) -> int:
    """Say in the command's log why it was not started; the exit code, as a shell gives it."""
    what = f"enter {command['cwd']!r}" if error.filename == command["cwd"] else "start"
    text = f"ayni: cannot {what} {command['argv'][0]!r}: {error.strerror}\n"
    with contextlib.suppress(OSError):
        os.write(log, text.encode("utf-8", "replace"))
    return _NOT_FOUND if error.errno in (errno.ENOENT, errno.ENOTDIR) else _NOT_EXECUTABLE


def _prefer_to_kill() -> None:
    with contextlib.suppress(OSError):
        fd = os.open("/proc/self/oom_score_adj", os.O_WRONLY | os.O_CLOEXEC)
        os.write(fd, _KILL_FIRST.encode())
        os.close(fd)
