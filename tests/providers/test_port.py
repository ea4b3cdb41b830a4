"""The port of providers: deadline, pool, breaker, retries, redaction, size, TLS, and what its failures say."""

import logging
import ssl
import threading
import traceback
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import REGISTRY

from server.adapters.providers import HttpProviders
from server.adapters.providers import port as ports
from server.adapters.providers.breaker import FAILURES, REST, ProviderBreaker
from server.kernel.problems import Problem, StateForbids, Unavailable
from server.kernel.providers import (
    AnswerLost,
    NotSent,
    Provider,
    ProviderAnswer,
    ProviderPort,
    ProviderRequest,
    ask,
    not_configured,
    problem_of,
)
from server.settings import Settings
from tests.certificates import make_certificate
from tests.providers.courier import COURIER, NOWHERE, TOKEN, URL, Courier, finding, posting
from tests.providers.double import Fault, Reply

PARCEL = {"reference": "r-1", "to": "somewhere"}
SECRET = "s3cret-in-a-path"


@contextmanager
def made(provider: Provider, **options: Any) -> Iterator[ProviderPort]:
    """The port of a provider, without jitter."""
    providers = HttpProviders(Settings(), chance=lambda: 0.0, **options)
    try:
        yield providers(provider)
    finally:
        providers.close()


@pytest.fixture
def courier(monkeypatch: pytest.MonkeyPatch) -> Iterator[Courier]:
    with Courier() as double:
        monkeypatch.setenv(URL, double.url)
        yield double


@pytest.fixture
def port(courier: Courier) -> Iterator[ProviderPort]:
    del courier
    with made(COURIER) as one:
        yield one


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Repetitions wait for next to nothing."""
    monkeypatch.setattr(ports, "FIRST_PAUSE", 0.001)


def counted(outcome: str) -> float:
    """How many requests ended so."""
    labels = {"provider": "courier", "outcome": outcome}
    return REGISTRY.get_sample_value("plinth_provider_requests_total", labels) or 0.0


# Answers -------------------------------------------------------------------------------------------------------------


def test_a_request_arrives_as_it_is_meant_and_its_answer_comes_in_raw_bytes(
    courier: Courier, port: ProviderPort
) -> None:
    before = counted("ok")
    answer = port.send(posting(PARCEL, "k-1"))
    (received,) = courier.received
    assert (received.method, received.path, received.json, received.key) == ("POST", "/parcels", PARCEL, "k-1")
    assert received.headers["accept-encoding"] == "identity"
    assert received.headers["user-agent"].startswith("Plinth/")
    assert (answer.status, answer.is_success) == (201, True)
    assert answer.body == b'{"id": "parcel-1", "reference": "r-1"}'
    assert answer.headers["request-id"] == "req_1"
    assert counted("ok") == before + 1
    assert port.send(finding("a b&c=d")).is_success
    assert courier.received[-1].query == {"reference": "a b&c=d"}


def test_a_status_of_an_error_is_an_answer(courier: Courier, port: ProviderPort) -> None:
    answer = port.send(posting(PARCEL | {"to": NOWHERE}))
    assert (answer.status, answer.is_success) == (422, False)
    assert courier.sent == []


def test_a_redirect_is_not_followed(courier: Courier, port: ProviderPort, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(courier, "reply", lambda _: Reply(302, b"", {"location": courier.url}))
    assert port.send(finding("r-1")).status == 302
    assert len(courier.received) == 1


def test_an_answer_that_is_too_large_is_none(courier: Courier) -> None:
    with made(replace(COURIER, most_bytes=30)) as port:
        with pytest.raises(AnswerLost) as caught:
            port.send(posting(PARCEL))
        assert caught.value.cause == "the answer is too large"
    # It had its effect all the same.
    assert len(courier.sent) == 1


@pytest.mark.usefixtures("courier")
def test_an_answer_of_the_largest_size_is_one() -> None:
    size = len(b'{"id": "parcel-1", "reference": "r-1"}')
    with made(replace(COURIER, most_bytes=size)) as port:
        assert port.send(posting(PARCEL)).is_success


# Failures ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fault", [Fault.DROP_BEFORE, Fault.DROP_AFTER, Fault.CUT], ids=lambda fault: fault.name)
def test_an_answer_that_is_lost_is_told_from_a_request_that_was_not_sent(
    courier: Courier, port: ProviderPort, fault: Fault
) -> None:
    courier.fail(fault)
    with pytest.raises(AnswerLost):
        port.send(posting(PARCEL))
    with courier.away(), pytest.raises(NotSent) as caught:
        port.send(posting(PARCEL))
    assert caught.value.cause == "connection refused"
    assert len(courier.received) == 1


@pytest.mark.parametrize("fault", [Fault.HOLD_AFTER, Fault.TRICKLE], ids=lambda fault: fault.name)
def test_the_deadline_ends_a_request_however_slowly_its_answer_comes(courier: Courier, fault: Fault) -> None:
    with made(replace(COURIER, deadline=0.3)) as port:
        courier.fail(fault)
        with pytest.raises(AnswerLost) as caught:
            port.send(posting(PARCEL))
        assert caught.value.cause == "timeout"
    assert len(courier.sent) == 1


def test_nothing_is_sent_after_the_deadline(courier: Courier) -> None:
    with made(COURIER) as port:
        port.send(finding("r-1"))
        late: Any = port
        late._provider = replace(COURIER, deadline=0.0)  # noqa: SLF001 - held up for as long as it may take
        with pytest.raises(NotSent) as caught:
            port.send(posting(PARCEL))
    assert caught.value.cause == "timeout"
    assert len(courier.received) == 1


def test_a_request_that_waits_for_a_connection_until_its_deadline_was_not_sent(courier: Courier) -> None:
    with made(replace(COURIER, connections=1)) as port, ThreadPoolExecutor(1) as threads:
        courier.fail(Fault.HOLD_AFTER)
        first = threads.submit(port.send, posting(PARCEL))
        courier.wait_for(1)
        hasty: Any = port
        hasty._provider = replace(  # noqa: SLF001 - less patient than the first
            COURIER, connections=1, deadline=0.2
        )
        with pytest.raises(NotSent) as caught:
            port.send(posting(PARCEL))
        assert caught.value.cause == "timeout"
        courier.release()
        assert first.result().is_success
    assert len(courier.received) == 1


def test_a_name_that_does_not_resolve_is_a_request_that_was_not_sent() -> None:
    nowhere = replace(COURIER, base_url=lambda _: "https://courier.invalid")
    with made(nowhere) as port, pytest.raises(NotSent):
        port.send(posting(PARCEL))


def test_a_certificate_is_verified(tmp_path: Path) -> None:
    certificate, key = make_certificate(tmp_path)
    serving = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    serving.load_cert_chain(certificate, key)
    with Courier(tls=serving) as courier:
        there = replace(COURIER, base_url=lambda _: courier.url)
        with made(there) as port, pytest.raises(NotSent) as caught:
            port.send(posting(PARCEL))
        assert caught.value.cause == "the certificate is not valid"
        with made(there, tls=ssl.create_default_context(cafile=str(certificate))) as port:
            assert port.send(posting(PARCEL)).is_success
        assert len(courier.received) == 1


def test_requests_that_are_under_way_when_the_process_ends_are_lost(
    courier: Courier, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(URL, courier.url)
    providers = HttpProviders(Settings())
    courier.fail(Fault.HOLD_AFTER)
    with ThreadPoolExecutor(1) as threads:
        request = threads.submit(providers(COURIER).send, posting(PARCEL))
        courier.wait_for(1)
        providers.close()
        with pytest.raises(AnswerLost):
            request.result()


# Retries -------------------------------------------------------------------------------------------------------------

PASSING = (*(Fault.DROP_BEFORE, Fault.DROP_AFTER, Fault.CUT, Fault.ERROR_BEFORE, Fault.ERROR_AFTER, Fault.THROTTLE),)


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize("fault", PASSING, ids=lambda fault: fault.name)
def test_only_a_safe_request_is_sent_again(courier: Courier, port: ProviderPort, fault: Fault) -> None:
    courier.retry_after = 0
    courier.fail(fault, fault)
    assert port.send(posting(PARCEL, "k-1", is_safe=True)).is_success
    assert len(courier.received) == 3
    # The provider keeps the key, so it had one effect.
    assert len(courier.sent) == 1
    courier.fail(fault)
    assert not _succeeds(lambda: port.send(posting(PARCEL, "k-2")))
    assert len(courier.received) == 4


@pytest.mark.usefixtures("quick")
def test_a_safe_request_is_not_sent_for_ever(courier: Courier, port: ProviderPort) -> None:
    courier.fail(*[Fault.ERROR_BEFORE] * 9)
    assert port.send(finding("r-1")).status == 500
    assert len(courier.received) == ports.ATTEMPTS


def test_a_refusal_is_not_sent_again(courier: Courier, port: ProviderPort) -> None:
    assert port.send(posting(PARCEL | {"to": NOWHERE}, is_safe=True)).status == 422
    assert len(courier.received) == 1


def test_what_the_provider_asks_for_is_waited_unless_it_is_beyond_the_deadline(
    courier: Courier, port: ProviderPort
) -> None:
    courier.retry_after = 3600
    courier.fail(Fault.THROTTLE)
    assert port.send(finding("r-1")).status == 429
    assert len(courier.received) == 1


@pytest.mark.parametrize("method", ["PUT", "DELETE", "GET"])
def test_no_request_is_repeated_behind_our_back(courier: Courier, port: ProviderPort, method: str) -> None:
    """aiohttp would, on a connection that it has kept."""
    port.send(finding("r-1", is_safe=False))
    courier.fail(Fault.DROP_BEFORE)
    with pytest.raises(AnswerLost):
        port.send(posting(PARCEL, method=method))
    assert len(courier.received) == 2


# The breaker ---------------------------------------------------------------------------------------------------------


def test_a_provider_that_fails_in_a_row_is_left_alone(courier: Courier, port: ProviderPort) -> None:
    for _ in range(FAILURES):
        port.check()
        courier.fail(Fault.ERROR_BEFORE)
        port.send(posting(PARCEL))
    for refused in (port.check, lambda: port.send(posting(PARCEL))):
        with pytest.raises(NotSent) as caught:
            refused()
        assert caught.value.retry_after is not None
        assert 0 < caught.value.retry_after <= REST
    assert len(courier.received) == FAILURES


def test_a_refusal_is_no_failure_of_the_provider(courier: Courier, port: ProviderPort) -> None:
    for _ in range(FAILURES + 1):
        assert port.send(posting(PARCEL | {"to": NOWHERE})).status == 422
    port.check()
    assert len(courier.received) == FAILURES + 1


def test_a_breaker_lets_one_request_through_after_its_rest() -> None:
    now = [0.0]
    breaker = ProviderBreaker(lambda: now[0])
    for _ in range(FAILURES):
        assert breaker.admit()
        breaker.note(answers=False)
    assert (breaker.admit(), breaker.wait) == (False, REST)
    now[0] = REST
    assert (breaker.wait, breaker.admit(), breaker.admit()) == (0.0, True, False)
    breaker.note(answers=False)
    assert not breaker.admit()
    now[0] = 2 * REST
    assert breaker.admit()
    breaker.note(answers=True)
    assert [breaker.admit() for _ in range(3)] == [True] * 3


# Redaction -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fault", [*PASSING, None], ids=lambda fault: fault.name if fault else "REFUSED")
def test_nothing_of_a_request_is_logged_or_raised(
    courier: Courier, port: ProviderPort, caplog: pytest.LogCaptureFixture, fault: Fault | None
) -> None:
    request = posting(
        {"to": NOWHERE, "reference": SECRET}, path=f"/bot{SECRET}/parcels", query={"token": SECRET}, key=SECRET
    )
    if fault:
        courier.fail(fault)
    said = [repr(request), str(request)]
    with caplog.at_level(logging.DEBUG):
        try:
            said.append(repr(ask(port, request)))
        except Problem as problem:
            said += [str(problem), repr(problem), str(problem.metadata), "".join(traceback.format_exception(problem))]
    assert not [text for text in (*said, caplog.text) if SECRET in text or TOKEN in text]
    assert "courier: POST parcels.send" in caplog.text


@pytest.mark.parametrize("path", ["parcels", "/a/../b", "/..", "/a?b=c", "/a#b", "/a b", "/a\\b", "//x/./y", ""])
def test_a_path_leads_below_the_base_url(path: str) -> None:
    with pytest.raises(ValueError, match="none below the base URL"):
        ProviderRequest(operation="x", method="GET", path=path)


@pytest.mark.parametrize("value", ["a\r\nx-other: b", "a\nb", "a\0b"])
def test_a_header_holds_one_line(value: str) -> None:
    with pytest.raises(ValueError, match="more than one line"):
        posting(PARCEL, headers={"x-name": value})


# Configuration -------------------------------------------------------------------------------------------------------


def test_a_provider_that_nobody_has_configured_says_which_setting_is_missing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv(URL, raising=False)
    with made(COURIER) as port:
        for refused in (port.check, lambda: port.send(posting(PARCEL))):
            with pytest.raises(StateForbids) as caught:
                refused()
            assert caught.value.reason_name == "PROVIDER_NOT_CONFIGURED"
            assert caught.value.metadata == {"provider": "courier", "setting": "PLINTH_COURIER_URL"}


@pytest.mark.parametrize(
    "url",
    [
        "http://api.example.com",
        "https://user:password@api.example.com",
        "https://",
        "ftp://127.0.0.1",
        "api.example.com",
        "https://api.example.com/?key=x",
        "https://api.example.com/#x",
    ],
)
def test_a_base_url_is_of_https_or_loopback_and_holds_no_credentials(url: str) -> None:
    with pytest.raises(ValueError, match="a URL such as"), made(replace(COURIER, base_url=lambda _: url)):
        pass


def test_a_process_has_one_port_of_a_provider(courier: Courier) -> None:
    del courier
    providers = HttpProviders(Settings())
    assert providers(COURIER) is providers(COURIER)
    with pytest.raises(ValueError, match="two providers are called courier"):
        providers(replace(COURIER, deadline=1.0))
    providers.start()
    providers.close()


@pytest.mark.parametrize("name", ["Stripe", "", "a-b", "1x"])
def test_a_provider_has_a_name_that_labels_metrics(name: str) -> None:
    with pytest.raises(ValueError, match="no name of a provider"):
        replace(COURIER, name=name)


# Problems ------------------------------------------------------------------------------------------------------------


def answer(status: int, **headers: str) -> ProviderAnswer:
    return ProviderAnswer(status, {name.replace("_", "-"): value for name, value in headers.items()}, b"")


def test_each_kind_of_answer_has_its_problem() -> None:
    assert problem_of(COURIER, answer(204)) is None
    found = {status: problem_of(COURIER, answer(status)) for status in (401, 403, 404, 302, 422)}
    assert {status: problem.reason_name for status, problem in found.items() if problem} == {
        401: "PROVIDER_CREDENTIALS_REJECTED",
        403: "PROVIDER_CREDENTIALS_REJECTED",
        404: "PROVIDER_REFUSED",
        302: "PROVIDER_REFUSED",
        422: "PROVIDER_REFUSED",
    }
    refused = problem_of(COURIER, answer(402, request_id="req_9"), "card_declined")
    assert refused is not None
    assert refused.metadata == {
        "provider": "courier",
        "provider_code": "card_declined",
        "provider_request_id": "req_9",
    }
    assert refused.http_status == 409
    assert not_configured("x", "Y").http_status == 409


@pytest.mark.parametrize(("status", "text", "wait"), [(429, "7", 7.0), (503, "", 1.0), (429, "Fri, 27 Nov", 1.0)])
def test_a_provider_that_is_busy_or_ailing_is_away_for_a_while(status: int, text: str, wait: float) -> None:
    problem = problem_of(COURIER, answer(status, retry_after=text))
    assert isinstance(problem, Unavailable)
    assert (problem.metadata, problem.retry_after) == ({"dependency": "courier"}, wait)


def test_asking_raises_the_problem_of_the_answer(courier: Courier, port: ProviderPort) -> None:
    assert ask(port, finding("r-1")).body == b'{"parcels": []}'
    with pytest.raises(StateForbids) as caught:
        ask(port, finding("r-1", headers={}))
    assert caught.value.reason_name == "PROVIDER_CREDENTIALS_REJECTED"
    assert len(courier.received) == 2


def test_many_threads_share_a_port(courier: Courier, port: ProviderPort) -> None:
    with ThreadPoolExecutor(32) as threads:
        answers = list(threads.map(lambda number: port.send(posting(PARCEL, f"k-{number}")), range(64)))
    assert all(each.is_success for each in answers)
    assert len(courier.sent) == 64
    assert sum(thread.name == "providers" for thread in threading.enumerate()) == 1


def _succeeds(send: Callable[[], ProviderAnswer]) -> bool:
    try:
        return send().is_success
    except (NotSent, AnswerLost):
        return False
