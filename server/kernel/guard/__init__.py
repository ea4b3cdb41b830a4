"""Guards of calls: credentials, access, limits, blocks, threads."""

from server.kernel.guard.access import Permissions, access_tag, session_tag
from server.kernel.guard.applied_limits import LimitStandings
from server.kernel.guard.blocks import BLOCKS_TAG, Blocked
from server.kernel.guard.guesses import Guesses
from server.kernel.guard.limits import LimitsAway, RateLimiter
from server.kernel.guard.pools import set_headers
from server.kernel.guard.tokens import AccessTokens

__all__ = [
    "BLOCKS_TAG",
    "AccessTokens",
    "Blocked",
    "Guesses",
    "LimitStandings",
    "LimitsAway",
    "Permissions",
    "RateLimiter",
    "access_tag",
    "session_tag",
    "set_headers",
]
