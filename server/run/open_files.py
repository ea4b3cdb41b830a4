"""How many files, connections among them, this process and its children may have open.

At the limit Envoy accepts no connection and refuses none: callers would hang. So its own bound on connections stays
below the limit, where it closes what is too much at once.
"""

import resource

# More than anything configured needs; a soft limit that is as high as this stays as it is.
WANTED = 65_536
# What a process opens beside the connections it is there for: logs, sockets, the engines, the other processes.
SPARE = 512
LEAST_CONNECTIONS = 16


def limit() -> int:
    """Files that a process which raised its limit may have open."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    return WANTED if hard == resource.RLIM_INFINITY else hard


def raise_limit() -> None:
    """Let this process and its children open as many files as they may."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = min(WANTED, limit())
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def connections_within(most: int) -> int:
    """How many of `most` connections fit below the limit."""
    # Half of a very low limit is left for the rest.
    return max(LEAST_CONNECTIONS, min(most, limit() - min(SPARE, limit() // 2)))
