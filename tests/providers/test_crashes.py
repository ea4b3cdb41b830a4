"""Moves of a real stack whose processes are killed at every boundary of a step, before a provider that fails."""

import random
import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar

import grpc
import pytest

from tests.clients import TIMEOUT, Tenant, database, new_tenant, rows, unique
from tests.composing import ComposedStack, command_with
from tests.faults.outages import replaced, socket_of, well
from tests.providers import parcels
from tests.providers.courier import NOWHERE, URL, Courier
from tests.providers.double import Fault
from tests.stack import Stack

pytestmark = [pytest.mark.heavy, pytest.mark.timeout(400)]

API, WORKER = "api-0", "worker-0"
# Lets all have happened so much earlier, for those that nobody has settled.
LATER = (
    "UPDATE moves SET busy_time = busy_time - interval '100 s', sent_time = sent_time - interval '100 s'"
    " WHERE tenant_id = %s AND settle_time IS NULL AND busy_time > now() RETURNING id"
)
LOST = "UPDATE procrastinate_workers SET last_heartbeat = now() - interval '1 hour' RETURNING id"
OPEN = "SELECT id FROM moves WHERE tenant_id = %s AND settle_time IS NULL"
EVENTS = "SELECT type, resource_id FROM events WHERE tenant_id = %s AND type LIKE 'parcel.%%'"
SHOOTING = 60
# Seconds: several rests of a breaker, which opens in each process by itself.
STORM = 120.0
# Away, still running, and refused by the courier: then the parcel itself says so.
AGAIN = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.ABORTED, grpc.StatusCode.FAILED_PRECONDITION)
SEED = 20


class ParcelStack(ComposedStack):
    """A stack with the domain of parcels."""

    COMMAND: ClassVar = command_with(parcels.__name__)


class Post:
    """The stack, its courier, and where its processes are told to die."""

    def __init__(self, stack: Stack, courier: Courier, crashes: Path) -> None:
        self.stack, self.courier, self.crashes = stack, courier, crashes
        self.tenant: Tenant = new_tenant(stack)

    def send(self, key: str, to: str = "somewhere") -> Any:
        """Call the api worker itself: the gateway knows no parcels. The parcel."""
        request = parcels.SendParcelRequest(tenant_id=self.tenant.id, to=to)
        metadata = (("authorization", f"Bearer {self.tenant.access_token}"), ("idempotency-key", key))
        with grpc.insecure_channel(socket_of(self.stack, API)) as channel:
            call = channel.unary_unary(
                parcels.METHOD, parcels.SendParcelRequest.SerializeToString, parcels.Parcel.FromString
            )
            return call(request, metadata=metadata, timeout=TIMEOUT, wait_for_ready=True)

    def arm(self, role: str, boundary: str) -> None:
        """Let the next process of a role that comes to a boundary die there."""
        (self.crashes / f"{role}-{boundary}").touch()

    def is_armed(self, role: str, boundary: str) -> bool:
        """Whether nobody has died there yet."""
        return (self.crashes / f"{role}-{boundary}").exists()

    def settle(self) -> None:
        """Wait until the workers have settled every move, however long that would take."""

        def is_settled() -> bool:
            rows(self.stack, LATER, self.tenant.id)
            return not rows(self.stack, OPEN, self.tenant.id)

        self.stack.wait_for(is_settled)

    @property
    def parcels(self) -> list[dict[str, Any]]:
        """The rows of the domain."""
        return rows(self.stack, "SELECT *, id::text AS reference FROM parcels WHERE tenant_id = %s", self.tenant.id)

    def check(self) -> None:
        """Each parcel was sent once, and domain, courier and event log agree on it."""
        sent = Counter(parcel["reference"] for parcel in self.courier.sent)
        numbers = {parcel["reference"]: parcel["id"] for parcel in self.courier.sent}
        told = Counter((row["resource_id"], row["type"]) for row in rows(self.stack, EVENTS, self.tenant.id))
        for row in self.parcels:
            refused = row["to"] == NOWHERE
            assert row["state"] == (3 if refused else 2), row
            assert sent[row["reference"]] == (0 if refused else 1), row
            assert row["number"] == numbers.get(row["reference"], ""), row
            assert told[row["reference"], "parcel.refused" if refused else "parcel.done"] == 1, row
            assert told[row["reference"], "parcel.started"] == 1, row


@contextmanager
def opened(crashes: Path, *, ignores_keys: bool) -> Iterator[Post]:
    """A stack of one's own, with its courier."""
    crashes.chmod(0o777)
    crashes.parent.chmod(0o711)
    with pytest.MonkeyPatch.context() as patch, Courier(ignores_keys=ignores_keys) as courier:
        patch.setenv(URL, courier.url)
        patch.setenv(parcels.CRASHES, str(crashes))
        stack = ParcelStack(api_workers=1, log_level="ERROR")
        try:
            stack.start()
            with database(stack) as connection:
                for statement in parcels.TABLE:
                    connection.execute(statement.encode())
            yield Post(stack, courier, crashes)
        finally:
            stack.remove()


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Post]:
    # Not the courier's keys keep effects single here, but our own care.
    with opened(tmp_path_factory.mktemp("crashes"), ignores_keys=True) as post:
        yield post


@pytest.fixture
def post(shared: Post) -> Post:
    """The stack once all is well, with a tenant of the test's own."""
    well(shared.stack)
    shared.courier.recover()
    shared.courier.sent.clear()
    for left in shared.crashes.iterdir():
        left.unlink()
    shared.tenant = new_tenant(shared.stack)
    return shared


def kill_api(post: Post, boundary: str) -> None:
    """A call that dies at a boundary, and is sent again."""
    key, victim = unique("key"), post.stack.pid(API)
    post.arm("api", boundary)
    with pytest.raises(grpc.RpcError):
        post.send(key)
    replaced(post.stack, API, victim)
    again = post.send(key)
    # Before the commit there was nothing, so the call ran anew. After it, the call finds the pending one.
    assert again.state == ("DONE" if boundary == "begun" else "PENDING")
    post.settle()
    assert [row["reference"] for row in post.parcels] == [again.id]


def kill_worker(post: Post, boundary: str) -> None:
    """A worker that dies at a boundary while it carries on with a call whose request was lost on its way."""
    key, victim = unique("key"), post.stack.pid(WORKER)
    post.courier.fail(Fault.DROP_BEFORE)
    assert post.send(key).state == "UNKNOWN"
    post.arm("worker", boundary)

    def is_dead() -> bool:
        rows(post.stack, LATER, post.tenant.id)
        return not post.is_armed("worker", boundary)

    post.stack.wait_for(is_dead)
    replaced(post.stack, WORKER, victim)
    rows(post.stack, LOST)
    post.settle()
    assert [row["reference"] for row in post.parcels] == [post.send(key).id]


# By turns: the supervisor gives up on a process that dies often.
@pytest.mark.parametrize(
    ("role", "boundary"),
    [
        ("worker", "looking"),
        ("api", "begun"),
        ("worker", "looked"),
        ("api", "committed"),
        ("worker", "committed"),
        ("api", "performed"),
        ("worker", "performed"),
        ("api", "settled"),
    ],
)
def test_a_process_that_is_killed_at_a_boundary_leaves_one_effect(post: Post, role: str, boundary: str) -> None:
    {"api": kill_api, "worker": kill_worker}[role](post, boundary)
    post.check()


def test_a_worker_that_is_killed_when_all_is_written_leaves_one_effect(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    """On a stack of its own: the supervisor gives up on a process that dies five times within a minute."""
    with opened(tmp_path_factory.mktemp("last"), ignores_keys=True) as post:
        post.tenant = new_tenant(post.stack)
        kill_worker(post, "settled")
        post.check()


def test_a_storm_of_faults_and_kills_leaves_one_effect_of_each_call(tmp_path: Path) -> None:
    # Requests that arrive twice, or late, nobody but the courier can tell from new ones.
    with opened(tmp_path, ignores_keys=False) as post:
        storm(post)


def storm(post: Post) -> None:
    """Many callers at once, a provider that fails at random, and processes that are killed meanwhile."""
    chance = random.Random(SEED)  # noqa: S311 - a storm that can be repeated
    faults = [fault for fault in Fault if fault is not Fault.TRICKLE]
    # Every third request is answered, or the breaker of a process could rest ten seconds after each of them.
    shaky = (Fault.NONE if number % 3 == 0 else chance.choice(faults) for number in range(2 * SHOOTING))
    post.courier.fail(*shaky)
    keys = {unique("key"): chance.choice(["somewhere"] * 5 + [NOWHERE]) for _ in range(SHOOTING)}
    answers: dict[str, str] = {}
    patience = threading.Event()

    def send(key: str) -> None:
        """As clients do: again, with the same key, until there is an answer."""
        while key not in answers:
            try:
                answers[key] = post.send(key, keys[key]).id
            except grpc.RpcError as error:
                call: Any = error
                if call.code() not in AGAIN:
                    raise
                # As RetryInfo asks for, more or less.
                patience.wait(chance.random())

    with ThreadPoolExecutor(6) as threads:
        calls = [threads.submit(send, key) for key in keys]
        for part in (1, 2, 3):
            post.stack.wait_for(lambda part=part: len(answers) >= part * SHOOTING / 4, STORM)  # type: ignore[misc]
            victim = (API, WORKER, API)[part - 1]
            replaced(post.stack, victim, post.stack.kill(victim))
            rows(post.stack, LOST)
    for one in calls:
        one.result()
    post.courier.recover()
    # What was on its way arrives now, after what was sent later.
    post.courier.release()
    post.settle()
    found = post.parcels
    assert {row["reference"] for row in found} == set(answers.values())
    assert len(found) == SHOOTING
    post.check()
