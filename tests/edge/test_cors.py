"""Which pages may call, and what they may see."""

from collections.abc import Iterator

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
        "last-event-id", "x-grpc-web", "x-user-agent", "grpc-timeout", "connect-protocol-version",
        "connect-timeout-ms", "traceparent", "tracestate", "baggage",
        "sentry-trace",
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


# Pages of the developer's machine ------------------------------------------------------------------------------------

LOCAL = ("http://localhost:3000", "http://localhost", "http://127.0.0.1:5173", "http://127.0.0.1", "http://localhost:1")
NOT_LOCAL = (
    "http://localhost.evil.com",
    "http://localhost:3000.evil.com",
    "http://evil.com/http://localhost:3000",
    "http://evil-localhost:3000",
    "http://localhost.:3000",
    "http://localhost:",
    "http://localhost:3000/",
    "http://localhost:123456",
    "http://localhost:3000@evil.com",
    "http://user@localhost:3000",
    "http://127.0.0.1.evil.com",
    "http://127x0x0x1:3000",
    "http://127.0.0.2:3000",
    "http://192.168.1.7:3000",
    "http://0.0.0.0:3000",
    "https://localhost:3000",
    "https://localhost",
    "https://127.0.0.1",
    "localhost:3000",
    "null",
)


@pytest.fixture(scope="module", params=["staging", "production"])
def deployed(request: pytest.FixtureRequest) -> Iterator[Gateway]:
    """A gateway that is no developer's, with a header of its own."""
    with running(environment=request.param, secret_key="0" * 32, cors_headers="X-Team, if-match") as gateway:
        yield gateway


@pytest.mark.parametrize("origin", LOCAL)
def test_pages_of_this_machine_call_in_development(client: httpx.Client, origin: str) -> None:
    for answer in (preflight(client, PAGES, origin), client.get(PAGES, headers={"origin": origin})):
        assert answer.status_code == 200
        assert answer.headers["access-control-allow-origin"] == origin
        assert answer.headers["access-control-allow-credentials"] == "true"


@pytest.mark.parametrize("origin", NOT_LOCAL)
def test_what_only_looks_like_this_machine_does_not(client: httpx.Client, origin: str) -> None:
    assert allowances(client.get(PAGES, headers={"origin": origin})) == {}
    answer = preflight(client, PAGES, origin)
    assert (answer.status_code, allowances(answer)) == (204, {})


def test_answers_depend_on_the_origin_where_only_pages_of_this_machine_call() -> None:
    with running(cors_origins=()) as gateway:
        assert "origin" in gateway.http.get(PAGES).headers["vary"]


@pytest.mark.parametrize("origin", [*LOCAL, *NOT_LOCAL])
def test_elsewhere_no_page_of_this_machine_calls(deployed: Gateway, origin: str) -> None:
    assert allowances(deployed.http.get(PAGES, headers={"origin": origin})) == {}
    assert allowances(preflight(deployed.http, PAGES, origin)) == {}


def test_headers_of_the_deployment_are_allowed_beside_our_own(deployed: Gateway) -> None:
    allowed = allowances(preflight(deployed.http, PAGES, ORIGIN))["access-control-allow-headers"].split(", ")
    assert {"x-team", "authorization", "idempotency-key"} <= set(allowed)
    # What is set replaces the default, and nothing is named twice.
    assert "baggage" not in allowed
    assert allowed.count("if-match") == 1
