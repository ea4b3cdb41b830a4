"""Workers that drain, die or hang."""

import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import pytest
from plinth.sites.v1 import page_pb2

from tests.edge.backend import Backend
from tests.edge.gateway import PAGES, PATIENCE, eventually, running
from tests.edge.test_refusals import reason

pytestmark = pytest.mark.heavy

WAITING = 16
GET_PAGE = "/plinth.sites.v1.PageService/GetPage"
CREATE_PAGE = "/plinth.sites.v1.PageService/CreatePage"


def test_calls_are_spread() -> None:
    with running(api=2) as gateway:
        eventually(lambda: gateway.healthy("api") == 2, "both serve")
        eventually(lambda: gateway.http.get(PAGES) and all(each.calls for each in gateway.api), "both are called")


def test_a_draining_worker_gets_no_new_calls_and_ends_those_it_has() -> None:
    with running(api=2) as gateway:
        eventually(lambda: gateway.healthy("api") == 2, "both serve")
        drains, stays = gateway.api
        begun, may_end = threading.Event(), threading.Event()

        def slow(_request: Any, _context: grpc.ServicerContext) -> page_pb2.Page:
            begun.set()
            may_end.wait(PATIENCE)
            return page_pb2.Page(title="ended")

        drains.answers[GET_PAGE] = slow
        stays.answers[GET_PAGE] = lambda *_: page_pb2.Page(title="other")
        answers: list[str] = []
        calls = [
            threading.Thread(target=lambda: answers.append(gateway.http.get(f"{PAGES}/1").json()["title"]))
            for _ in range(8)
        ]
        for call in calls:
            call.start()
        assert begun.wait(PATIENCE)
        drains.serving(is_serving=False)
        eventually(lambda: gateway.healthy("api") == 1, "the draining one is out")
        drains.calls.clear()
        for _ in range(20):
            assert gateway.http.get(PAGES).status_code == 200
        assert not drains.calls
        may_end.set()
        for call in calls:
            call.join()
        assert "ended" in answers
        drains.serving(is_serving=True)
        eventually(lambda: gateway.healthy("api") == 2, "it is back")


def test_a_dead_worker_costs_no_call_that_comes_after_it() -> None:
    with running(api=2) as gateway:
        eventually(lambda: gateway.healthy("api") == 2, "both serve")
        gateway.api[0].stop()
        for _ in range(50):
            assert gateway.http.post(PAGES, json={"title": "x"}).status_code == 200
        eventually(lambda: gateway.healthy("api") == 1, "the dead one is out")
        again = Backend(gateway.settings.socket("api-0"))
        again.start()
        eventually(lambda: gateway.healthy("api") == 2, "its successor is in")
        again.stop()


def test_what_an_ending_worker_has_not_begun_with_is_sent_again() -> None:
    with running(api=2) as gateway:
        eventually(lambda: gateway.healthy("api") == 2, "both serve")
        ends, stays = gateway.api
        held, may_go_on = threading.Event(), threading.Event()

        def hold() -> None:
            held.set()
            may_go_on.wait(PATIENCE)

        def let_wait(_request: Any, _context: grpc.ServicerContext) -> page_pb2.Page:
            may_go_on.wait(PATIENCE)
            return page_pb2.Page()

        def answer(_request: Any, context: grpc.ServicerContext) -> page_pb2.Page:
            # Runs in the one thread that takes calls from gRPC's core, which begins with none meanwhile.
            context.add_callback(hold)
            return page_pb2.Page()

        ends.answers[GET_PAGE] = answer
        eventually(lambda: gateway.http.get(f"{PAGES}/1") and ends.calls, "a call at it")
        assert held.wait(PATIENCE)
        stays.forget()
        # Otherwise it would have answered all of them before one was sent to the other.
        stays.answers[CREATE_PAGE] = let_wait
        with ThreadPoolExecutor(WAITING) as pool:
            calls = [pool.submit(gateway.http.post, PAGES, json={"title": "x"}) for _ in range(WAITING)]
            eventually(lambda: gateway.waiting(ends) > 1 and gateway.waiting(stays), "they wait at both")
            ends.server.stop(PATIENCE)
            # The one that ends still answers the call that it had taken.
            may_go_on.set()
            assert {call.result().status_code for call in calls} == {200}
        assert sum(len(each.calls) for each in (ends, stays)) >= WAITING


def test_what_may_have_run_is_not_sent_again() -> None:
    with running(api=2) as gateway:
        eventually(lambda: gateway.healthy("api") == 2, "both serve")
        runs: list[Backend] = []

        def dies(backend: Backend) -> Any:
            def answer(_request: Any, _context: grpc.ServicerContext) -> page_pb2.Page:
                runs.append(backend)
                backend.server.stop(0)
                time.sleep(0.1)
                return page_pb2.Page()

            return answer

        for backend in gateway.api:
            backend.answers[GET_PAGE] = dies(backend)
        answer = gateway.http.get(f"{PAGES}/1")
        assert answer.status_code in {499, 500, 503}
        assert len(runs) == 1


def test_an_answer_that_does_not_come() -> None:
    with running(gateway_timeout=1) as gateway:
        ends: list[threading.Event] = []

        def hang(_request: Any, context: grpc.ServicerContext) -> page_pb2.Page:
            ends.append(threading.Event())
            context.add_callback(ends[-1].set)
            ends[-1].wait(PATIENCE)
            return page_pb2.Page()

        gateway.backend.answers[GET_PAGE] = hang
        answer = gateway.http.get(f"{PAGES}/1", headers={"x-request-id": "mine"})
        assert reason(answer) == (504, 4, "DEADLINE_EXCEEDED", {})
        eventually(lambda: ends, "the call at the server")
        assert ends[0].wait(PATIENCE), "the server learns that nobody waits"
        with gateway.pages() as pages, pytest.raises(grpc.RpcError) as raised:
            pages.GetPage(page_pb2.GetPageRequest())
        assert raised.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        eventually(lambda: "gateway_failure" in gateway.log.read_text(), "a log line")
        lines = [json.loads(line) for line in gateway.log.read_text().splitlines() if line.startswith("{")]
        assert lines[0]["status"] == 504
        assert lines[0]["request_id"] == "mine"
        assert lines[0]["path"] == f"{PAGES}/1"


def test_a_failure_is_logged_without_its_query() -> None:
    with running(api=1, realtime=0) as gateway:
        assert gateway.http.get(f"{PAGES}/stream?access_token=secret").status_code == 503
        assert gateway.http.get(f"{PAGES}?filter=secret").status_code == 200
        eventually(lambda: "gateway_failure" in gateway.log.read_text(), "a log line")
        log = gateway.log.read_text()
    assert "secret" not in log
    assert log.count("gateway_failure") == 1


def test_a_worker_that_comes_late_is_taken_in() -> None:
    with running(api=0) as gateway:
        assert gateway.http.get(PAGES).status_code == 503
        late = Backend(gateway.settings.socket("api-0"))
        late.start()
        eventually(lambda: gateway.http.get(PAGES).status_code == 200, "it serves")
        late.stop()
