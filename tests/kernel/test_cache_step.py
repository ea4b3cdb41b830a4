"""cache: what is kept of a read, under which tags, and what is never kept."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.message import Message
from plinth.sites.v1.page_pb2 import GetPageRequest, Page

from server import app
from server.kernel.call import Call
from server.kernel.chain import Answer, Unary, serialise
from server.kernel.policy import MethodPolicy
from server.kernel.steps.cache import Cache
from server.settings import Settings
from tests.kernel.calls import GET, call
from tests.kernel.test_cache import Worker

CACHED = replace(GET, cache_seconds=60.0, cache_tags=("tenant:{tenant_id}:page:{page_id}",), per_caller=False)


@pytest.fixture
def worker(tmp_path: Path) -> Worker:
    return Worker(tmp_path / "generations")


@pytest.fixture
def step(worker: Worker) -> Cache:
    return Cache(worker.cache, 3600.0, {})


class Pages:
    """A handler that counts how often it reads."""

    def __init__(self, note: Callable[[Call], None] = lambda _: None) -> None:
        self.reads = 0
        self._note = note

    def __call__(self, one: Call, request: Any) -> Message:
        self.reads += 1
        self._note(one)
        return Page(id=request.page_id, title=f"read {self.reads}")


def title(get: Unary, page_id: str, method: MethodPolicy = CACHED) -> str:
    """The title that a member of the tenant `t` reads."""
    one = call(method)
    one.tenant_id = "t"
    answer: Answer = get(one, GetPageRequest(tenant_id="t", page_id=page_id))
    return Page.FromString(serialise(answer)).title


def test_a_tag_is_filled_in_from_the_request(step: Cache, worker: Worker) -> None:
    """So a change of one page leaves the others where they are."""
    get = step.unary(CACHED, Pages())
    assert [title(get, page_id) for page_id in ("a", "b", "a", "b")] == ["read 1", "read 2", "read 1", "read 2"]
    worker.generations.invalidate(["tenant:t:page:a"])
    assert [title(get, page_id) for page_id in ("a", "b", "a")] == ["read 3", "read 2", "read 3"]


def with_a_header(one: Call) -> None:
    one.headers.append(("x-made", "for this call"))


def with_a_status(one: Call) -> None:
    one.http_status = 202


@pytest.mark.parametrize("note", [with_a_header, with_a_status])
def test_an_answer_with_headers_or_a_status_of_its_own_is_given_and_not_kept(
    step: Cache, note: Callable[[Call], None]
) -> None:
    get = step.unary(CACHED, Pages(note))
    assert [title(get, "a") for _ in range(3)] == ["read 1", "read 2", "read 3"]


@pytest.mark.parametrize("is_enabled", [True, False])
def test_a_deployment_without_a_cache_has_no_such_step(tmp_path: Path, *, is_enabled: bool) -> None:
    settings = Settings(data_dir=tmp_path, cache_enabled=is_enabled, _env_file=None)
    built = app.build(settings, "test", streams=False)
    assert ("cache" in built.routes[GET.path].steps) is is_enabled
