"""The limit of open files, including connections, for this process and its children.

At this limit Envoy neither accepts nor refuses connections, so callers would hang. Envoy's own bound on connections
therefore stays below it; there Envoy closes excess connections.
"""

import resource

# More than any configuration needs. A soft limit that is this high stays unchanged.
WANTED = 65_536
# Files that a process opens beside its connections: logs, sockets, the engines, the other processes.
SPARE = 512
LEAST_CONNECTIONS = 16


def limit() -> int:
    """Number of files that a process may open after it has raised its limit."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    return WANTED if hard == resource.RLIM_INFINITY else hard


def raise_limit() -> None:
    """Raise the soft limit of this process and its children as far as allowed."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = min(WANTED, limit())
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def connections_within(most: int) -> int:
    """The number of connections, at most `most`, that fit below the limit."""
    # At a very low limit, half of it is left for other files.
    return max(LEAST_CONNECTIONS, min(most, limit() - min(SPARE, limit() // 2)))
