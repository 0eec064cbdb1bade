"""A site as one exchange with its agent needs it. Read without models: agents call all the time."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from django.http import HttpRequest
from django.utils import timezone

from ayni.hub.accounts.tokens import digest, presented, site_caller
from ayni.hub.network import bulk
from ayni.protocol.exchange import SiteMemory


@dataclass(frozen=True, slots=True)
class Peer:
    """`memory` is what the hub remembers of its talk with the site."""

    id: int
    name: str
    member: str
    memory: SiteMemory
    banned: bool
    has_status: bool
    last_seen: datetime | None


_FIND = """
SELECT s.id FROM accounts_token t JOIN network_site s ON s.id = t.site_id
WHERE t.digest = %s AND t.revoked IS NULL AND t.expires > %s AND s.banned_at IS NULL
"""
_READ = """
SELECT s.id, s.name, i.member_id, s.incarnation, s.generation, s.session, s.number, s.acknowledged,
       s.banned_at IS NOT NULL, s.status IS NOT NULL, s.last_seen
FROM network_site s JOIN accounts_institution i ON i.id = s.institution_id WHERE s.id = %s{lock}
"""
_REMEMBER = """
UPDATE network_site SET incarnation = %s, generation = %s, session = %s, number = %s,
    acknowledged = %s, last_seen = %s WHERE id = %s
"""


def site_of(request: HttpRequest) -> int:
    """The site whose agent asks.

    Raises:
        ProblemError: as `accounts.tokens.site_caller`, which says what is wrong.
    """
    secret = presented(request.headers.get("Authorization", ""))
    found = bulk.select(_FIND, [digest(secret), timezone.now()]) if secret else []
    return int(found[0][0]) if found else site_caller(request).pk


def read(site: int, *, lock: bool = False) -> Peer | None:
    """The site; locked until the transaction ends, if so wished."""
    rows = bulk.select(_READ.format(lock=bulk.for_update("s") if lock else ""), [site])
    if not rows:
        return None
    id, name, member, incarnation, generation, session, number, seen, banned, told, last = rows[0]
    memory = SiteMemory(incarnation, generation, session, number, seen)
    return Peer(id, name, member, memory, bool(banned), bool(told), bulk.read_moment(last))


def remember(site: int, memory: SiteMemory, now: datetime) -> None:
    m = memory
    values = [m.incarnation, m.generation, m.session, m.number, m.acknowledged, now, site]
    bulk.run(_REMEMBER, values)
