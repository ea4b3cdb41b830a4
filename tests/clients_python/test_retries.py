"""What is repeated, how often, and after which pauses. By a double: the real stack fails in no given order."""

import asyncio

import grpc
import pytest
from google.protobuf.message import Message
from plinth.client import (
    Aborted,
    AsyncPlinth,
    Internal,
    Plinth,
    PlinthError,
    ResourceExhausted,
    Retries,
    Unavailable,
    Unknown,
)
from plinth.client.errors import BY_CODE
from plinth.sites.v1.page_pb2 import CreatePageRequest, GetPageRequest, Page

from tests.clients_python.conftest import AT_ONCE
from tests.clients_python.double import Double, refusal

READ = GetPageRequest(page_id="a")
WRITE = CreatePageRequest(page=Page(slug="a"))
Code = grpc.StatusCode


@pytest.mark.parametrize(
    "passing",
    [
        refusal(Code.UNAVAILABLE),
        refusal(Code.ABORTED, "CONFLICT"),
        refusal(Code.ABORTED, "IDEMPOTENT_CALL_RUNNING", retry_after=0.001),
        refusal(Code.RESOURCE_EXHAUSTED, "RATE_LIMITED", retry_after=0.001),
    ],
    ids=["unavailable", "conflict", "running", "limited"],
)
def test_what_passes_is_repeated_with_one_key(double: Double, impatient: Plinth, passing: Message) -> None:
    double.script = [passing, passing]
    assert impatient.pages.create_page(WRITE).slug == "a"
    keys = [call["idempotency-key"] for call in double.calls]
    assert len(keys) == 3
    assert len(set(keys)) == 1
    impatient.pages.create_page(WRITE)
    assert double.calls[-1]["idempotency-key"] not in keys


@pytest.mark.parametrize(
    ("final", "kind"),
    [
        (refusal(Code.ABORTED, "ETAG_MISMATCH"), Aborted),
        (refusal(Code.RESOURCE_EXHAUSTED, "LIMIT_REACHED"), ResourceExhausted),
        (refusal(Code.INTERNAL, "INTERNAL"), Internal),
        (refusal(Code.UNKNOWN), Unknown),
    ],
    ids=["etag", "quota", "internal", "unknown"],
)
def test_what_does_not_pass_is_not_repeated(
    double: Double, impatient: Plinth, final: Message, kind: type[PlinthError]
) -> None:
    double.script = [final]
    with pytest.raises(kind):
        impatient.pages.create_page(WRITE)
    assert len(double.calls) == 1


def test_attempts_have_a_limit(double: Double, impatient: Plinth) -> None:
    double.script = [refusal(Code.UNAVAILABLE)] * 100
    with pytest.raises(Unavailable):
        impatient.pages.get_page(READ)
    assert len(double.calls) == AT_ONCE.attempts


def test_a_pause_that_is_longer_than_the_timeout_is_not_waited_for(double: Double, impatient: Plinth) -> None:
    double.script = [refusal(Code.RESOURCE_EXHAUSTED, "RATE_LIMITED", retry_after=3600)]
    with pytest.raises(ResourceExhausted) as caught:
        impatient.pages.get_page(READ, timeout=60)
    assert caught.value.retry_after == 3600
    assert len(double.calls) == 1


def test_pauses_are_random_up_to_a_ceiling_that_doubles() -> None:
    retries, error = Retries(first_pause=1.0, longest_pause=5.0), Unavailable("")
    pauses = {number: [retries.pause(number, error) for _ in range(500)] for number in (1, 2, 3, 4, 100)}
    for number, ceiling in ((1, 1.0), (2, 2.0), (3, 4.0), (4, 5.0), (100, 5.0)):
        assert max(pauses[number]) <= ceiling
        assert ceiling / 2 < max(pauses[number])
        assert min(pauses[number]) < ceiling / 2


def test_a_pause_is_never_shorter_than_the_server_asks_for() -> None:
    error = Unavailable("")
    error.retry_after = 7.0
    assert all(7.0 <= Retries(first_pause=1.0).pause(1, error) <= 8.0 for _ in range(100))


def test_reads_need_no_key(double: Double, impatient: Plinth) -> None:
    double.script = [refusal(Code.UNAVAILABLE)]
    assert impatient.pages.get_page(READ).id == "a"
    assert [call.get("idempotency-key") for call in double.calls] == [None, None]


def test_for_asyncio_too(double: Double) -> None:
    double.script = [
        refusal(Code.UNAVAILABLE),
        refusal(Code.ABORTED, "CONFLICT"),
        refusal(Code.ABORTED, "ETAG_MISMATCH"),
    ]

    async def work() -> None:
        async with AsyncPlinth(double.url, retries=AT_ONCE) as client:
            with pytest.raises(Aborted):
                await client.pages.create_page(WRITE)

    asyncio.run(work())
    assert len({call["idempotency-key"] for call in double.calls}) == 1
    assert len(double.calls) == 3


def test_every_code_has_an_exception() -> None:
    assert set(BY_CODE) == set(Code) - {Code.OK}


def test_every_call_has_a_deadline(double: Double, impatient: Plinth) -> None:
    impatient.pages.get_page(READ)
    impatient.pages.create_page(WRITE, timeout=5)
    assert [0 < left <= most for left, most in zip(double.deadlines, (61, 6), strict=True)] == [True, True]
