"""Redis: the client, and the hints that the event log has grown and that jobs were enqueued."""

from collections.abc import AsyncIterator
from time import monotonic

import redis
import redis.asyncio
from redis.backoff import ExponentialWithJitterBackoff, NoBackoff
from redis.retry import Retry

from server.kernel.hints import PACE
from server.kernel.loops import Loop

EVENTS = "plinth:events"
JOBS = "plinth:jobs"
SILENCE = 1.0
# Seconds without a hint after which Redis is pinged. After twice as many it counts as gone.
QUIET = 5.0


def connect(dsn: str, timeout: float) -> "redis.Redis":
    """A client whose commands take at most `timeout` seconds, or twice that on a connection that is found dead.

    By default it would retry three times with pauses of seconds, for which every call would wait.
    """
    once = Retry(NoBackoff(), 1)
    return redis.Redis.from_url(dsn, socket_timeout=timeout, socket_connect_timeout=timeout, retry=once)


class CommitAnnouncer:
    """Notifies readers of the event log, and workers, of commits.

    A lost hint delays them until their next poll, no longer.
    """

    def __init__(self, client: "redis.Redis") -> None:
        self._client = client
        self._has_news = {EVENTS: False, JOBS: False}
        self._loop = Loop("announcer", self._pass_on, SILENCE, at_end=True)

    def start(self) -> None:
        """Start to send hints."""
        self._loop.start()

    def announce(self, *, has_jobs: bool) -> None:
        """Note a commit. Never blocks and never fails."""
        self._has_news[EVENTS] = True
        if has_jobs:
            self._has_news[JOBS] = True
        self._loop.wake()

    def close(self) -> None:
        """Send the last hint, and stop."""
        self._loop.stop(SILENCE)

    def _pass_on(self) -> None:
        news = [channel for channel, is_new in self._has_news.items() if is_new]
        if not news:
            return
        try:
            for channel in news:
                # Cleared before the hint is sent, so that a later commit gets a hint of its own.
                self._has_news[channel] = False
                self._client.publish(channel, b"1")
        except redis.RedisError:
            # Readers poll while Redis does not answer; health reports that it does not.
            self._loop.pause(SILENCE)
        # One hint stands for all commits until then, because readers read no sooner. Fifty hints a second took a tenth
        # of an api worker that creates pages.
        self._loop.pause(PACE)


async def hints(dsn: str, timeout: float, channel: str = EVENTS) -> AsyncIterator[None]:
    """Yields once per hint. Ends with redis.RedisError when Redis goes away."""
    client = redis.asyncio.Redis.from_url(
        dsn,
        socket_connect_timeout=timeout,
        retry=Retry(ExponentialWithJitterBackoff(cap=SILENCE, base=0.05), 1),
    )
    async with client, client.pubsub() as subscription:
        await subscription.subscribe(channel)
        heard, asked = monotonic(), False
        while True:
            message = await subscription.get_message(ignore_subscribe_messages=True, timeout=SILENCE)
            if message is not None:
                heard, asked = monotonic(), False
                if message["type"] == "message":
                    yield None
            elif monotonic() - heard > 2 * QUIET:
                raise redis.TimeoutError("Redis has fallen silent")
            elif monotonic() - heard > QUIET and not asked:
                asked = True
                await subscription.ping()
