"""Moves: one effect at the provider, whatever is lost and whoever dies, and an outcome that is known or UNKNOWN."""

import logging
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as some

from server.adapters.providers import breaker
from server.data.transactions import Scope
from server.kernel.caching.generations import slot_of
from server.kernel.ids import new_id
from server.kernel.problems import Problem, StateForbids
from server.kernel.providers import Intent, NotSent, Outcome, ProviderAnswer, State, carrying
from server.kernel.providers import moves as moving
from server.kernel.providers.moves import MARGIN
from tests.kernel.calls import call
from tests.providers.courier import COURIER, NOWHERE, Courier
from tests.providers.double import Fault
from tests.providers.moving import PUBLISH, Crash, Ground, World
from tests.stack import wait_for

HASTY = replace(COURIER, deadline=0.2)


def crash_at(boundary: str) -> Callable[[str], None]:
    """Dies at a boundary, once."""
    left = [boundary]

    def crash(place: str) -> None:
        if place in left:
            left.remove(place)
            raise Crash

    return crash


# All is well ---------------------------------------------------------------------------------------------------------


def test_a_call_answers_what_came_of_its_move(world: World, courier: Courier) -> None:
    page = world.send("k")
    assert (page.title, page.description) == ("DONE", "parcel-1")
    (row,) = world.kept
    assert (row["result"], row["code"], row["settle_time"] is not None) == ({"number": "parcel-1"}, "", True)
    # The provider was called under our reference, and the key was ours as well.
    (request,) = courier.received
    assert request.key == request.json["reference"] == page.id
    assert (world.told, world.audited) == (["done"], ["done"])
    # Its job is there, and finds nothing left to do.
    assert world.jobs == [{"tenant_id": world.tenant_id, "move": "parcels.send", "reference": page.id}]
    world.later()
    world.carrier.carry_on(world.tenant_id, "parcels.send", page.id)
    world.carrier.sweep()
    assert len(courier.received) == 1
    assert world.told == ["done"]


def test_a_call_that_is_sent_again_gets_the_outcome(world: World, courier: Courier) -> None:
    assert world.send("k") == world.send("k")
    assert world.send("other").id != world.send("k").id
    assert len(courier.sent) == 2


def test_a_refusal_is_the_answer_and_is_kept(world: World, courier: Courier) -> None:
    with pytest.raises(StateForbids) as caught:
        world.send("k", to=NOWHERE)
    assert caught.value.reason_name == "PROVIDER_REFUSED"
    assert caught.value.metadata == {
        "provider": "courier",
        "provider_code": "no_such_address",
        "provider_request_id": "req_1",
    }
    # The prose of the provider, which may hold anything, stays away from callers.
    assert "has no such address" not in str(caught.value)
    assert (world.states, world.kept[0]["code"], world.told) == ([State.REFUSED], "no_such_address", ["refused"])
    assert world.send("k", to=NOWHERE).title == "REFUSED"
    assert len(courier.received) == 1


@pytest.mark.usefixtures("courier")
def test_a_provider_that_nobody_has_configured_is_refused_before_anything_is_written(
    worlds: Callable[..., World],
) -> None:
    world = worlds(replace(COURIER, base_url=lambda _: None))
    with pytest.raises(StateForbids) as caught:
        world.send("k")
    assert caught.value.reason_name == "PROVIDER_NOT_CONFIGURED"
    assert world.kept == []
    assert world.jobs == []


def test_a_move_is_of_a_tenant(world: World, courier: Courier) -> None:
    with pytest.raises(TypeError, match="of no tenant"):
        world.move.begin(call(PUBLISH), "x", {})
    assert courier.received == []


def test_nothing_is_sent_for_a_call_that_was_not_committed(world: World, courier: Courier) -> None:
    world.crash = crash_at("begun")
    with pytest.raises(Crash):
        world.send("k")
    assert world.kept == []
    assert courier.received == []
    assert world.send("k").title == "DONE"


# Somebody dies -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("by", ["job", "sweep"])
@pytest.mark.parametrize("boundary", ["committed", "performed", "settled"])
def test_a_move_whose_process_dies_is_carried_on_once(world: World, courier: Courier, boundary: str, by: str) -> None:
    world.crash = crash_at(boundary)
    with pytest.raises(Crash):
        world.send("k")
    # Called again after the crash: the pending answer, and no second effect.
    pending = world.send("k")
    assert pending.title == "PENDING"
    # Nobody acts while the process that died may still be at it.
    world.carrier.sweep()
    world.carrier.carry_on(world.tenant_id, "parcels.send", pending.id)
    assert (world.states, world.kept[0]["attempt"]) == ([State.PENDING], 1)
    world.later(100)
    if by == "sweep":
        world.carrier.sweep()
    else:
        (job,), (arguments,) = world.carrier.jobs, world.jobs
        job.run(**arguments)
    assert [parcel["reference"] for parcel in courier.sent] == [pending.id]
    assert (world.states, world.told, world.audited) == ([State.DONE], ["done"], ["done"])
    assert world.kept[0]["result"] == {"number": "parcel-1"}


@pytest.mark.parametrize("boundary", ["committed", "performed", "settled"])
def test_a_worker_that_dies_is_followed_by_another(world: World, courier: Courier, boundary: str) -> None:
    world.crash = crash_at("committed")
    with pytest.raises(Crash):
        world.send("k")
    world.later(100)
    world.crash = crash_at(boundary)
    with pytest.raises(Crash):
        world.carrier.sweep()
    for _ in range(2):
        world.later(100)
        world.carrier.sweep()
    assert len(courier.sent) == 1
    assert (world.states, world.told) == ([State.DONE], ["done"])


def test_what_is_looked_up_is_not_acted_on_while_it_may_still_appear(
    worlds: Callable[..., World], courier: Courier
) -> None:
    world = worlds(HASTY, appears_within=timedelta(minutes=10))
    courier.fail(Fault.HOLD_BEFORE)
    assert world.send("k").title == "UNKNOWN"
    # It has left, and has not arrived.
    world.later(60)
    world.carrier.sweep()
    assert (world.states, courier.sent) == ([State.UNKNOWN], [])
    courier.release()
    wait_for(lambda: courier.sent)
    world.later(60)
    world.carrier.sweep()
    assert (world.states, world.told, len(courier.sent)) == ([State.DONE], ["unknown", "done"], 1)


# Something is lost ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fault", [Fault.DROP_AFTER, Fault.CUT, Fault.ERROR_AFTER], ids=lambda fault: fault.name)
def test_an_answer_that_is_lost_is_unknown_until_it_is_looked_up(world: World, courier: Courier, fault: Fault) -> None:
    courier.fail(fault)
    assert world.send("k").title == "UNKNOWN"
    assert world.send("k").title == "UNKNOWN"
    assert world.kept[0]["settle_time"] is None
    world.later(100)
    # The provider does not say so at once.
    courier.fail(*[Fault.ERROR_BEFORE] * 3)
    world.carrier.sweep()
    assert (world.states, world.told) == ([State.UNKNOWN], ["unknown"])
    world.later(100)
    world.carrier.sweep()
    assert (world.states, world.told, len(courier.sent)) == ([State.DONE], ["unknown", "done"], 1)


@pytest.mark.parametrize("fault", [Fault.DROP_BEFORE, Fault.ERROR_BEFORE], ids=lambda fault: fault.name)
def test_what_had_no_effect_is_performed_once_that_is_sure(world: World, courier: Courier, fault: Fault) -> None:
    courier.fail(fault)
    assert world.send("k").title == "UNKNOWN"
    world.later(100)
    world.carrier.sweep()
    assert (world.states, world.told, len(courier.sent)) == ([State.DONE], ["unknown", "done"], 1)


def test_what_had_no_effect_in_its_time_is_given_up(worlds: Callable[..., World], courier: Courier) -> None:
    world = worlds(expires=timedelta(minutes=1))
    courier.fail(Fault.DROP_BEFORE)
    assert world.send("k").title == "UNKNOWN"
    world.later(1000)
    world.carrier.sweep()
    assert (world.states, world.kept[0]["code"], courier.sent) == ([State.REFUSED], "EXPIRED", [])


@pytest.mark.parametrize("throttled", [True, False])
def test_what_was_not_sent_stays_pending_and_is_tried_again(world: World, courier: Courier, *, throttled: bool) -> None:
    if throttled:
        courier.retry_after = 50
        courier.fail(Fault.THROTTLE)
        page = world.send("k")
    else:
        with courier.away():
            page = world.send("k")
    assert (page.title, world.states, world.told) == ("PENDING", [State.PENDING], [])
    assert world.kept[0]["sent_time"] is None
    world.later(40)
    world.carrier.sweep()
    # The provider had asked for more patience.
    assert world.states == ([State.PENDING] if throttled else [State.DONE])
    world.later(40)
    world.carrier.sweep()
    assert (world.states, world.told, len(courier.sent)) == ([State.DONE], ["done"], 1)
    # What was surely not sent needs no look.
    assert [request.method for request in courier.received] == ["POST"] * (2 if throttled else 1)


def test_what_nobody_can_look_up_stays_unknown_and_is_not_sent_again(
    worlds: Callable[..., World], courier: Courier
) -> None:
    world = worlds(look_up=None)
    courier.fail(Fault.DROP_BEFORE)
    assert world.send("k").title == "UNKNOWN"
    for _ in range(2):
        world.later()
        world.carrier.sweep()
    assert (world.states, len(courier.received)) == ([State.UNKNOWN], 1)


def test_a_fault_of_the_client_is_unknown_and_logged(
    worlds: Callable[..., World], caplog: pytest.LogCaptureFixture
) -> None:
    world = worlds()

    def fail(place: str) -> None:
        if place == "performed":
            raise KeyError("id")

    world.crash = fail
    with caplog.at_level(logging.ERROR):
        assert world.send("k").title == "UNKNOWN"
    assert "failed, and is looked up" in caplog.text


# Two act -------------------------------------------------------------------------------------------------------------


def test_a_process_that_was_held_up_does_not_act(
    world: World, courier: Courier, monkeypatch: pytest.MonkeyPatch
) -> None:
    times = iter([0.0, MARGIN + 0.1])
    monkeypatch.setattr(moving, "monotonic", lambda: next(times))
    assert world.send("k").title == "PENDING"
    assert courier.received == []
    monkeypatch.undo()
    monkeypatch.setenv("COURIER_URL", courier.url)
    world.later(100)
    world.carrier.sweep()
    assert (world.states, len(courier.sent)) == ([State.DONE], 1)


def test_an_outcome_that_comes_late_changes_only_what_is_a_fact(world: World, courier: Courier) -> None:
    """A process comes back after another one has carried on."""
    world.crash = crash_at("performed")
    with pytest.raises(Crash):
        world.send("k")
    intent = Intent(world.tenant_id, str(world.kept[0]["id"]), {"to": "somewhere"})
    world.ground.rows("UPDATE moves SET attempt = 2 WHERE tenant_id = %s", world.tenant_id)

    def written(outcome: Outcome) -> bool:
        with world.database.write(Scope(world.tenant_id)) as transaction:
            return world.move.write(transaction, intent, 1, outcome)

    assert not written(Outcome.unknown())
    assert not written(Outcome.refused("no"))
    assert world.states == [State.PENDING]
    assert written(Outcome.done(number="parcel-1"))
    assert not written(Outcome.done(number="parcel-2"))
    assert world.kept[0]["result"] == {"number": "parcel-1"}
    assert len(courier.sent) == 1


def test_a_call_whose_outcome_somebody_else_has_written_answers_that(world: World, courier: Courier) -> None:
    def settle_first(place: str) -> None:
        if place == "performed":
            world.crash = lambda _: None
            world.later(100)
            world.carrier.sweep()

    world.crash = settle_first
    page = world.send("k")
    assert (page.title, page.description) == ("DONE", "parcel-1")
    assert (world.told, world.audited, len(courier.sent)) == (["done"], ["done"], 1)


def test_a_worker_that_was_overtaken_does_not_act(world: World, courier: Courier) -> None:
    world.crash = crash_at("committed")
    with pytest.raises(Crash):
        world.send("k")
    world.later(100)

    def overtake(intent: Intent) -> Outcome | None:
        found = world.client.find(intent)
        world.ground.rows("UPDATE moves SET attempt = attempt + 1 WHERE tenant_id = %s", world.tenant_id)
        return found

    world.carrying(replace(world.move, look_up=overtake)).sweep()
    assert (world.states, courier.sent) == ([State.PENDING], [])


# The sweep -----------------------------------------------------------------------------------------------------------


def test_a_move_that_cannot_be_carried_on_does_not_keep_the_others_waiting(
    world: World, courier: Courier, caplog: pytest.LogCaptureFixture
) -> None:
    courier.fail(Fault.DROP_AFTER, Fault.DROP_AFTER)
    world.send("one")
    world.send("two")
    world.later(100)
    left = ["settled"]

    def fail(place: str) -> None:
        if place in left:
            left.remove(place)
            raise OSError("the disk is full")

    world.crash = fail
    with caplog.at_level(logging.ERROR):
        world.carrier.sweep()
    assert sorted(world.states) == [State.DONE, State.UNKNOWN]
    assert "cannot be carried on" in caplog.text


def test_a_sweep_ends_in_time(world: World, courier: Courier, monkeypatch: pytest.MonkeyPatch) -> None:
    courier.fail(Fault.DROP_AFTER)
    world.send("k")
    world.later(100)
    monkeypatch.setattr(carrying, "LONGEST_SWEEP", -1.0)
    world.carrier.sweep()
    assert world.states == [State.UNKNOWN]


def test_what_a_job_changes_is_invalidated(world: World, courier: Courier) -> None:
    courier.fail(Fault.DROP_AFTER)
    world.send("k")
    world.silence.slots.clear()
    world.later(100)
    world.carrier.sweep()
    assert world.silence.slots == {slot_of("parcels")}


def test_names_of_moves_are_different(world: World) -> None:
    assert [job.name for job in world.carrier.jobs] == ["moves.carry_on"]
    assert [plan.job.name for plan in world.carrier.schedules] == ["moves.sweep"]
    assert (world.carrying().jobs, world.carrying().schedules) == ((), ())
    with pytest.raises(LookupError, match="two moves have one name"):
        world.carrying(world.move, world.move)


@pytest.mark.parametrize(("status", "state"), [(500, State.UNKNOWN), (408, State.UNKNOWN), (402, State.REFUSED)])
def test_what_a_failure_says_of_an_effect(status: int, state: State) -> None:
    outcome = Outcome.of_failure(COURIER, ProviderAnswer(status, {}, b""))
    assert (outcome.state, outcome.code) == (state, "402" if state is State.REFUSED else "")
    with pytest.raises(NotSent) as caught:
        Outcome.of_failure(COURIER, ProviderAnswer(429, {"retry-after": "9"}, b""))
    assert caught.value.retry_after == 9.0


# Everything at once --------------------------------------------------------------------------------------------------

FAULTS = [
    *(Fault.NONE, Fault.DROP_BEFORE, Fault.DROP_AFTER, Fault.CUT, Fault.ERROR_BEFORE, Fault.ERROR_AFTER),
    *(Fault.THROTTLE, Fault.DUPLICATE, Fault.HOLD_BEFORE, Fault.HOLD_AFTER),
]
BOUNDARIES = ["", "", "begun", "committed", "performed", "settled"]


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(
    faults=some.lists(some.sampled_from(FAULTS), max_size=6),
    crashes=some.lists(some.sampled_from(BOUNDARIES), min_size=1, max_size=4),
    to=some.sampled_from(["somewhere", "somewhere", NOWHERE]),
)
def test_whatever_is_lost_and_whoever_dies_there_is_one_effect(
    migrated: Ground, monkeypatch: pytest.MonkeyPatch, faults: list[Fault], crashes: list[str], to: str
) -> None:
    # A breaker that has opened would outlast the example.
    monkeypatch.setattr(breaker, "REST", 0.0)
    with Courier() as courier:
        monkeypatch.setenv("COURIER_URL", courier.url)
        world = World(migrated, HASTY)
        try:
            live_through(world, courier, faults, crashes, to)
        finally:
            world.close()


def live_through(world: World, courier: Courier, faults: list[Fault], crashes: list[str], to: str) -> None:
    """A call that is repeated, and workers, with one crash each; then all is well."""
    courier.fail(*faults)
    for number, boundary in enumerate(crashes):
        world.crash = crash_at(boundary)
        try:
            if number % 2:
                world.later(100)
                world.carrier.sweep()
            else:
                world.send("k", to)
        except (Crash, Problem):
            pass
        assert len(courier.sent) <= 1
    world.crash = lambda _: None
    courier.recover()
    courier.release()
    try:
        first = world.send("k", to)
    except Problem:
        first = world.send("k", to)
    for _ in range(8):
        world.later(100)
        world.carrier.sweep()
    (row,) = world.kept
    assert first.id == str(row["id"])
    assert [parcel["reference"] for parcel in courier.sent] == ([] if to == NOWHERE else [first.id])
    assert State(row["state"]) is (State.REFUSED if to == NOWHERE else State.DONE)
    final = State(row["state"]).name.lower()
    assert (world.told[-1], world.told.count(final)) == (final, 1)


@pytest.mark.parametrize("is_lost", [False, True], ids=["by the call", "by the job"])
def test_an_outcome_is_told_to_the_user_whose_it_is(world: World, courier: Courier, *, is_lost: bool) -> None:
    world.audience = new_id()
    if is_lost:
        courier.fail(Fault.DROP_AFTER)
    world.send("k")
    world.later(100)
    world.carrier.sweep()
    assert (world.told[-1], world.audiences) == ("done", {world.audience})
