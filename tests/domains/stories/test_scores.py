"""Trends, scores, what reports weigh, and the paths of comments, without an engine."""

from datetime import UTC, datetime, timedelta
from math import fsum, inf, log2

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from server.domains.stories.comment_paths import DIGITS, END, LEVELS, WIDTH, depth_of, path_below, segment_of
from server.domains.stories.report_weights import accuracy_bonus, weight_of
from server.domains.stories.trends import (
    AVERAGE_RATINGS,
    BEGINNING,
    BOOKMARKED,
    COMMENTED,
    DAY,
    PUBLISHED,
    RATED,
    READ,
    helpfulness,
    score_of,
    sum_of_trends,
    trend_of,
)

WEIGHTS = (READ, COMMENTED, RATED, BOOKMARKED, PUBLISHED)
NOON = datetime(2026, 7, 1, 12, tzinfo=UTC)
# Days since the beginning, within some years.
trends = st.floats(1, 5_000)
moments = st.integers(0, 400 * DAY).map(lambda seconds: BEGINNING + timedelta(days=1, seconds=seconds))
acts = st.tuples(st.sampled_from(WEIGHTS), moments)
votes = st.integers(0, 10_000)
records = st.integers(0, 10_000)


def trend_of_all(done: list[tuple[float, datetime]], order: int = 1) -> float:
    """What ACT makes of acts, one after the other."""
    total = 0.0
    for weight, moment in done[::order]:
        total = sum_of_trends(total, trend_of(weight, moment))
    return total


def worth(done: list[tuple[float, datetime]], now: datetime) -> float:
    """What acts are worth at a moment, by the definition: half after each day."""
    return fsum(weight * 2 ** -((now - moment).total_seconds() / DAY) for weight, moment in done)


# Trends --------------------------------------------------------------------------------------------------------------


def test_an_act_is_worth_twice_as_much_a_day_later() -> None:
    assert trend_of(READ, NOON + timedelta(days=1)) == pytest.approx(trend_of(READ, NOON) + 1)
    assert trend_of(4 * READ, NOON) == pytest.approx(trend_of(READ, NOON) + 2)
    # At the beginning one reading is worth log2(1).
    assert trend_of(READ, BEGINNING) == 0.0


def test_acts_weigh_more_the_more_work_they_are() -> None:
    ordered = sorted(WEIGHTS, key=lambda weight: trend_of(weight, NOON))
    assert ordered == [READ, PUBLISHED, RATED, BOOKMARKED, COMMENTED]


@given(trends)
def test_nothing_adds_nothing(trend: float) -> None:
    assert sum_of_trends(0.0, trend) == sum_of_trends(trend, 0.0) == trend
    assert sum_of_trends(0.0, 0.0) == 0.0


@given(trends)
def test_two_alike_are_worth_twice_as_much(trend: float) -> None:
    assert sum_of_trends(trend, trend) == pytest.approx(trend + 1)


@given(trends, trends)
def test_the_order_of_two_does_not_matter(one: float, other: float) -> None:
    assert sum_of_trends(one, other) == sum_of_trends(other, one)


@given(trends, trends, trends)
def test_more_of_one_is_never_less_of_both(one: float, more: float, other: float) -> None:
    low, high = sorted((one, more))
    assert sum_of_trends(low, other) <= sum_of_trends(high, other) + 1e-9
    # A further act never takes away.
    assert sum_of_trends(low, other) >= max(low, other)


@given(st.lists(acts, min_size=1, max_size=30))
def test_a_trend_is_what_all_acts_are_worth(done: list[tuple[float, datetime]]) -> None:
    total = trend_of_all(done)
    # In the units of the first day, which sums of two to the power of many days would leave.
    newest = max(moment for _, moment in done)
    expected = log2(worth(done, newest)) + (newest - BEGINNING).total_seconds() / DAY
    assert total == pytest.approx(expected, abs=1e-6)
    assert trend_of_all(done, -1) == pytest.approx(total, abs=1e-6)


@given(st.lists(acts, min_size=1, max_size=8), st.lists(acts, min_size=1, max_size=8), st.integers(0, 90))
def test_the_order_of_stories_needs_no_work_as_time_goes_by(
    one: list[tuple[float, datetime]], other: list[tuple[float, datetime]], days: int
) -> None:
    newest = max(moment for _, moment in one + other)
    now = newest + timedelta(days=days)
    mine, theirs = worth(one, now), worth(other, now)
    # What is as good as equal may come either way round.
    assume(abs(log2(mine) - log2(theirs)) > 1e-6)
    assert (trend_of_all(one) > trend_of_all(other)) == (mine > theirs)


@given(st.lists(acts, min_size=1, max_size=8), st.integers(1, 365))
def test_acts_that_are_all_later_raise_a_trend_by_as_many_days(done: list[tuple[float, datetime]], days: int) -> None:
    later = [(weight, moment + timedelta(days=days)) for weight, moment in done]
    assert trend_of_all(later) == pytest.approx(trend_of_all(done) + days, abs=1e-6)


# Scores --------------------------------------------------------------------------------------------------------------


def test_a_single_five_does_not_come_before_twenty_fours() -> None:
    assert score_of(5, 1, mean=3.0) < score_of(20 * 4, 20, mean=3.0)
    assert score_of(5, 1, mean=3.0) == pytest.approx(35 / 11)
    assert score_of(0, 0, mean=3.2) == pytest.approx(3.2)


@given(st.lists(st.integers(1, 5), max_size=60), st.floats(1, 5))
def test_a_score_is_between_the_mean_of_all_and_that_of_the_story(stars: list[int], mean: float) -> None:
    score = score_of(sum(stars), len(stars), mean)
    own = sum(stars) / len(stars) if stars else mean
    assert min(own, mean) - 1e-9 <= score <= max(own, mean) + 1e-9
    # By the definition: ten average ones beside those of the story.
    everything = [mean] * AVERAGE_RATINGS + [float(each) for each in stars]
    assert score == pytest.approx(fsum(everything) / len(everything))


@pytest.mark.parametrize(
    ("helpful", "unhelpful", "least"),
    [
        (0, 0, 0.0),
        (0, 1, 0.0),
        (0, 50, 0.0),
        (1, 0, 0.2065),
        (100, 0, 0.9630),
        (1, 1, 0.0945),
        (50, 50, 0.4038),
    ],
)
def test_helpfulness_is_the_lower_bound_of_wilsons_interval(helpful: int, unhelpful: int, least: float) -> None:
    assert helpfulness(helpful, unhelpful) == pytest.approx(least, abs=5e-5)


@given(votes, votes)
def test_helpfulness_is_a_share_and_never_above_that_of_the_votes(helpful: int, unhelpful: int) -> None:
    score = helpfulness(helpful, unhelpful)
    assert 0.0 <= score <= 1.0
    if helpful + unhelpful:
        assert score <= helpful / (helpful + unhelpful) + 1e-12


@given(votes, votes)
def test_a_vote_moves_helpfulness_its_own_way(helpful: int, unhelpful: int) -> None:
    score = helpfulness(helpful, unhelpful)
    assert helpfulness(helpful + 1, unhelpful) > score
    assert helpfulness(helpful, unhelpful + 1) <= score


@given(st.integers(1, 1_000), st.integers(2, 20))
def test_more_votes_of_the_same_share_are_surer(each: int, times: int) -> None:
    assert helpfulness(each * times, each * times) > helpfulness(each, each)


# Reports -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("agreed", "disagreed", "weight"),
    [
        (0, 0, 1.0),
        # One for each doubling.
        (1, 0, 2.0),
        (2, 0, 2.0),
        (3, 0, 3.0),
        # Up to five decided ones accuracy says nothing.
        (5, 0, 3.0),
        (0, 5, 1.0),
        # Seven of ten are neither good nor bad.
        (7, 3, 4.0),
        # All right: log4(16) * 5 more, and four for the doublings.
        (16, 0, 1 + 4 + 2 * 5),
        # Half of 64: (0.7 - 0.5) / 0.7 * log4(64) * 5 less.
        (32, 32, 1 + 4 - 0.2 / 0.7 * 3 * 5),
        (0, 6, 0.0),
        (1, 15, 0.0),
    ],
)
def test_a_report_weighs_what_the_record_says(agreed: int, disagreed: int, weight: float) -> None:
    assert weight_of(agreed, disagreed, is_moderator=False) == pytest.approx(weight)


def test_the_report_of_a_moderator_weighs_six_without_a_record() -> None:
    assert weight_of(0, 0, is_moderator=True) == 6.0
    # In the place of what trust would add.
    assert weight_of(5, 0, is_moderator=True) == 6.0


@given(records, records, st.booleans())
def test_no_report_weighs_less_than_nothing(agreed: int, disagreed: int, is_moderator: bool) -> None:  # noqa: FBT001
    assert 0.0 <= weight_of(agreed, disagreed, is_moderator=is_moderator) < inf


@given(records, records)
def test_accuracy_adds_above_seven_of_ten_and_takes_away_below(agreed: int, disagreed: int) -> None:
    bonus = accuracy_bonus(agreed, disagreed)
    if agreed + disagreed <= 5:
        assert bonus == 0.0
    else:
        assert (bonus >= 0.0) == (agreed / (agreed + disagreed) >= 0.7)


@given(st.integers(6, 1_000), st.integers(0, 1_000))
def test_a_report_that_did_not_lead_to_a_removal_never_adds_weight_to_a_good_record(total: int, wrong: int) -> None:
    # Of as many reports, the one with more wrong ones weighs no more.
    wrong = min(wrong, total - 1)
    assert weight_of(total - wrong, wrong, is_moderator=False) >= weight_of(
        total - wrong - 1, wrong + 1, is_moderator=False
    )


# Paths of comments ---------------------------------------------------------------------------------------------------

# For each comment, which of those before it it answers; -1 for none.
threads = st.integers(0, 60).flatmap(lambda count: st.tuples(*(st.integers(-1, number - 1) for number in range(count))))


def paths_of(thread: tuple[int, ...]) -> list[str]:
    paths: list[str] = []
    for number, parent in enumerate(thread):
        paths.append(path_below(paths[parent] if parent >= 0 else "", number + 1))
    return paths


def depth_first(thread: tuple[int, ...]) -> list[int]:
    """The comments as they are read: each followed by its replies, those written earlier first."""
    below: dict[int, list[int]] = {}
    depths: dict[int, int] = {-1: 0}
    for number, parent in enumerate(thread):
        # What answers the last level stands beside it: below the same comment.
        place = parent if depths[parent] < LEVELS else above_of(thread, parent, depths)
        depths[number] = depths[place] + 1
        below.setdefault(place, []).append(number)

    def read(place: int) -> list[int]:
        return [each for number in below.get(place, []) for each in (number, *read(number))]

    return read(-1)


def above_of(thread: tuple[int, ...], number: int, depths: dict[int, int]) -> int:
    """The comment of the level above a comment of the last one."""
    while depths[number] >= LEVELS:
        number = thread[number]
    return number


@given(threads)
def test_paths_sort_as_the_thread_is_read(thread: tuple[int, ...]) -> None:
    paths = paths_of(thread)
    assert sorted(range(len(paths)), key=paths.__getitem__) == depth_first(thread)


@given(threads)
def test_a_path_begins_with_that_of_the_comment_above(thread: tuple[int, ...]) -> None:
    paths = paths_of(thread)
    assert len(set(paths)) == len(paths)
    for number, parent in enumerate(thread):
        above = paths[parent] if parent >= 0 else ""
        beside = depth_of(above) == LEVELS
        assert paths[number].startswith(above[:-WIDTH] if beside else above)
        assert depth_of(paths[number]) == (LEVELS if beside else depth_of(above) + 1)


@given(threads)
def test_what_is_below_a_comment_is_between_its_path_and_its_end(thread: tuple[int, ...]) -> None:
    paths = paths_of(thread)
    for path in paths:
        between = {each for each in paths if path < each < path + END}
        assert between == {each for each in paths if each.startswith(path)} - {path}


def test_what_answers_the_eighth_level_stands_beside_it() -> None:
    path = ""
    for number in range(1, LEVELS + 1):
        path = path_below(path, number)
        assert depth_of(path) == number
    ninth = path_below(path, LEVELS + 1)
    assert depth_of(ninth) == LEVELS == 8
    assert ninth[:-WIDTH] == path[:-WIDTH]
    assert ninth > path


@given(st.integers(0, len(DIGITS) ** WIDTH - 2))
def test_segments_sort_as_their_numbers_do(number: int) -> None:
    one, next_one = segment_of(number), segment_of(number + 1)
    assert len(one) == len(next_one) == WIDTH
    assert one < next_one < END


def test_a_number_without_room_is_refused() -> None:
    assert segment_of(len(DIGITS) ** WIDTH - 1) == DIGITS[-1] * WIDTH
    with pytest.raises(OverflowError):
        segment_of(len(DIGITS) ** WIDTH)
