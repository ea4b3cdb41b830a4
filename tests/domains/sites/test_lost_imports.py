"""An import that is lost at any of its calls goes on, and makes each thing once."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, TypeVar

import pytest
from google.protobuf.message import Message
from plinth.operations.v1.operation_pb2 import Operation

from server.domains.sites.site_imports import SiteImport
from server.job_calls import JobCalls
from server.kernel.clock import utc_now
from server.kernel.delegation import Delegate, File, Started
from server.kernel.problems import Unavailable
from tests.clients import new_tenant, rows, unique
from tests.domains.operations.scene import Scene
from tests.domains.sites.archives import exported, written
from tests.stack import Stack
from tests.workers.machinery import own_database
from tests.workers.world import empty

M = TypeVar("M", bound=Message)
PAGES = {
    f"pages/{slug}.json": {
        "slug": slug,
        "isPublished": True,
        "draft": {"title": "New", "sections": [{"kind": "hero", "content": {"heading": "New"}}]},
        "published": {"title": "Old", "sections": [{"kind": "hero", "content": {"heading": "Old"}}]},
    }
    for slug in ("a", "b")
}
SITE = {
    "format": 1,
    "pages": ["a", "b"],
    "navigation": [{"title": "A", "page": "a"}],
    "redirects": [{"path": "/old", "page": "b"}],
}
ARCHIVE = written({"site.json": SITE, **PAGES})


class Lost(BaseException):
    """The worker dies."""


class Files:
    """The one file that there is."""

    def read(self, *_: object) -> Iterator[bytes]:
        yield ARCHIVE

    def delete(self, *_: object) -> None:
        """It stays."""


class Breaking:
    """Somebody who calls, and is lost behind one of the calls."""

    def __init__(self, delegate: Delegate, ends_behind: int, error: BaseException) -> None:
        self._delegate, self._left, self._error = delegate, ends_behind, error

    def call(self, path: str, request: Message, answer: type[M], key: str = "") -> M:
        made = self._delegate.call(path, request, answer, key)
        self._end()
        return made

    def upload(self, path: str, request: Message, file: File, answer: type[M], key: str) -> M:
        made = self._delegate.upload(path, request, file, answer, key)
        self._end()
        return made

    def _end(self) -> None:
        self._left -= 1
        if not self._left:
            raise self._error


@pytest.fixture(scope="module")
def calls(stack: Stack) -> Iterator[JobCalls]:
    made = JobCalls(stack.settings, "test", 2)
    yield made
    made.close()


@pytest.fixture
def scene(stack: Stack) -> Iterator[Scene]:
    queue = unique("queue")
    with own_database(stack.settings.runtime_dsn) as database:
        yield Scene(new_tenant(stack), database, queue)
    empty(stack, queue)


def attempt(scene: Scene, operation: Operation, on_behalf: Callable[[Started], Any]) -> None:
    files: Any = Files()
    run = SiteImport(files, on_behalf, utc_now).run
    scene.attempt(operation, lambda work: run(work, file_id=""), resumable=True)


def forget_losses(scene: Scene, operation: Operation) -> None:
    """A worker that is lost so often would be given up."""
    rows(scene.stack, "UPDATE operations SET losses = 0 WHERE id = %s RETURNING id", operation.id)


def broken(calls: JobCalls, place: int, error: BaseException, started: Started) -> Breaking:
    return Breaking(calls.of(started), place, error)


@pytest.mark.parametrize("error", [Lost(), Unavailable("the database")])
def test_whatever_call_was_the_last_one(scene: Scene, calls: JobCalls, error: BaseException) -> None:
    operation, place = scene.start(), 1
    while place < 40:
        # Each attempt is lost one call later than the one before, until one gets through.
        breaking = partial(broken, calls, place, error)
        try:
            attempt(scene, operation, breaking)
        except (Lost, Unavailable):
            place += 1
            forget_losses(scene, operation)
        else:
            break
    assert place > 10
    assert scene.shown(operation)["state"] == "STATE_DONE"
    found = {each["slug"]: each for each in scene.tenant.rest.get(f"{scene.tenant.path}/pages").json()["pages"]}
    assert {slug: page["title"] for slug, page in found.items()} == {"a": "New", "b": "New"}
    other = Scene(new_tenant(scene.stack), scene.database, scene.queue)
    attempt(other, other.start(), calls.of)
    assert exported(scene.tenant) == exported(other.tenant)
