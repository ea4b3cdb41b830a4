"""How deliveries of a scene get on."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from tests.domains.webhooks.scene import Scene

PENDING, SUCCEEDED, FAILED, CANCELLED = 1, 2, 3, 4


def run(work: Callable[[], Awaitable[None]], place: Scene, **options: Any) -> None:
    """Do it while a dispatcher and an engine are working."""

    async def go() -> None:
        async with place.working(**options):
            await work()

    asyncio.run(go())


def statuses(place: Scene, webhook: str) -> list[int]:
    return [row["status"] for row in place.deliveries(webhook)]


def settled(place: Scene, webhook: str, number: int) -> Callable[[], bool]:
    """Whether so many deliveries have succeeded, and nothing is left to do for them."""
    return lambda: statuses(place, webhook).count(SUCCEEDED) >= number and not queues_of(place, webhook)


def queues_of(place: Scene, webhook: str) -> list[dict[str, Any]]:
    return [row for row in place.queues() if str(row["webhook_id"]) == webhook]
