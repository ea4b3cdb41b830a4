"""The lines of the children: each child's into a rotated file, urgent ones also to the terminal."""

import json
import logging
import os
import re
import time
from collections.abc import Callable
from contextlib import suppress
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import TextIO

LONGEST_LINE = 64 * 1024
# Seconds without a lost line after which logs count as written again: a nearly full disk fails long lines first.
CALM = 2.0
COLOURS = (36, 33, 32, 35, 34, 96, 93, 92, 95, 94)
# The beginning of a call's line, of which there may be thousands per second: recognised without parsing.
CALL = re.compile(r'\{"time":"[^"]*","level":"INFO",')
# Fields of a structured record that the terminal does not show.
UNSHOWN = {"level", "message", "time", "timestamp", "logger", "process", "role", "exception"}


def is_urgent_record(line: str) -> bool:
    """Whether a line of a Python role is for the user: a record of level warning or above, or no record at all."""
    if CALL.match(line):
        return False
    record = _record(line)
    if record is None:
        return bool(line.strip())
    return logging.getLevelNamesMapping().get(str(record.get("level", "")).upper(), 0) >= logging.WARNING


def readable(line: str) -> str:
    """Format a structured record for people: level, message, the rest, traceback. Other lines stay unchanged."""
    record = _record(line)
    if record is None or "message" not in record:
        return line
    rest = " ".join(f"{key}={value}" for key, value in record.items() if key not in UNSHOWN)
    head = " ".join(filter(None, (str(record.get("level", "")).upper(), str(record["message"]), rest)))
    trace = record.get("exception")
    return f"{head}\n{trace}" if isinstance(trace, str) else head


def _record(line: str) -> dict[str, object] | None:
    if not line.startswith("{"):
        return None
    try:
        record = json.loads(line)
    except ValueError:
        return None
    return record if isinstance(record, dict) else None


class Console:
    """The terminal: quiet unless verbose, in colour only if it supports colour."""

    def __init__(self, stream: TextIO, *, verbose: bool = False, width: int = 10) -> None:
        self.verbose = verbose
        self._stream = stream
        self._width = width
        self._colour = stream.isatty() and "NO_COLOR" not in os.environ
        self._seen: list[str] = []

    def say(self, text: str) -> None:
        """Print a message of the supervisor."""
        # A closed terminal must not leave processes behind.
        with suppress(OSError, ValueError):
            self._stream.write(f"{text}\n")
            self._stream.flush()

    def show(self, name: str, line: str) -> None:
        """Print a line of a child, after the child's name."""
        prefix = self._paint(name, f"{name:<{self._width}} |")
        self.say("\n".join(f"{prefix} {part}" for part in readable(line).splitlines() or [""]))

    def bold(self, text: str) -> str:
        """Make the text bold, if the terminal supports it."""
        return f"\x1b[1m{text}\x1b[0m" if self._colour else text

    def _paint(self, name: str, text: str) -> str:
        if not self._colour:
            return text
        if name not in self._seen:
            self._seen.append(name)
        return f"\x1b[{COLOURS[self._seen.index(name) % len(COLOURS)]}m{text}\x1b[0m"


class Terminal:
    """The terminal from which a command was started, if any."""

    def __init__(self) -> None:
        self._descriptor = next((one for one in (0, 1, 2) if _is_controlling(one)), None)

    def is_gone(self) -> bool:
        """Whether there was a terminal whose window or connection has since been closed."""
        return self._descriptor is not None and not _is_controlling(self._descriptor)


def _is_controlling(descriptor: int) -> bool:
    try:
        os.tcgetpgrp(descriptor)
    except OSError:
        return False
    return True


class LogFile(RotatingFileHandler):
    """A rotated file that raises OSError if it cannot be written. The library would print each failure."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - the library's name
        """Called by logging within the handler of a failure."""
        del record
        raise  # noqa: PLE0704 - what is being handled


class LogFolder:
    """One rotated file per child. Lines that cannot be written are lost and counted; the children continue."""

    def __init__(
        self, folder: Path, *, max_bytes: int, backups: int, tell: Callable[[str], object] = lambda _: None
    ) -> None:
        """`tell` gets a line when logs begin to be lost, and when they are written again."""
        self._folder = folder
        self._max_bytes = max_bytes
        self._backups = backups
        self._files: dict[str, LogFile] = {}
        self._tell = tell
        self._lost = 0
        self._lost_at = 0.0
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)

    def write(self, name: str, lines: str) -> None:
        """Append one or more lines to the child's file. A full file is rotated first."""
        try:
            self._file(name).emit(logging.makeLogRecord({"msg": lines}))
        except OSError as error:
            if not self._lost:
                self._tell(f"plinth: {self._folder} cannot be written: {error.strerror}; lines are lost until it can")
            self._lost += lines.count("\n") + 1
            self._lost_at = time.monotonic()
        else:
            if not self._lost or time.monotonic() - self._lost_at < CALM:
                return
            self._tell(f"plinth: {self._folder} can be written again; {self._lost} lines were lost")
            self._lost = 0

    def path(self, name: str) -> Path:
        """The file with the lines of a child."""
        return self._folder / f"{name}.log"

    def crashes(self, name: str) -> Path:
        """The file in which a child reports its position at a crash."""
        return self._folder / f"{name}.crash.log"

    def close(self) -> None:
        """Close the files. A forked child does so too: a rotated file that it kept open would take disk space."""
        for file in self._files.values():
            # Data buffered for a full disk are lost.
            with suppress(OSError):
                file.close()
        self._files.clear()

    def _file(self, name: str) -> RotatingFileHandler:
        if name not in self._files:
            self._files[name] = LogFile(
                self.path(name), maxBytes=self._max_bytes, backupCount=self._backups, encoding="utf-8"
            )
        return self._files[name]


class Lines:
    """Splits the data of a pipe into lines. A line without an end is cut, so that no child can fill the memory."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> list[str]:
        """Add data. Returns the lines that it completes."""
        *lines, self._rest = (self._rest + data).split(b"\n")
        if len(self._rest) > LONGEST_LINE:
            lines.append(self._rest)
            self._rest = b""
        return [line.decode(errors="replace").rstrip("\r") for line in lines]

    def flush(self) -> list[str]:
        """The remaining data without a line end."""
        rest, self._rest = self._rest, b""
        return [rest.decode(errors="replace")] if rest else []
