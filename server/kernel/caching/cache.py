"""The cache of answers: serialised bytes in the memory of each process, in front of a store that processes share.

An entry is stored under the tags of its policy and the tag of its tenant's access. It carries a stamp of their
generations (see generations.py) and is served only while the stamp is current. On a miss, one call computes the answer.
The other calls wait for it, within the process and, through the store, across processes.
"""

import hashlib
import struct
import threading
from collections import OrderedDict
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from time import monotonic
from typing import Protocol

from server.kernel.caching.generations import Generations, Stamp
from server.kernel.clock import unix_now

# Seconds that another process may compute an answer before this one computes it too.
COMPUTING = 5.0
# Seconds between two looks at the store while another process computes: the first pause and the longest.
FIRST_LOOK = 0.002
LAST_LOOK = 0.05
# Bytes that an entry takes beside key and body: its place in the dictionary, the object, the stamp.
OVERHEAD = 500


Computed = tuple[bytes, str]
"""Body and ETag."""


@dataclass(frozen=True, slots=True)
class Entry:
    """An answer."""

    body: bytes
    etag: str
    slots: tuple[int, ...]
    stamp: Stamp
    until: float
    """The monotonic() time at which the entry expires."""


@dataclass(slots=True)
class Counts:
    """Outcomes of the reads of one method."""

    memory_hits: int = 0
    store_hits: int = 0
    misses: int = 0
    coalesced: int = 0


class StoreAway(Exception):
    """The shared store does not answer."""


class AnswerStore(Protocol):
    """The store in which processes share answers. Every method raises StoreAway."""

    def take(self, key: str, stamp: bytes, claim: str, seconds: float) -> bytes | bool:
        """The value under a key, if it carries this stamp.

        Without one: True if the caller now holds the claim to compute it, for `seconds`; False if another process holds
        it.
        """

    def put(self, key: str, value: bytes, claim: str, seconds: float) -> None:
        """Store a value for `seconds`, and release the claim."""

    def release(self, key: str, claim: str) -> None:
        """Release the claim without a value."""


@dataclass(slots=True)
class _Flight:
    """One computation on which other threads wait."""

    done: threading.Event = field(default_factory=threading.Event)
    entry: Entry | None = None


@dataclass(frozen=True, slots=True)
class Read:
    """One read that is not in memory."""

    key: bytes
    slots: tuple[int, ...]
    """The slots of the tags under which the answer is stored."""
    seconds: float
    """Seconds for which the answer may be served."""
    counts: Counts
    work: Callable[[], Computed]


class AnswerCache:
    """The answers in the memory of one process, at most `most_bytes` of them."""

    def __init__(
        self, generations: Generations, store: AnswerStore | None, most_bytes: int, process: Callable[[], str]
    ) -> None:
        """`process` returns a name that distinguishes the claims of this process from those of others."""
        self.generations = generations
        self._store = store
        self._most_bytes = most_bytes
        self._process = process
        self._entries: OrderedDict[bytes, Entry] = OrderedDict()
        self._flights: dict[bytes, _Flight] = {}
        self._lock = threading.Lock()
        self.bytes = 0
        self.evictions = 0
        self.counts: dict[str, Counts] = {}

    @property
    def entries(self) -> int:
        """The number of answers in memory."""
        return len(self._entries)

    def counts_of(self, method: str) -> Counts:
        """The counts of a method. The statistics list the method from the first call on."""
        return self.counts.setdefault(method, Counts())

    def find(self, key: bytes) -> Entry | None:
        """The answer in memory, if it is still current."""
        entry = self._entries.get(key)
        if entry is None or entry.until < monotonic() or not self.generations.is_current(entry.slots, entry.stamp):
            return None
        try:
            # The least recently used entry is evicted first.
            self._entries.move_to_end(key)
        except KeyError:
            # Another thread has just evicted it.
            return entry
        return entry

    def peek(self, key: bytes) -> Entry | None:
        """The answer in memory, current or not, without a sign of use."""
        return self._entries.get(key)

    def compute(self, read: Read) -> Entry | Computed:
        """The answer, computed once: by this call, by another thread or by another process.

        An exception of `work` is raised to the caller that ran it; the others then compute the answer themselves.
        """
        stamp = self.generations.stamp(read.slots)
        if stamp is None:
            read.counts.misses += 1
            return read.work()
        with self._lock:
            flight = self._flights.get(read.key)
            # Another thread may have stored the answer since this call looked.
            known = self.find(read.key) if flight is None else None
            if flight is None and known is None:
                mine = self._flights[read.key] = _Flight()
        if known is not None:
            read.counts.coalesced += 1
            return known
        if flight is not None:
            return self._wait(flight, read)
        try:
            mine.entry = self._fetch_or_work(read, stamp)
            self._remember(read.key, mine.entry)
        finally:
            with self._lock:
                del self._flights[read.key]
            mine.done.set()
        return mine.entry

    def _wait(self, flight: _Flight, read: Read) -> Entry | Computed:
        """Take the answer of another thread, unless a write came in between: that answer may be outdated."""
        flight.done.wait(COMPUTING)
        entry = flight.entry
        if entry is not None and self.generations.is_current(read.slots, entry.stamp):
            read.counts.coalesced += 1
            return entry
        read.counts.misses += 1
        return read.work()

    def _fetch_or_work(self, read: Read, stamp: Stamp) -> Entry:
        name, packed = _name(read.key), _pack_stamp(stamp)
        claimed = self._claim(name, packed)
        if isinstance(claimed, bytes):
            read.counts.store_hits += 1
            return _unpack(claimed, read.slots, stamp)
        read.counts.misses += 1
        try:
            body, etag = read.work()
        except BaseException:
            if claimed:
                self._release(name)
            raise
        entry = Entry(body, etag, read.slots, stamp, monotonic() + read.seconds)
        if claimed:
            self._share(name, entry, packed, read.seconds)
        return entry

    def _claim(self, name: str, stamp: bytes) -> bytes | bool:
        """The shared value; True if this process holds the claim to compute it; False to compute it without a claim."""
        if self._store is None:
            return False
        give_up, pause, rest = monotonic() + COMPUTING, FIRST_LOOK, threading.Event()
        while True:
            try:
                found = self._store.take(name, stamp, self._process(), COMPUTING)
            except StoreAway:
                return False
            if found is not False:
                return found
            if monotonic() > give_up:
                return False
            rest.wait(pause)
            pause = min(LAST_LOOK, pause * 2)

    def _share(self, name: str, entry: Entry, packed: bytes, seconds: float) -> None:
        with suppress(StoreAway):
            if self._store is not None:
                self._store.put(name, _pack(entry, packed, seconds), self._process(), seconds)

    def _release(self, name: str) -> None:
        with suppress(StoreAway):
            if self._store is not None:
                self._store.release(name, self._process())

    def _remember(self, key: bytes, entry: Entry) -> None:
        size = _size(key, entry)
        if size > self._most_bytes // 8:
            return
        with self._lock:
            old = self._entries.pop(key, None)
            if old is not None:
                self.bytes -= _size(key, old)
            self._entries[key] = entry
            self.bytes += size
            while self.bytes > self._most_bytes:
                dropped, gone = self._entries.popitem(last=False)
                self.bytes -= _size(dropped, gone)
                self.evictions += 1


def _size(key: bytes, entry: Entry) -> int:
    return len(key) + len(entry.body) + OVERHEAD


def _name(key: bytes) -> str:
    """A short name that reveals nothing about the request."""
    return hashlib.blake2b(key, digest_size=20).hexdigest()


def _pack_stamp(stamp: Stamp) -> bytes:
    return struct.pack(f"<B{len(stamp)}Q", len(stamp), *stamp)


# The header after the stamp: when the answer expires (Unix time, seconds), and the length of its ETag.
_HEAD = struct.Struct("<dH")


def _pack(entry: Entry, stamp: bytes, seconds: float) -> bytes:
    etag = entry.etag.encode()
    return stamp + _HEAD.pack(unix_now() + seconds, len(etag)) + etag + entry.body


def _unpack(value: bytes, slots: tuple[int, ...], stamp: Stamp) -> Entry:
    start = 1 + 8 * value[0]
    until, length = _HEAD.unpack_from(value, start)
    start += _HEAD.size
    return Entry(
        value[start + length :], value[start : start + length].decode(), slots, stamp, monotonic() + until - unix_now()
    )
