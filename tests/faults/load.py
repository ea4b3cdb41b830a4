"""Load: threads that make pages over REST and gRPC and remember every answer."""

import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import Self

import grpc
import httpx
from plinth.sites.v1 import page_pb2

from tests.clients import TIMEOUT, Tenant, problem, rows, rpc_problem
from tests.stack import PAUSE
from tests.streams.sse import NO_TLS

THREADS_EACH = 4
PAGES = "SELECT id::text AS id, slug FROM pages WHERE tenant_id = %s"
CREATED = "SELECT resource_id AS id FROM events WHERE tenant_id = %s AND type = 'page.created'"
AUDITED = """
SELECT resource_id AS id FROM audit_entries WHERE tenant_id = %s AND action = 'page.created' AND outcome = 'OK'
"""
AWAY = {502, 503, 504}


class Load:
    """Runs inside of a `with` block. What no answer should be makes the block fail."""

    def __init__(self, tenant: Tenant) -> None:
        self.acknowledged: list[str] = []
        self.refused: list[httpx.Response | grpc.RpcError] = []
        self._tenant = tenant
        self._stopped = threading.Event()
        self._pool = ThreadPoolExecutor(2 * THREADS_EACH)

    def __enter__(self) -> Self:
        self._running = [
            self._pool.submit(work, f"{work.__name__.strip('_')}-{number}")
            for number in range(THREADS_EACH)
            for work in (self._rest, self._rpc)
        ]
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stopped.set()
        self._pool.shutdown()
        for future in self._running:
            future.result()

    def more(self, count: int) -> None:
        """Wait until so many more pages have been acknowledged."""
        wanted = len(self.acknowledged) + count
        self._tenant.stack.wait_for(lambda: len(self.acknowledged) >= wanted)

    def more_refused(self, count: int) -> None:
        """Wait until so many more calls have been refused."""
        wanted = len(self.refused) + count
        self._tenant.stack.wait_for(lambda: len(self.refused) >= wanted)

    def check_refusals(self) -> None:
        """Every refusal says, in the form of all our errors, that trying again is worth while."""
        for refusal in self.refused:
            if isinstance(refusal, httpx.Response):
                assert refusal.status_code in AWAY, refusal.text
                why = problem(refusal)
                assert (why.code, why.domain) in {(14, "plinth"), (4, "plinth")}, refusal.text
                if refusal.status_code == 503:
                    assert int(refusal.headers["retry-after"]) >= 1
                    assert why.retry_after
            else:
                assert rpc_problem(refusal).code == 14, refusal

    def check_writes(self, besides: int = 0) -> None:
        """What was acknowledged is there once, with its event and its audit entry; what is there beyond was refused.

        But for so many that others wrote.
        """
        stack, tenant_id = self._tenant.stack, self._tenant.id
        stored = [row["id"] for row in rows(stack, PAGES, tenant_id)]
        created = Counter(row["id"] for row in rows(stack, CREATED, tenant_id))
        assert self.acknowledged
        assert len(self.acknowledged) == len(set(self.acknowledged))
        assert set(self.acknowledged) <= set(stored)
        assert created == Counter(stored)
        assert Counter(row["id"] for row in rows(stack, AUDITED, tenant_id)) == Counter(stored)
        assert len(stored) - len(self.acknowledged) - besides <= len(self.refused)

    def _rest(self, name: str) -> None:
        headers = {"authorization": f"Bearer {self._tenant.access_token}"}
        pages = f"{self._tenant.path}/pages"
        url = self._tenant.stack.url
        with httpx.Client(base_url=url, headers=headers, timeout=TIMEOUT, verify=NO_TLS, trust_env=False) as client:
            number = 0
            while not self._stopped.is_set():
                number += 1
                answer = client.post(pages, json={"slug": f"{name}-{number}"})
                if answer.status_code == 201:
                    self.acknowledged.append(answer.json()["id"])
                else:
                    self._refuse(answer)

    def _rpc(self, name: str) -> None:
        pages, number = self._tenant.stubs.pages, 0
        while not self._stopped.is_set():
            number += 1
            page = page_pb2.Page(slug=f"{name}-{number}")
            try:
                answer = pages.CreatePage(page_pb2.CreatePageRequest(tenant_id=self._tenant.id, page=page))
            except grpc.RpcError as error:
                self._refuse(error)
            else:
                self.acknowledged.append(answer.id)

    def _refuse(self, refusal: httpx.Response | grpc.RpcError) -> None:
        self.refused.append(refusal)
        self._stopped.wait(PAUSE)
