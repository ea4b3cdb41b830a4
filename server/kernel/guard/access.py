"""Access: the permissions of a caller in a tenant, loaded once and kept until they may have changed.

The decision and row-level security rest on the same stored facts. A call that uses the database checks in its own
transaction that its access is still current (see Scope.access_version). A call that is answered from the cache checks
it by the generations of `session:` and `access:` (see generations.py).
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cache, lru_cache
from typing import Protocol

from server.kernel.caching.generations import Generations, Stamp
from server.kernel.call import Access, Principal
from server.kernel.clock import unix_now

# About 20 MB at most.
REMEMBERED = 20_000
SETS = 1000


class Permissions:
    """The catalogue of permissions, and the permissions of built-in roles, from patterns such as `sites.*.read`."""

    def __init__(self, roles: Mapping[str, Iterable[str]], catalogue: Iterable[str]) -> None:
        """A pattern with a leading `-` removes permissions that earlier patterns granted."""
        self.catalogue = tuple(sorted(set(catalogue)))
        self.patterns = {role: tuple(patterns) for role, patterns in roles.items()}
        self.built_in = {role: _expand(patterns, self.catalogue) for role, patterns in self.patterns.items()}
        self._every = frozenset(self.catalogue)
        # Callers with the same permissions share one set, because each live stream keeps the set of its caller.
        self._union = lru_cache(maxsize=SETS)(self._union_of)

    def of(self, roles: Iterable[str], custom: Iterable[str]) -> frozenset[str]:
        """The permissions of these roles, together with custom ones. A permission that no longer exists is ignored."""
        return self._union(tuple(roles), tuple(custom))

    def _union_of(self, roles: tuple[str, ...], custom: tuple[str, ...]) -> frozenset[str]:
        held = self._every.intersection(custom)
        return held.union(*(self.built_in.get(role, ()) for role in roles))

    @property
    def every(self) -> frozenset[str]:
        """All permissions."""
        return self._every


@cache
def _expand(patterns: tuple[str, ...], known: tuple[str, ...]) -> frozenset[str]:
    """Cached, because a parent process composes for all its forks, and the patterns of built-in roles are constants."""
    held: set[str] = set()
    for pattern in patterns:
        if pattern.startswith("-"):
            held = {name for name in held if not fnmatchcase(name, pattern[1:])}
        else:
            held |= {name for name in known if fnmatchcase(name, pattern)}
    return frozenset(held)


class AccessSource(Protocol):
    """The store of access."""

    def load(self, principal: Principal, tenant_id: str) -> Access | None:
        """The current permissions of a caller in a tenant; None for a caller who is not a member.

        Raises ScopeEnded if the session or the tenant is gone, and Unauthenticated for an API key that has ended.
        """

    def tenant_at(self, principal: Principal, subdomain: str) -> str | None:
        """The id of the tenant with this subdomain, if the caller may know of it."""


@dataclass(frozen=True, slots=True)
class _Known:
    access: Access
    slots: tuple[int, ...]
    stamp: Stamp


class AccessMemory:
    """Access in the memory of this process. Whatever may have changed is loaded again."""

    def __init__(self, source: AccessSource, generations: Generations) -> None:
        self._source = source
        self._generations = generations
        self._known: dict[tuple[str, str], _Known] = {}

    def get(self, principal: Principal, tenant_id: str) -> Access | None:
        """The permissions of a caller in a tenant; None for a non-member. Raises as AccessSource.load."""
        known = self._known.get((principal.credential_id, tenant_id))
        if (
            known is not None
            and self._generations.is_current(known.slots, known.stamp)
            and known.access.expires_at > unix_now()
        ):
            return known.access
        return self._load(principal, tenant_id)

    def tenant_at(self, principal: Principal, subdomain: str) -> str | None:
        """The id of the tenant with this subdomain, if the caller may know of it. Raises as AccessSource.load."""
        own = principal.tenant_id
        access = self.get(principal, own) if own else None
        if access is not None and access.subdomain == subdomain:
            return own
        return self._source.tenant_at(principal, subdomain)

    def forget(self, principal: Principal, tenant_id: str) -> None:
        """Load it again next time."""
        self._known.pop((principal.credential_id, tenant_id), None)

    def _load(self, principal: Principal, tenant_id: str) -> Access | None:
        slots = self._generations.slots(access_tags(principal, tenant_id))
        # Taken before the read, so that a change during the read makes the stamp outdated.
        stamp = self._generations.stamp(slots)
        access = self._source.load(principal, tenant_id)
        if access is None or stamp is None:
            return access
        if len(self._known) >= REMEMBERED:
            self._known.clear()
        self._known[principal.credential_id, tenant_id] = _Known(access, slots, stamp)
        return access


def access_tags(principal: Principal, tenant_id: str) -> tuple[str, ...]:
    """The tags that invalidate the access of a caller."""
    own = (session_tag(principal.session_id),) if principal.session_id else ()
    return (*own, access_tag(tenant_id))


def access_tag(tenant_id: str) -> str:
    """The tag of all data that decides access in a tenant."""
    return f"access:{tenant_id}"


def session_tag(session_id: str) -> str:
    """The tag of a session's state."""
    return f"session:{session_id}"
