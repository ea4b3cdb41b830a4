"""Generations tell, without a query, whether something was written under a tag.

A tag (`tenant:<id>:pages`) falls into one of 65,536 slots of a file that all processes of a host map into memory. A
write gives its slots new values before it is answered. A reader keeps the values of its slots (the stamp) with what it
caches, and compares them before it serves it. Tags that share a slot invalidate each other's entries, which costs one
computation each.

- While a write commits, its slots are marked: nothing is kept or served under them. If the process dies meanwhile, the
  mark remains as a value that no stamp contains, so no older entry is served afterwards either.
- Where several hosts share a database, values also go through Redis (`remote`). A host then serves its entries for
  at most `WINDOW` after it last compared their slots with Redis. While Redis does not answer, it serves none.
- Slot 0 is in every stamp: a new value there invalidates everything.
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
"""Seconds for which a host may miss the write of another host."""
WINDOW_NS = int(WINDOW * 1e9)
# A mark that is older belongs to a process that died: no statement may run this long.
LONGEST_WRITE_NS = 30 * 10**9
MARK = 1
RETRY = 0.2
LONGEST_RETRY = 5.0
# Seconds without an attempt after which the sending thread counts as late.
LATE = 15.0

Stamp = tuple[int, ...]


class RemoteGenerations(Protocol):
    """The generations of all hosts. Every method raises GenerationsAway while they are unavailable."""

    def read(self, slots: Sequence[int]) -> list[int]:
        """The values of the slots. A slot without a value gets a new one first."""

    def write(self, values: dict[int, int]) -> None:
        """Set values."""


class GenerationsAway(Exception):
    """The generations of other hosts are unavailable."""


def slot_of(tag: str) -> int:
    """The slot of a tag, the same in every process."""
    # Tags contain input of callers, such as ids. Only short tags are remembered: about 3 MB at most.
    return _remembered_slot(tag) if len(tag) <= LONGEST_REMEMBERED else _slot(tag)


def _slot(tag: str) -> int:
    return 1 + crc32(tag.encode()) % (SLOTS - 1)


_remembered_slot = lru_cache(maxsize=10_000)(_slot)


def new_value() -> int:
    """A value that was never used before. It is even, because odd values are marks."""
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
        """Map the file, and create it if it is absent. Raises Fault if the disk has no room for it."""
        self._values, self._compared = _map(self._path)

    def slots(self, tags: Iterable[str]) -> tuple[int, ...]:
        """The slots of these tags, and the slot of everything."""
        return (EVERYTHING, *map(slot_of, tags))

    def stamp(self, slots: tuple[int, ...]) -> Stamp | None:
        """The current values. None if nothing may be kept: a write is under way, or Redis does not answer."""
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
        """Whether changes under these slots are detected: not while the generations of other hosts are unavailable."""
        return self._remote is None or self._compare(slots)

    def changing(self, slots: Iterable[int]) -> int:
        """A write under these slots is about to commit. Answers the mark that they bear until it has ended."""
        mark = monotonic_ns() << 1 & 0xFFFF_FFFF_FFFF_FFFF | MARK
        for slot in slots:
            self._values[slot] = mark
        return mark

    def changed(self, slots: Iterable[int]) -> None:
        """The write has ended, committed or not.

        From now on this host serves no entry from before the write. Other hosts may serve one for up to WINDOW.
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
        """Invalidate everything cached under these tags; `*` is everything."""
        slots = {EVERYTHING if tag == "*" else slot_of(tag) for tag in tags}
        self.changing(slots)
        self.changed(slots)

    # Other hosts ---------------------------------------------------------------------------------------------------

    def _compare(self, slots: tuple[int, ...]) -> bool:
        """Copy the values of other hosts, unless that was done within WINDOW. False if they are unavailable."""
        now = monotonic_ns()
        due = [slot for slot in slots if not 0 <= now - self._compared[slot] < WINDOW_NS]
        if not due:
            return True
        if self._was_away and not self._doubt_everything():
            return False
        before = [self._values[slot] for slot in due]
        dead = [slot for slot, value in zip(due, before, strict=True) if value & MARK and not _is_changing(value)]
        if dead:
            # The process that wrote there died. Whether its write was committed is unknown, on every host.
            self.changed(dead)
            return not any(self._values[slot] & MARK for slot in dead) and self._compare(slots)
        try:
            values = self._remote.read(due) if self._remote is not None else before
        except GenerationsAway:
            self._was_away = True
            return False
        for slot, old, value in zip(due, before, values, strict=True):
            # A value that this host has just set itself stays. The next comparison finds it in Redis.
            if value != old and self._values[slot] == old and not _is_changing(old):
                self._values[slot] = value
            self._compared[slot] = now
        return True

    def _doubt_everything(self) -> bool:
        """Invalidate everything after an outage, because writes of other hosts may not have reached Redis."""
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
        """Keep the marks while Redis does not answer, so that this host caches nothing under them.

        Retry until it answers.
        """
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
                # If this thread ended here, the values would never be sent.
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
        """Send the unsent values. True if none were added meanwhile, so that this thread can end."""
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
    """The values, and the times of the last comparison (monotonic nanoseconds), 8 bytes per slot each."""
    size = 2 * SLOTS * struct.calcsize("Q")
    descriptor = open_reserved(path, size)
    try:
        view = memoryview(mmap.mmap(descriptor, size)).cast("Q")
    finally:
        os.close(descriptor)
    return view[:SLOTS], view[SLOTS:]
