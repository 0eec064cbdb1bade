"""What is killed is what was meant to be."""

from __future__ import annotations

import subprocess

from tests.fault.punisher import strike


def test_what_is_still_what_it_was_taken_for_is_killed() -> None:
    with subprocess.Popen(["sleep", "60"]) as process:
        assert strike(process.pid, lambda: True)
        assert process.wait() == -9


def test_what_has_become_something_else_goes_on() -> None:
    with subprocess.Popen(["sh", "-c", "read line"], stdin=subprocess.PIPE) as process:
        assert not strike(process.pid, lambda: False)
        process.communicate(b"\n")
        assert process.returncode == 0


def test_what_has_ended_was_not_killed() -> None:
    process = subprocess.Popen(["true"], stdout=subprocess.PIPE)
    assert process.stdout is not None
    with process.stdout as stdout:
        stdout.read()  # it has ended; nobody has waited for it
    assert not strike(process.pid, lambda: True)
    assert process.wait() == 0
