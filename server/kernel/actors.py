"""Actors: the user, API key, provider or the platform itself that the audit log names as the author of a change."""

from dataclasses import dataclass

NOBODY, USER, API_KEY, PLATFORM, PROVIDER = range(5)


@dataclass(frozen=True, slots=True)
class Actor:
    """The author of a change."""

    kind: int = NOBODY
    id: str | None = None
    session_id: str | None = None
