"""Slots: how many queues a worker visits at the same time, in all, per webhook and per tenant.

A receiver that hangs holds its slots for the longest time of an attempt. No webhook may therefore have all slots, and
one that is failing gets very few: all failing webhooks together have half of them.
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
        """Number of free slots."""
        return self._concurrency - self._taken

    @property
    def room(self) -> Room:
        """The bounds for the next claim."""
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
        """Count a visit that begins."""
        self._count(visit, 1)

    def give_back(self, visit: Visit) -> None:
        """Count a visit that has ended."""
        self._count(visit, -1)

    def _count(self, visit: Visit, number: int) -> None:
        self._taken += number
        self._failing += number if visit.failing else 0
        for counter, key in ((self._webhooks, visit.webhook_id), (self._tenants, visit.tenant_id)):
            counter[key] += number
            if not counter[key]:
                del counter[key]
