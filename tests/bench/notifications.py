"""`make bench-notifications`: what an inbox costs in a tenant of 50,000 people with 1,000,000 notifications.

Most people have 14, a thousand have 300. Half are unread, a tenth is archived. Each call is somebody's own over gRPC;
nothing is answered from memory, since each person asks once for each kind.
"""

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import count
from typing import Any

from plinth.notifications.v1 import inbox_pb2, notification_pb2

from tests.bench.latencies import CALLERS, WARM, Call, measure
from tests.clients import Stubs, Tenant, database, new_tenant, stubs
from tests.people import TOKEN_LIFETIME, access_tokens, new_people
from tests.stack import Stack

PEOPLE, MANY = 50_000, 1_000
OF_MOST, OF_MANY = 14, 300
CALLERS_OF_MOST = 3_000
"""Of those with few, how many call."""
CALLS_OF_MANY = 400
UUID7 = """(lpad(to_hex((extract(epoch FROM at) * 1000)::bigint), 12, '0') || '7' || substr(md5(random()::text), 1, 3)
 || '8' || substr(md5(random()::text), 1, 15))::uuid"""
FILL = (
    f"""INSERT INTO notifications (tenant_id, id, user_id, workflow, category, priority, group_key, title, body, unread,
                                   seen_time, archive_time, create_time, update_time)
        SELECT %(tenant)s, {UUID7}, person, 'alert', 'alerts', 2, 'order:' || n %% 7, 'Order ' || n, 'It is ready.',
               n %% 2 = 0, CASE WHEN n %% 4 = 1 THEN at END, CASE WHEN n %% 10 = 9 THEN at END, at, at
          FROM unnest(%(users)s::uuid[]) AS told (person), generate_series(1, %(each)s) AS n,
               LATERAL (SELECT now() - n * interval '3 hours' - random() * interval '3 hours' AS at) moments""",
    """INSERT INTO notification_counts (tenant_id, id, user_id, unread, unseen)
        SELECT tenant_id, user_id, user_id, count(*) FILTER (WHERE unread), count(*) FILTER (WHERE seen_time IS NULL)
          FROM notifications WHERE tenant_id = %(tenant)s AND user_id = ANY(%(users)s::uuid[]) AND archive_time IS NULL
         GROUP BY tenant_id, user_id""",
)
DRIFT = """
SELECT count(*) AS wrong
  FROM notification_counts c
  JOIN LATERAL (SELECT count(*) FILTER (WHERE unread) AS unread, count(*) FILTER (WHERE seen_time IS NULL) AS unseen
                  FROM notifications n
                 WHERE n.tenant_id = c.tenant_id AND n.user_id = c.user_id AND archive_time IS NULL) r ON true
 WHERE c.tenant_id = %s AND (c.unread, c.unseen) <> (r.unread, r.unseen)
"""


def fill(tenant: Tenant, users: Sequence[str], each: int) -> None:
    """Insert `each` notifications for every user."""
    with database(tenant.stack) as connection:
        for statement in FILL:
            connection.execute(statement.encode(), {"tenant": tenant.id, "users": list(users), "each": each})


@contextmanager
def filled() -> Iterator[tuple[Tenant, list[str], list[str]]]:
    """The tenant, and the access tokens of some with few notifications and of all with many."""
    limits = dict.fromkeys(("default", "tenant", "telemetry"), "100000000/60")
    stack = Stack(api_workers=2, log_level="ERROR", access_token_lifetime=TOKEN_LIFETIME, rate_limits=limits)
    try:
        stack.start()
        tenant = new_tenant(stack)
        people = new_people(tenant, PEOPLE)
        fill(tenant, people[:MANY], OF_MANY)
        fill(tenant, people[MANY:], OF_MOST)
        with database(stack) as connection:
            connection.commit()
            connection.autocommit = True
            connection.execute(b"VACUUM ANALYZE")
        most = access_tokens(tenant, people[MANY : MANY + CALLERS_OF_MOST])
        yield tenant, most, access_tokens(tenant, people[:MANY])
    finally:
        stack.remove()


class Inboxes:
    """The kinds of calls, each by the next of some people."""

    def __init__(self, tenant: Tenant, tokens: Sequence[str]) -> None:
        self._inboxes = [_Inbox(stubs(tenant.stack, token)) for token in tokens]

    def of_next(self, call: Callable[["_Inbox"], object]) -> Call:
        """A call, each time as somebody else."""
        numbers = count()
        return lambda: call(self._inboxes[next(numbers) % len(self._inboxes)])

    def kinds(self) -> dict[str, Call]:
        """By name. Reads come first, since writes change what they find."""
        each: dict[str, Callable[[_Inbox], object]] = {
            "list": lambda inbox: inbox.listed(),
            "list what is unread": lambda inbox: inbox.listed(filter="unread = true"),
            "unread count": lambda inbox: inbox.count(),
            "groups": lambda inbox: inbox.groups(),
            "list the archive": lambda inbox: inbox.archived(),
            "archive one": lambda inbox: inbox.archive(),
            "mark one read": lambda inbox: inbox.read(),
            "mark all read": lambda inbox: inbox.read_all(),
        }
        return {name: self.of_next(call) for name, call in each.items()}


class _Inbox:
    """Somebody's calls."""

    def __init__(self, own: Stubs) -> None:
        self._notifications: Any = own["plinth.notifications.v1.NotificationService"]
        self._inbox: Any = own["plinth.notifications.v1.InboxService"]
        self._known: list[str] = []

    def listed(self, **query: Any) -> object:
        page = self._notifications.ListNotifications(notification_pb2.ListNotificationsRequest(page_size=25, **query))
        self._known = self._known or [each.id for each in page.notifications]
        return page

    def count(self) -> object:
        return self._inbox.GetUnreadCount(inbox_pb2.GetUnreadCountRequest())

    def groups(self) -> object:
        return self._inbox.ListNotificationGroups(inbox_pb2.ListNotificationGroupsRequest())

    def archived(self) -> object:
        return self._inbox.ListArchivedNotifications(inbox_pb2.ListArchivedNotificationsRequest(page_size=25))

    def archive(self) -> object:
        request = notification_pb2.ArchiveNotificationRequest(notification_id=self._known[0])
        return self._notifications.ArchiveNotification(request)

    def read(self) -> object:
        request = notification_pb2.MarkNotificationReadRequest(notification_id=self._known[1])
        return self._notifications.MarkNotificationRead(request)

    def read_all(self) -> object:
        return self._inbox.MarkAllNotificationsRead(inbox_pb2.MarkAllNotificationsReadRequest())


def main() -> int:
    """Measure each kind, and compare all counts with the rows."""
    assert 2 * CALLS_OF_MANY + WARM <= MANY, f"{CALLERS} callers ask more people than there are"
    with filled() as (tenant, most, many):
        sys.stdout.write(f"people with {OF_MOST} notifications\n")
        met = measure(Inboxes(tenant, most).kinds())
        sys.stdout.write(f"people with {OF_MANY} notifications\n")
        met = measure(Inboxes(tenant, many).kinds(), CALLS_OF_MANY) and met
        with database(tenant.stack) as connection:
            drift = connection.execute(DRIFT.encode(), (tenant.id,)).fetchone()
        sys.stdout.write(f"counts that differ from their rows: {(drift or {})['wrong']}\n")
        return 0 if met and not (drift or {})["wrong"] else 1


if __name__ == "__main__":
    sys.exit(main())
