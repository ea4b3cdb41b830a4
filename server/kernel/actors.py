"""Actors: the users, API keys and services that the audit log names as authors of changes."""

from dataclasses import dataclass

NOBODY, USER, API_KEY, PLATFORM = range(4)


@dataclass(frozen=True, slots=True)
class Actor:
    """The author of a change."""

    kind: int = NOBODY
    id: str | None = None
    session_id: str | None = None
