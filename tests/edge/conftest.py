"""One gateway for all tests of a process that need nothing special of it."""

from collections.abc import Iterator

import httpx
import pytest

from tests.edge.gateway import Gateway, running


@pytest.fixture(scope="session")
def shared_gateway() -> Iterator[Gateway]:
    with running() as gateway:
        yield gateway


@pytest.fixture
def gateway(shared_gateway: Gateway) -> Iterator[Gateway]:
    """A running gateway whose backends answer empty messages and remember no calls."""
    yield shared_gateway
    for backend in (*shared_gateway.api, *shared_gateway.realtime):
        backend.forget()


@pytest.fixture(params=["http", "http2"])
def client(request: pytest.FixtureRequest, gateway: Gateway) -> httpx.Client:
    """A client of the gateway: HTTP/1.1, then HTTP/2."""
    chosen: httpx.Client = getattr(gateway, request.param)
    return chosen
