"""The upkeep of scores: they follow the mean of their tenant at night."""

from collections.abc import Iterator
from typing import Any

import pytest

from server.data.transactions import Database
from server.domains.stories.trends import score_of
from server.domains.stories.upkeep import StoryUpkeep
from server.kernel.ids import new_id
from tests.providers.moving import Ground, ground
from tests.stack import Stack


class Dropped:
    """Generations that remember what was dropped."""

    def __init__(self) -> None:
        self.tags: list[str] = []

    def invalidate(self, tags: list[str]) -> None:
        """Remember them."""
        self.tags += tags


@pytest.fixture(scope="module")
def here(stack: Stack) -> Iterator[Ground]:
    with ground(stack) as found:
        yield found


def tenant_of(here: Ground) -> str:
    tenant_id = new_id()
    insert = "INSERT INTO tenants (id, subdomain, name, status) VALUES (%s, %s, 'Acme', 1)"
    here.rows(insert, tenant_id, f"t-{tenant_id[-12:]}")
    return tenant_id


def rated(here: Ground, tenant_id: str, *stars: int) -> str:
    """A story with these ratings, and no score yet."""
    story_id = new_id()
    here.rows(
        "INSERT INTO stories (tenant_id, id, author_id, slug, title, state, rating_count, rating_sum)"
        " VALUES (%s, %s, gen_random_uuid(), %s, 'Planted', 3, %s, %s)",
        *(tenant_id, story_id, f"s-{story_id[-12:]}", len(stars), sum(stars)),
    )
    for each in stars:
        here.rows(
            "INSERT INTO story_ratings (tenant_id, story_id, user_id, stars, update_time)"
            " VALUES (%s, %s, gen_random_uuid(), %s, now())",
            *(tenant_id, story_id, each),
        )
    return story_id


def night(here: Ground) -> Dropped:
    """Run it once."""
    dropped: Any = Dropped()
    StoryUpkeep(Database(here.dispatch), Database(here.runtime), dropped).run()
    return dropped  # type: ignore[no-any-return]


def score(here: Ground, story_id: str) -> float:
    [row] = here.rows("SELECT rating_score FROM stories WHERE id = %s", story_id)
    return float(row["rating_score"])


def test_scores_follow_the_mean_of_their_tenant(here: Ground) -> None:
    one, other = tenant_of(here), tenant_of(here)
    good, bad = rated(here, one, 5, 5, 4), rated(here, one, 1)
    alone, unrated = rated(here, other, 2, 2), rated(here, other)
    assert {f"tenant:{one}:stories", f"tenant:{other}:stories"} <= {*night(here).tags}
    mean = (5 + 5 + 4 + 1) / 4
    assert score(here, good) == pytest.approx(score_of(14, 3, mean))
    assert score(here, bad) == pytest.approx(score_of(1, 1, mean))
    assert score(here, alone) == pytest.approx(score_of(4, 2, 2.0))
    assert score(here, unrated) == 0
    # Nothing has changed since.
    assert night(here).tags == []


def test_what_a_lost_run_has_left_is_done_by_the_next_one(here: Ground) -> None:
    tenant_id = tenant_of(here)
    story_id = rated(here, tenant_id, 5, 3)
    night(here)
    kept = score(here, story_id)
    here.rows("UPDATE stories SET rating_score = 1 WHERE id = %s", story_id)
    assert f"tenant:{tenant_id}:stories" in night(here).tags
    assert score(here, story_id) == kept


def test_ratings_that_are_held_back_or_old_move_no_mean(here: Ground) -> None:
    tenant_id = tenant_of(here)
    story_id = rated(here, tenant_id, 4)
    for held, age in (("true", 0), ("false", 400)):
        here.rows(
            "INSERT INTO story_ratings (tenant_id, story_id, user_id, stars, is_held, update_time)"
            " VALUES (%s, %s, gen_random_uuid(), 1, %s, now() - %s * interval '1 day')",
            *(tenant_id, story_id, held, age),
        )
    night(here)
    [row] = here.rows("SELECT rating_mean FROM story_means WHERE tenant_id = %s", tenant_id)
    assert row["rating_mean"] == 4.0
