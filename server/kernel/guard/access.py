"""Access: what a caller may do in a tenant, loaded once and kept until it may have changed.

The decision and the wall both lead back to stored facts: a call that asks the database proves in its own transaction
that what it was decided by still holds (see Scope.access_version); a call that is answered from the cache proves it by
the generations of `session:` and `access:` (see generations.py).
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cache, lru_cache
from typing import Protocol

from server.kernel.caching.generations import Generations, Stamp
from server.kernel.call import Access, Principal
from server.kernel.clock import unix_now

# Some 20 MB at the most.
REMEMBERED = 20_000
SETS = 1000


class Permissions:
    """The catalogue of permissions, and which of them the built-in roles hold, from patterns such as `sites.*.read`."""

    def __init__(self, roles: Mapping[str, Iterable[str]], catalogue: Iterable[str]) -> None:
        """A pattern with a leading `-` takes permissions away from what stands before it."""
        self.catalogue = tuple(sorted(set(catalogue)))
        self.patterns = {role: tuple(patterns) for role, patterns in roles.items()}
        self.built_in = {role: _expand(patterns, self.catalogue) for role, patterns in self.patterns.items()}
        self._every = frozenset(self.catalogue)
        # One set for all who hold the same, since each live stream keeps its own caller's.
        self._union = lru_cache(maxsize=SETS)(self._union_of)

    def of(self, roles: Iterable[str], custom: Iterable[str]) -> frozenset[str]:
        """What these roles hold, and custom ones beside them. A permission that is no more counts for nothing."""
        return self._union(tuple(roles), tuple(custom))

    def _union_of(self, roles: tuple[str, ...], custom: tuple[str, ...]) -> frozenset[str]:
        held = self._every.intersection(custom)
        return held.union(*(self.built_in.get(role, ()) for role in roles))

    @property
    def every(self) -> frozenset[str]:
        """All of them."""
        return self._every


@cache
def _expand(patterns: tuple[str, ...], known: tuple[str, ...]) -> frozenset[str]:
    """Remembered: a parent composes for all that it forks, and the patterns of built-in roles are given by the code."""
    held: set[str] = set()
    for pattern in patterns:
        if pattern.startswith("-"):
            held = {name for name in held if not fnmatchcase(name, pattern[1:])}
        else:
            held |= {name for name in known if fnmatchcase(name, pattern)}
    return frozenset(held)


class AccessSource(Protocol):
    """Where access is stored."""

    def load(self, principal: Principal, tenant_id: str) -> Access | None:
        """What a caller may do in a tenant as of now; None for a stranger.

        Raises ScopeEnded when the session or the tenant is gone, and Unauthenticated for an API key that has ended.
        """


@dataclass(frozen=True, slots=True)
class _Known:
    access: Access
    slots: tuple[int, ...]
    stamp: Stamp


class AccessMemory:
    """Access as this process knows it; whatever may have changed is loaded again."""

    def __init__(self, source: AccessSource, generations: Generations) -> None:
        self._source = source
        self._generations = generations
        self._known: dict[tuple[str, str], _Known] = {}

    def get(self, principal: Principal, tenant_id: str) -> Access | None:
        """What a caller may do in a tenant; None for a stranger. Raises as AccessSource.load."""
        known = self._known.get((principal.credential_id, tenant_id))
        if (
            known is not None
            and self._generations.is_current(known.slots, known.stamp)
            and known.access.expires_at > unix_now()
        ):
            return known.access
        return self._load(principal, tenant_id)

    def forget(self, principal: Principal, tenant_id: str) -> None:
        """Load it again next time."""
        self._known.pop((principal.credential_id, tenant_id), None)

    def _load(self, principal: Principal, tenant_id: str) -> Access | None:
        slots = self._generations.slots(access_tags(principal, tenant_id))
        # Taken before reading: what changes while reading makes the stamp an old one.
        stamp = self._generations.stamp(slots)
        access = self._source.load(principal, tenant_id)
        if access is None or stamp is None:
            return access
        if len(self._known) >= REMEMBERED:
            self._known.clear()
        self._known[principal.credential_id, tenant_id] = _Known(access, slots, stamp)
        return access


def access_tags(principal: Principal, tenant_id: str) -> tuple[str, ...]:
    """The tags under which a change drops what is known of a caller's access."""
    own = (session_tag(principal.session_id),) if principal.session_id else ()
    return (*own, access_tag(tenant_id))


def access_tag(tenant_id: str) -> str:
    """The tag of everything that decides who may do what in a tenant."""
    return f"access:{tenant_id}"


def session_tag(session_id: str) -> str:
    """The tag of a session's life."""
    return f"session:{session_id}"
