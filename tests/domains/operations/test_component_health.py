"""Health of one component: what health knows of it, and 503 while it does not serve."""

from datetime import timedelta

import pytest
from plinth.operations.v1 import health_pb2
from plinth.operations.v1.health_pb2 import ComponentHealth, Health

from server.domains.operations.health import HealthService
from server.faults import Ailing
from server.kernel.clock import utc_now
from server.kernel.dependencies import Dependencies, Dependency
from server.kernel.ids import new_id
from tests.clients import Rest, stubs
from tests.kernel import calls
from tests.stack import Stack

COMPONENTS = {
    "database": {"database", "database writes", "transactions"},
    "redis": {"redis"},
    "services": {"jobs", "streams", "background", "clock"},
    "websocket": {"streams"},
}
REQUESTS = {
    "database": health_pb2.GetDatabaseHealthRequest(),
    "redis": health_pb2.GetRedisHealthRequest(),
    "services": health_pb2.GetServicesHealthRequest(),
    "streams": health_pb2.GetStreamsHealthRequest(),
}
SERVING, DEGRADED, NOT_SERVING = Health.STATUS_SERVING, Health.STATUS_DEGRADED, Health.STATUS_NOT_SERVING


@pytest.mark.parametrize("component", COMPONENTS)
def test_everyone_may_ask_for_a_component(stack: Stack, component: str) -> None:
    answer = Rest(stack).get(f"health/{component}")
    health = answer.json()
    # Tests beside this one keep transactions open and processes busy.
    assert answer.status_code == 200, health
    assert health["status"] in {"STATUS_SERVING", "STATUS_DEGRADED"}
    assert {check["name"] for check in health["checks"]} == COMPONENTS[component]
    whole = {check["name"] for check in Rest(stack).get("health").json()["checks"]}
    assert COMPONENTS[component] <= whole


def test_every_check_belongs_to_a_component(stack: Stack) -> None:
    whole = {check["name"] for check in Rest(stack).get("health").json()["checks"]}
    assert whole == set().union(*COMPONENTS.values())


def test_services_ask_too(stack: Stack) -> None:
    answer = stubs(stack).health.GetDatabaseHealth(health_pb2.GetDatabaseHealthRequest())
    assert [check.name for check in answer.checks] == ["database", "database writes", "transactions"]
    assert abs(answer.time.ToDatetime() - utc_now().replace(tzinfo=None)) < timedelta(minutes=5)


def service(*failing: str) -> HealthService:
    """Health in which these checks fail."""

    def fail() -> None:
        raise Ailing(f"is ill {new_id()}")

    names = sorted(set().union(*COMPONENTS.values()))
    dependencies = Dependencies(
        [Dependency(name, fail if name in failing else lambda: None, vital=name == "database") for name in names]
    )
    dependencies.look()
    return HealthService(dependencies, "1")


def asked(health: HealthService, component: str) -> tuple[int, int]:
    """The state of a component, and the status over REST."""
    call = calls.call(calls.HEALTH)
    answer: ComponentHealth = getattr(health, f"get_{component}_health")(call, REQUESTS[component])
    return answer.status, call.http_status or 200


@pytest.mark.parametrize(
    ("failing", "expected"),
    [
        ("database", {"database": (NOT_SERVING, 503)}),
        ("database writes", {"database": (DEGRADED, 200)}),
        ("transactions", {"database": (DEGRADED, 200)}),
        ("redis", {"redis": (NOT_SERVING, 503)}),
        ("jobs", {"services": (DEGRADED, 200)}),
        ("streams", {"services": (DEGRADED, 200), "streams": (NOT_SERVING, 503)}),
    ],
)
def test_what_fails_shows_in_its_components_alone(failing: str, expected: dict[str, tuple[int, int]]) -> None:
    health = service(failing)
    found = {component: asked(health, component) for component in REQUESTS}
    assert found == dict.fromkeys(REQUESTS, (SERVING, 200)) | expected
