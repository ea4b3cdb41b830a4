"""Blocked addresses: networks whose calls this process refuses."""

import logging
import threading
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from time import monotonic

import psycopg

from server.data.connections import DatabaseUnavailable
from server.kernel.addresses import Network, parsed_address
from server.kernel.caching.generations import Generations, Stamp, slot_of
from server.kernel.clock import Clock, utc_now
from server.kernel.problems import Denied, Reason

log = logging.getLogger("plinth.blocks")
BLOCKS_TAG = "ip-blocks"
# Seconds after which the blocks are loaded again, even without a change.
LONGEST_KNOWN = 10.0
# The same while changes cannot be detected, and after a failed load.
SHORTLY_KNOWN = 1.0

Blocked = tuple[Network, datetime | None]
"""A network, and when its block expires, if it does."""


class AddressBlocks:
    """Refuses blocked addresses. Loads the blocks again after one was added or lifted."""

    def __init__(self, load: Callable[[], Iterable[Blocked]], generations: Generations, clock: Clock = utc_now) -> None:
        """`load` returns the blocks that have not ended."""
        self._load = load
        self._generations = generations
        self._clock = clock
        self._slots = (0, slot_of(BLOCKS_TAG))
        self._stamp: Stamp | None = None
        self._until = 0.0
        self._by_length: dict[tuple[int, int], dict[int, datetime | None]] = {}
        self._lock = threading.Lock()

    def check(self, address: str) -> None:
        """Raise Denied if the address is blocked."""
        if not self._is_current():
            self._refresh()
        if not self._by_length:
            return
        found, until = self._find(address)
        if found:
            raise Denied(
                "Calls from your address are blocked.",
                reason=Reason.REASON_ADDRESS_BLOCKED,
                metadata={"expire_time": until.astimezone(UTC).isoformat()} if until else {},
            )

    def _is_current(self) -> bool:
        if monotonic() > self._until:
            return False
        return self._stamp is None or self._generations.is_current(self._slots, self._stamp)

    def _find(self, address: str) -> tuple[bool, datetime | None]:
        parsed = parsed_address(address)
        if parsed is None:
            return False, None
        number, bits, version = int(parsed), parsed.max_prefixlen, parsed.version
        for (of_version, length), networks in self._by_length.items():
            if of_version != version:
                continue
            key = number >> (bits - length)
            if key in networks:
                until = networks[key]
                if until is None or until > self._clock():
                    return True, until
        return False, None

    def _refresh(self) -> None:
        """Load the blocks again. While the database does not answer, the known blocks stay in force."""
        with self._lock:
            if self._is_current():
                return
            self._stamp = self._generations.stamp(self._slots)
            seconds = LONGEST_KNOWN
            if self._stamp is None:
                # A write is under way. The next call loads again, because this result may already be outdated.
                seconds = 0.0 if self._generations.can_tell(self._slots) else SHORTLY_KNOWN
            try:
                self._by_length = _by_length(self._load())
            except (psycopg.Error, DatabaseUnavailable) as error:
                log.warning("the blocked addresses cannot be loaded: %s", type(error).__name__)
                self._stamp, seconds = None, SHORTLY_KNOWN
            self._until = monotonic() + seconds if seconds else 0.0


def _by_length(blocks: Iterable[Blocked]) -> dict[tuple[int, int], dict[int, datetime | None]]:
    """By version and prefix length: the networks as numbers, and when each block ends."""
    found: dict[tuple[int, int], dict[int, datetime | None]] = {}
    for network, until in blocks:
        length = network.prefixlen
        key = int(network.network_address) >> (network.max_prefixlen - length)
        found.setdefault((network.version, length), {})[key] = until
    return found
