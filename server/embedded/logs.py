"""Where the lines of the children go: all to a rotated file each, the urgent ones also to the terminal."""

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
# Seconds without a lost line after which logs count as written again: a disk is full for long lines first.
CALM = 2.0
COLOURS = (36, 33, 32, 35, 34, 96, 93, 92, 95, 94)
# How the line of a call begins, of which there may be thousands in a second: told without parsing it.
CALL = re.compile(r'\{"time":"[^"]*","level":"INFO",')
# What a person at a terminal does not need of a structured record.
UNSHOWN = {"level", "message", "time", "timestamp", "logger", "process", "role", "exception"}


def is_urgent_record(line: str) -> bool:
    """Whether a line of a Python role is for a person: a record of level warning or above, or no record at all."""
    if CALL.match(line):
        return False
    record = _record(line)
    if record is None:
        return bool(line.strip())
    return logging.getLevelNamesMapping().get(str(record.get("level", "")).upper(), 0) >= logging.WARNING


def readable(line: str) -> str:
    """Put a structured record as a person reads it: level, message, the rest, traceback. Other lines stay."""
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
    """The terminal: quiet unless asked otherwise, in colour only where colour is seen."""

    def __init__(self, stream: TextIO, *, verbose: bool = False, width: int = 10) -> None:
        self.verbose = verbose
        self._stream = stream
        self._width = width
        self._colour = stream.isatty() and "NO_COLOR" not in os.environ
        self._seen: list[str] = []

    def say(self, text: str) -> None:
        """Print words of the supervisor's own."""
        # A terminal that was closed is no reason to leave processes behind.
        with suppress(OSError, ValueError):
            self._stream.write(f"{text}\n")
            self._stream.flush()

    def show(self, name: str, line: str) -> None:
        """Print a child's line after the child's name."""
        prefix = self._paint(name, f"{name:<{self._width}} |")
        self.say("\n".join(f"{prefix} {part}" for part in readable(line).splitlines() or [""]))

    def bold(self, text: str) -> str:
        """Make the text stand out, where the terminal can."""
        return f"\x1b[1m{text}\x1b[0m" if self._colour else text

    def _paint(self, name: str, text: str) -> str:
        if not self._colour:
            return text
        if name not in self._seen:
            self._seen.append(name)
        return f"\x1b[{COLOURS[self._seen.index(name) % len(COLOURS)]}m{text}\x1b[0m"


class Terminal:
    """The terminal that a command was started at, if it was at one."""

    def __init__(self) -> None:
        self._descriptor = next((one for one in (0, 1, 2) if _is_controlling(one)), None)

    def is_gone(self) -> bool:
        """Whether there was one, and its window or connection was closed since."""
        return self._descriptor is not None and not _is_controlling(self._descriptor)


def _is_controlling(descriptor: int) -> bool:
    try:
        os.tcgetpgrp(descriptor)
    except OSError:
        return False
    return True


class LogFile(RotatingFileHandler):
    """A rotated file that raises OSError when it cannot be written; the library would print each failure."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - the library's name
        """Called while the failure is handled."""
        del record
        raise  # noqa: PLE0704 - what is being handled


class LogFolder:
    """One rotated file per child. What cannot be written is lost and told of: the children go on."""

    def __init__(
        self, folder: Path, *, max_bytes: int, backups: int, tell: Callable[[str], object] = lambda _: None
    ) -> None:
        """`tell` is given a line when logs begin to be lost, and when they are written again."""
        self._folder = folder
        self._max_bytes = max_bytes
        self._backups = backups
        self._files: dict[str, LogFile] = {}
        self._tell = tell
        self._lost = 0
        self._lost_at = 0.0
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)

    def write(self, name: str, lines: str) -> None:
        """Append one or more lines to the child's file, starting a new file when this one is full."""
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
        """Tell where the lines of a child are."""
        return self._folder / f"{name}.log"

    def crashes(self, name: str) -> Path:
        """Tell where a child writes what it was at when it crashed."""
        return self._folder / f"{name}.crash.log"

    def close(self) -> None:
        """Close the files. A forked child does it too: a rotated file that it held would keep its space on the disk."""
        for file in self._files.values():
            # What waits for a full disk is lost.
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
    """Turns what a pipe yields into lines. A line without end is cut, so that no child can fill the memory."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> list[str]:
        """Take data, give the lines that it completes."""
        *lines, self._rest = (self._rest + data).split(b"\n")
        if len(self._rest) > LONGEST_LINE:
            lines.append(self._rest)
            self._rest = b""
        return [line.decode(errors="replace").rstrip("\r") for line in lines]

    def flush(self) -> list[str]:
        """Give what was left without an end."""
        rest, self._rest = self._rest, b""
        return [rest.decode(errors="replace")] if rest else []
