"""Scripts in Redis, as types: redis-py does not say what calling one takes and gives."""

from collections.abc import Iterable, Sequence
from typing import Protocol, TypeVar

Answer_co = TypeVar("Answer_co", covariant=True)


class Script(Protocol[Answer_co]):
    """A script that a client has registered."""

    def __call__(self, *, keys: Sequence[str], args: Iterable[bytes | str | float]) -> Answer_co:
        """Run it; what it answers. Raises redis.RedisError."""


class Scripting(Protocol[Answer_co]):
    """A client, such as redis.Redis, whose scripts give such answers."""

    def register_script(self, script: str) -> Script[Answer_co]:
        """The script of this text, which is in Lua."""
