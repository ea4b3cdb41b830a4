"""The sixteen features that system 004 asks of notifications, each with the test that shows it."""

from collections.abc import Callable, Mapping
from typing import Any

from tests.domains.notifications import (
    test_analytics,
    test_choices,
    test_connections,
    test_inbox,
    test_push,
    test_schedules,
    test_templates,
    test_waiting,
)

FEATURES: Mapping[str, Callable[..., Any]] = {
    "real-time notifications": test_inbox.test_a_stream_tells_what_comes_and_what_is_new,
    "connection handling": test_connections.test_streams_are_shown_while_they_are_open,
    "connection health monitoring": test_connections.test_streams_that_are_late_or_full_are_not_healthy,
    "preferences": test_choices.test_people_see_what_follows_from_their_rules,
    "templates": test_templates.test_each_reads_it_in_their_language,
    "storage and retrieval": test_inbox.test_what_is_sent_stands_in_the_inbox,
    "batching": test_inbox.test_a_batch_tells_each_its_own,
    "priority levels": test_waiting.test_what_is_urgent_waits_for_nothing,
    "delivery confirmation": test_inbox.test_reading_seeing_and_archiving_are_counted,
    "analytics": test_analytics.test_each_figure_counts_its_members,
    "push notifications": test_push.test_a_device_shows_what_its_person_is_told,
    "grouping": test_inbox.test_groups_show_their_newest_and_how_many_there_are,
    "scheduling": test_schedules.test_it_is_sent_once_to_who_wants_it_then,
    "rate limiting": test_push.test_more_than_the_rate_comes_together,
    "archiving": test_inbox.test_reading_seeing_and_archiving_are_counted,
    "export": test_inbox.test_an_export_has_all_of_them,
}


def test_each_of_the_sixteen_features_has_a_test() -> None:
    assert len(FEATURES) == 16
    assert all(shows.__name__.startswith("test_") for shows in FEATURES.values())
