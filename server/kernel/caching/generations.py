"""Generations: whether anything has changed under a tag, told without asking anybody.

A tag (`tenant:<id>:pages`) falls into one of 65,536 slots of a file that all processes of a host map into memory. A
write gives its slots new values before it is answered; whoever keeps something in memory keeps the values with it (the
stamp) and compares. Tags that share a slot drop each other's entries, which costs a computation and nothing else.

- While a write commits, its slots are marked: nothing is kept or served under them. Should the process die there, the
  mark itself is a value nobody has, so nothing older is served after it either.
- Where several hosts share a database, values also go through Redis (`remote`). A host then serves what it keeps for
  at most `WINDOW` after it last compared its slots with Redis, and while Redis is away it serves nothing.
- Slot 0 is in every stamp: a new value there drops everything.
"""

import logging
import mmap
import os
import random
import struct
import threading
from collections.abc import Iterable, Sequence
from functools import lru_cache
from pathlib import Path
from time import monotonic_ns
from typing import Protocol
from zlib import crc32

from server import pulses
from server.reserved_files import open_reserved

log = logging.getLogger("plinth.generations")
SLOTS = 1 << 16
EVERYTHING = 0
LONGEST_REMEMBERED = 150
WINDOW = 0.04
"""Seconds for which a host may not notice another host's write."""
WINDOW_NS = int(WINDOW * 1e9)
# A write that has not ended by then has died: no statement may run that long.
LONGEST_WRITE_NS = 30 * 10**9
MARK = 1
RETRY = 0.2
LONGEST_RETRY = 5.0
# Seconds without an attempt to send after which the thread that sends counts as late.
LATE = 15.0

Stamp = tuple[int, ...]


class RemoteGenerations(Protocol):
    """The generations of all hosts. Every method raises GenerationsAway when they cannot be had."""

    def read(self, slots: Sequence[int]) -> list[int]:
        """Their values; a slot without one gets a new one first."""

    def write(self, values: dict[int, int]) -> None:
        """Set values."""


class GenerationsAway(Exception):
    """Nobody can say what other hosts have changed."""


def slot_of(tag: str) -> int:
    """The slot of a tag, the same in every process."""
    # Tags hold what callers write, such as an id, so only short ones are remembered: at most some 3 MB.
    return _remembered_slot(tag) if len(tag) <= LONGEST_REMEMBERED else _slot(tag)


def _slot(tag: str) -> int:
    return 1 + crc32(tag.encode()) % (SLOTS - 1)


_remembered_slot = lru_cache(maxsize=10_000)(_slot)


def new_value() -> int:
    """A value that was never there before; even, as everything that is not a mark."""
    return int.from_bytes(os.urandom(8), "little") & ~MARK


class Generations:
    """The generations of one host, in a file that its processes share."""

    _values: "memoryview[int]"
    _compared: "memoryview[int]"

    def __init__(self, path: Path, remote: RemoteGenerations | None = None) -> None:
        self._path = path
        self._remote = remote
        # By slot, the value of the newest change that could not be sent.
        self._unsent: dict[int, int] = {}
        self._was_away = False
        self._lock = threading.Lock()

    def open(self) -> None:
        """Map the file, which is made when it is not there. Raises Fault where the disk has no room for it."""
        self._values, self._compared = _map(self._path)

    def slots(self, tags: Iterable[str]) -> tuple[int, ...]:
        """The slots of these tags, and the one of everything."""
        return (EVERYTHING, *map(slot_of, tags))

    def stamp(self, slots: tuple[int, ...]) -> Stamp | None:
        """The values right now. None when nothing may be kept: a write is under way, or Redis is away."""
        if self._remote is not None and not self._compare(slots):
            return None
        stamp = tuple(map(self._values.__getitem__, slots))
        if any(value & MARK for value in stamp) and any(map(_is_changing, stamp)):
            return None
        return stamp

    def is_current(self, slots: tuple[int, ...], stamp: Stamp) -> bool:
        """Whether nothing has changed since the stamp was taken."""
        if self._remote is not None and not self._compare(slots):
            return False
        return tuple(map(self._values.__getitem__, slots)) == stamp

    def can_tell(self, slots: tuple[int, ...]) -> bool:
        """Whether anybody can say what has changed under them: not while other hosts' changes cannot be had."""
        return self._remote is None or self._compare(slots)

    def changing(self, slots: Iterable[int]) -> int:
        """A write under these slots is about to commit. Answers the mark that they bear until it has ended."""
        mark = monotonic_ns() << 1 & 0xFFFF_FFFF_FFFF_FFFF | MARK
        for slot in slots:
            self._values[slot] = mark
        return mark

    def changed(self, slots: Iterable[int]) -> None:
        """The write has ended, one way or the other.

        From now on this host serves nothing that was kept before; other hosts may, for WINDOW.
        """
        values = {slot: new_value() for slot in slots}
        if self._remote is not None and values:
            try:
                self._remote.write(values)
            except GenerationsAway:
                self._send_later(values)
                return
        for slot, value in values.items():
            self._values[slot] = value

    def invalidate(self, tags: Iterable[str]) -> None:
        """Drop what is kept under these tags; `*` is everything."""
        slots = {EVERYTHING if tag == "*" else slot_of(tag) for tag in tags}
        self.changing(slots)
        self.changed(slots)

    # Other hosts ---------------------------------------------------------------------------------------------------

    def _compare(self, slots: tuple[int, ...]) -> bool:
        """Take over what other hosts have changed, unless that was done a moment ago. False when nobody can say."""
        now = monotonic_ns()
        due = [slot for slot in slots if not 0 <= now - self._compared[slot] < WINDOW_NS]
        if not due:
            return True
        if self._was_away and not self._doubt_everything():
            return False
        before = [self._values[slot] for slot in due]
        dead = [slot for slot, value in zip(due, before, strict=True) if value & MARK and not _is_changing(value)]
        if dead:
            # Whoever wrote there has died: nobody knows what came of it, on no host.
            self.changed(dead)
            return not any(self._values[slot] & MARK for slot in dead) and self._compare(slots)
        try:
            values = self._remote.read(due) if self._remote is not None else before
        except GenerationsAway:
            self._was_away = True
            return False
        for slot, old, value in zip(due, before, values, strict=True):
            # What this host has just changed itself stands; the next comparison meets it in Redis.
            if value != old and self._values[slot] == old and not _is_changing(old):
                self._values[slot] = value
            self._compared[slot] = now
        return True

    def _doubt_everything(self) -> bool:
        """After an outage: others may have written what never got to Redis, so nothing from before is trusted."""
        try:
            value = new_value()
            if self._remote is not None:
                self._remote.write({EVERYTHING: value})
        except GenerationsAway:
            return False
        self._values[EVERYTHING] = value
        self._was_away = False
        return True

    def _send_later(self, values: dict[int, int]) -> None:
        """Redis is away: leave the marks, so that this host keeps nothing under them, and try until it is back."""
        with self._lock:
            idle = not self._unsent
            self._unsent.update(values)
        if idle:
            threading.Thread(target=self._send_until_done, name="generations", daemon=True).start()

    def _send_until_done(self) -> None:
        pause, rest, told = threading.Event(), RETRY, ""
        pulse = pulses.begin("generations", LATE)
        while True:
            try:
                is_done = self._send_unsent()
            except GenerationsAway:
                is_done = None
            except Exception as error:
                # Were this to end here, nobody would send them any more.
                is_done = None
                if type(error).__name__ != told:
                    log.exception("generations cannot be sent, and are tried again")
                told = type(error).__name__
            pulse.beat()
            if is_done:
                pulses.end(pulse)
                return
            if is_done is None:
                rest = min(LONGEST_RETRY, rest * 2)
                pause.wait(rest * random.uniform(0.5, 1.0))  # noqa: S311 - jitter

    def _send_unsent(self) -> bool:
        """Send what could not be sent; whether nothing came up meanwhile, and this thread is to end."""
        with self._lock:
            sent = dict(self._unsent)
        values = {slot: new_value() for slot in sent}
        mark = self.changing(values)
        if self._remote is not None:
            self._remote.write(values)
        with self._lock:
            for slot, value in values.items():
                # A change that came while this was sent keeps its mark, and is sent in the next round.
                if self._values[slot] == mark:
                    self._values[slot] = value
                if self._unsent[slot] == sent[slot]:
                    del self._unsent[slot]
            return not self._unsent


def _is_changing(value: int) -> bool:
    if not value & MARK:
        return False
    return 0 <= (monotonic_ns() - (value >> 1)) < LONGEST_WRITE_NS


def _map(path: Path) -> "tuple[memoryview[int], memoryview[int]]":
    """The values and the times of the last comparison (monotonic nanoseconds), 8 bytes per slot."""
    size = 2 * SLOTS * struct.calcsize("Q")
    descriptor = open_reserved(path, size)
    try:
        view = memoryview(mmap.mmap(descriptor, size)).cast("Q")
    finally:
        os.close(descriptor)
    return view[:SLOTS], view[SLOTS:]
