"""Which pages may call, and what they may see."""

import httpx
import pytest

from tests.edge.gateway import ORIGIN, PAGES, Gateway, eventually, running

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


def test_a_refused_origin_is_told_of_once_with_the_setting_that_would_help(gateway: Gateway) -> None:
    origin = "https://told-of.example"

    def told() -> list[str]:
        return [line for line in gateway.log.read_text().splitlines() if origin in line]

    for _ in range(3):
        assert preflight(gateway.http, PAGES, origin).status_code == 204
    preflight(gateway.http, PAGES, "https://told-of-as-well.example")
    eventually(lambda: "told-of-as-well" in gateway.log.read_text(), "the log is written")
    assert len(told()) == 1
    assert "PLINTH_CORS_ORIGINS" in told()[0]


def test_no_number_of_origins_fills_the_log() -> None:
    with running() as gateway:

        def told() -> int:
            return sum("flood-" in line for line in gateway.log.read_text().splitlines())

        for number in range(150):
            preflight(gateway.http, PAGES, f"https://flood-{number}.example")
        eventually(lambda: told() >= 100, "a hundred are told of")
        assert told() == 100
