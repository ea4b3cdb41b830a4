"""2,000 people who look at their inboxes at once, on one realtime process."""

import json
import random
from collections import Counter
from collections.abc import Iterator

import pytest

from tests.bench.subscribers import Story, Subscribers, Target
from tests.clients import new_tenant
from tests.domains.notifications.instances import new_message
from tests.people import TOKEN_LIFETIME, access_tokens, new_people
from tests.stack import Stack, wait_for

PATH = "/api/v1/notifications"
PEOPLE = 2_000
OF_A_SEND = 100
ROUNDS = 3
SEED = 20261130
# Seconds until all streams are open, and until what was sent has come to all.
PATIENCE = 60.0


@pytest.fixture
def own_stack() -> Iterator[Stack]:
    stack = Stack(api_workers=1, realtime_workers=1, access_token_lifetime=TOKEN_LIFETIME)
    try:
        yield stack.start()
    finally:
        stack.remove()


def told_to(story: Story) -> list[str]:
    """The titles that somebody saw, in the order of their arrival."""
    return [json.loads(data)["title"] for name, data in story.data if name == "notification.created"]


def opened(subscribers: Subscribers) -> str:
    """How far they have come."""
    stories = subscribers.stories()
    answers = Counter(status for story in stories for status in story.statuses.elements())
    errors = Counter(error for story in stories for error in story.errors)
    return f"{sum(story.opened for story in stories)} of {PEOPLE}, {answers}, {errors}"


def last_count(story: Story) -> int:
    """The unread count that was shown last."""
    counts = [json.loads(data)["unreadCount"] for name, data in story.data if name == "notification.counts"]
    return int(counts[-1])


@pytest.mark.heavy
@pytest.mark.timeout(600)
def test_each_of_2000_live_inboxes_gets_its_own_and_nobody_elses(own_stack: Stack) -> None:
    tenant = new_tenant(own_stack)
    people = new_people(tenant, PEOPLE)
    chance = random.Random(SEED)  # noqa: S311 - the same each time
    sent: dict[str, list[str]] = {user: [] for user in people}
    with Subscribers() as subscribers:
        subscribers.join([Target(own_stack.port, f"{PATH}/stream", token) for token in access_tokens(tenant, people)])
        wait_for(lambda: subscribers.opened() == PEOPLE, PATIENCE, lambda: f"opened: {opened(subscribers)}")
        for number in range(ROUNDS):
            order = list(people)
            chance.shuffle(order)
            for begin in range(0, PEOPLE, OF_A_SEND):
                # The last round reaches half of them.
                told = order[begin : begin + OF_A_SEND // (2 if number == ROUNDS - 1 else 1)]
                batch = [{"userIds": [user], "message": new_message(f"{user} {number}")} for user in told]
                answer = tenant.rest.post(f"{PATH}/batch", {"requests": batch})
                assert answer.status_code == 201, answer.text
                for user in told:
                    sent[user].append(f"{user} {number}")
        expected = sum(map(len, sent.values()))
        wait_for(
            lambda: sum(len(told_to(story)) for story in subscribers.stories()) >= expected,
            PATIENCE,
            "what was sent to come to all",
        )
        wait_for(
            lambda: [last_count(story) for story in subscribers.stories()] == [len(titles) for titles in sent.values()],
            PATIENCE,
            "right counts for all",
        )
        stories = subscribers.stories()
        subscribers.leave()
    assert [told_to(story) for story in stories] == list(sent.values())
    assert not any(story.errors for story in stories)
    assert all(story.opened == 1 for story in stories)
