"""Pauses that receivers asked for, kept for the visits under way: what is claimed later learns it from the database."""

from dataclasses import dataclass
from datetime import datetime

from server.domains.webhooks.queues import Visit

# Beyond it, none is worth an entry: whoever asks learns it from the database.
MOST = 1000


@dataclass(slots=True)
class _Pause:
    end: datetime
    known: datetime | None = None
    """Since when claims know of it."""


class Pauses:
    """The pauses that one worker heard of."""

    def __init__(self) -> None:
        self._pauses: dict[str, _Pause] = {}

    def note(self, webhook_id: str, end: datetime) -> None:
        """A receiver asked for a pause; that is not in the database yet."""
        while len(self._pauses) >= MOST:
            del self._pauses[next(iter(self._pauses))]
        self._pauses.pop(webhook_id, None)
        self._pauses[webhook_id] = _Pause(end)

    def settle(self, webhook_id: str, now: datetime) -> None:
        """What is claimed from now on knows of it."""
        pause = self._pauses.get(webhook_id)
        if pause is not None:
            pause.known = now

    def end_for(self, visit: Visit, now: datetime) -> datetime | None:
        """Until when a visit has to wait, if it has to."""
        pause = self._pauses.get(visit.webhook_id)
        if pause is None or pause.end <= now:
            return None
        return pause.end if pause.known is None or visit.claim_time < pause.known else None
