"""Which programs `plinth up` will start, found before anything is: what is missing is told at once and whole."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from server.embedded import envoy, postgres, redis
from server.embedded.faults import Fault
from server.settings import Settings


@dataclass(frozen=True)
class Inventory:
    """Programs of the engines that a stack has to reach, and what a person should know of them."""

    engines: tuple[Path, ...]
    notes: tuple[str, ...]


def take(settings: Settings) -> Inventory:
    """Find every program that is needed with these settings. Raises Fault with a line for each that is missing."""
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
