"""Types for scripts in Redis: redis-py does not declare the arguments and results of a script."""

from collections.abc import Iterable, Sequence
from typing import Protocol, TypeVar

Answer_co = TypeVar("Answer_co", covariant=True)


class Script(Protocol[Answer_co]):
    """A script that a client has registered."""

    def __call__(self, *, keys: Sequence[str], args: Iterable[bytes | str | float]) -> Answer_co:
        """Run the script and return its result. Raises redis.RedisError."""


class Scripting(Protocol[Answer_co]):
    """A client, such as redis.Redis, whose scripts return this type."""

    def register_script(self, script: str) -> Script[Answer_co]:
        """Register a script in Lua."""
