"""Addresses as identities: which ones count as one caller."""

from ipaddress import IPv4Address, IPv6Address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.kernel.addresses import IPV6_STEPS, caller_of, networks_of
from server.kernel.guard.guesses import REMEMBERED, Guesses
from server.kernel.guard.limits import LimitsAway, RateLimiter
from server.kernel.rates import Rate
from tests.limits.model import ModelStore, hand_turned_clock


@pytest.mark.parametrize(
    ("written", "caller"),
    [
        ("203.0.113.7", "203.0.113.7"),
        ("::ffff:203.0.113.7", "203.0.113.7"),
        ("::FFFF:cb00:7107", "203.0.113.7"),
        ("2001:db8:1:2::1", "2001:db8:1:2::/64"),
        ("2001:DB8:1:2:ffff:ffff:ffff:ffff", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("::1", "::/64"),
        ("nobody", "nobody"),
        ("", ""),
    ],
)
def test_who_counts_as_one(written: str, caller: str) -> None:
    assert caller_of(written) == caller


@given(st.ip_addresses(v=6), st.integers(0, 2**64 - 1))
def test_the_next_address_of_a_subscriber_is_the_same_caller(address: IPv6Address, host: int) -> None:
    if address.ipv4_mapped is None:
        neighbour = IPv6Address(int(address) >> 64 << 64 | host)
        assert neighbour.ipv4_mapped or caller_of(str(neighbour)) == caller_of(str(address))
    assert caller_of(str(IPv6Address(int(address) ^ 1 << 64))) != caller_of(str(address))


@given(st.ip_addresses(v=4))
def test_each_ipv4_address_is_a_caller(address: IPv4Address) -> None:
    assert caller_of(str(address)) == caller_of(f"::ffff:{address}") == str(address)
    assert [(str(network), callers) for network, callers in networks_of(str(address))] == [(f"{address}/32", 1)]


# Guesses -------------------------------------------------------------------------------------------------------------

FAILURES = Rate(3, 900)


class Remembered:
    """The marks of all workers, in memory."""

    def __init__(self) -> None:
        self.marks: dict[str, set[bytes]] = {}
        self.asked = 0
        self.is_away = False

    def add(self, subject: str, mark: bytes, seconds: float, most: int) -> bool:
        assert (seconds, most > 100) == (FAILURES.period, True)
        if self.is_away:
            raise LimitsAway
        self.asked += 1
        known = self.marks.setdefault(subject, set())
        is_new = mark not in known
        known.add(mark)
        return is_new


def workers(marks: Remembered, number: int) -> list[Guesses]:
    """What the workers of a deployment count, in a moment that does not pass."""
    with hand_turned_clock() as clock:
        store = ModelStore(lambda: clock.microseconds)
    return [Guesses(RateLimiter(store), FAILURES, marks, b"key") for _ in range(number)]


def guesses(marks: Remembered) -> Guesses:
    return workers(marks, 1)[0]


def counted(guessing: Guesses, *tried: tuple[str, str]) -> list[str]:
    """What each failure leads to: the network that has had too many, or nothing."""
    return [str(guessing.count(address, credential.encode()) or "") for address, credential in tried]


def test_the_same_credential_counts_once_however_often_it_is_sent() -> None:
    marks = Remembered()
    guessing, *others = workers(marks, 6)
    assert counted(guessing, *[("192.0.2.1", "dead")] * 50) == [""] * 50
    assert marks.asked == 1
    for other in others:
        assert counted(other, *[("192.0.2.1", "dead")] * 50) == [""] * 50
    assert counted(guessing, *[("192.0.2.1", f"guess {n}") for n in range(3)]) == ["", "", "192.0.2.1/32"]
    # It is new from another address, and tells nothing of it.
    assert counted(guessing, ("192.0.2.2", "dead")) == [""]
    assert all(len(mark) == 2 for known in marks.marks.values() for mark in known)


def test_guesses_from_ever_new_networks_of_a_subscriber_are_counted_in_steps() -> None:
    guessing = guesses(Remembered())
    in_64 = [(f"2001:db8:0:7::{n}", f"a{n}") for n in range(4)]
    assert counted(guessing, *in_64) == ["", "", "", "2001:db8:0:7::/64"]
    in_56 = [(f"2001:db8:0:1{n:02x}::1", f"b{n}") for n in range(3 * IPV6_STEPS[56] + 1)]
    assert counted(guessing, *in_56)[-2:] == ["", "2001:db8:0:100::/56"]
    in_48 = [(f"2001:db8:1:{n:02x}00::1", f"c{n}") for n in range(3 * IPV6_STEPS[48] + 1)]
    assert counted(guessing, *in_48)[-2:] == ["", "2001:db8:1::/48"]


def test_what_is_no_address_and_a_store_that_is_away_block_nobody() -> None:
    marks = Remembered()
    guessing = guesses(marks)
    assert counted(guessing, *[("nobody", f"{n}") for n in range(9)]) == [""] * 9
    marks.is_away = True
    assert counted(guessing, *[("192.0.2.1", f"{n}") for n in range(9)]) == [""] * 9


def test_no_more_credentials_are_remembered_than_have_room() -> None:
    guessing = guesses(Remembered())
    for number in range(REMEMBERED + 10):
        guessing._known[str(number), b""] = 1e18  # noqa: SLF001 - as many callers would
        if number == REMEMBERED:
            counted(guessing, ("192.0.2.1", "x"))
    assert len(guessing._known) < 100  # noqa: SLF001
