"""Sinks: where a domain stores the bytes of uploads."""

import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Protocol

import psycopg

from server.kernel.call import Call

log = logging.getLogger("plinth.uploads")
CONCLUDING = ("transaction", "idempotency")
"""The steps that run when all bytes are there, behind a second `authorize`."""
CONNECTION_ENDED = ("08", "57P")
"""Classes of PostgreSQL's errors after which it is unknown what became of a COMMIT."""


class Sink(Protocol):
    """Where the bytes of one upload go. Every method may block; none is called while another one runs."""

    def write(self, data: bytes) -> None:
        """Take the next bytes."""

    def finish(self, sha256: bytes) -> None:
        """All bytes are there, and this is their hash. The transaction of the call follows.

        May raise a problem of what they say.
        """

    def settle(self) -> None:
        """The transaction is committed: remove what it did not need. The last call, if it comes."""

    def abort(self) -> None:
        """Leave nothing: the upload broke off, or the call failed, also after `finish`. The last call, if it comes.

        Neither comes if the process dies, or if the connection to PostgreSQL was lost at the commit: a row may name the
        bytes. A domain sweeps the bytes that no row names.
        """


Begin = Callable[[Call, Any, str], Sink]
"""Begins to store a file; takes the call, its request, and the name of the file in a form. May block. Runs when the
caller is known and allowed."""


def for_each(sinks: Iterable[Sink], act: Callable[[Sink], None]) -> None:
    """Do something with each sink, whatever becomes of the others. Where it fails, bytes are left that no row names."""
    for sink in sinks:
        try:
            act(sink)
        except Exception:
            log.exception("the bytes of an upload are left")


def may_be_committed(error: BaseException) -> bool:
    """Whether the connection was lost, perhaps after the commit. A row may name the bytes then."""
    return isinstance(error, psycopg.OperationalError) and (
        error.sqlstate is None or error.sqlstate.startswith(CONNECTION_ENDED)
    )


@dataclass(frozen=True, slots=True)
class Upload:
    """A file that has arrived."""

    sink: Sink
    size: int
    sha256: bytes
    content_type: str
    """As its sender wrote it. The domain looks at the bytes itself before it believes that."""
    file_name: str
    """As its sender wrote it in a form; empty otherwise."""
