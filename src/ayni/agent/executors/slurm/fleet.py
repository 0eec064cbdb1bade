"""As many batch jobs as the pools need: submitted, withdrawn, and not asked for where that is in vain."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from ayni.agent.executors.slurm import ends, parse, pools, script
from ayni.agent.executors.slurm.allowance import Allowance
from ayni.agent.executors.slurm.books import ANY, Books, Pilot, Pool, Task
from ayni.agent.executors.slurm.script import Rules
from ayni.agent.executors.slurm.tool import Full, Refused, Slurm

_AT_FIRST = (
    0.125  # seconds between the first two submissions of a pool, whose tasks come in one by one …
)
_OFTEN = 1.0  # … and, doubling, between all later ones
_QUIET = 30.0  # seconds for which a pool does not submit after Slurm refused
#: Times in a row that batch jobs may end without a task; then those that wait end. With the pauses between
#: them that is a minute: so long may NFS hide from a node what is new in a folder (acdirmax).
BARREN = 6


class Fleet:
    """The batch jobs of all pools."""

    def __init__(
        self,
        state: Path,
        prefix: str,
        slurm: Slurm,
        rules: Rules,
        allowance: Allowance,
        books: Books,
        turn_away: Callable[[Task, str, str], None],
    ) -> None:
        """Say of which executor.

        Args:
            state: its state folder.
            prefix: how the names of its batch jobs begin.
            slurm: the cluster's commands.
            rules: what the operator adds to each batch job.
            allowance: what of the cluster they may use.
            books: the pools, tasks and pilots.
            turn_away: ends a waiting task for a reason, with words.
        """
        self._state = state
        self._prefix = prefix
        self._slurm = slurm
        self._rules = rules
        self._allowance = allowance
        self._books = books
        self._turn_away = turn_away

    def balance(self, now: float) -> bool:
        """Submit what waiting tasks need, withdraw what is too much; whether anything was submitted."""
        wanting = [p for p in self._books.pools.values() if p.waiting and now >= p.quiet_until]
        submitted = [self._submit_for(pool, now) for pool in wanting]
        self._withdraw()
        return any(submitted)

    def _of(self, pool: Pool) -> list[Pilot]:
        name = pool.key.name
        found = [p for p in self._books.pilots.values() if p.pool == name]
        return [p for p in found if p.gone is None and not p.withdrawn]

    def _submit_for(self, pool: Pool, now: float) -> bool:
        pilots = self._of(pool)
        room = self._allowance.room(pool.key)
        if room is None:
            return False
        pending = [p for p in pilots if not (p.took or p.closed or p.is_silent(now))]
        batch = pools.batch(
            pool.key,
            room,
            waiting=len(pool.waiting),
            pending=sum(p.slots for p in pending),
            stuck=bool(pending) and all(now - p.submitted >= _OFTEN for p in pending),
            running=sum(self._turning(p, now) for p in pilots if p.took and not p.closed),
            seen=pool.seen,
            most=min(self._allowance.cluster.most_elements, pool.most),
        )
        if batch is None:
            return False
        name = f"{self._prefix}{pool.key.name}"
        log = str(self._books.log(pool.key.name))
        text = script.text(str(self._state), pool.key.name, batch, pool.key, self._rules.python)
        try:
            number = self._slurm.sbatch(
                text, script.options(name, batch, pool.key, self._rules, log)
            )
        except Refused as error:
            self.refuse(pool, str(error), now)
            return False
        except Full:
            pool.most = max(1, batch.count // 2)
            pool.quiet_until = now + (_OFTEN if batch.count > 1 else _QUIET)
            return False
        pool.most = min(2 * pool.most, ANY)
        for index in range(batch.count):
            job = f"{number}_{index}" if batch.count > 1 else number
            self._books.pilots[job] = Pilot(job, pool.key.name, batch.slots, now)
        pool.pause = _AT_FIRST if not pilots else min(2 * pool.pause, _OFTEN)
        pool.quiet_until = now + pool.pause
        return True

    def _turning(self, found: Pilot, now: float) -> int:
        """Slots of a running batch job that soon take another task: none that has taken long already."""
        tasks = (self._books.tasks[job_id] for job_id in found.live)
        return max(0, found.slots - sum(now - task.since > pools.SHORT for task in tasks))

    def mind_barren(
        self, barren: Sequence[Pilot], accounts: Mapping[str, parse.Account], now: float
    ) -> None:
        """Batch jobs that end without a task though some wait: more of them would only burden the site."""
        for name, found in {found.pool: found for found in barren}.items():
            pool = self._books.pools[name]
            if not pool.waiting:
                continue
            pool.barren += 1
            pool.quiet_until = now + 2.0**pool.barren
            if pool.barren < BARREN:
                continue
            pool.barren = 0
            account = accounts.get(found.id)
            how = f" {account.state}" if account is not None else ""
            said = f"its batch jobs end before they can run a task (the last was {found.id}{how})"
            self._end(pool, f"{said}; the site's operator can find out why", now)

    def refuse(self, pool: Pool, said: str, now: float) -> None:
        """Slurm does not take such a job."""
        self._end(pool, ends.refusal(said), now)

    def _end(self, pool: Pool, message: str, now: float) -> None:
        """The waiting tasks of a pool end, and say why."""
        pool.quiet_until = now + _QUIET
        for job_id in list(pool.waiting):
            self._turn_away(self._books.tasks[job_id], "start_failed", message)

    def _withdraw(self) -> None:
        """Batch jobs that wait in the queue for tasks that are gone."""
        for pool in self._books.pools.values():
            pilots = [p for p in self._of(pool) if p.waiting]
            pending = sum(p.slots for p in pilots)
            extra = pools.surplus(waiting=len(pool.waiting), pending=pending)
            doomed = []
            for found in reversed(pilots):
                if found.slots <= extra:
                    extra -= found.slots
                    doomed.append(found)
            if doomed:
                self._slurm.scancel([found.id for found in doomed], waiting_only=True)
                for found in doomed:  # it counts no more, and the next look settles it
                    found.waiting, found.withdrawn = False, True
