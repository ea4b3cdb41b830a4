"""Slots: how many queues a worker visits at once, and how many of them one webhook or one tenant may have.

Whoever hangs holds its slots for as long as an attempt may take. So nobody gets all of them, and who is known to fail
gets next to none: all failing webhooks together have half of the slots.
"""

from collections import Counter

from server.domains.webhooks.queues import Room, Visit


class Slots:
    """The slots of one worker."""

    def __init__(self, concurrency: int) -> None:
        self._concurrency = concurrency
        self._share = max(1, concurrency // 10)
        self._failing_share = max(1, concurrency // 100)
        self._tenant_share = max(1, concurrency * 2 // 5)
        self._webhooks: Counter[str] = Counter()
        self._tenants: Counter[str] = Counter()
        self._failing = 0
        self._taken = 0

    @property
    def free(self) -> int:
        """How many there are."""
        return self._concurrency - self._taken

    @property
    def room(self) -> Room:
        """What may be claimed."""
        return Room(
            room=self.free,
            failing_room=max(0, max(1, self._concurrency // 2) - self._failing),
            share=self._share,
            failing_share=self._failing_share,
            tenant_share=self._tenant_share,
            webhooks=self._webhooks,
            tenants=self._tenants,
        )

    def take(self, visit: Visit) -> None:
        """A visit begins."""
        self._count(visit, 1)

    def give_back(self, visit: Visit) -> None:
        """A visit has ended."""
        self._count(visit, -1)

    def _count(self, visit: Visit, number: int) -> None:
        self._taken += number
        self._failing += number if visit.failing else 0
        for counter, key in ((self._webhooks, visit.webhook_id), (self._tenants, visit.tenant_id)):
            counter[key] += number
            if not counter[key]:
                del counter[key]
