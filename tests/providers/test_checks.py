"""Start-up refuses a service that holds the port of a provider and does not keep the rules."""

from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from typing import Any

import pytest

from server.adapters.providers import HttpProviders
from server.kernel.module import ModuleFault
from server.kernel.policy import MethodPolicy
from server.kernel.provider_checks import check, held_by
from server.kernel.providers import ProviderPort
from server.settings import Settings
from tests.kernel.calls import CREATE, GET, POLICIES
from tests.providers.courier import COURIER, CourierClient

PUBLISH = replace(
    POLICIES["/plinth.sites.v1.PageService/PublishPage"], providers=("courier",), is_slow=True, timeout=20.0
)


@pytest.fixture
def port() -> Iterator[ProviderPort]:
    providers = HttpProviders(Settings())
    yield providers(COURIER)
    providers.close()


class Holding:
    """A service of pages that holds something."""

    descriptor = PUBLISH.descriptor.containing_service

    def __init__(self, held: Any) -> None:
        self._held = held


def faults(held: Any, *methods: MethodPolicy) -> str:
    """What start-up says."""
    service: Any = Holding(held)
    try:
        check([service], methods)
    except ModuleFault as fault:
        return str(fault)
    return ""


def ways(port: ProviderPort) -> dict[str, Any]:
    """How a service may come to a port."""

    class Slotted:
        __slots__ = ("client",)

        def __init__(self) -> None:
            self.client = CourierClient(port)

    return {
        "itself": port,
        "client": CourierClient(port),
        "method": CourierClient(port).send,
        "partial": partial(print, CourierClient(port)),
        "function": lambda: port.provider,
        "list": [{"courier": (CourierClient(port),)}],
        "slots": Slotted(),
    }


def test_a_port_is_found_however_a_service_comes_to_it(port: ProviderPort) -> None:
    for name, held in ways(port).items():
        assert held_by(Holding(held)) == {"courier": COURIER}, name
    providers = HttpProviders(Settings())
    providers(COURIER)
    # Who can make a port has none of it yet, and knows those of other services.
    assert held_by(Holding([object, "text", None, providers])) == {}


def test_what_holds_a_port_holds_itself_too(port: ProviderPort) -> None:
    service: Any = Holding(None)
    service.again = [service, port]
    assert held_by(service) == {"courier": COURIER}


def test_a_service_that_keeps_the_rules_starts(port: ProviderPort) -> None:
    assert faults(CourierClient(port), PUBLISH, GET) == ""
    assert faults(None, CREATE, GET) == ""


def test_no_service_with_a_standard_create_holds_a_port(port: ProviderPort) -> None:
    for held in ways(port).values():
        assert "PageService/CreatePage may run twice" in faults(held, PUBLISH, CREATE)


def test_a_port_that_no_policy_names_is_refused(port: ProviderPort) -> None:
    assert "holds the port of `courier`, which none of its RPCs names" in faults(port, replace(PUBLISH, providers=()))


def test_a_provider_whose_port_is_not_held_is_refused() -> None:
    assert "names the provider `courier`, whose port its service does not hold" in faults(None, PUBLISH)


@pytest.mark.parametrize(("timeout", "is_refused"), [(COURIER.deadline, True), (COURIER.deadline + 0.1, False)])
def test_an_rpc_waits_longer_than_the_provider_may_take(
    port: ProviderPort, timeout: float, *, is_refused: bool
) -> None:
    found = faults(port, replace(PUBLISH, timeout=timeout))
    assert ("PublishPage ends after 2 s, and courier may take 2 s" in found) is is_refused
