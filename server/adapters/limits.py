"""Rate limits in Redis: one atomic script per lease (see server/kernel/guard/limits.py)."""

import hashlib
from collections.abc import Sequence

from server.adapters.breaker import Breaker
from server.adapters.scripts import Scripting
from server.kernel.guard.limits import Grant, LimitsAway
from server.kernel.rates import Rate

PREFIX = "plinth:limit:"
MICROSECONDS = 1e6
# Times are those of Redis, in microseconds, so that the clocks of hosts do not matter.
LEASE = """
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local interval, capacity, want, unspent, since =
  tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[5])
local arrival = tonumber(redis.call('GET', KEYS[1]) or now)
-- What would have been gained meanwhile anyway is not given back a second time.
if unspent > 0 then arrival = arrival - math.max(0, unspent * interval - math.max(0, now - since)) end
if arrival < now then arrival = now end
local free = capacity - (arrival - now) / interval
local available = math.floor(free + 1e-6)
local share = math.max(1, math.floor(available / 8))
local granted = math.max(0, math.min(want, available, share))
arrival = math.ceil(arrival + granted * interval)
if arrival > now then
  redis.call('SET', KEYS[1], string.format('%.0f', arrival), 'PX', math.ceil((arrival - now) / 1000) + 1000)
elseif unspent > 0 then
  -- All calls are there again.
  redis.call('DEL', KEYS[1])
end
local retry = 0
if granted == 0 then retry = (1 - free) * interval end
return {granted, math.max(0, available - granted), math.ceil(retry), math.ceil(arrival - now), now}
"""


class RedisLimits:
    """The limits of all workers."""

    def __init__(self, client: Scripting[Sequence[int]], breaker: Breaker) -> None:
        self._breaker = breaker
        self._script = client.register_script(LEASE)

    def lease(self, key: str, rate: Rate, want: int, unspent: int, since: int) -> Grant:
        """Lease up to `want` calls, and return unspent ones. Raises LimitsAway."""
        arguments = (rate.interval * MICROSECONDS, rate.capacity, want, unspent, since)
        with self._breaker.guard(LimitsAway):
            granted, remaining, retry, reset, at = self._script(keys=[PREFIX + _name(key, rate)], args=arguments)
        return Grant(granted, remaining, retry / MICROSECONDS, reset / MICROSECONDS, at)


def _name(key: str, rate: Rate) -> str:
    """A short name that reveals no address. A key with another rate starts anew."""
    return hashlib.blake2b(f"{key} {rate.calls}/{rate.period}".encode(), digest_size=16).hexdigest()
