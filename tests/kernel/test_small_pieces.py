"""ETags, ids and keys."""

from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.data.events import Position
from server.kernel import ids
from server.kernel.clock import unix_now
from server.kernel.ids import new_id
from server.kernel.keys import derive_key, fingerprint, matches, sign
from server.kernel.messages.etags import etag_of, lists

ID = "01900000-0000-7000-8000-0123456789ab"


def test_an_etag_is_weak_and_changes_with_every_version_and_row() -> None:
    other = ID[:-1] + "c"
    assert etag_of(ID, 1) == 'W/"456789ab-1"'
    assert len({etag_of(ID, 1), etag_of(ID, 2), etag_of(ID, 16), etag_of(other, 1)}) == 4


@pytest.mark.parametrize(
    ("header", "listed"),
    [
        ('W/"456789ab-1"', True),
        ('"456789ab-1"', True),
        ("456789ab-1", True),
        ("*", True),
        (' "x" , W/"456789ab-1" ', True),
        ('"x", *', True),
        ("", False),
        (",", False),
        ('W/"456789ab-2"', False),
        ('W/"456789ab-11"', False),
        ('"x", "y"', False),
    ],
)
def test_a_header_lists_an_etag(header: str, listed: bool) -> None:  # noqa: FBT001 - a fact of the table
    assert lists(header, etag_of(ID, 1)) is listed


@given(st.text(max_size=40))
def test_any_header_is_compared(header: str) -> None:
    assert lists(header, etag_of(ID, 1)) in (True, False)


def test_ids_are_uuids_of_version_7_of_now() -> None:
    before = int(unix_now() * 1000)
    made = UUID(new_id())
    after = int(unix_now() * 1000)
    assert made.version == 7
    assert made.variant == "specified in RFC 4122"
    assert before <= made.int >> 80 <= after


def test_ids_sort_by_the_millisecond_they_were_made_in(monkeypatch: pytest.MonkeyPatch) -> None:
    moments = iter(range(1_700_000_000_000, 1_700_000_001_000))
    monkeypatch.setattr(ids, "unix_now", lambda: next(moments) / 1000)
    made = [new_id() for _ in range(500)]
    assert made == sorted(made)


def test_ids_of_one_millisecond_differ(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ids, "unix_now", lambda: 1_700_000_000.0)
    assert len({new_id() for _ in range(1000)}) == 1000


def test_keys_differ_by_purpose_and_by_secret() -> None:
    keys = {derive_key(secret, purpose) for secret in (b"a" * 32, b"b" * 32) for purpose in ("x", "y")}
    assert len(keys) == 4
    assert {len(key) for key in keys} == {32}
    assert derive_key(b"a" * 32, "x") in keys


def test_a_signature_matches_its_message_alone() -> None:
    signature = sign(b"key", b"message")
    assert matches(b"key", b"message", signature)
    assert not matches(b"key", b"message!", signature)
    assert not matches(b"other", b"message", signature)
    assert not matches(b"key", b"message", b"")


def test_a_fingerprint_keeps_no_secret() -> None:
    assert fingerprint("secret") == fingerprint("secret")
    assert fingerprint("secret") != fingerprint("Secret")
    assert b"secret" not in fingerprint("secret")


@given(st.integers(0, 2**63 - 1), st.integers(0, 2**63 - 1))
def test_a_position_is_read_back_from_its_event_id(transaction: int, sequence: int) -> None:
    position = Position(transaction, sequence)
    assert Position.parse(str(position)) == position


@pytest.mark.parametrize(
    "text",
    [
        *("", "-", "1", "1-", "-1", "x-1", "1-x", "1-2-3", "1" * 40 + "-1"),
        *("1 -2", "+1-2", "0x1-2", "1_0-2", "1--5", "f" * 20 + "-1", "1-" + "f" * 20),
    ],
)
def test_what_is_no_event_id_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"\S"):
        Position.parse(text)
