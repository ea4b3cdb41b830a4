"""Reading reports, which strangers write in part."""

from hypothesis import given
from hypothesis import strategies as st
from plinth.communication.v1.email_message_pb2 import EmailMessage

from server.domains.communication.report_parsing import Report, report_of
from tests.domains.communication.reports import complaint, delivery_report

TOKEN = "abcdefghijklmnopqrstuvwxyz"
TO = f"b+{TOKEN}@bounces.example.com"
LINES = st.text(st.characters(blacklist_categories=["Cs", "Cc"]), max_size=300)


def test_a_report_is_read() -> None:
    report = delivery_report(TO.upper(), "Failed", "5.1.1", "550 5.1.1 no\n  such user")
    assert report_of(report) == Report(TOKEN, EmailMessage.STATUS_BOUNCED, "5.1.1 550 5.1.1 no such user")
    assert report_of(complaint(f"X-Message-Token: {TOKEN}\n")) == Report(
        TOKEN, EmailMessage.STATUS_COMPLAINED, "feedback: abuse"
    )


@given(st.binary(max_size=2000))
def test_no_bytes_are_more_than_no_report(content: bytes) -> None:
    assert report_of(content) is None


@given(action=LINES, status=LINES, words=LINES)
def test_whatever_a_server_says_is_short_and_known(action: str, status: str, words: str) -> None:
    report = report_of(delivery_report(TO, action, status, words))
    assert report is not None
    assert report.token == TOKEN
    assert len(report.answer) <= 500
    assert report.status in {0, *EmailMessage.Status.values()}


@given(st.data())
def test_a_report_that_was_cut_or_garbled_never_fails(data: st.DataObject) -> None:
    whole = bytearray(delivery_report(TO, "failed", "5.1.1", "gone", f"X-Message-Token: {TOKEN}\n"))
    for _ in range(data.draw(st.integers(1, 5))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    found = report_of(bytes(whole[: data.draw(st.integers(0, len(whole)))]))
    assert found is None or (len(found.token) == len(TOKEN) and found.answer.isprintable())


@given(st.binary(max_size=100))
def test_whatever_bytes_a_server_says_can_be_stored(words: bytes) -> None:
    report = report_of(delivery_report(TO, "failed", "5.1.1", "WORDS").replace(b"WORDS", words.replace(b"\n", b"")))
    assert report is None or (report.answer.isprintable() and report.answer.encode())


def test_a_deeply_nested_mail_ends() -> None:
    parts = [f'Content-Type: multipart/mixed; boundary="{depth}"\r\n\r\n--{depth}\r\n' for depth in range(5000)]
    top = f'To: {TO}\r\nContent-Type: multipart/report; boundary="x"\r\n\r\n--x\r\n'
    found = report_of((top + "".join(parts))[:262144].encode())
    assert found is None or found.status == 0
