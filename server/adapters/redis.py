"""Redis, as far as the foundation needs it: is it there, and the hint that the event log has grown."""

import threading
from collections.abc import AsyncIterator

import redis
import redis.asyncio
from redis.backoff import ExponentialWithJitterBackoff, NoBackoff
from redis.retry import Retry

CHANNEL = "plinth:events"
# Hints within this are one hint: readers read everything that is new, and a hint costs 150 us.
COALESCE = 0.02
SILENCE = 1.0


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
        self._news = threading.Event()
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="announcer", daemon=True)

    def start(self) -> None:
        """Begin to pass hints on."""
        self._thread.start()

    def announce(self) -> None:
        """Something was committed. Never waits and never fails."""
        self._news.set()

    def close(self) -> None:
        """Pass on what is left, and end."""
        self._closed = True
        self._news.set()
        self._thread.join(SILENCE)

    def _run(self) -> None:
        pause = threading.Event()
        while not self._closed:
            self._news.wait()
            self._news.clear()
            try:
                self._client.publish(CHANNEL, b"1")
            except redis.RedisError:
                # Readers poll while Redis is away; health tells that it is.
                pause.wait(SILENCE)
            pause.wait(COALESCE)


async def hints(dsn: str, timeout: float) -> AsyncIterator[None]:
    """One item per hint. Ends with redis.RedisError when Redis goes away."""
    client = redis.asyncio.Redis.from_url(
        dsn, socket_connect_timeout=timeout, retry=Retry(ExponentialWithJitterBackoff(cap=SILENCE, base=0.05), 1)
    )
    async with client, client.pubsub() as subscription:
        await subscription.subscribe(CHANNEL)
        while True:
            if await subscription.get_message(ignore_subscribe_messages=True, timeout=SILENCE) is not None:
                yield None
