"""Cached answers in Redis (see server/kernel/caching/cache.py)."""

from server.adapters.breaker import Breaker
from server.adapters.scripts import Scripting
from server.kernel.caching.cache import StoreAway

PREFIX = "plinth:answer:"
# A value with another stamp is from before a write.
TAKE = """
local value = redis.call('GET', KEYS[1])
if value and string.sub(value, 1, #ARGV[1]) == ARGV[1] then return value end
if redis.call('SET', KEYS[2], ARGV[2], 'NX', 'PX', ARGV[3]) then return 1 end
return 0
"""
RELEASE = """
if redis.call('GET', KEYS[2]) == ARGV[1] then redis.call('DEL', KEYS[2]) end
if ARGV[2] then redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3]) end
"""


class RedisAnswers:
    """Answers that processes share."""

    def __init__(self, client: Scripting[bytes | int | None], breaker: Breaker) -> None:
        self._breaker = breaker
        self._take = client.register_script(TAKE)
        self._release = client.register_script(RELEASE)

    def take(self, key: str, stamp: bytes, claim: str, seconds: float) -> bytes | bool:
        """The value if it carries this stamp; else True if the caller now holds the claim, False if another does."""
        with self._breaker.guard(StoreAway):
            found = self._take(keys=_names(key), args=(stamp, claim, int(seconds * 1000)))
        return found if isinstance(found, bytes) else bool(found)

    def put(self, key: str, value: bytes, claim: str, seconds: float) -> None:
        """Store a value for `seconds`, and release the claim."""
        with self._breaker.guard(StoreAway):
            self._release(keys=_names(key), args=(claim, value, max(1, int(seconds * 1000))))

    def release(self, key: str, claim: str) -> None:
        """Release the claim without a value."""
        with self._breaker.guard(StoreAway):
            self._release(keys=_names(key), args=(claim,))


def _names(key: str) -> list[str]:
    return [f"{PREFIX}{key}", f"{PREFIX}{key}:claim"]
