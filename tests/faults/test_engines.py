"""PostgreSQL and Redis that go away under load, and come back."""

import signal
from typing import Any

import httpx
import pytest
from grpc_health.v1 import health_pb2

from tests.clients import Rest, Tenant, problem
from tests.faults.load import Load
from tests.faults.outages import answers, away, health_of, probe, socket_of, well
from tests.stack import Stack

pytestmark = pytest.mark.heavy

WORKERS = ("api-0", "api-1", "realtime-0", "worker-0", "envoy")
SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


def everywhere(stack: Stack, service: str, status: Any) -> bool:
    """Whether every process that answers calls says this of a service, and the gateway too."""
    targets = [stack.target, *(socket_of(stack, name) for name in ("api-0", "api-1", "realtime-0"))]
    return all(probe(target, service) == status for target in targets)


def test_an_outage_of_the_database_is_told_and_got_over(hurt: Stack, tenant: Tenant) -> None:
    workers = {name: hurt.pid(name) for name in WORKERS}
    rest = Rest(hurt)
    with Load(tenant) as load:
        load.more(60)
        with away(hurt, "postgres", signal.SIGINT):
            load.more_refused(20)
            refusal = tenant.rest.get(f"{tenant.path}/pages")
            hurt.wait_for(lambda: answers(lambda: rest.get("health"), 503))
            hurt.wait_for(lambda: everywhere(hurt, "", NOT_SERVING))
            assert everywhere(hurt, "plinth.process", SERVING)
            told = health_of(hurt)
        well(hurt)
        load.more(60)
    why = problem(refusal)
    assert (refusal.status_code, refusal.headers["retry-after"]) == (503, "1")
    assert (why.code, why.reason, why.metadata) == (14, "DEPENDENCY_UNAVAILABLE", {"dependency": "database"})
    assert why.retry_after
    others = dict.fromkeys(("redis", "jobs", "clock"), "STATUS_SERVING") | {"database writes": "STATUS_NOT_SERVING"}
    # Readers wait in vain as well; when that is told depends on how long the outage lasted.
    told.pop("background")
    told.pop("streams")
    told.pop("transactions")
    assert told == {"database": "STATUS_NOT_SERVING", **others, "": "STATUS_NOT_SERVING"}
    load.check_refusals()
    load.check_writes()
    assert {name: hurt.pid(name) for name in WORKERS} == workers
    hurt.wait_for(lambda: everywhere(hurt, "", SERVING))


def test_streams_that_nobody_serves_are_told(hurt: Stack) -> None:
    well(hurt)
    rest, missing = Rest(hurt), {"streams": "STATUS_NOT_SERVING", "": "STATUS_DEGRADED"}
    told: list[httpx.Response] = []

    def asked() -> httpx.Response:
        told.append(rest.get("health/websocket"))
        return told[-1]

    with away(hurt, "realtime-0"):
        # Each worker looks for itself, and either may answer.
        hurt.wait_for(lambda: answers(asked, 503))
        hurt.wait_for(lambda: missing.items() <= health_of(hurt).items())
        assert answers(lambda: rest.get("health/database"))
    assert told[-1].json()["status"] == "STATUS_NOT_SERVING"
    hurt.wait_for(lambda: answers(lambda: rest.get("health/websocket")))
    well(hurt)


def test_an_outage_of_redis_stops_nothing(hurt: Stack, tenant: Tenant) -> None:
    workers = {name: hurt.pid(name) for name in WORKERS}
    rest = Rest(hurt)
    told: list[httpx.Response] = []

    def asked() -> httpx.Response:
        told.append(rest.get("health"))
        return told[-1]

    with Load(tenant) as load:
        load.more(60)
        with away(hurt, "redis"):
            # Each worker looks for itself, and either may answer: what is judged is the answer that misses Redis.
            hurt.wait_for(lambda: "STATUS_NOT_SERVING" in asked().text)
            load.more(60)
            assert everywhere(hurt, "", SERVING)
        well(hurt)
        load.more(60)
    missed = {check["name"] for check in told[-1].json()["checks"] if check["status"] == "STATUS_NOT_SERVING"}
    assert (told[-1].json()["status"], missed) == ("STATUS_DEGRADED", {"redis"})
    assert {answer.status_code for answer in told} == {200}
    assert not load.refused, hurt.output[-3000:]
    load.check_writes()
    assert {name: hurt.pid(name) for name in WORKERS} == workers
