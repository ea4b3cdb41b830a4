"""What the policy `telemetry` makes of an RPC: its limits, its transaction, and its refusals."""

from collections.abc import Callable, Hashable
from dataclasses import replace
from math import inf
from typing import Any

import grpc
import psycopg
import pytest
from google.protobuf.empty_pb2 import Empty

from server.data.statements import Row
from server.kernel.call import Call, Principal
from server.kernel.clock import utc_now
from server.kernel.guard.limits import DEFAULT_RATES, Grant, RateLimiter
from server.kernel.policy import Criticality, MethodPolicy, read_policies
from server.kernel.problems import Denied, NotFound, Problem, RateLimited
from server.kernel.rates import Rate
from server.kernel.steps.audit import Audit
from server.kernel.steps.limit import Limit
from server.kernel.steps.transaction import InTransaction
from tests.contract.contract import Contract, descriptor_set
from tests.kernel.calls import CREATE, Context, call
from tests.kernel.test_limit_step import OwnRates, Store
from tests.kernel.test_transaction_step import Quiet, step
from tests.observability.points import METHOD, RecordPointsRequest, contract

__all__ = ["step"]
TENANT, OTHER = "01900000-0000-7000-8000-00000000000a", "01900000-0000-7000-8000-00000000000b"
RATES = {name: Rate.parse(text) for name, text in DEFAULT_RATES.items()} | {
    "telemetry": Rate(1, 60.0),
    "default": Rate(1, 60.0),
}


def policy() -> MethodPolicy:
    """That of RecordPoints."""
    files = descriptor_set()
    files.file.append(contract())
    return read_policies(Contract(files).services)[METHOD]


RECORD = policy()


def caller(user: str = "user-1", tenant: str | None = TENANT) -> Principal:
    return Principal(user, "session-1", tenant, (), is_platform=False, expires_at=inf)


def key(key_id: str, calls_per_minute: int) -> Principal:
    return replace(caller(""), api_key_id=key_id, calls_per_minute=calls_per_minute)


def test_telemetry_is_of_its_own_class_and_is_refused_first() -> None:
    assert RECORD.is_telemetry
    assert (RECORD.rate_class, RECORD.criticality) == ("telemetry", Criticality.SHEDDABLE)
    assert not CREATE.is_telemetry


# Limits --------------------------------------------------------------------------------------------------------------


class Asked(Store):
    """One that remembers the keys that it was asked for."""

    def __init__(self, **left: int) -> None:
        super().__init__(**left)
        self.asked: list[str] = []

    def lease(self, key: str, rate: Rate, want: int, unspent: int, since: int) -> Grant:
        self.asked.append(key)
        return super().lease(key, rate, want, unspent, since)


class Limited:
    """The step before a store in which each key has as many calls as its class is given here."""

    def __init__(self, **left: int) -> None:
        self.store = Asked(**left)
        self.step = Limit(RateLimiter(self.store), RATES, OwnRates(), ())

    def call(self, principal: Principal, method: MethodPolicy = RECORD) -> None:
        one = call(method)
        one.principal = principal
        self.step.unary(method, lambda *_: Empty())(one, None)

    def refused(self, principal: Principal, method: MethodPolicy = RECORD) -> tuple[str, str]:
        """The class and the scope of the limit that refuses a call."""
        with pytest.raises(RateLimited) as caught:
            self.call(principal, method)
        return caught.value.metadata["rate_class"], caught.value.metadata["scope"]


def test_a_tenant_without_other_calls_has_its_telemetry() -> None:
    limited = Limited(telemetry=1, default=0, tenant=0)
    limited.call(caller())
    assert limited.refused(caller(), CREATE)[0] in ("default", "tenant")
    assert limited.store.left == {"telemetry": 0, "default": 0, "tenant": 0}


def test_a_tenant_without_telemetry_has_its_other_calls() -> None:
    limited = Limited(telemetry=0, default=1, tenant=1)
    assert limited.refused(caller()) == ("telemetry", "tenant")
    limited.call(caller(), CREATE)


def test_all_callers_of_a_tenant_share_its_telemetry() -> None:
    limited = Limited(telemetry=9)
    for one in (caller("user-1"), caller("user-2"), key("key-1", 0), caller("user-1", OTHER), caller("admin", None)):
        limited.call(one)
    assert limited.store.asked == [
        *[f"telemetry:tenant:{TENANT}"] * 3,
        *(f"telemetry:tenant:{OTHER}", "telemetry:user:admin"),
    ]


def test_an_api_key_keeps_its_own_limit() -> None:
    assert Limited(telemetry=9, pace=0).refused(key("key-1", 5)) == ("telemetry", "api_key")


# The transaction -----------------------------------------------------------------------------------------------------


def recorded(step: InTransaction, handle: Callable[[Call], None] = lambda _: None) -> Call:
    """A call of RecordPoints that has ended."""
    one = call(RECORD)

    def handler(one: Call, _: Any) -> Empty:
        handle(one)
        return Empty()

    step.unary(RECORD, handler)(one, RecordPointsRequest())
    return one


def test_a_success_is_neither_audited_nor_announced(step: InTransaction, monkeypatch: pytest.MonkeyPatch) -> None:
    """The database of this test has no tables, so that an entry or an event would fail."""
    monkeypatch.setattr(Quiet, "announce", lambda *_, **__: pytest.fail("there is nothing new to read"))
    assert recorded(step).events == []
    with pytest.raises(psycopg.errors.UndefinedTable):
        step.unary(CREATE, lambda *_: Empty())(call(CREATE), RecordPointsRequest())


def test_an_event_of_a_handler_is_not_dropped_silently(step: InTransaction) -> None:
    with pytest.raises(TypeError, match=r"RecordPoints is telemetry, and emits `point\.recorded`"):
        recorded(step, lambda one: one.emit("point.recorded", "1", Empty()))


# Refusals ------------------------------------------------------------------------------------------------------------


class Log:
    """What is noted, and what is gathered by its key."""

    def __init__(self) -> None:
        self.noted: list[Row] = []
        self.gathered: dict[Hashable, list[Row]] = {}

    def note(self, row: Row, address: str) -> None:
        del address
        self.noted.append(row)

    def gather(self, key: Hashable, make: Callable[[], Row]) -> None:
        self.gathered.setdefault(key, []).append(make())


def refuse(log: Log, problem: Problem, method: MethodPolicy = RECORD, *, late: bool = False, **facts: str) -> None:
    """Refuse a call, before its work or after its commit."""
    one = call(method, Context(**facts))
    one.principal = caller()

    def handler(one: Call, _: Any) -> Empty:
        if late:
            one.refuse_after_commit(problem)
        raise problem

    with pytest.raises(type(problem)):
        Audit(log, utc_now).unary(method, handler)(one, RecordPointsRequest())


DENIED = Denied("No.", metadata={"permission": "observability.points.record"})


def test_refusals_that_are_alike_are_gathered() -> None:
    log = Log()
    for _ in range(3):
        refuse(log, DENIED)
    refuse(log, DENIED, x_envoy_external_address="192.0.2.1")
    refuse(log, NotFound("It is absent."))
    assert (log.noted, [len(rows) for rows in log.gathered.values()]) == ([], [3, 1, 1])
    refuse(log, DENIED, CREATE)
    assert len(log.noted) == 1
    assert log.noted[0]["outcome"] == grpc.StatusCode.PERMISSION_DENIED.name


def test_a_refusal_after_the_commit_is_gathered_since_no_entry_was_written() -> None:
    log = Log()
    refuse(log, DENIED, late=True)
    refuse(log, DENIED, CREATE, late=True)
    assert (log.noted, len(log.gathered)) == ([], 1)
