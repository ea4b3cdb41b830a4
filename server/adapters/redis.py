"""Redis, as far as the foundation needs it: is it there, and the hint that the event log has grown."""

from collections.abc import AsyncIterator
from time import monotonic

import redis
import redis.asyncio
from redis.backoff import ExponentialWithJitterBackoff, NoBackoff
from redis.retry import Retry

from server.kernel.loops import Loop

CHANNEL = "plinth:events"
# Hints within this are one hint: readers read everything that is new, and a hint costs 150 us.
COALESCE = 0.02
SILENCE = 1.0
# Seconds without a hint after which Redis is asked whether it is there. After twice as many, it counts as gone.
QUIET = 5.0


def connect(dsn: str, timeout: float) -> "redis.Redis":
    """A client whose commands take at most `timeout` seconds, or twice that on a connection that turns out to be dead.

    By default it would try again three times and sleep for seconds in between, which every call would wait for.
    """
    once = Retry(NoBackoff(), 1)
    return redis.Redis.from_url(dsn, socket_timeout=timeout, socket_connect_timeout=timeout, retry=once)


class EventAnnouncer:
    """Tells readers of the event log that it has grown. A hint that is lost costs them a poll, nothing else."""

    def __init__(self, client: "redis.Redis") -> None:
        self._client = client
        self._has_news = False
        self._loop = Loop("announcer", self._pass_on, SILENCE, at_end=True)

    def start(self) -> None:
        """Begin to pass hints on."""
        self._loop.start()

    def announce(self) -> None:
        """Something was committed. Never waits and never fails."""
        self._has_news = True
        self._loop.wake()

    def close(self) -> None:
        """Pass on what is left, and end."""
        self._loop.stop(SILENCE)

    def _pass_on(self) -> None:
        if not self._has_news:
            return
        # Before the hint: what is committed meanwhile gets a hint of its own.
        self._has_news = False
        try:
            self._client.publish(CHANNEL, b"1")
        except redis.RedisError:
            # Readers poll while Redis is away; health tells that it is.
            self._loop.pause(SILENCE)
        self._loop.pause(COALESCE)


async def hints(dsn: str, timeout: float) -> AsyncIterator[None]:
    """One item per hint. Ends with redis.RedisError when Redis goes away."""
    client = redis.asyncio.Redis.from_url(
        dsn,
        socket_connect_timeout=timeout,
        retry=Retry(ExponentialWithJitterBackoff(cap=SILENCE, base=0.05), 1),
    )
    async with client, client.pubsub() as subscription:
        await subscription.subscribe(CHANNEL)
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
