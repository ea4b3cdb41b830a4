"""Generated slugs: which conflicts are tried again with another one."""

from types import SimpleNamespace
from typing import Any

import psycopg
import pytest

from server.domains.stories.story_resource import SLUG_KEY, STORY
from server.kernel.problems import Collision, Problem
from server.kernel.resources import Hooks, ResourceRows, Slugs
from tests.kernel import calls


def conflict(constraint: str) -> Any:
    """What PostgreSQL says of a row that breaks a unique index."""

    class Taken(psycopg.errors.UniqueViolation):
        diag = SimpleNamespace(constraint_name=constraint)  # type: ignore[assignment]

    return Taken()


@pytest.mark.parametrize(("constraint", "is_retried"), [(SLUG_KEY, True), ("stories_pkey", False)])
def test_a_conflict_is_tried_again_if_it_is_the_slugs(constraint: str, is_retried: bool) -> None:  # noqa: FBT001 - a parameter
    call = calls.call(calls.CREATE)
    assert Slugs(ResourceRows(Hooks(), STORY), "story", SLUG_KEY).from_title(call, "Two Words") == "two-words"
    problem: Problem = call.conflicts["stories"](conflict(constraint))
    assert isinstance(problem, Collision) is is_retried
