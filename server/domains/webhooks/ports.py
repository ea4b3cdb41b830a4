"""What webhooks need of the outside: somebody who sends a message to a receiver."""

from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager
from datetime import timedelta
from typing import Protocol


class Answer(Protocol):
    """What came of sending a message."""

    @property
    def duration(self) -> timedelta:
        """How long it took."""

    @property
    def status_code(self) -> int:
        """The status that was answered; 0 when none was."""

    @property
    def error(self) -> str:
        """What went wrong when no status was answered: `timeout`, `connection refused` ..."""

    @property
    def headers(self) -> Mapping[str, str]:
        """The headers that were answered."""

    @property
    def body(self) -> str:
        """The beginning of the body that was answered."""


class Sender(Protocol):
    """Sends messages to receivers on the internet, and to nobody else."""

    async def send(self, url: str, headers: Mapping[str, str], body: bytes) -> Answer:
        """POST a message. Never raises for what a receiver does, and ends within its own time limit."""


Senders = Callable[[], AbstractAsyncContextManager[Sender]]
"""Makes a sender for the event loop that is running; it ends with the context."""


def is_success(status_code: int) -> bool:
    """Whether the receiver took the message."""
    return 200 <= status_code < 300  # noqa: PLR2004 - the statuses of success


def fault_of(answer: Answer) -> str:
    """What went wrong, in a few words; empty for a success."""
    if is_success(answer.status_code):
        return ""
    return answer.error or f"status {answer.status_code}"
