"""Visibility: which events of a tenant a subscriber gets.

A subscriber sees the events of a service with the permission to read its resource. Those about what another user owns
need the permission that shows it as well.
"""

from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import NamedTuple

EVERY = "*"
# Sets of permissions and of types that subscribers of a process have at the same time.
REMEMBERED = 1_000


class Seen(NamedTuple):
    """The types of events that a subscriber wants and may see."""

    types: frozenset[str]
    of_others: frozenset[str]
    """Those of them that are seen whichever user they are about."""


class Visibility:
    """Knows every type of event, and who may see it."""

    def __init__(self, readable_by: Mapping[str, str], revealed_by: Mapping[str, str]) -> None:
        """By type: the permission to see its events, and the permission to see those about what others own."""
        self._readable_by = readable_by
        self._revealed_by = revealed_by
        # Subscribers with the same permissions share one object, by which they are grouped.
        self.seen = lru_cache(maxsize=REMEMBERED)(self._seen)

    def unknown(self, patterns: Sequence[str]) -> list[str]:
        """The patterns that match no type."""
        return [pattern for pattern in patterns if not any(matches((pattern,), name) for name in self._readable_by)]

    def _seen(self, patterns: tuple[str, ...], permissions: frozenset[str]) -> Seen:
        types = frozenset(
            name
            for name, permission in self._readable_by.items()
            if permission in permissions and matches(patterns, name)
        )
        return Seen(types, frozenset(name for name in types if self._revealed_by.get(name) in permissions))


def matches(patterns: Iterable[str], event_type: str) -> bool:
    """Whether one of the patterns is `*`, the type itself, or its family: `page.*`."""
    family = f"{event_type.partition('.')[0]}.*"
    return any(pattern in (EVERY, family, event_type) for pattern in patterns)
