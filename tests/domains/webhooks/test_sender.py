"""The sender, against receivers that do what they can."""

import asyncio
import socket
import ssl
import threading
from collections.abc import Awaitable, Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509

from server.adapters.webhook_sender import Received, WebhookSender, WebhookSenders
from server.kernel.egress import NOT_ALLOWED, TIMEOUT, Egress
from tests.certificates import make_certificate
from tests.domains.webhooks.receiver import Receiver, Reply
from tests.stack import PATIENCE

ALLOWED = Egress(allow_http=True, allowed_networks=["127.0.0.1/32"])
BODY = b'{"type":"page.created"}'
HOST = "hooks.example"


@pytest.fixture(scope="module")
def receiver() -> Iterator[Receiver]:
    with Receiver() as one:
        yield one


def using(senders: WebhookSenders, work: Callable[[WebhookSender], Awaitable[Any]]) -> Any:
    async def run() -> Any:
        async with senders() as sender:
            return await work(sender)

    return asyncio.run(run())


# Who does not answer is given up at once; who answers may take its time on a busy machine.
HASTY = WebhookSenders(ALLOWED, total=1.0, connect=0.5)
PATIENT = WebhookSenders(ALLOWED, total=PATIENCE, connect=PATIENCE)


def send(url: str, *, senders: WebhookSenders = PATIENT) -> Received:
    found: Received = using(senders, lambda sender: sender.send(url, {"x-own": "1"}, BODY))
    return found


def resolving(*answers: tuple[str, ...]) -> tuple[Callable[..., list[tuple[Any, ...]]], list[str]]:
    """A resolver that gives one answer after the other, the last one for ever; and the names it was asked for."""
    asked: list[str] = []

    def lookup(host: str, port: int, *_: Any) -> list[tuple[Any, ...]]:
        addresses = answers[min(len(asked), len(answers) - 1)]
        asked.append(host)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in addresses]

    return lookup, asked


def test_what_is_sent_and_what_comes_back(receiver: Receiver) -> None:
    receiver.behave("/plain", Reply(202, {"X-Answer": "yes", "set-cookie": "a=1"}, b"thanks"))
    answer = send(receiver.url("/plain?a=b%20c"))
    assert (answer.status_code, answer.error) == (200, "")
    answer = send(receiver.url("/plain"))
    assert (answer.status_code, answer.headers["x-answer"], answer.body) == (202, "yes", "thanks")
    assert timedelta() < answer.duration < timedelta(seconds=PATIENCE)
    queried, plain = receiver.messages("/plain?a=b%20c")[0], receiver.messages("/plain")[0]
    assert queried.body == plain.body == BODY
    assert plain.headers["x-own"] == "1"
    assert plain.headers["user-agent"].startswith("Plinth-Webhooks/")
    assert "cookie" not in plain.headers


def test_cookies_are_not_kept(receiver: Receiver) -> None:
    receiver.behave("/cookie", Reply(200, {"set-cookie": "a=1"}))

    async def twice(sender: WebhookSender) -> None:
        for _ in range(2):
            await sender.send(receiver.url("/cookie"), {}, BODY)

    using(WebhookSenders(ALLOWED), twice)
    assert ["cookie" in message.headers for message in receiver.messages("/cookie")] == [False, False]


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_redirects_are_not_followed(receiver: Receiver, status: int) -> None:
    receiver.behave("/from", Reply(status, {"location": receiver.url("/to")}))
    assert send(receiver.url("/from")).status_code == status
    assert receiver.messages("/to") == []


def test_whoever_hangs_is_given_up(receiver: Receiver) -> None:
    receiver.behave("/hang", Reply(hang=True))
    answer = send(receiver.url("/hang"), senders=HASTY)
    assert (answer.status_code, answer.error) == (0, TIMEOUT)
    assert timedelta(seconds=0.9) < answer.duration < timedelta(seconds=PATIENCE)


def test_whoever_drips_is_not_listened_to_for_long(receiver: Receiver) -> None:
    """The status is there, and counts; the body is cut."""
    receiver.behave("/drip", Reply(200, drip=True))
    answer = send(receiver.url("/drip"), senders=HASTY)
    assert answer.status_code == 200
    assert set(answer.body) == {"."}
    assert answer.duration < timedelta(seconds=PATIENCE)


def test_a_long_body_is_cut(receiver: Receiver) -> None:
    receiver.behave("/long", Reply(500, {"content-type": "text/plain"}, b"x" * 3_000_000))
    answer = send(receiver.url("/long"))
    assert (answer.status_code, answer.body) == (500, "x" * 4096)


def test_a_body_that_is_no_text_is_shown_as_far_as_it_is(receiver: Receiver) -> None:
    receiver.behave("/bytes", Reply(500, {"content-encoding": "gzip"}, b"\xff\x00ok"))
    assert send(receiver.url("/bytes")).body == "\ufffd\0ok"


def test_where_nobody_listens() -> None:
    answer = send("http://127.0.0.1:1/")
    assert (answer.status_code, answer.error) == (0, "connection refused")


def test_where_nobody_speaks_tls(receiver: Receiver) -> None:
    answer = send(f"https://127.0.0.1:{receiver.port}/", senders=HASTY)
    assert (answer.status_code, answer.error) == (0, TIMEOUT)


def test_what_is_no_http_is_told() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:

        def babble() -> None:
            connection, _ = server.accept()
            with connection:
                connection.recv(65536)
                connection.sendall(b"220 smtp.example ESMTP\r\n\r\n")

        thread = threading.Thread(target=babble)
        thread.start()
        answer = send(f"http://127.0.0.1:{server.getsockname()[1]}/")
        thread.join()
    assert (answer.status_code, answer.error) == (0, "the answer is not HTTP")


@pytest.mark.parametrize("host", ["127.0.0.2", "[::ffff:127.0.0.2]", "127.2", "2130706434", "0x7f.2", "[::1]"])
def test_private_literals_are_refused_without_a_packet(host: str) -> None:
    with Receiver("127.0.0.2") as private:
        answer = send(f"http://{host}:{private.port}/")
        assert (answer.status_code, answer.error) == (0, NOT_ALLOWED)
        assert private.connections == 0


def test_a_name_is_refused_if_any_of_its_addresses_is_private(receiver: Receiver) -> None:
    lookup, _ = resolving(("127.0.0.1", "10.0.0.1"))
    answer = send(f"http://{HOST}:{receiver.port}/both", senders=WebhookSenders(ALLOWED, lookup=lookup))
    assert (answer.status_code, answer.error) == (0, NOT_ALLOWED)
    assert receiver.messages("/both") == []


def test_a_name_that_does_not_resolve() -> None:
    def lookup(*_: Any) -> list[tuple[Any, ...]]:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    answer = send(f"http://{HOST}/", senders=WebhookSenders(ALLOWED, lookup=lookup))
    assert (answer.status_code, answer.error) == (0, "the name does not resolve")


def test_rebinding_gets_no_packet_to_where_it_points_later(monkeypatch: pytest.MonkeyPatch) -> None:
    """What was looked at is connected to; when the name is resolved again, the new address is looked at as well."""
    monkeypatch.setattr("server.adapters.webhook_sender.NAMES_KEPT", 0)
    lookup, asked = resolving(("127.0.0.1",), ("127.0.0.2",))
    with Receiver() as public, Receiver("127.0.0.2", public.port) as private:

        async def twice(sender: WebhookSender) -> list[Received]:
            return [await sender.send(f"http://{HOST}:{public.port}/", {}, BODY) for _ in range(2)]

        # A kept connection would need no name.
        public.behave("/", Reply(headers={"connection": "close"}))
        first, second = using(WebhookSenders(ALLOWED, lookup=lookup), twice)
        assert (first.status_code, second.error) == (200, NOT_ALLOWED)
        assert asked == [HOST, HOST]
        assert (public.count(), private.connections) == (1, 0)
        assert public.messages()[0].headers["host"] == f"{HOST}:{public.port}"


def test_a_look_up_that_hangs_is_given_up() -> None:
    released = threading.Event()

    def lookup(*_: Any) -> list[tuple[Any, ...]]:
        released.wait(PATIENCE)
        return []

    try:
        answer = send(f"http://{HOST}/", senders=WebhookSenders(ALLOWED, total=0.5, connect=0.3, lookup=lookup))
    finally:
        released.set()
    assert (answer.status_code, answer.error) == (0, TIMEOUT)


def test_what_is_no_longer_allowed_is_not_sent(receiver: Receiver) -> None:
    strict = WebhookSenders(Egress(allowed_networks=["127.0.0.1/32"]))
    assert send(receiver.url("/http"), senders=strict).error == NOT_ALLOWED
    assert receiver.messages("/http") == []


def test_a_kept_connection_that_was_closed_costs_no_message() -> None:
    """Its server gives connections up whenever it likes; nothing is wrong with the receiver."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            for _ in range(2):
                connection, _ = server.accept()
                with connection:
                    connection.recv(65536)
                    connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")
                    # The second message comes over the kept connection, and finds it closed.
                    connection.recv(65536)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()

        async def twice(sender: WebhookSender) -> list[int]:
            url = f"http://127.0.0.1:{server.getsockname()[1]}/"
            return [(await sender.send(url, {}, BODY)).status_code for _ in range(2)]

        assert using(WebhookSenders(ALLOWED), twice) == [200, 200]
    thread.join(PATIENCE)


# TLS -----------------------------------------------------------------------------------------------------------------


def test_tls_asks_for_the_name_at_the_address_that_was_looked_at(tmp_path: Path) -> None:
    certificate, key = make_certificate(tmp_path, x509.DNSName(HOST))
    serving = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    serving.load_cert_chain(certificate, key)
    names: list[str | None] = []
    serving.sni_callback = lambda _, name, __: names.append(name)
    trusting = ssl.create_default_context(cafile=str(certificate))
    lookup, _ = resolving(("127.0.0.1",))
    with Receiver(tls=serving) as receiver:
        for host, error in ((HOST, ""), ("other.example", "the certificate is not valid")):
            senders = WebhookSenders(ALLOWED, tls=trusting, lookup=lookup)
            answer = send(f"https://{host}:{receiver.port}/", senders=senders)
            assert (answer.status_code, answer.error) == (0 if error else 200, error)
        assert names == [HOST, "other.example"]
        assert receiver.count() == 1
