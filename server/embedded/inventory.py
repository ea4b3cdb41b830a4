"""The programs that `plinth up` needs, found before any is started, so that all missing ones are reported at once."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from server.embedded import envoy, postgres, redis
from server.embedded.faults import Fault
from server.settings import Settings


@dataclass(frozen=True)
class Inventory:
    """The programs of the engines that a stack must reach, and notes about them for the user."""

    engines: tuple[Path, ...]
    notes: tuple[str, ...]


def take(settings: Settings) -> Inventory:
    """Find every program that these settings need. Raises Fault with a line for each missing one."""
    faults: list[str] = []

    def found(find: Callable[[Settings], Path]) -> tuple[Path, ...]:
        try:
            return (find(settings),)
        except Fault as fault:
            faults.append(str(fault))
            return ()

    engines: tuple[Path, ...] = ()
    if settings.database_url is None:
        engines += found(postgres.binaries)
    if settings.redis_url is None:
        engines += found(redis.binary)
    gateway = found(envoy.binary)
    if faults:
        raise Fault("\n".join(faults))
    return Inventory(engines, tuple(note for program in gateway if (note := envoy.doubt(program))))
