"""How many connections a server of ours can hold."""

from __future__ import annotations

import resource


def allow_open_files(wanted: int) -> int:
    """Let this process, and those that it starts, have so many files open; how many it may have.

    Fewer, where the system's hard limit is lower.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return wanted
    most = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    if soft < most:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
    return max(soft, most)
