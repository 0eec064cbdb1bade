#!/usr/bin/python3 -I
"""What the agent may do as a local user of the site: stage, submit, cancel and open up, nothing else.

Installed by root as a program of its own, started by sudo as the users that the sudoers file names,
never as root. One request as JSON on standard input, one answer on standard output:

    {"verb": "check"}                                        → {"user": "ana", "version": 2}
    {"verb": "submit", "script": "…", "options": ["…"], "test": false}
                                                             → {"code": 0, "stdout": "…", "stderr": "…"}
    {"verb": "cancel", "jobs": ["12_3"], "waiting": false}   → the same
    {"verb": "open", "folders": ["work/ATTEMPT"]}            → {"opened": 1}

Where standard input is a socket, it stages: each packet asks for a folder, or for a new file whose
descriptor goes back with the answer, so that the agent writes and checks what it fetches itself:

    {"attempt": "ATTEMPT", "make": "data/runs"}              → {}
    {"attempt": "ATTEMPT", "create": "data/in.csv"}          → {}, or {"errno": 17}

`PROGRAM.json` beside it is root's, too: `root` (the agent's shared folder), `bin` (of sbatch and
scancel), `conf` (SLURM_CONF, or null), `options` (of sbatch, that the operator's rules add).
Standard library only, and one file: it is to be read before it is trusted.
"""

from __future__ import annotations

import contextlib
import json
import os
import pwd
import re
import socket
import stat
import sys
import syslog
from typing import Any

VERSION = 2
_MOST = 1 << 20  # bytes of a request
_TIMEOUT = 55  # seconds; the agent waits for 60
_MAX_DEPTH = 64
_PACKET = 1 << 16  # bytes; a path of 4095, however it is written
_IDLE = 300  # seconds without a packet; the agent hangs up before
_PATH = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC

_NAME = r"[A-Za-z0-9_][A-Za-z0-9_.,-]{0,199}"
_PLAIN = r"[^\x00-\x20\x7f]{1,200}"
#: The options of sbatch that the agent uses, and what they may say. `{user}` is who we are.
_OPTIONS = {
    "job-name": r"ayni-([0-9a-f]{6}-[0-9a-f]{12}|foresight)",
    "partition": _NAME,
    "nodes": r"[0-9]{1,6}",
    "ntasks-per-node": r"[0-9]{1,6}",
    "cpus-per-task": r"[0-9]{1,6}",
    "mem": r"[0-9]{1,12}M",
    "time": r"[0-9]{1,9}",
    "no-requeue": None,
    "export": "ALL",  # of the environment that `_run` gives sbatch
    "chdir": "/",
    "output": "/dev/null|{root}/executor/{user}/logs/[0-9a-f]{{12}}\\.log",
    "open-mode": "append",
    "comment": r"[^\x00-\x1f\x7f]{0,200}",
    "array": r"0-[0-9]{1,6}",
    "gres": r"gpu:[0-9]{1,4}",
    "account": _NAME,
    "qos": _NAME,
    "reservation": _NAME,
    "constraint": _PLAIN,
}
_SCRIPT = re.compile(r"#!/bin/sh\nexec [^\n\x00]{1,65536}\n")  # no line that sbatch would read
_JOB = re.compile(r"[0-9]{1,12}(_[0-9]{1,9})?")
_ATTEMPT = r"[a-z0-9][a-z0-9-]{0,127}"
_OPENED = re.compile(rf"work/({_ATTEMPT}|\.trash-[0-9]{{1,10}})")


class Denied(Exception):
    """What was asked is not to be done; the text says why."""


def main() -> int:
    """Answer one request."""
    try:
        if len(sys.argv) > 1:
            raise Denied("takes no arguments")
        if os.geteuid() == 0 or os.getuid() == 0:
            raise Denied("does nothing as root; name other users in the sudoers file")
        if stat.S_ISSOCK(os.fstat(0).st_mode):
            return stage(socket.socket(fileno=0), _config(os.path.realpath(__file__)))
        answer = serve(_request(), _config(os.path.realpath(__file__)))
    except Denied as error:
        print(json.dumps({"error": str(error)}))
        _log(syslog.LOG_WARNING, f"denied: {error}")
        return 2
    print(json.dumps(answer))
    return 0


def serve(request: Any, config: dict[str, Any]) -> dict[str, Any]:
    """Do what a request asks.

    Raises:
        Denied: it is not one of ours, or it asks for too much.
    """
    verbs = {"check": _check, "submit": _submit, "cancel": _cancel, "open": _open}
    verb = request.get("verb") if isinstance(request, dict) else None
    if not isinstance(verb, str) or verb not in verbs:
        raise Denied("verb must be one of " + ", ".join(verbs))
    return verbs[verb](request, config)


def _request() -> Any:
    data = sys.stdin.buffer.read(_MOST + 1)
    if len(data) > _MOST:
        raise Denied(f"the request is longer than {_MOST} bytes")
    try:
        return json.loads(data)
    except (ValueError, RecursionError) as error:
        raise Denied("the request is no JSON") from error


def _config(program: str) -> dict[str, Any]:
    """What root wrote, if nobody else can write it or us."""
    path = program + ".json"
    try:
        for one in (path, program, os.path.dirname(program)):
            known = os.stat(one)
            if known.st_uid != 0 or known.st_mode & 0o022:
                raise Denied(f"{one} must be root's, and nobody else's to write")
        with open(path, encoding="utf-8") as file:
            found = json.load(file)
    except OSError as error:
        raise Denied(f"{path} cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise Denied(f"{path} is no JSON: {error}") from error
    config = {"root": "", "bin": "/usr/bin", "conf": None, "options": [], **found}
    if not os.path.isabs(config["root"]) or not os.path.isabs(config["bin"]):
        raise Denied(f"{path}: root and bin must be absolute paths")
    return config


def _user() -> str:
    return pwd.getpwuid(os.geteuid()).pw_name


def _log(level: int, text: str) -> None:
    line = f"{os.environ.get('SUDO_USER', '?')[:64]} as {os.geteuid()}: {text}"[:900]
    syslog.openlog("ayni-helper", syslog.LOG_PID, syslog.LOG_AUTHPRIV)
    syslog.syslog(level, "".join(c if c.isprintable() else "?" for c in line))


# --- the verbs


def _check(request: dict[str, Any], config: dict[str, Any]) -> dict[str, Any]:
    del request
    reads = os.access(os.path.join(config["root"], "executor"), os.X_OK)
    return {"user": _user(), "version": VERSION, "root": config["root"], "enters": reads}


def _submit(request: dict[str, Any], config: dict[str, Any]) -> dict[str, Any]:
    script, test = request.get("script"), request.get("test") is True
    if not isinstance(script, str) or not (test or _SCRIPT.fullmatch(script)):
        raise Denied("script must be two lines: #!/bin/sh and exec …")
    options = [_option(option, config) for option in _texts(request, "options", 100)]
    if test:  # when would it start? Nothing is submitted
        return _run(config, ["sbatch", "--test-only", *options], "#!/bin/sh\n")
    _log(syslog.LOG_INFO, "sbatch " + " ".join(options))
    return _run(config, ["sbatch", "--parsable", *options], script)


def _option(option: str, config: dict[str, Any]) -> str:
    match = re.fullmatch(r"--([a-z][a-z-]*)(?:=(.*))?", option, re.DOTALL)
    name, value = match.groups() if match else (option[:40], None)
    if match and name in config["options"]:
        pattern: str | None = _PLAIN if value is not None else None
    elif match and name in _OPTIONS:
        pattern = _OPTIONS[name]
    else:
        raise Denied(f"option {name!r} of sbatch is neither the agent's own nor listed by root")
    if pattern is not None and "{" in pattern and name == "output":
        pattern = pattern.format(root=re.escape(config["root"].rstrip("/")), user=_user())
    given = pattern is not None and value is not None
    if not (re.fullmatch(str(pattern), str(value)) if given else value is pattern):
        raise Denied(f"option {name!r} of sbatch may not be {str(value)[:80]!r}")
    return option


def _cancel(request: dict[str, Any], config: dict[str, Any]) -> dict[str, Any]:
    jobs = _texts(request, "jobs", 1000)
    if not jobs or not all(_JOB.fullmatch(job) for job in jobs):
        raise Denied("jobs must be numbers of jobs, as 12 or 12_3")
    waiting = ["--state=PENDING"] if request.get("waiting") is True else []
    _log(syslog.LOG_INFO, f"scancel of {len(jobs)}: " + " ".join(jobs[:20]))
    return _run(config, ["scancel", "--quiet", *waiting, *jobs], None)


def _open(request: dict[str, Any], config: dict[str, Any]) -> dict[str, Any]:
    """Give our group, the agent in it, what we own in some of the agent's work folders."""
    folders = _texts(request, "folders", 1000)
    if not all(_OPENED.fullmatch(folder) for folder in folders):
        raise Denied("folders must be work/ATTEMPT or work/.trash-GROUP")
    _log(syslog.LOG_INFO, f"open {len(folders)}: " + " ".join(folders[:20]))
    opened = 0
    for folder in folders:
        try:
            here = _beneath(config["root"], folder)
        except OSError:
            continue  # it is gone, or not for us
        try:
            opened += open_up(here)
        finally:
            os.close(here)
    return {"opened": opened}


def _texts(request: dict[str, Any], name: str, most: int) -> list[str]:
    found = request.get(name)
    if not isinstance(found, list) or len(found) > most:
        raise Denied(f"{name} must be a list of at most {most}")
    if not all(isinstance(text, str) for text in found):
        raise Denied(f"{name} must hold texts")
    return found


def _run(config: dict[str, Any], words: list[str], script: str | None) -> dict[str, Any]:
    env = {"PATH": config["bin"] + ":/usr/bin:/bin", "LC_ALL": "C", "SLURM_TIME_FORMAT": "%s"}
    if config["conf"]:
        env["SLURM_CONF"] = config["conf"]
    import subprocess

    program = os.path.join(config["bin"], words[0])
    try:
        done = subprocess.run(
            [program, *words[1:]],
            input=(script or "").encode(),
            capture_output=True,
            env=env,
            cwd="/",
            timeout=_TIMEOUT,
            check=False,
        )
    except (OSError, ValueError, subprocess.TimeoutExpired) as error:
        raise Denied(f"{program} cannot be run: {error}") from error
    out, err = (text.decode("utf-8", "replace")[:20000] for text in (done.stdout, done.stderr))
    return {"code": done.returncode, "stdout": out, "stderr": err}


# --- staging


def stage(line: socket.socket, config: dict[str, Any]) -> int:
    """Make folders and new files in jobs' roots, until the agent hangs up."""
    os.umask(0o002)  # our group, the agent in it, may do as we may
    line.settimeout(_IDLE)
    made = 0
    try:
        while data := line.recv(_PACKET):
            files: list[int] = []
            try:
                files = _stage_one(data, config)
                answer: dict[str, Any] = {}
                made += 1
            except OSError as error:
                answer = {"errno": error.errno}
            except Denied as error:
                answer = {"error": str(error)}
                _log(syslog.LOG_WARNING, f"denied: {error}")
            try:
                socket.send_fds(line, [json.dumps(answer).encode()], files)
            finally:
                for file in files:
                    os.close(file)
    except OSError:
        pass  # it has gone, or had nothing to ask for long
    _log(syslog.LOG_INFO, f"staged {made} files and folders")
    return 0


def _stage_one(data: bytes, config: dict[str, Any]) -> list[int]:
    """Make what is asked for; the descriptor of a new file, none for a folder."""
    try:
        request = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise Denied("the packet is no JSON") from error
    attempt, names = _place(request)
    here = _beneath(config["root"], f"work/{attempt}/root")
    try:
        name = names.pop() if "create" in request else None
        for above in names:
            step = _into(above, here)
            os.close(here)
            here = step
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        return [] if name is None else [os.open(name, flags, 0o664, dir_fd=here)]
    finally:
        os.close(here)


def _place(request: Any) -> tuple[str, list[str]]:
    """Which attempt, and the names on the way from its root."""
    if not isinstance(request, dict) or len(request) != 2:
        raise Denied("a packet must have attempt, and make or create")
    attempt, path = request.get("attempt"), request.get("make", request.get("create"))
    if not isinstance(attempt, str) or not re.fullmatch(_ATTEMPT, attempt):
        raise Denied("attempt must be the id of one")
    if not isinstance(path, str) or not 0 < len(path) <= 4095 or "\0" in path:
        raise Denied("make or create must be a path in the attempt's root")
    try:
        os.fsencode(path)
    except UnicodeEncodeError as error:
        raise Denied("make or create must be a path that a file can have") from error
    names = path.split("/")
    if any(name in ("", ".", "..") for name in names):
        raise Denied("make or create must be a path of plain names")
    return attempt, names


def _into(name: str, folder: int) -> int:
    """A folder, made if it is not there; no link is followed."""
    with contextlib.suppress(FileExistsError):
        os.mkdir(name, 0o775, dir_fd=folder)
    return os.open(name, _PATH | os.O_DIRECTORY, dir_fd=folder)


# --- folders


def _beneath(root: str, path: str) -> int:
    """Open a folder below another, no link followed on the way."""
    here = os.open(root, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    for name in path.split("/"):
        try:
            step = os.open(name, _PATH | os.O_DIRECTORY, dir_fd=here)
        finally:
            os.close(here)
        here = step
    return here


def open_up(folder: int | str) -> int:
    """Give the group of what we own below a folder the same as its owner, and all of its folders.

    So the agent, who is in the group, reads and removes what a task left. Links are not followed; what
    others own, and what is deeper than 64 folders, is passed over.

    Returns:
        How many files and folders were opened.
    """
    top, base = (".", folder) if isinstance(folder, int) else (folder, None)
    opened = 0
    for path, folders, names, here in os.fwalk(top, dir_fd=base):
        if path[len(top) :].count("/") >= _MAX_DEPTH:
            del folders[:]
        for name in (*folders, *names):
            try:
                opened += _open_one(name, here)
            except OSError:
                continue  # it has gone, or is not as it was
    return opened


def _open_one(name: str, folder: int) -> bool:
    found = os.stat(name, dir_fd=folder, follow_symlinks=False)
    mode = stat.S_IMODE(found.st_mode)
    if found.st_uid != os.geteuid() or not stat.S_ISREG(found.st_mode) | stat.S_ISDIR(
        found.st_mode
    ):
        return False
    wanted = mode | 0o440 | (mode & 0o700) >> 3
    if stat.S_ISDIR(found.st_mode):
        wanted = (mode | 0o770) & ~stat.S_ISVTX
    if wanted == mode:
        return False
    here = os.open(name, _PATH, dir_fd=folder)
    try:
        if stat.S_ISLNK(os.fstat(here).st_mode):
            return False
        os.chmod(f"/proc/self/fd/{here}", wanted)
    finally:
        os.close(here)
    return True


if __name__ == "__main__":
    sys.exit(main())
