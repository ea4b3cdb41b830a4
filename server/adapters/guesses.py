"""Failed credentials in Redis, shared by all workers (see server/kernel/guard/guesses.py)."""

import hashlib

from server.adapters.breaker import Breaker
from server.adapters.scripts import Scripting
from server.kernel.guard.limits import LimitsAway

PREFIX = "plinth:guesses:"
ADD = """
local count = redis.call('SCARD', KEYS[1])
if redis.call('SISMEMBER', KEYS[1], ARGV[1]) == 1 then return 0 end
if count < tonumber(ARGV[3]) then redis.call('SADD', KEYS[1], ARGV[1]) end
if count == 0 then redis.call('PEXPIRE', KEYS[1], ARGV[2]) end
return 1
"""


class RedisMarks:
    """The marks of all workers: one set per subject."""

    def __init__(self, client: Scripting[int], breaker: Breaker) -> None:
        self._breaker = breaker
        self._script = client.register_script(ADD)

    def add(self, subject: str, mark: bytes, seconds: float, most: int) -> bool:
        """Whether a mark is new for a subject. Raises LimitsAway."""
        # A short name that reveals no address.
        name = hashlib.blake2b(subject.encode(), digest_size=16).hexdigest()
        with self._breaker.guard(LimitsAway):
            return bool(self._script(keys=[PREFIX + name], args=(mark, int(seconds * 1000), most)))
