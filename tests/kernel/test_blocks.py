"""Blocked addresses: which ones a set of networks refuses, and when a process learns of a change."""

from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from math import inf
from pathlib import Path
from threading import Event, current_thread, main_thread

import psycopg
import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.data.connections import DatabaseUnavailable
from server.kernel.addresses import Network
from server.kernel.caching.generations import Generations, slot_of
from server.kernel.guard import blocks as blocks_module
from server.kernel.guard.blocks import BLOCKS_TAG, LONGEST_KNOWN, SHORTLY_KNOWN, AddressBlocks, Blocked
from server.kernel.problems import Denied, Reason

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
MAPPED = 0xFFFF << 32


class Stored:
    """What the database holds."""

    def __init__(self, *blocks: Blocked) -> None:
        self.blocks = list(blocks)
        self.failure: Exception | None = None
        self.loads = 0
        self.meanwhile: Callable[[], None] = lambda: None

    def load(self) -> Iterable[Blocked]:
        self.loads += 1
        if self.failure:
            raise self.failure
        found = list(self.blocks)
        self.meanwhile()
        return found


class Clock:
    """Time in seconds that stands still until it is moved; also as wall-clock time."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now

    def utc(self) -> datetime:
        return NOW + timedelta(seconds=self.now - 1000.0)


def forever(network: str) -> Blocked:
    return ip_network(network), None


def refuses(blocks: AddressBlocks, address: str) -> bool:
    try:
        blocks.check(address)
    except Denied as problem:
        return problem.reason == Reason.REASON_ADDRESS_BLOCKED
    return False


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(blocks_module, "monotonic", clock)
    return clock


@pytest.fixture
def generations(tmp_path: Path) -> Generations:
    return opened(tmp_path)


@pytest.fixture(scope="module")
def quiet(tmp_path_factory: pytest.TempPathFactory) -> Generations:
    """Generations that nobody changes."""
    return opened(tmp_path_factory.mktemp("quiet"))


def opened(folder: Path) -> Generations:
    made = Generations(folder / "generations")
    made.open()
    return made


# Which addresses -----------------------------------------------------------------------------------------------------


def _networks(version: int, bits: int) -> st.SearchStrategy[Network]:
    make = IPv4Network if version == 4 else IPv6Network
    numbers = st.integers(0, 2**bits - 1)
    return st.builds(lambda number, length: make((number, length), strict=False), numbers, st.integers(0, bits))


NETWORKS = st.lists(st.one_of(_networks(4, 32), _networks(6, 128)), max_size=20)


@given(NETWORKS, st.data())
def test_exactly_the_addresses_inside_of_a_network_are_refused(
    quiet: Generations, networks: list[Network], data: st.DataObject
) -> None:
    blocks = AddressBlocks(lambda: [(network, None) for network in networks], quiet)
    anywhere = st.one_of(st.ip_addresses(v=4), st.ip_addresses(v=6))
    # Most random addresses are nowhere near a small network.
    edges = [
        type(network[0])(int(network[0]) + distance)
        for network in networks
        for distance in (-1, 0, network.num_addresses - 1, network.num_addresses)
        if 0 <= int(network[0]) + distance < 2**network.max_prefixlen
    ]
    address = data.draw(st.one_of(anywhere, st.sampled_from(edges)) if edges else anywhere)
    meant = (isinstance(address, IPv6Address) and address.ipv4_mapped) or address
    assert refuses(blocks, str(address)) == any(meant in network for network in networks)


@given(st.ip_addresses(v=4), NETWORKS)
def test_an_ipv4_address_that_is_written_as_ipv6_counts_as_what_it_is(
    quiet: Generations, address: IPv4Address, networks: list[Network]
) -> None:
    blocks = AddressBlocks(lambda: [(network, None) for network in networks], quiet)
    assert refuses(blocks, str(IPv6Address(MAPPED | int(address)))) == refuses(blocks, str(address))
    assert refuses(AddressBlocks(lambda: [(IPv4Network(address), None)], quiet), f"::ffff:{address}")


@given(st.text())
def test_what_is_no_address_is_not_refused(quiet: Generations, text: str) -> None:
    every: list[Blocked] = [forever("0.0.0.0/0"), forever("::/0")]
    try:
        ip_address(text)
    except ValueError:
        assert not refuses(AddressBlocks(lambda: every, quiet), text)


def test_who_is_refused_is_told_until_when(generations: Generations, clock: Clock) -> None:
    until = datetime(2026, 11, 21, 15, 30, tzinfo=UTC)
    stored = Stored((ip_network("203.0.113.7/32"), until), forever("198.51.100.0/24"))
    blocks = AddressBlocks(stored.load, generations, clock.utc)
    with pytest.raises(Denied) as caught:
        blocks.check("203.0.113.7")
    assert caught.value.metadata == {"expire_time": "2026-11-21T15:30:00+00:00"}
    with pytest.raises(Denied) as caught:
        blocks.check("198.51.100.1")
    assert caught.value.metadata == {}


# Until when ----------------------------------------------------------------------------------------------------------


def test_a_block_ends_by_itself(generations: Generations, clock: Clock) -> None:
    stored = Stored((ip_network("203.0.113.0/24"), NOW + timedelta(seconds=5)))
    blocks = AddressBlocks(stored.load, generations, clock.utc)
    clock.now += 4.9
    assert refuses(blocks, "203.0.113.7")
    clock.now += 0.1
    assert not refuses(blocks, "203.0.113.7")
    assert stored.loads == 1


def test_a_wider_block_holds_on_when_a_narrower_one_ends(generations: Generations, clock: Clock) -> None:
    stored = Stored(forever("203.0.113.0/24"), (ip_network("203.0.113.7/32"), NOW))
    assert refuses(AddressBlocks(stored.load, generations, clock.utc), "203.0.113.7")


# When a process learns of it -----------------------------------------------------------------------------------------


def test_a_block_holds_from_the_next_call_on_in_every_process(tmp_path: Path, clock: Clock) -> None:
    one, other, stored = opened(tmp_path), opened(tmp_path), Stored()
    processes = [AddressBlocks(stored.load, generations, clock.utc) for generations in (one, other)]
    assert not any(refuses(blocks, "203.0.113.7") for blocks in processes)
    stored.blocks = [forever("203.0.113.7/32")]
    one.invalidate([BLOCKS_TAG])
    assert all(refuses(blocks, "203.0.113.7") for blocks in processes)
    stored.blocks = []
    other.invalidate([BLOCKS_TAG])
    assert not any(refuses(blocks, "203.0.113.7") for blocks in processes)


def test_a_call_that_meets_the_commit_of_a_block_does_not_hide_it_from_the_next(
    generations: Generations, clock: Clock
) -> None:
    stored = Stored()
    blocks = AddressBlocks(stored.load, generations, clock.utc)
    assert not refuses(blocks, "203.0.113.7")
    generations.changing([slot_of(BLOCKS_TAG)])
    assert not refuses(blocks, "203.0.113.7")
    stored.blocks = [forever("203.0.113.7/32")]
    generations.changed([slot_of(BLOCKS_TAG)])
    assert refuses(blocks, "203.0.113.7")


def test_a_block_that_is_committed_while_blocks_are_loaded_holds_for_the_next_call(
    generations: Generations, clock: Clock
) -> None:
    stored = Stored()
    blocks = AddressBlocks(stored.load, generations, clock.utc)

    def commit() -> None:
        stored.blocks = [forever("203.0.113.7/32")]
        generations.changed([slot_of(BLOCKS_TAG)])

    stored.meanwhile = commit
    generations.changing([slot_of(BLOCKS_TAG)])
    assert not refuses(blocks, "203.0.113.7")
    assert refuses(blocks, "203.0.113.7")


def test_nothing_is_asked_while_nothing_changes(generations: Generations, clock: Clock) -> None:
    stored = Stored(forever("203.0.113.7/32"))
    blocks = AddressBlocks(stored.load, generations, clock.utc)
    for _ in range(100):
        assert not refuses(blocks, "203.0.113.8")
    generations.invalidate(["tenant:1:pages"])
    clock.now += LONGEST_KNOWN
    assert refuses(blocks, "203.0.113.7")
    assert stored.loads == 1
    clock.now += 0.001
    assert refuses(blocks, "203.0.113.7")
    assert stored.loads == 2


@pytest.mark.parametrize("failure", [DatabaseUnavailable(), psycopg.OperationalError("gone")])
def test_while_the_database_is_away_what_is_known_holds(
    generations: Generations, clock: Clock, failure: Exception
) -> None:
    stored = Stored(forever("203.0.113.7/32"))
    blocks = AddressBlocks(stored.load, generations, clock.utc)
    assert refuses(blocks, "203.0.113.7")
    stored.failure, stored.blocks = failure, [forever("203.0.113.8/32")]
    generations.invalidate([BLOCKS_TAG])
    for _ in range(100):
        assert refuses(blocks, "203.0.113.7")
    assert stored.loads == 2
    assert not refuses(blocks, "203.0.113.8")
    stored.failure = None
    clock.now += SHORTLY_KNOWN + 0.001
    assert refuses(blocks, "203.0.113.8")
    assert not refuses(blocks, "203.0.113.7")


def test_a_database_that_was_never_there_blocks_nobody(generations: Generations, clock: Clock) -> None:
    stored = Stored(forever("203.0.113.7/32"))
    stored.failure = DatabaseUnavailable()
    blocks = AddressBlocks(stored.load, generations, clock.utc)
    assert not refuses(blocks, "203.0.113.7")
    stored.failure = None
    clock.now += SHORTLY_KNOWN + 0.001
    assert refuses(blocks, "203.0.113.7")


def test_calls_that_come_at_once_load_the_blocks_once(
    generations: Generations, monkeypatch: pytest.MonkeyPatch
) -> None:
    stored, has_looked = Stored(forever("203.0.113.7/32")), Event()
    blocks = AddressBlocks(stored.load, generations)

    def now() -> float:
        if current_thread() is main_thread() or has_looked.is_set():
            return 1000.0
        # To the second call's first look nothing is current, however late it compares.
        has_looked.set()
        return inf

    monkeypatch.setattr(blocks_module, "monotonic", now)
    with ThreadPoolExecutor(1) as threads:
        seconds: list[Future[bool]] = []

        def meanwhile() -> None:
            seconds.append(threads.submit(refuses, blocks, "203.0.113.7"))
            assert has_looked.wait(60)

        stored.meanwhile = meanwhile
        assert refuses(blocks, "203.0.113.7")
        assert [second.result(60) for second in seconds] == [True]
    assert stored.loads == 1
