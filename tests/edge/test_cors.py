"""Which pages may call, and what they may see."""

import httpx
import pytest

from tests.edge.gateway import ORIGIN, PAGES, Gateway

OTHERS = (
    "https://evil.example",
    "https://app.example.evil.example",
    "http://app.example",
    "https://app.example:444",
    "https://APP.example.",
    "null",
)
PATHS = (
    PAGES,
    f"{PAGES}/1",
    f"{PAGES}/1/publish",
    f"{PAGES}/stream",
    f"{PAGES}:batchGet",
    "/nope",
    "/plinth.sites.v1.PageService/GetPage",
)


def preflight(client: httpx.Client, path: str, origin: str, method: str = "PATCH") -> httpx.Response:
    headers = {
        "origin": origin,
        "access-control-request-method": method,
        "access-control-request-headers": "authorization",
    }
    return client.options(path, headers=headers)


def allowances(answer: httpx.Response) -> dict[str, str]:
    return {name: value for name, value in answer.headers.items() if name.startswith("access-control-")}


@pytest.mark.parametrize("path", PATHS)
def test_a_preflight_on_any_path(gateway: Gateway, client: httpx.Client, path: str) -> None:
    answer = preflight(client, path, ORIGIN)
    assert answer.status_code == 200
    allowed = allowances(answer)
    assert allowed["access-control-allow-origin"] == ORIGIN
    assert allowed["access-control-allow-credentials"] == "true"
    assert allowed["access-control-max-age"] == str(gateway.settings.cors_max_age)
    assert set(allowed["access-control-allow-methods"].split(", ")) == {
        "GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS",
    }  # fmt: skip
    assert {
        "authorization", "content-type", "if-match", "if-none-match", "idempotency-key", "x-api-key", "x-request-id",
        "last-event-id", "x-grpc-web", "x-user-agent", "grpc-timeout",
    } <= set(allowed["access-control-allow-headers"].split(", "))  # fmt: skip
    assert not gateway.backend.calls
    assert not gateway.realtime[0].calls


def test_an_answer_shows_its_headers(client: httpx.Client) -> None:
    answer = client.get(PAGES, headers={"origin": ORIGIN})
    assert answer.headers["access-control-allow-origin"] == ORIGIN
    assert answer.headers["access-control-allow-credentials"] == "true"
    assert "origin" in answer.headers["vary"]
    assert {
        "etag", "location", "x-request-id", "retry-after", "ratelimit", "ratelimit-policy", "x-ratelimit-limit",
        "x-ratelimit-remaining", "x-ratelimit-reset", "idempotent-replay", "grpc-status", "grpc-message",
        "content-disposition",
    } <= set(answer.headers["access-control-expose-headers"].split(", "))  # fmt: skip


@pytest.mark.parametrize("origin", OTHERS)
def test_another_origin_gets_no_allowance(client: httpx.Client, origin: str) -> None:
    assert allowances(client.get(PAGES, headers={"origin": origin})) == {}
    answer = preflight(client, PAGES, origin)
    assert (answer.status_code, allowances(answer)) == (204, {})
    assert answer.headers["allow"]


def test_without_an_origin_there_is_no_allowance(client: httpx.Client) -> None:
    assert allowances(client.get(PAGES)) == {}
