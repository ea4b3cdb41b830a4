"""then: a call acts outside any transaction after its commit, and writes what came of it in a second transaction."""

import logging
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from google.protobuf.message import Message
from plinth.sites.v1.page_pb2 import Page, PublishPageRequest
from sqlalchemy import Text, text

from server import access
from server.data.statements import Statement
from server.kernel.call import Call, Principal, Record
from server.kernel.chain import Unary, serialise
from server.kernel.ids import new_id
from server.kernel.problems import Problem, StateForbids
from server.kernel.steps.idempotency import Idempotency
from server.kernel.steps.transaction import InTransaction
from server.secrets import Secrets
from tests.clients import Tenant, database, new_tenant, rows, unique
from tests.kernel.calls import CREATE, GET, POLICIES, Context, call
from tests.kernel.database import Database, connections
from tests.stack import Stack

PUBLISH = POLICIES["/plinth.sites.v1.PageService/PublishPage"]
PENDING, DONE = "pending", "done"
NAP = Statement(text("SELECT pg_sleep(0.05)::text AS nap").columns(nap=Text()))


class Silence:
    """Nobody is told of what was committed, and what is invalidated is noted."""

    def __init__(self) -> None:
        self.changes = 0

    def announce(self, *, has_jobs: bool) -> None:
        pass

    def changing(self, slots: set[int]) -> None:
        self.changes += len(slots)

    def changed(self, slots: set[int]) -> None:
        pass


class Caller(Context):
    """A caller who may leave."""

    is_there = True

    def is_active(self) -> bool:
        return self.is_there

    def time_remaining(self) -> float | None:
        return None if self.is_there else 0.0


class Rig:
    """Everything around one handler: transaction and idempotency, on the stack's database."""

    def __init__(self, tenant: Tenant, pool: Any, gone: Any = None) -> None:
        self.tenant, self.silence = tenant, Silence()
        silence: Any = self.silence
        base = Database(pool, gone)
        self._transaction = InTransaction(base, base, silence, silence, access.ACCESS_CHANGED)
        self._idempotency = Idempotency(Secrets(b"o" * 32))
        self.key = unique("key")
        self.page_id = new_id()

    def call(self, handler: Unary, session: str = "") -> tuple[Page, Call]:
        """Call with the same key as before."""
        one = call(PUBLISH, Caller(idempotency_key=self.key))
        one.tenant_id = self.tenant.id
        roles = ("owner",)
        one.principal = Principal(
            self.tenant.owner.id, session or new_id(), self.tenant.id, roles, is_platform=False, expires_at=2.0**40
        )
        handle = self._transaction.unary(PUBLISH, self._idempotency.unary(PUBLISH, handler))
        answer = handle(one, PublishPageRequest(tenant_id=self.tenant.id, page_id=self.page_id))
        return Page.FromString(serialise(answer)), one

    def page(self, title: str) -> Page:
        """The resource in one of its states."""
        return Page(id=self.page_id, tenant_id=self.tenant.id, title=title)

    def starting(self, step: Callable[[Call], Record]) -> Unary:
        """A handler that answers PENDING and goes on with this step."""

        def handle(one: Call, _: Any) -> Message:
            one.then(lambda: step(one))
            return self.page(PENDING)

        return handle

    def finish(self, one: Call) -> Message:
        """Write the outcome."""
        one.emit("page.delivered", self.page_id, self.page(DONE))
        one.note_change(self.page(PENDING), self.page(DONE))
        return self.page(DONE)

    def told(self) -> list[str]:
        """The events of the resource, in their order."""
        found = rows(
            self.tenant.stack,
            "SELECT type FROM events WHERE tenant_id = %s AND resource_id = %s ORDER BY transaction_id, sequence",
            self.tenant.id,
            self.page_id,
        )
        return [row["type"] for row in found]

    def audited(self) -> list[tuple[str, str]]:
        """Action and outcome of the entries of the resource, in their order."""
        found = rows(
            self.tenant.stack,
            "SELECT action, outcome FROM audit_entries WHERE tenant_id = %s AND resource_id = %s"
            " ORDER BY transaction_id, sequence",
            self.tenant.id,
            self.page_id,
        )
        return [(row["action"], row["outcome"]) for row in found]


@pytest.fixture
def rig(stack: Stack) -> Iterator[Rig]:
    with connections(stack.settings.runtime_dsn) as pool:
        yield Rig(new_tenant(stack), pool)


def never(_: Call, __: Any) -> Message:
    raise AssertionError("the handler ran again")


def test_a_step_runs_between_two_transactions(rig: Rig) -> None:
    seen: list[Any] = []

    def step(one: Call) -> Record:
        # What the first transaction wrote can be seen by all, and the key keeps its answer.
        seen.append((rig.told(), rig.audited(), rig.call(never)[0]))
        with pytest.raises(AttributeError):
            _ = one.writes
        return rig.finish

    answer, one = rig.call(rig.starting(step))
    assert seen == [(["page.published"], [("page.published", "OK")], rig.page(PENDING))]
    assert (answer, one.is_replay) == (rig.page(DONE), False)
    assert rig.told() == ["page.published", "page.delivered"]
    assert rig.audited() == [("page.published", "OK"), ("page.delivered", "OK")]
    again, replay = rig.call(never)
    assert (again, replay.is_replay) == (rig.page(DONE), True)
    # What the policy invalidates was invalidated by both, and by both replays.
    assert rig.silence.changes == 4 * len(PUBLISH.invalidates)


def test_a_step_that_fails_leaves_the_first_answer(rig: Rig, caplog: pytest.LogCaptureFixture) -> None:
    def step(_: Call) -> Record:
        raise OSError("the cable is out")

    with caplog.at_level(logging.ERROR, "plinth.calls"):
        assert rig.call(rig.starting(step))[0] == rig.page(PENDING)
    assert "is answered as pending" in caplog.text
    assert rig.call(never)[0] == rig.page(PENDING)
    assert rig.told() == ["page.published"]


def test_an_outcome_that_cannot_be_written_leaves_the_first_answer(rig: Rig) -> None:
    def record(one: Call) -> Message:
        rig.finish(one)
        raise OSError("the disk is full")

    assert rig.call(rig.starting(lambda _: record))[0] == rig.page(PENDING)
    assert rig.call(never)[0] == rig.page(PENDING)
    assert rig.told() == ["page.published"]


def test_a_problem_of_a_step_is_the_answer(rig: Rig) -> None:
    def step(_: Call) -> Record:
        raise StateForbids("not now")

    with pytest.raises(StateForbids):
        rig.call(rig.starting(step))
    assert rig.call(never)[0] == rig.page(PENDING)


def test_a_refusal_is_kept_with_what_was_written(rig: Rig) -> None:
    def record(one: Call) -> Message:
        one.refuse_after_commit(StateForbids("declined"))
        return rig.finish(one)

    with pytest.raises(Problem, match="declined"):
        rig.call(rig.starting(lambda _: record))
    assert rig.audited() == [("page.published", "OK"), ("page.delivered", "FAILED_PRECONDITION")]
    # Called again, it acts no second time and gives what became of it.
    assert rig.call(never)[0] == rig.page(DONE)


def test_an_outcome_that_is_written_already_is_neither_told_nor_audited_again(rig: Rig) -> None:
    def record(one: Call) -> Message:
        one.changes_nothing = True
        return rig.page(DONE)

    assert rig.call(rig.starting(lambda _: record))[0] == rig.page(DONE)
    assert rig.told() == ["page.published"]
    assert rig.audited() == [("page.published", "OK")]
    assert rig.call(never)[0] == rig.page(DONE)


def test_an_outcome_is_written_though_the_caller_has_left_and_the_session_has_ended(stack: Stack) -> None:
    tenant = new_tenant(stack)
    (session,) = rows(stack, "SELECT id::text FROM sessions WHERE user_id = %s", tenant.owner.id)

    with connections(stack.settings.runtime_dsn) as pool:
        rig = Rig(tenant, pool, access.GONE)

        def step(one: Call) -> Record:
            with database(stack) as connection:
                connection.execute("UPDATE sessions SET end_time = now() WHERE id = %s", (session["id"],))
            context: Any = one.context
            context.is_there = False
            return late

        def late(other: Call) -> Message:
            # Longer than the caller would have waited.
            other.writes.run(NAP)
            return rig.finish(other)

        assert rig.call(rig.starting(step), session["id"])[0] == rig.page(DONE)
        assert rig.told() == ["page.published", "page.delivered"]


def test_a_call_without_a_key_goes_on_too(rig: Rig) -> None:
    rig.key = ""
    assert rig.call(rig.starting(lambda _: rig.finish))[0] == rig.page(DONE)


@pytest.mark.parametrize("method", [CREATE, GET], ids=["standard", "read"])
def test_only_custom_mutations_go_on(method: Any) -> None:
    with pytest.raises(TypeError, match="only custom mutations"):
        call(method).then(lambda: lambda _: Page())


def test_an_attempt_that_is_made_again_forgets_its_step() -> None:
    one = call(PUBLISH)
    one.then(lambda: lambda _: Page())
    one.forget_effects()
    assert one.continuation is None
