"""`ayni site run`: all parts put together, until a signal or the hub says stop."""

from __future__ import annotations

import logging
import os
import queue
import secrets
import signal
import sqlite3
import threading
import time
from contextlib import ExitStack

from ayni.agent import disks, engine, hub, identity, now
from ayni.agent.channels.hub import ChannelHub
from ayni.agent.channels.relay import Relay
from ayni.agent.channels.spot import Tools
from ayni.agent.config import Config
from ayni.agent.cycle import Cycle, Message, Remark
from ayni.agent.datasets import Datasets
from ayni.agent.hands import Hands
from ayni.agent.journal import Journal
from ayni.agent.line import Fenced, Line
from ayni.agent.offer import Offer
from ayni.agent.staging.assembly import assemble
from ayni.agent.staging.inputs import rule_now
from ayni.errors import UserError
from ayni.protocol.exchange import AgentSide
from ayni.transfer.errors import TransferError

log = logging.getLogger(__name__)

FENCED = 3  # exit code: another process speaks for this site; systemd does not start us again
BROKEN = 1  # exit code: the agent cannot go on for now; systemd starts it again
_FIRST_SCAN = 10.0  # seconds that the first look at the datasets may keep everything waiting


def run(config: Config) -> int:
    """Run the agent; the exit code.

    Raises:
        UserError: something that the operator can mend keeps it from starting.
    """
    set_up_logging(config.log_level)
    os.umask(0o027)
    who = identity.load(config)
    with ExitStack() as stack:
        try:
            journal = Journal(config.state)
        except sqlite3.Error as error:
            log.error("the journal cannot be written: %s. Running tasks go on", error)
            return BROKEN
        stack.callback(journal.close)
        if config.executor.kind == "slurm":
            try:
                disks.recognize(config.state, config.shared)
            except UserError as error:  # a mount that comes later, say
                log.error("%s", error)
                return BROKEN
        cycle = assemble_cycle(config, who, journal, stack)
        _on_signals(cycle)
        log.info(
            "site %s, hub %s, sandbox %s, generation %d, agent %d",
            who.site, config.hub, cycle.offer.sandbox, journal.generation, os.getpid(),
        )  # fmt: skip
        try:
            cycle.run()
        except Fenced as error:
            log.error(
                "%s. This agent stops; running tasks go on and are taken up by a restart", error
            )
            return FENCED
        except sqlite3.Error as error:  # a full disk, say: without its memory it must not go on
            log.error("the journal cannot be written: %s. Running tasks go on", error)
            return BROKEN
        finally:
            cycle.close()
        log.info("stopped; running tasks go on and are taken up by the next start")
    return 0


def assemble_cycle(
    config: Config, who: identity.Identity, journal: Journal, stack: ExitStack
) -> Cycle:
    """Everything that the loop needs; what must be closed goes onto the stack."""
    signer = identity.signer(config)
    power = engine.start(config)
    stack.callback(power.executor.close)
    if not power.sandboxed:
        log.warning("tasks run WITHOUT a sandbox: they can read whatever this user can")
    http = stack.enter_context(hub.client(config, who.key))
    try:
        staging = assemble(
            config,
            who.site,
            http,
            sandboxed=power.sandboxed,
            unlock=power.unlock,
            group_of=power.group_of,
            maker_of=power.maker_of,
        )
    except (OSError, TransferError) as error:
        raise UserError(f"the agent's folders cannot be used: {error}") from error
    first = threading.Thread(target=_scan, args=(staging.datasets,), daemon=True)
    first.start()
    first.join(_FIRST_SCAN)
    inbox: queue.SimpleQueue[Message] = queue.SimpleQueue()
    side = AgentSide(
        journal.incarnation,
        journal.generation,
        secrets.token_hex(16),
        epoch=journal.epoch,
        acknowledged=journal.acknowledged,
    )
    relay = Relay(
        Tools(
            book=staging.book,
            hub=ChannelHub(http),
            files=staging.hub,
            mover=staging.mover,
            folders=staging.folders,
            say=lambda attempt, line: inbox.put(Remark(attempt, line)),
            charters=staging.charters,
            site=who.site,
            signer=signer,
            max_bytes=config.policy.max_channel_bytes,
        ),
        lambda assignment: rule_now(
            assignment, staging.folders.path(assignment.attempt), staging.datasets
        ),
    )
    return Cycle(
        config=config,
        journal=journal,
        executor=power.executor,
        folders=staging.folders,
        hands=Hands(staging.stager, staging.finisher, inbox.put, relay.drain),
        relay=relay,
        side=side,
        line=Line(hub.Hub(http, config.https.timeout).sync, side, inbox.put),
        volumes=staging.volumes,
        offer=Offer(
            config,
            power.executor,
            staging.datasets,
            staging.folders,
            power.sandbox,
            staging.volumes,
            staging.charters,
            signer.public,
        ),
        inbox=inbox,
        refuses=staging.charters.objection,
        note=lambda cycle: _note(config, _words(who, cycle)),
    )


def _note(config: Config, words: now.Now) -> None:
    try:
        now.write(config.state, words)
    except OSError as error:  # it is for people's eyes only
        log.warning("what 'ayni site status' shows cannot be written: %s", error)


def _words(who: identity.Identity, cycle: Cycle) -> now.Now:
    line, offer = cycle.line, cycle.offer
    return now.Now(
        site=who.site,
        hub=cycle.config.hub,
        pid=os.getpid(),
        at=time.time(),
        sandbox=offer.sandbox,
        heard=line.heard,
        trouble=line.trouble,
        executor_fault="; ".join(f"{f.message} ({f.remedy})" for f in offer.faults()),
        depth=max((p.depth for p in offer.partitions), default=0),
    )


def _scan(datasets: Datasets) -> None:
    try:
        datasets.scan()
    except OSError as error:
        log.warning("the site's store cannot be read: %s", error)


def _on_signals(cycle: Cycle) -> None:
    def stop(number: int, frame: object) -> None:
        cycle.stopping.set()
        cycle.wake()

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)


def set_up_logging(level: str) -> None:
    """To stderr, where systemd's journal takes it. Libraries that log URLs are kept quiet."""
    under_systemd = "JOURNAL_STREAM" in os.environ
    logging.basicConfig(
        level=level.upper(),
        format="%(levelname)s %(name)s: %(message)s"
        if under_systemd
        else "%(asctime)s %(levelname)s %(name)s: %(message)s",
    )
    for name in ("httpx", "httpcore", "urllib3"):  # they would log signed URLs
        logging.getLogger(name).setLevel(logging.WARNING)
