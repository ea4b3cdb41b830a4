"""The state machine of a webhook: whatever happens when, nobody is disabled without cause and without notice."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st
from plinth.webhooks.v1.webhook_pb2 import Webhook

from server.domains.webhooks.health import Happening, Health, Notice, State, after

START = datetime(2026, 1, 1, tzinfo=UTC)
DAY = timedelta(days=1)
SUCCESS, FAILURE, GONE = Happening.SUCCESS, Happening.FAILURE, Happening.GONE
ORDER = (State.HEALTHY, State.FAILING, State.WARNED, State.DISABLED)

happenings = st.lists(
    st.tuples(
        st.sampled_from((*(FAILURE,) * 12, *(SUCCESS,) * 2, GONE)),
        st.integers(0, 60 * 60 * 80).map(lambda seconds: timedelta(seconds=seconds)),
    ),
    max_size=40,
)


def walk(steps: Sequence[tuple[Happening, timedelta]]) -> list[tuple[Happening, datetime, Health, Notice | None]]:
    """What happens so long after what happened before."""
    health, time, story = Health(), START, []
    for happening, pause in steps:
        time += pause
        health, notice = after(health, happening, time)
        story.append((happening, time, health, notice))
    return story


@given(happenings)
def test_whatever_happens(steps: list[tuple[Happening, timedelta]]) -> None:
    before = Health()
    # As told by what happened, without a look at the state.
    since: datetime | None = None
    warned: datetime | None = None
    for happening, time, health, notice in walk(steps):
        if before.state is State.DISABLED:
            assert (health, notice) == (before, None)
            continue
        if happening is SUCCESS:
            since = warned = None
            assert (health.state, notice) == (State.HEALTHY, None)
        else:
            since = since or (time if happening is FAILURE else None)
            assert ORDER.index(health.state) >= ORDER.index(before.state)
        if notice is Notice.FAILING:
            assert warned is None
            assert since is not None
            assert time - since >= 3 * DAY
            warned = time
        assert (notice is Notice.DISABLED) == (health.state is State.DISABLED)
        if notice is Notice.DISABLED:
            assert health.disabled == time
            if happening is GONE:
                assert health.reason == Webhook.DISABLE_REASON_GONE
            else:
                assert health.reason == Webhook.DISABLE_REASON_FAILING
                assert since is not None
                assert warned is not None
                assert time - since >= 5 * DAY
                assert time - warned >= DAY
        elif since is not None and warned is not None:
            # Who has failed for long enough is not let off.
            assert time - since < 5 * DAY or time - warned < DAY
        assert health.failing_since == since
        assert health.warned == warned
        before = health


def test_five_days_of_failures() -> None:
    story = walk([(FAILURE, timedelta(hours=1))] * 130)
    told = [(time - START - timedelta(hours=1), notice) for _, time, _, notice in story if notice]
    assert told == [(3 * DAY, Notice.FAILING), (5 * DAY, Notice.DISABLED)]
    states = [health.state for _, _, health, _ in story]
    assert states == sorted(states, key=ORDER.index)
    assert set(states) == {State.FAILING, State.WARNED, State.DISABLED}


def test_after_a_long_silence_the_warning_comes_first() -> None:
    story = walk([(FAILURE, timedelta()), (FAILURE, 30 * DAY), (FAILURE, timedelta(hours=23)), (FAILURE, DAY)])
    assert [notice for *_, notice in story] == [None, Notice.FAILING, None, Notice.DISABLED]


def test_one_success_forgives_everything() -> None:
    story = walk([(FAILURE, 4 * DAY), (FAILURE, 4 * DAY), (SUCCESS, DAY), (FAILURE, DAY), (FAILURE, 2 * DAY)])
    assert [notice for *_, notice in story] == [None, Notice.FAILING, None, None, None]
    assert story[-1][2].state is State.FAILING


def test_gone_is_at_once() -> None:
    assert [(health.state, health.reason, notice) for *_, health, notice in walk([(GONE, DAY)])] == [
        (State.DISABLED, Webhook.DISABLE_REASON_GONE, Notice.DISABLED)
    ]
