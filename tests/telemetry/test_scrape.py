"""The scrape endpoint of the shared stack: what happens there shows, of every process and of Envoy."""

import re
from collections.abc import Callable
from time import monotonic, sleep

import grpc
import pytest
from plinth.sites.v1 import page_pb2
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_open_metrics

from tests.clients import Rest, new_tenant, stubs
from tests.stack import PATIENCE, Stack, wait_for
from tests.telemetry.scrapes import OPEN_METRICS, Scrape, fetch, labels_in, names_in, scrape
from tests.telemetry.shown import expressions

REQUESTS = "plinth_requests_total"
GET_PAGE = "plinth.sites.v1.PageService/GetPage"
LIST_PAGES = "plinth.sites.v1.PageService/ListPages"
WATCH_PAGES = "plinth.sites.v1.PageService/WatchPages"
OF_A_CALL: tuple[tuple[str, dict[str, str]], ...] = (
    (REQUESTS, {"code": "OK"}),
    ("plinth_request_seconds_count", {}),
    ("plinth_request_seconds_bucket", {"le": "15.0"}),
    ("plinth_cache_reads_total", {}),
)
PROCESSES = ("api-0", "api-1", "realtime-0", "worker-0")
OF_THE_GATEWAY = (
    "plinth_gateway_up",
    "envoy_server_live",
    "envoy_http_downstream_rq_xx_total",
    "envoy_cluster_upstream_rq_time_bucket",
    "envoy_cluster_membership_healthy",
)
# Their labels are made when it first happens; test_shown.py holds that they are defined.
RARE = {
    *("plinth_job_retries_total", "plinth_stream_cut_total", "plinth_streams_open", "plinth_webhook_attempts_total"),
    # No domain calls a provider yet.
    "plinth_provider_requests_total",
}
# Values of labels that there would be as many of as there are people and tenants.
PERSONAL = re.compile(r"@|[0-9a-f]{8}-[0-9a-f]{4}-|\d+\.\d+\.\d+\.\d+")


def eventually(stack: Stack, holds: Callable[[Scrape], bool], what: object) -> Scrape:
    """The first scrape of which something holds: processes hand over what they counted once a second."""
    deadline = monotonic() + PATIENCE
    while not holds(now := scrape(stack.metrics_url)):
        assert monotonic() < deadline, what
        sleep(0.2)
    return now


def listed(stack: Stack) -> tuple[Scrape, Scrape]:
    """Scrapes before and after somebody listed pages three times."""
    tenant = new_tenant(stack)
    before = scrape(stack.metrics_url)
    for _ in range(3):
        tenant.rest.get(f"tenants/{tenant.id}/pages")

    def counted(now: Scrape) -> bool:
        return all(grown(before, now, name, method=LIST_PAGES, **labels) >= 3 for name, labels in OF_A_CALL)

    return before, eventually(stack, counted, "three more calls")


def grown(before: Scrape, now: Scrape, name: str, **labels: str) -> float:
    """By how much."""
    return now.total(name, **labels) - before.total(name, **labels)


def test_a_call_counts_for_its_method_in_counters_and_histograms(stack: Stack) -> None:
    before, after = listed(stack)
    assert grown(before, after, "plinth_request_seconds_sum", method=LIST_PAGES) > 0
    assert grown(before, after, "plinth_query_seconds_count", pool="fast") > 0


def test_an_error_counts_by_its_code(stack: Stack) -> None:
    tenant = new_tenant(stack)
    before = scrape(stack.metrics_url)
    missing = "018f0000-0000-7000-8000-000000000000"
    assert tenant.rest.get(f"tenants/{tenant.id}/pages/{missing}").status_code == 404
    assert Rest(stack).get(f"tenants/{tenant.id}/pages/{missing}").status_code == 401
    codes = ("NOT_FOUND", "UNAUTHENTICATED")

    def counted(now: Scrape) -> bool:
        return all(grown(before, now, REQUESTS, method=GET_PAGE, code=code) >= 1 for code in codes)

    eventually(stack, counted, "one more of each code")


def test_a_stream_counts_when_it_ends_and_is_no_latency(stack: Stack) -> None:
    tenant = new_tenant(stack)
    before = scrape(stack.metrics_url)
    request = page_pb2.WatchPagesRequest(tenant_id=tenant.id)
    with pytest.raises(grpc.RpcError):
        next(iter(stubs(stack).pages.WatchPages(request)))
    ended = {"method": WATCH_PAGES, "code": "UNAUTHENTICATED"}
    after = eventually(
        stack, lambda now: grown(before, now, "plinth_streams_total", **ended) >= 1, "one more stream that ended"
    )
    assert not after.has("plinth_request_seconds_count", method=WATCH_PAGES)
    assert not after.has(REQUESTS, method=WATCH_PAGES)


def test_every_process_and_the_gateway_tell_of_themselves(stack: Stack) -> None:
    Rest(stack).get("health")
    own = [("plinth_process_resident_bytes", process) for process in PROCESSES]
    own += [("plinth_connections_limit", process) for process in PROCESSES]
    own += [(name, process) for name in ("plinth_threads", "plinth_cache_bytes") for process in PROCESSES[:2]]
    missing: list[object] = []

    def is_there(now: Scrape) -> bool:
        missing[:] = [(name, process) for name, process in own if not now.has(name, process=process)]
        missing.extend(
            (dependency, process)
            for dependency in ("database", "redis")
            for process in PROCESSES[:3]
            if not now.total("plinth_dependency_up", dependency=dependency, process=process)
        )
        missing.extend(name for name in OF_THE_GATEWAY if not now.total(name))
        return not missing

    now = eventually(stack, is_there, missing)
    assert now.total("plinth_threads", process="api-0", pool="fast") == stack.settings.api_threads
    assert 1e7 < now.total("plinth_process_resident_bytes", process=PROCESSES[-1]) < 1e9
    assert len([name for name in now.samples if name.startswith("envoy_")]) < 50


def test_the_answer_is_openmetrics_for_who_asks_for_it(stack: Stack) -> None:
    wait_for(lambda: fetch(stack.metrics_url).status_code == 200)
    answer = fetch(stack.metrics_url, OPEN_METRICS)
    assert answer.headers["content-type"].startswith("application/openmetrics-text")
    families = {family.name: family for family in parse_open_metrics(answer.text)}  # type: ignore[no-untyped-call]
    assert families["plinth_requests"].type == "counter"
    assert families["plinth_request_seconds"].type == "histogram"
    assert families["envoy_http_downstream_rq_xx"].type == "counter"


def test_no_label_is_a_person_or_a_tenant(stack: Stack) -> None:
    _, now = listed(stack)
    ours = [labels for name, samples in now.samples.items() if name.startswith("plinth_") for labels, _ in samples]
    assert [text for labels in ours for text in labels.values() if PERSONAL.search(text)] == []


def test_everything_that_is_shown_is_there(stack: Stack) -> None:
    tenant = new_tenant(stack)
    for _ in range(2):
        tenant.rest.get(f"tenants/{tenant.id}/pages")
    with pytest.raises(grpc.RpcError):
        next(iter(stubs(stack).pages.WatchPages(page_pb2.WatchPagesRequest(tenant_id=tenant.id))))
    asked = {name for expression in expressions() for name in names_in(expression)} - RARE
    missing: set[str] = set()

    def is_there(now: Scrape) -> bool:
        missing.clear()
        missing.update(asked - now.samples.keys())
        return not missing

    now = eventually(stack, is_there, missing)
    for expression in expressions():
        for name, labels in labels_in(expression).items():
            assert labels <= now.labels(name) or name in RARE, (name, expression)
