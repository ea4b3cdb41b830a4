"""Logs: one JSON object per line on standard error, for people's tools and for log collectors.

Lines of calls do not go through `logging`: a record costs 13 us, a line here 3 us, and each call writes one. They are
collected, and a thread of their own writes them ten times a second. A write per call would release the interpreter
lock, for which eight threads contend. Faults go through `logging` at once.
"""

import atexit
import json
import logging
import sys
import time
from collections import deque
from contextlib import suppress

from prometheus_client import Counter

from server.kernel.loops import Loop

BATCH_SECONDS = 0.1
MOST_LINES = 50_000
_second = (0, "")

LOST = Counter("plinth_call_lines_lost", "Lines of calls that could not be written to standard error.")


class JsonLines(logging.Formatter):
    """Formats a record as one line of JSON."""

    def format(self, record: logging.LogRecord) -> str:
        """The line, without a line break."""
        fields = {
            "time": timestamp(record.created),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            fields["exception"] = self.formatException(record.exc_info)
        return json.dumps(fields, ensure_ascii=False)


def timestamp(moment: float) -> str:
    """A Unix time as ISO 8601 in UTC, with milliseconds."""
    global _second  # noqa: PLW0603 - one string per second is remembered; a race costs a repetition
    second = int(moment)
    known, text = _second
    if known != second:
        text = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))
        _second = (second, text)
    return f"{text}.{int((moment - second) * 1000):03d}Z"


class CallLog:
    """Collects the lines of calls and writes them in batches."""

    def __init__(self) -> None:
        # If standard error is not read, the oldest lines are dropped, so that memory stays bounded.
        self._lines: deque[tuple[float, str]] = deque(maxlen=MOST_LINES)
        self._loop: Loop | None = None

    def write(self, fields: str) -> None:
        """Add a line. `fields` are already JSON."""
        self._lines.append((time.time(), fields))

    def start(self) -> None:
        """Write the collected lines regularly, and once more at the end of the process."""
        atexit.register(self.close)
        self._loop = Loop("call log", self.flush, BATCH_SECONDS)
        self._loop.start()

    def close(self) -> None:
        """Write the remaining lines, if possible."""
        with suppress(OSError, ValueError):
            self.flush()

    def flush(self) -> None:
        """Write the collected lines. Raises OSError, after which they are lost, so that memory stays bounded."""
        lines: list[str] = []
        with suppress(IndexError):
            while True:
                moment, fields = self._lines.popleft()
                lines.append(f'{{"time":"{timestamp(moment)}","level":"INFO","logger":"plinth.calls",{fields}}}\n')
        if not lines:
            return
        try:
            sys.stderr.write("".join(lines))
            sys.stderr.flush()
        except OSError:
            LOST.inc(len(lines))
            raise


call_log = CallLog()


def configure_logging(level: str) -> None:
    """Send every record of this level and above to standard error."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines())
    logging.basicConfig(level=level, handlers=[handler], force=True)
    # psycopg.pool warns at every attempt to reconnect. Health and the answer 503 already report it.
    logging.getLogger("psycopg.pool").setLevel(logging.ERROR)
    call_log.start()
    logging.getLogger("alembic").setLevel(logging.WARNING)
