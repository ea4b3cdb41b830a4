"""Handing mail to real SMTP servers: over TLS, with credentials, and to servers that fail in every phase."""

import asyncio
import socketserver
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import ip_address
from pathlib import Path
from typing import Any, Self

import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult, Envelope, Session
from cryptography import x509
from plinth.communication.v1.email_message_pb2 import EmailMessage

from server.domains.communication.composing import Letter, compose
from server.domains.communication.outcomes import Outcome
from server.domains.communication.smtp import Relay
from server.kernel.clock import utc_now
from tests.certificates import make_certificate
from tests.stack import free_port

ACCEPTED, DEFERRED, UNCERTAIN, FAILED = (
    EmailMessage.STATUS_ACCEPTED,
    EmailMessage.STATUS_DEFERRED,
    EmailMessage.STATUS_UNCERTAIN,
    EmailMessage.STATUS_FAILED,
)
# Not the address of this machine that may do without TLS, though it is on this machine.
ELSEWHERE = "127.0.0.2"


class Kept:
    """Keeps the envelopes."""

    def __init__(self) -> None:
        self.envelopes: list[Envelope] = []

    async def handle_DATA(self, _: Any, session: Session, envelope: Envelope) -> str:  # noqa: N802 - aiosmtpd's name
        del session
        self.envelopes.append(envelope)
        return "250 2.0.0 taken"


@contextmanager
def serving(kept: Kept, **options: Any) -> Iterator[int]:
    """A server at ELSEWHERE. Its port."""
    port = free_port()
    controller = Controller(kept, hostname=ELSEWHERE, port=port, **options)
    controller.start()
    try:
        yield port
    finally:
        controller.stop()


@pytest.fixture
def certified(tmp_path: Path) -> ssl.SSLContext:
    """The certificate of a server at ELSEWHERE."""
    certificate, key = make_certificate(tmp_path, x509.IPAddress(ip_address(ELSEWHERE)))
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate, key)
    return context


@pytest.fixture
def trusted(tmp_path: Path, certified: ssl.SSLContext, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its certificate is trusted here."""
    del certified
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "certificate.pem"))


def message() -> Letter:
    return compose(
        sender="Plinth <a@example.com>", to="b@example.com", subject="x", text="One\n.\nTwo", reply_to="",
        message_id="<1@example.com>", time=utc_now(),
    )  # fmt: skip


def send(url: str, to: str = "b@example.com", times: int = 1, timeout: float = 5.0) -> list[Outcome]:
    """Send over one relay."""

    async def run() -> list[Outcome]:
        relay = Relay(url, "Plinth <a@example.com>", timeout)
        found = [await relay.send(to, message()) for _ in range(times)]
        await relay.close()
        await until_all_is_closed()
        return found

    return asyncio.run(run())


async def until_all_is_closed() -> None:
    """Wait for the ends of connections. Over TLS, both sides take leave of each other first."""
    loop: Any = asyncio.get_running_loop()
    for _ in range(1000):
        # The loop itself has one socket, by which other threads wake it.
        if len(loop._selector.get_map()) <= 1:  # noqa: SLF001 - nothing public tells
            return
        await asyncio.sleep(0.005)
    raise AssertionError("a connection stays open")


@pytest.mark.filterwarnings("ignore:Requiring AUTH while not requiring TLS")
@pytest.mark.usefixtures("trusted")
def test_tls_from_the_start_and_a_password(certified: ssl.SSLContext) -> None:
    kept, tried = Kept(), []

    def check(*arguments: Any) -> AuthResult:
        tried.append(arguments[-1].password)
        return AuthResult(success=arguments[-1].password == b"p@ss/word", handled=False)

    options = {"ssl_context": certified, "authenticator": check, "auth_required": True, "auth_require_tls": False}
    with serving(kept, **options) as port:
        assert [each.status for each in send(f"smtps://user:p%40ss%2Fword@{ELSEWHERE}:{port}", times=2)] == [
            ACCEPTED
        ] * 2
        (refused,) = send(f"smtps://user:wrong@{ELSEWHERE}:{port}")
    assert (refused.status, refused.answer[:3]) == (DEFERRED, "535"), refused
    assert len(kept.envelopes) == 2
    # The second message went over the connection of the first.
    assert tried.count(b"p@ss/word") == 1


@pytest.mark.usefixtures("trusted")
def test_starttls_is_used(certified: ssl.SSLContext) -> None:
    kept = Kept()
    with serving(kept, tls_context=certified, require_starttls=True) as port:
        assert send(f"smtp://{ELSEWHERE}:{port}")[0].status == ACCEPTED
    assert kept.envelopes[0].mail_from == "a@example.com"


def test_without_starttls_nothing_is_sent() -> None:
    kept = Kept()
    with serving(kept) as port:
        (outcome,) = send(f"smtp://{ELSEWHERE}:{port}")
    assert outcome.status == DEFERRED
    assert "STARTTLS" in outcome.answer
    assert not kept.envelopes


@pytest.mark.parametrize("scheme", ["smtp", "smtps"])
def test_a_certificate_that_nobody_trusts_is_refused(certified: ssl.SSLContext, scheme: str) -> None:
    kept = Kept()
    option = {"ssl_context": certified} if scheme == "smtps" else {"tls_context": certified}
    with serving(kept, **option) as port:
        (outcome,) = send(f"{scheme}://{ELSEWHERE}:{port}")
    assert outcome.status == DEFERRED
    assert "certificate" in outcome.answer.lower()
    assert not kept.envelopes


def test_an_address_beyond_ascii_needs_a_server_that_takes_it() -> None:
    kept = Kept()
    for able, status in ((True, ACCEPTED), (False, FAILED)):
        port = free_port()
        controller = Controller(kept, hostname="127.0.0.1", port=port, enable_SMTPUTF8=able)
        controller.start()
        try:
            assert send(f"smtp://127.0.0.1:{port}", "jürgen@bücher.example")[0].status == status
        finally:
            controller.stop()


def test_nobody_there() -> None:
    assert send(f"smtp://127.0.0.1:{free_port()}")[0].status == DEFERRED


# What a server answers: to the connection, EHLO, MAIL, RCPT, DATA, and the message.
ANSWERS = (b"220 hello\r\n", b"250 hello\r\n", b"250 ok\r\n", b"250 ok\r\n", b"354 go on\r\n", b"250 taken\r\n")


class Scripted(socketserver.ThreadingTCPServer):
    """A server that answers so often and no more on each connection. Then it leaves, or is silent."""

    daemon_threads = True

    def __init__(self, answers: int, *, leaves: bool) -> None:
        super().__init__(("127.0.0.1", 0), _Scene)
        self.answers = answers
        self.leaves = leaves
        self.connections = 0
        self.messages = 0

    @property
    def url(self) -> str:
        return f"smtp://127.0.0.1:{self.server_address[1]}"

    def __enter__(self) -> Self:
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        return self

    def __exit__(self, *error: object) -> None:
        self.shutdown()
        self.server_close()


class _Scene(socketserver.StreamRequestHandler):
    server: Scripted

    def handle(self) -> None:
        self.server.connections += 1
        for number, answer in enumerate(ANSWERS):
            if number == len(ANSWERS) - 1:
                while self.rfile.readline() not in (b".\r\n", b""):
                    pass
                self.server.messages += 1
            elif number:
                self.rfile.readline()
            if number == self.server.answers:
                break
            self.wfile.write(answer)
        if not self.server.leaves:
            self.rfile.read()


@pytest.mark.parametrize("answers", range(6))
@pytest.mark.parametrize("leaves", [False, True])
def test_a_server_that_stops_answering(answers: int, *, leaves: bool) -> None:
    with Scripted(answers, leaves=leaves) as server:
        (outcome,) = send(server.url, timeout=2.0)
    # Up to RCPT nothing was sent. From DATA on, it may have been.
    assert outcome.status == (DEFERRED if answers < 4 else UNCERTAIN), outcome


def test_a_connection_that_was_left_is_replaced() -> None:
    """Servers close idle connections: the next message must not be lost by that."""
    with Scripted(len(ANSWERS), leaves=True) as server:
        assert [outcome.status for outcome in send(server.url, times=3)] == [ACCEPTED] * 3
        assert server.connections == 3
