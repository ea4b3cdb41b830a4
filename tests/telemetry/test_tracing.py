"""Traces: one per call from the gateway to SQL, nothing secret in them, and nothing at all where they go nowhere."""

import secrets
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path
from time import monotonic
from typing import Any

import grpc
import httpx
import pytest
from opentelemetry.sdk.trace.export import SpanExportResult
from plinth.sites.v1 import page_pb2
from pydantic import ValidationError

from server import parts
from server.adapters.tracing import EXPORT_TIMEOUT, Sender
from server.gateway.render import render, write
from server.settings import Settings
from tests import clients
from tests.certificates import make_certificate
from tests.edge.gateway import PAGES, TENANT, running
from tests.stack import Stack, wait_for
from tests.telemetry.collector import PATIENCE, Collector, Span, collecting

pytestmark = pytest.mark.heavy

DESCRIPTORS = files("plinth").joinpath("descriptors.binpb").read_bytes()
GATEWAY, API, REALTIME = "plinth-gateway", "plinth-api", "plinth-realtime"
WHOLE = {(GATEWAY, "SERVER"), (GATEWAY, "CLIENT"), (API, "SERVER")}
# Envoy sends its spans when it has so many.
ENOUGH = 5
NOBODY = "http://127.0.0.1:9"
CALLER = "00f067aa0ba902b7"


# From the gateway to SQL -------------------------------------------------------------------------------------------


class Traced:
    """A stack whose traces are collected."""

    def __init__(self, stack: Stack, collector: Collector) -> None:
        self.stack = stack
        self.collector = collector
        self.tenant = clients.new_tenant(stack)

    def call(self, method: str, path: str, *, sampled: bool = True, **options: Any) -> tuple[Any, str]:
        """The response, and the id of the trace that the caller began."""
        trace_id = secrets.token_hex(16)
        headers = {"traceparent": f"00-{trace_id}-{CALLER}-{'01' if sampled else '00'}"}
        return self.tenant.rest.request(method, path, headers=headers | options.pop("headers", {}), **options), trace_id

    def trace(self, trace_id: str) -> list[Span]:
        """The trace, once the gateway and the server have told of it."""
        for _ in range(ENOUGH):
            clients.Rest(self.stack).get("nothing-is-here")
        return self.collector.await_trace(trace_id, WHOLE)


@pytest.fixture(scope="module")
def traced() -> Iterator[Traced]:
    with collecting() as collector:
        stack = Stack(otlp_endpoint=collector.endpoint, api_workers=1)
        try:
            yield Traced(stack.start(), collector)
        finally:
            stack.remove()


def one(spans: list[Span], service: str, kind: str) -> Span:
    found = [span for span in spans if (span.service, span.kind) == (service, kind)]
    assert len(found) == 1, found
    return found[0]


def statements(spans: list[Span]) -> list[Span]:
    return [span for span in spans if "db.system.name" in span.attributes]


def test_a_call_is_one_trace_from_the_gateway_to_sql(traced: Traced) -> None:
    response, trace_id = traced.call(
        "POST", f"{traced.tenant.path}/pages", json={"slug": "traced", "title": "Secretive"}
    )
    assert response.status_code == 201
    spans = traced.trace(trace_id)

    edge, sent, served = (one(spans, *which) for which in ((GATEWAY, "SERVER"), (GATEWAY, "CLIENT"), (API, "SERVER")))
    assert [edge.parent_id, sent.parent_id, served.parent_id] == [CALLER, edge.id, sent.id]
    assert edge.name == "/plinth.sites.v1.PageService/CreatePage"
    assert (edge.attributes["http.method"], edge.attributes["http.status_code"]) == ("POST", "201")
    assert edge.attributes["url.path"] == f"{traced.tenant.path}/pages"
    assert served.name == "plinth.sites.v1.PageService/CreatePage"
    assert served.attributes == {
        "rpc.system.name": "grpc",
        "rpc.method": "plinth.sites.v1.PageService/CreatePage",
        "rpc.response.status_code": "OK",
        "plinth.request_id": response.headers["x-request-id"],
        "plinth.tenant_id": traced.tenant.id,
    }
    assert served.resource["service.version"] == parts.VERSION
    assert served.resource["service.instance.id"].endswith(":api-0")

    sql = statements(spans)
    assert {(span.service, span.kind, span.parent_id) for span in sql} == {(API, "CLIENT", served.id)}
    (insert,) = (span for span in sql if "INSERT INTO pages" in span.attributes["db.query.text"])
    assert insert.name == insert.attributes["db.operation.name"]
    assert insert.attributes["db.response.returned_rows"] >= 1
    assert "VALUES ($1" in insert.attributes["db.query.text"]
    assert any(span.attributes["db.query.text"].endswith("COMMIT") for span in sql)
    assert not any("set_config" in span.attributes["db.query.text"] for span in sql)
    assert all(span.seconds <= served.seconds for span in sql)
    assert not any(span.failed for span in spans)
    assert "Secretive" not in repr([span.raw for span in spans])


def test_an_error_is_marked(traced: Traced) -> None:
    response, trace_id = traced.call("GET", f"{traced.tenant.path}/pages/{TENANT}")
    assert response.status_code == 404
    spans = traced.trace(trace_id)
    assert one(spans, GATEWAY, "SERVER").attributes["http.status_code"] == "404"
    assert one(spans, GATEWAY, "CLIENT").failed
    served = one(spans, API, "SERVER")
    # Not the server's failure, by OpenTelemetry's conventions.
    assert not served.failed
    assert served.attributes["rpc.response.status_code"] == served.attributes["error.type"] == "NOT_FOUND"
    assert served.attributes["plinth.reason"] == "RESOURCE_NOT_FOUND"


def test_a_call_that_brings_no_trace_begins_one(traced: Traced) -> None:
    request_id = secrets.token_hex(8)
    traced.tenant.stubs.pages.ListPages(
        page_pb2.ListPagesRequest(tenant_id=traced.tenant.id), metadata=[("x-request-id", request_id)]
    )

    def begun() -> str:
        known = (span.trace_id for span in list(traced.collector.spans) if request_id in span.attributes.values())
        return next(known, "")

    wait_for(begun, PATIENCE, "a span with the request id")
    spans = traced.trace(begun())
    edge = one(spans, GATEWAY, "SERVER")
    assert not edge.parent_id
    assert one(spans, GATEWAY, "CLIENT").parent_id == edge.id
    assert one(spans, API, "SERVER").parent_id == one(spans, GATEWAY, "CLIENT").id


def test_nothing_secret_is_in_a_span(traced: Traced) -> None:
    tenant, collector = traced.tenant, traced.collector
    query = f"access_token={tenant.access_token}"
    url = f"{traced.stack.url}{tenant.path}/pages/stream?{query}"
    with httpx.stream("GET", url, timeout=PATIENCE, trust_env=False) as events:
        assert next(events.iter_lines()).startswith("retry")
    # Taken for gRPC, this one stays as it is on its way through the gateway.
    clients.Rest(traced.stack).get(f"{tenant.path}/pages/stream?{query}", headers={"content-type": "application/grpc"})
    clients.log_in(traced.stack, tenant.owner)
    _, trace_id = traced.call("GET", f"{tenant.path}/pages", headers={"x-api-key": "sn_live_nothing"})
    traced.trace(trace_id)

    def told(rpc: str) -> set[str]:
        return {span.service for span in list(collector.spans) if span.name.endswith(rpc)}

    wait_for(lambda: told("/StreamPages") == {GATEWAY, REALTIME}, PATIENCE, "both ends of the stream")
    wait_for(lambda: told("/LogIn") == {GATEWAY, API}, PATIENCE, "both ends of the login")
    seen = repr([span.raw for span in collector.spans])
    assert f"{tenant.path}/pages/stream" in seen
    secret = (tenant.access_token, tenant.refresh_token, tenant.owner.password, tenant.owner.email, "sn_live_nothing")
    assert [each for each in (*secret, "access_token=") if each in seen] == []


def test_calls_go_on_without_a_collector_and_the_log_says_so_once(traced: Traced) -> None:
    """Comes last: it ends the collector."""
    log = traced.stack.data_dir / "logs" / "api-0.log"

    def lines() -> list[str]:
        return [line for line in log.read_text().splitlines() if '"plinth.tracing"' in line or "opentelemetry" in line]

    assert lines() == []
    traced.collector.stop()
    wait_for(lambda: traced.call("GET", f"{traced.tenant.path}/pages")[0].status_code == 200 and lines(), PATIENCE)
    for _ in range(20):
        started = monotonic()
        assert traced.call("GET", f"{traced.tenant.path}/pages")[0].status_code == 200
        # Whoever waited for an export would wait until it is given up.
        assert monotonic() - started < EXPORT_TIMEOUT
    assert len(lines()) == 1
    assert "no traces arrive" in lines()[0]
    assert "opentelemetry" not in (traced.stack.data_dir / "logs" / "envoy.log").read_text().lower()


# The gateway alone ---------------------------------------------------------------------------------------------------


def test_the_rate_holds_whatever_the_caller_s_trace_says() -> None:
    with collecting() as collector, running(otlp_endpoint=collector.endpoint, trace_sample_rate=0) as gateway:
        trace_id = secrets.token_hex(16)
        for headers in ({}, {"traceparent": f"00-{trace_id}-{CALLER}-01"}, {"x-client-trace-id": "1"}):
            assert gateway.http.get(f"{PAGES}/{TENANT}", headers=headers).status_code == 200
        parents = [call.metadata["traceparent"].split("-") for call in gateway.backend.calls]
        assert [flags for *_, flags in parents] == ["00"] * 3
        assert parents[1][1] == trace_id
        assert parents[1][2] != CALLER

        def counter(name: str) -> int:
            stats = gateway.admin.get("/stats?filter=tracing.opentelemetry&format=json").json()["stats"]
            return next(int(each["value"]) for each in stats if each.get("name") == f"tracing.opentelemetry.{name}")

        wait_for(lambda: counter("timer_flushed"), PATIENCE, "a flush of what there is")
        assert counter("spans_sent") == 0
        assert collector.spans == []


def test_nothing_is_rendered_without_an_endpoint(tmp_path: Path) -> None:
    # By default, pages may send the headers of their own traces.
    plain = render(settings(tmp_path, cors_headers=""), DESCRIPTORS)
    with_traces: dict[str, Any] = render(settings(tmp_path, cors_headers="", otlp_endpoint=NOBODY), DESCRIPTORS)
    assert "collector" not in repr(plain)
    assert "tracing" not in manager(plain)
    assert "traceparent" not in repr(plain)
    manager(with_traces).pop("tracing")
    assert with_traces["static_resources"]["clusters"].pop()["name"] == "collector"
    policies = [
        manager(each)["route_config"]["virtual_hosts"][0]["typed_per_filter_config"] for each in (plain, with_traces)
    ]
    headers = [policy["envoy.filters.http.cors"].pop("allow_headers") for policy in policies]
    assert headers[1] == f"{headers[0]}, traceparent, tracestate"
    assert with_traces == plain


def test_a_collector_may_be_behind_tls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    certificate, key = make_certificate(tmp_path)
    credentials = grpc.ssl_server_credentials([(key.read_bytes(), certificate.read_bytes())])
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    with collecting(credentials=credentials) as collector, running(otlp_endpoint=collector.endpoint) as gateway:
        for _ in range(ENOUGH):
            gateway.http.get("/nothing-is-here")
        sender = Sender(collector.endpoint, gateway.settings.trusted_certificates)
        assert sender.export([]) is SpanExportResult.SUCCESS
        sender.shutdown()
        wait_for(lambda: collector.spans, PATIENCE, "the gateway's spans")


def test_a_collector_has_to_be_who_it_is_said_to_be(tmp_path: Path) -> None:
    text = write(settings(tmp_path, otlp_endpoint="https://collector.example")).read_text()
    for part in ("port_value: 443", "sni: collector.example", "san_type: DNS", "exact: collector.example"):
        assert part in text


@pytest.mark.parametrize(
    "endpoint", ["collector:4317", "http://user:secret@collector:4317", "http://collector/v1/traces"]
)
def test_an_endpoint_is_a_plain_url(tmp_path: Path, endpoint: str) -> None:
    with pytest.raises(ValidationError):
        settings(tmp_path, otlp_endpoint=endpoint)


def test_the_standard_variable_names_the_endpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://standard:4317")
    assert settings(tmp_path).otlp_endpoint == "http://standard:4317"
    monkeypatch.setenv("PLINTH_OTLP_ENDPOINT", "http://ours:4317")
    assert settings(tmp_path).otlp_endpoint == "http://ours:4317"


def settings(folder: Path, **values: Any) -> Settings:
    return Settings(data_dir=folder, _env_file=None, **values)


def manager(configuration: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = configuration["static_resources"]["listeners"][0]["filter_chains"][0]["filters"][0][
        "typed_config"
    ]
    return found
