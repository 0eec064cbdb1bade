"""How a task ended whose batch job the scheduler ended: in words for the researcher. Pure."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

from ayni.agent.executors.slurm.parse import Account

_NEAR = 2.0  # seconds: a task that a signal ended just before its pilot heard of it
_BY_SIGNAL = (128 + 15, 128 + 9)

_LOST = {
    "NODE_FAIL": "the compute node failed",
    "BOOT_FAIL": "the compute node could not be started",
    "PREEMPTED": "the site gave its place to work of higher priority (preempted)",
    "DEADLINE": "its batch job could not end before its deadline",
    "REVOKED": "its batch job was taken over by another cluster of the site",
    "COMPLETED": "its batch job ended without a word of it",
    "FAILED": "its batch job was killed",
    "TIMEOUT": "its batch job reached the time limit of the site",
}


_FOR_EVER = (
    "not permitted",
    "AccountNotAllowed",
    "BadConstraints",
    "DependencyNeverSatisfied",
    "InvalidAccount",
    "InvalidQOS",
    "PartitionConfig",
    "PartitionNodeLimit",
    "PartitionTimeLimit",
    "PerJobLimit",
    "QOSNotAllowed",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class End:
    """A state and a reason as an exit file has them, and the words."""

    state: str
    reason: str | None
    message: str


def is_cut_short(found: dict[str, Any], signaled: float | None) -> bool:
    """Whether the scheduler's signal to the batch job, and not the task, made this end."""
    if signaled is None or found["state"] != "ended":
        return False
    codes = [result["exit_code"] for result in found["results"]]
    if codes[-1:] == [os.EX_TEMPFAIL]:  # it has saved, and asks to go on
        return False
    if found["reason"] == "canceled":
        return True
    killed = bool(codes) and codes[-1] in _BY_SIGNAL
    return found["reason"] == "exited" and killed and found["ended"] >= signaled - _NEAR


def of_account(account: Account | None, *, alone: bool) -> End:
    """What the end of a batch job means for a task that had not ended.

    Args:
        account: what the accounting has; None if nobody knows.
        alone: whether the task had the batch job for itself.
    """
    if account is None:
        return End("lost", None, "the scheduler no longer knows its batch job, and it left no word")
    job = f"(job {account.id} {account.state})"
    if account.state == "OUT_OF_MEMORY" and alone:
        return End("ended", "memory", f"it used more memory than it asked for {job}")
    if account.state == "OUT_OF_MEMORY":
        return End("lost", None, f"its batch job ran out of memory {job}")
    if account.state == "CANCELLED":
        by = f" by user {account.by}" if account.by else ""
        return End("lost", None, f"its batch job was canceled at the site{by} {job}")
    return End("lost", None, f"{_LOST.get(account.state, 'its batch job ended')} {job}")


def is_for_ever(reason: str) -> bool:
    """Whether a batch job that waits for this reason will never start."""
    return any(words in reason for words in _FOR_EVER)


def refusal(said: str) -> str:
    """Slurm's refusal of a batch job, for somebody who has never seen Slurm."""
    for words, meaning in (
        ("account not permitted", "the site's account may not use that partition"),
        ("PerJobLimit", "it is more than the site's limits allow one job"),
        ("PartitionTimeLimit", "it asks for more time than the partition gives"),
        ("Invalid account", "the site's account is not allowed there; its operator can mend that"),
        ("Invalid qos", "the site's quality of service is not allowed there; tell its operator"),
        ("Invalid partition", "the site has no such partition"),
        ("violates accounting/QOS policy", "it is more than the site's limits allow"),
        ("Requested time limit is invalid", "it asks for more time than the partition gives"),
        ("node configuration is not available", "no node of the partition is of such a shape"),
        ("Invalid generic resource", "the partition has no such GPU"),
    ):
        if words.lower() in said.lower():
            return f"the site's scheduler refused it: {meaning} ({said})"
    return f"the site's scheduler refused it: {said}"
