"""authorize: decided anew, from what is stored, when the database says that access has changed meanwhile."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.message import Message
from plinth.sites.v1.page_pb2 import CreatePageRequest, Page

from server.data.transactions import ScopeEnded
from server.kernel.caching.generations import Generations
from server.kernel.call import Access, Call, Principal
from server.kernel.guard.access import AccessMemory
from server.kernel.policy import Access as Kind
from server.kernel.problems import Conflict, Denied, Unauthenticated
from server.kernel.steps.authorize import DECISIONS, Authorize
from tests.kernel.calls import CREATE, call

TENANT = "01900000-0000-7000-8000-00000000000a"
USER = Principal("user-1", "session-1", TENANT, (), is_platform=False, expires_at=0)
REQUEST = CreatePageRequest(tenant_id=TENANT)


class Stored:
    """Access as it is stored."""

    def __init__(self) -> None:
        self.access = Access(TENANT, frozenset({CREATE.permission}), ("editor",), 1)
        self.loads = 0

    def load(self, principal: Principal, tenant_id: str) -> Access:
        assert (principal, tenant_id) == (USER, TENANT)
        self.loads += 1
        return self.access

    def tenant_at(self, principal: Principal, subdomain: str) -> str | None:
        raise NotImplementedError


class Handler:
    """Creates a page, unless the access that it was allowed by is none that is stored."""

    def __init__(self, stored: Stored) -> None:
        self._stored = stored
        self.versions: list[int | None] = []

    def __call__(self, one: Call, _: Any) -> Message:
        assert one.access is not None
        self.versions.append(one.access.version)
        # An attempt that had no effect leaves nothing for the next one.
        assert one.stale_tags == []
        one.invalidate("pages")
        if one.access.version != self._stored.access.version:
            raise ScopeEnded("access")
        return Page()


@pytest.fixture
def stored() -> Stored:
    return Stored()


@pytest.fixture
def step(stored: Stored, tmp_path: Path) -> Authorize:
    generations = Generations(tmp_path / "generations")
    generations.open()
    return Authorize(AccessMemory(stored, generations))


def call_of_user() -> Call:
    one = call(CREATE)
    one.principal = USER
    return one


def test_a_call_that_finds_its_access_changed_is_decided_by_what_is_stored_now(step: Authorize, stored: Stored) -> None:
    handler = Handler(stored)
    create = step.unary(CREATE, handler)
    create(call_of_user(), REQUEST)
    stored.access = replace(stored.access, version=2)
    assert create(call_of_user(), REQUEST) == Page()
    assert handler.versions == [1, 1, 2]
    assert stored.loads == 2


def test_who_has_lost_the_permission_meanwhile_is_refused(step: Authorize, stored: Stored) -> None:
    handler = Handler(stored)
    create = step.unary(CREATE, handler)
    create(call_of_user(), REQUEST)
    stored.access = replace(stored.access, permissions=frozenset(), version=2)
    with pytest.raises(Denied) as caught:
        create(call_of_user(), REQUEST)
    assert caught.value.metadata == {"permission": CREATE.permission}
    assert handler.versions == [1, 1]


def test_access_that_changes_without_end_is_a_conflict(step: Authorize, stored: Stored) -> None:
    def handle(_: Call, __: Any) -> Message:
        raise ScopeEnded("access")

    with pytest.raises(Conflict):
        step.unary(CREATE, handle)(call_of_user(), REQUEST)
    assert stored.loads == DECISIONS


def test_a_session_that_has_ended_is_not_decided_again(step: Authorize, stored: Stored) -> None:
    def handle(_: Call, __: Any) -> Message:
        raise ScopeEnded("session")

    with pytest.raises(ScopeEnded):
        step.unary(CREATE, handle)(call_of_user(), REQUEST)
    assert stored.loads == 1


def test_a_kind_of_access_that_nobody_checks_lets_nobody_in(step: Authorize) -> None:
    signed = replace(CREATE, access=Kind.PROVIDER_SIGNATURE)
    with pytest.raises(Unauthenticated):
        step.unary(signed, lambda *_: Page())(call_of_user(), REQUEST)
