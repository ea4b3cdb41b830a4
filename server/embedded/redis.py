"""The embedded Redis, over a unix socket only.

It keeps limits, cached answers and messages in flight. It writes them to a log before it answers, so that an exhausted
limit stays exhausted after Redis was killed and restarted.
"""

import re
import signal
from pathlib import Path

from server.embedded import engines
from server.embedded.children import Program
from server.embedded.privileges import Identity
from server.settings import Settings

READY = re.compile("Ready to accept connections|server is now ready to accept connections at")
# Redis's own warnings at start-up concern kernel settings, which are not tuned for development.
URGENT = re.compile("Guru Meditation|REDIS BUG REPORT|FATAL|OOM")
OPTIONS = {
    "port": "0",
    "unixsocketperm": "700",
    "save": "",
    "appendonly": "yes",
    # Data survive the process at once, and the machine when it writes them to disk. With `everysec`, Redis holds back
    # writes, though not answers, for up to 2 s while a slow disk is still busy with earlier ones.
    "appendfsync": "no",
    "auto-aof-rewrite-min-size": "16mb",
    "daemonize": "no",
    "maxmemory": "64mb",
    # The shortest remaining time is evicted first: cached answers before limits.
    "maxmemory-policy": "volatile-ttl",
    "loglevel": "notice",
    "databases": "1",
}


def binary(settings: Settings) -> Path:
    """Find the server, Redis or Valkey. Raises Fault if both are missing."""
    return engines.find(engines.REDIS, settings.redis_server)


def data_folder(settings: Settings) -> Path:
    """The folder of its log."""
    return settings.data_dir.resolve() / "redis"


def program(settings: Settings, identity: Identity | None) -> Program:
    """The server as a program."""
    options = OPTIONS | {"unixsocket": str(settings.socket("redis")), "dir": str(data_folder(settings))}
    return Program(
        name="redis",
        argv=(str(binary(settings)), *(part for name, value in options.items() for part in (f"--{name}", value))),
        folder=settings.socket_dir,
        identity=identity,
        ready_line=READY,
        stop=((signal.SIGTERM, 3.0),),
        urgent=lambda line: URGENT.search(line) is not None,
    )
