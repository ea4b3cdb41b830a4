"""Actors: who does something, as the audit log names them."""

from dataclasses import dataclass

NOBODY, USER, API_KEY, PLATFORM = range(4)


@dataclass(frozen=True, slots=True)
class Actor:
    """Who did it."""

    kind: int = NOBODY
    id: str | None = None
    session_id: str | None = None
