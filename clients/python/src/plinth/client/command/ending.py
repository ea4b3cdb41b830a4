"""How commands end, those of the server included: the exit statuses of what happens to any program."""

import errno
import os
import signal
import sys
from collections.abc import Callable

PIPE_CLOSED, INTERRUPTED, NOT_WRITTEN = 128 + signal.SIGPIPE, 128 + signal.SIGINT, 1
"""The exit statuses that shells report for a command ended by a signal, and that of a full disk."""


def ended(work: Callable[[], int]) -> int:
    """The exit status of a command, also if it is interrupted, or if nobody takes its output."""
    try:
        status = work()
        sys.stdout.flush()
    except BrokenPipeError:
        # The reader of the output, such as `head`, has closed it.
        _drop_output()
        return PIPE_CLOSED
    except KeyboardInterrupt:
        return INTERRUPTED
    except OSError as error:
        if error.errno != errno.ENOSPC or error.filename is not None:
            raise
        _drop_output()
        sys.stderr.write(f"plinth: standard output: {error.strerror}\n")
        return NOT_WRITTEN
    return status


def _drop_output() -> None:
    """Redirect what is left in the buffer to nothing, because flushing it at exit would fail again."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
