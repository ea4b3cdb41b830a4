"""What becomes of a message by the answers of an SMTP server, and how long it waits."""

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from plinth.communication.v1.email_message_pb2 import EmailMessage

from server.domains.communication.composing import compose, html_of
from server.domains.communication.outcomes import PAUSES, Phase, outcome_of, outcome_of_loss, pause_after, unsupported
from server.kernel.clock import utc_now

ACCEPTED, DEFERRED, UNCERTAIN, BOUNCED, FAILED = (
    EmailMessage.STATUS_ACCEPTED,
    EmailMessage.STATUS_DEFERRED,
    EmailMessage.STATUS_UNCERTAIN,
    EmailMessage.STATUS_BOUNCED,
    EmailMessage.STATUS_FAILED,
)


@pytest.mark.parametrize(
    ("phase", "code", "text", "status"),
    [
        (Phase.CONNECT, 535, "5.7.8 wrong password", DEFERRED),
        (Phase.CONNECT, 554, "5.7.1 go away", DEFERRED),
        (Phase.CONNECT, 421, "4.7.0 busy", DEFERRED),
        (Phase.SENDER, 550, "5.7.1 sender denied", FAILED),
        (Phase.SENDER, 451, "4.3.0 later", DEFERRED),
        (Phase.RECIPIENT, 550, "5.1.1 no such user", BOUNCED),
        (Phase.RECIPIENT, 550, "5.1.10 null MX", BOUNCED),
        (Phase.RECIPIENT, 550, "5.2.1 disabled", BOUNCED),
        (Phase.RECIPIENT, 550, "no such user", BOUNCED),
        (Phase.RECIPIENT, 552, "5.2.2 full", DEFERRED),
        (Phase.RECIPIENT, 550, "5.7.1 reputation", FAILED),
        (Phase.RECIPIENT, 554, "5.4.4 no route", FAILED),
        (Phase.RECIPIENT, 554, "refused", FAILED),
        (Phase.RECIPIENT, 450, "4.2.1 greylisted", DEFERRED),
        (Phase.SENT, 250, "2.0.0 queued", ACCEPTED),
        (Phase.SENT, 554, "5.6.0 content", FAILED),
        (Phase.SENT, 550, "5.1.1 too late for a bounce", FAILED),
        (Phase.SENT, 451, "4.3.0 later", DEFERRED),
    ],
)
def test_an_answer_has_one_outcome(phase: Phase, code: int, text: str, status: int) -> None:
    assert outcome_of(phase, code, text).status == status


def test_only_what_may_have_been_sent_is_uncertain() -> None:
    assert {phase: outcome_of_loss(phase, "reset").status for phase in Phase} == {
        Phase.CONNECT: DEFERRED,
        Phase.SENDER: DEFERRED,
        Phase.RECIPIENT: DEFERRED,
        Phase.SENT: UNCERTAIN,
    }


def test_what_the_server_lacks_may_come_or_not() -> None:
    assert unsupported(Phase.CONNECT, "STARTTLS is not supported").status == DEFERRED
    assert unsupported(Phase.CONNECT, "SMTPUTF8").status == FAILED


@given(st.integers(1, 1000), st.floats(0, 1))
def test_pauses_grow_and_vary_a_little(attempts: int, chance: float) -> None:
    pause = pause_after(attempts, lambda: chance)
    usual = PAUSES[min(attempts, len(PAUSES)) - 1]
    assert usual <= pause <= usual * 1.1 + timedelta(microseconds=1)
    assert pause_after(attempts + 1, lambda: 0) >= usual


TEXTS = st.text(st.characters(codec="utf-8", exclude_categories=["Cs"]), max_size=400)


@given(TEXTS)
def test_no_text_leaves_a_lone_line_end_or_a_tag(text: str) -> None:
    message = compose(
        sender="Plinth <a@example.com>", to="b@example.com", subject="x", text=text, reply_to="",
        message_id="<1@example.com>", time=utc_now(),
    )  # fmt: skip
    content = message.content.replace(b"\r\n", b"")
    assert b"\r" not in content
    assert b"\n" not in content
    assert html_of(text).count("<") == html_of(text).count(">")


@pytest.mark.parametrize(
    ("text", "link"),
    [
        ("See https://example.com/a?b=1&c=2.", '<a href="https://example.com/a?b=1&amp;c=2">'),
        ('"><script>alert(1)</script>', "&lt;script&gt;"),
        ('https://example.com/"onclick="x', '<a href="https://example.com/">'),
    ],
)
def test_links_are_links_and_nothing_else_is(text: str, link: str) -> None:
    assert link in html_of(text)
    assert "<script" not in html_of(text)
