"""Pauses that receivers asked for, for the visits under way. Later claims read them from the database."""

from dataclasses import dataclass
from datetime import datetime

from server.domains.webhooks.queues import Visit

# Largest number of pauses. Without an entry, a pause is still found in the database.
MOST = 1000


@dataclass(slots=True)
class _Pause:
    end: datetime
    known: datetime | None = None
    """The time from which claims read it from the database."""


class Pauses:
    """The pauses known to one worker."""

    def __init__(self) -> None:
        self._pauses: dict[str, _Pause] = {}

    def note(self, webhook_id: str, end: datetime) -> None:
        """Add a pause that is not in the database yet."""
        while len(self._pauses) >= MOST:
            del self._pauses[next(iter(self._pauses))]
        self._pauses.pop(webhook_id, None)
        self._pauses[webhook_id] = _Pause(end)

    def settle(self, webhook_id: str, now: datetime) -> None:
        """Mark a pause as stored: later claims read it from the database."""
        pause = self._pauses.get(webhook_id)
        if pause is not None:
            pause.known = now

    def end_for(self, visit: Visit, now: datetime) -> datetime | None:
        """The end of the pause that a visit must observe, or None."""
        pause = self._pauses.get(visit.webhook_id)
        if pause is None or pause.end <= now:
            return None
        return pause.end if pause.known is None or visit.claim_time < pause.known else None
