"""An inbox: what comes, what is read, and counts that are always right."""

import json
import random
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import httpx
import pytest

from server.data.transactions import Database
from server.domains.notifications.sweeping import Sweeper
from server.kernel.clock import utc_now
from server.kernel.ids import new_id
from tests.clients import Rest, Tenant, new_member, new_tenant, problem, reason, rows, unique
from tests.domains.notifications.instances import new_message, sent
from tests.kernel.database import connections
from tests.stack import Stack, wait_for

PATH = "/api/v1/notifications"


@pytest.fixture
def tenant(stack: Stack) -> Tenant:
    return new_tenant(stack)


def told(tenant: Tenant, user_id: str = "", **message: Any) -> str:
    """The id of a notification."""
    outcome = sent(tenant, user_id, **message)
    assert outcome["isTold"], outcome
    return str(outcome["notificationId"])


def counts(rest: Rest) -> tuple[int, int]:
    """Unread and unseen."""
    answer = rest.get(f"{PATH}/unread-count").json()
    return answer["unreadCount"], answer["unseenCount"]


def titles(rest: Rest, path: str = PATH, **query: Any) -> list[str]:
    answer = rest.get(path, query)
    assert answer.status_code == 200, answer.text
    return [each["title"] for each in answer.json()["notifications"]]


def test_what_is_sent_stands_in_the_inbox(tenant: Tenant) -> None:
    message = {
        "workflow": "alert",
        "priority": "PRIORITY_HIGH",
        "groupKey": "order:1",
        "title": "Ready",
        "body": "Pick it up",
        "url": "/orders/1",
        "data": {"order": 1},
    }
    [outcome] = tenant.rest.post(PATH, {"userIds": [tenant.owner.id], "message": message}).json()["outcomes"]
    assert (outcome["userId"], outcome["isTold"], outcome["reason"]) == (tenant.owner.id, True, "")
    found = tenant.rest.get(f"{PATH}/{outcome['notificationId']}").json()
    varies = {"id": "", "createTime": "", "updateTime": "", "etag": ""}
    assert found | varies == varies | message | {
        "tenantId": tenant.id,
        "userId": tenant.owner.id,
        "category": "alerts",
        "actorId": tenant.owner.id,
        "unread": True,
    }
    assert counts(tenant.rest) == (1, 1)
    query = "SELECT type, audience::text AS audience FROM events WHERE resource_id = %s"
    assert rows(tenant.stack, query, found["id"]) == [{"type": "notification.created", "audience": tenant.owner.id}]


def test_nobody_else_sees_it(tenant: Tenant, stack: Stack) -> None:
    account, session = new_member(tenant, "editor")
    other = Rest(stack, session.access_token)
    notification = told(tenant, account.id, title="For you")
    assert titles(other) == ["For you"]
    assert (counts(other), counts(tenant.rest)) == ((1, 1), (0, 0))
    mine = told(tenant)
    for method, path in (("GET", mine), ("DELETE", mine), ("PUT", f"{mine}/read"), ("GET", f"{mine}/explain")):
        assert other.request(method, f"{PATH}/{path}").status_code == 404
    assert reason(other.post(PATH, {"userIds": [account.id], "message": new_message()})) == (403, "PERMISSION_MISSING")
    assert other.get(f"{PATH}/{notification}/explain").json()["outcome"] == "OUTCOME_PASS"


def test_reading_seeing_and_archiving_are_counted(tenant: Tenant) -> None:
    first, second, third = (told(tenant, title=title) for title in ("a", "b", "c"))
    assert tenant.rest.post(f"{PATH}/seen", {}).json() == {"unreadCount": 3, "unseenCount": 0}
    read = tenant.rest.put(f"{PATH}/{first}/read").json()
    assert (read["unread"], "readTime" in read) == (False, True)
    assert tenant.rest.put(f"{PATH}/{first}/read").json()["etag"] == read["etag"]
    assert counts(tenant.rest) == (2, 0)
    archived = tenant.rest.post(f"{PATH}/{second}/archive", {}).json()
    assert "archiveTime" in archived
    assert (counts(tenant.rest), titles(tenant.rest), titles(tenant.rest, f"{PATH}/archived")) == (
        (1, 0),
        ["c", "a"],
        ["b"],
    )
    assert titles(tenant.rest, filter="unread = true") == ["c"]
    tenant.rest.post(f"{PATH}/{second}/unarchive", {})
    tenant.rest.post(f"{PATH}/{first}/unread", {})
    assert counts(tenant.rest) == (3, 0)
    delivered = tenant.rest.post(f"{PATH}/{third}/delivered", {}).json()["deliverTime"]
    assert tenant.rest.post(f"{PATH}/{third}/delivered", {}).json()["deliverTime"] == delivered
    tenant.rest.delete(f"{PATH}/{third}")
    assert (counts(tenant.rest), titles(tenant.rest)) == ((2, 0), ["b", "a"])


def test_what_comes_while_all_is_read_stays_unread(tenant: Tenant) -> None:
    told(tenant, groupKey="one")
    told(tenant, groupKey="two")
    newest = tenant.rest.get(PATH).json()["notifications"][0]["createTime"]
    told(tenant, groupKey="one", title="later")
    answer = tenant.rest.put(f"{PATH}/read-all", {"asOf": newest})
    assert answer.json() == {"unreadCount": 1, "unseenCount": 1}
    assert titles(tenant.rest, filter="unread = true") == ["later"]
    told(tenant, groupKey="two")
    assert tenant.rest.put(f"{PATH}/read-all", {"groupKey": "one"}).json() == {"unreadCount": 1, "unseenCount": 1}
    assert tenant.rest.put(f"{PATH}/read-all", {}).json() == {"unreadCount": 0, "unseenCount": 0}
    # Nothing is left to change: no event, no entry.
    before = len(rows(tenant.stack, "SELECT id FROM events WHERE tenant_id = %s", tenant.id))
    assert tenant.rest.put(f"{PATH}/read-all", {}).json() == {"unreadCount": 0, "unseenCount": 0}
    assert len(rows(tenant.stack, "SELECT id FROM events WHERE tenant_id = %s", tenant.id)) == before


def test_groups_show_their_newest_and_how_many_there_are(tenant: Tenant) -> None:
    for title, group in (("1", "a"), ("2", ""), ("3", "b"), ("4", "a"), ("5", "")):
        told(tenant, title=title, groupKey=group)
    tenant.rest.put(f"{PATH}/{tenant.rest.get(PATH).json()['notifications'][1]['id']}/read")
    seen, token = [], ""
    while True:
        page = tenant.rest.get(f"{PATH}/groups", {"pageSize": 2, "pageToken": token}).json()
        seen += [
            (group["groupKey"], group["newest"]["title"], group["count"], group["unreadCount"])
            for group in page["groups"]
        ]
        token = page["nextPageToken"]
        if not token:
            break
    assert seen == [("", "5", 1, 1), ("a", "4", 2, 1), ("b", "3", 1, 1), ("", "2", 1, 1)]
    assert reason(tenant.rest.get(f"{PATH}/groups", {"pageToken": "nonsense"})) == (400, "PAGE_TOKEN_INVALID")


def test_nobody_is_told_twice_what_has_one_key(tenant: Tenant) -> None:
    account, _ = new_member(tenant, "member")
    key = unique("key")
    assert sent(tenant, dedupeKey=key)["isTold"]
    body = {"userIds": [tenant.owner.id, account.id], "message": new_message() | {"dedupeKey": key}}
    first, second = tenant.rest.post(PATH, body).json()["outcomes"]
    assert (first["isTold"], first["reason"], second["isTold"]) == (False, "TOLD_BEFORE", True)
    why = tenant.rest.get(f"{PATH}/{first['notificationId']}/explain").json()
    assert [(each["step"], each["outcome"]) for each in why["reasons"]] == [
        ("recipient", "OUTCOME_PASS"),
        ("actor", "OUTCOME_PASS"),
        ("expiry", "OUTCOME_PASS"),
        # In the inbox, by mail, on devices.
        *(("preferences", f"OUTCOME_{outcome}") for outcome in ("PASS", "DROP", "PASS")),
        ("reachability", "OUTCOME_DROP"),
        ("repetition", "OUTCOME_DROP"),
    ]
    assert counts(tenant.rest) == (1, 1)


def test_who_is_not_told_learns_nothing_and_the_sender_learns_why(tenant: Tenant, stack: Stack) -> None:
    stranger = new_tenant(stack).owner.id
    outcome = sent(tenant, stranger)
    assert (outcome["isTold"], outcome["reason"]) == (False, "NOT_A_MEMBER")
    over = sent(tenant, expireTime="2020-01-01T00:00:00Z")
    assert over["reason"] == "EXPIRED"
    tenant.rest.put(f"{PATH}/preferences", {"rules": [{"scope": "SCOPE_CATEGORY", "key": "announcements"}]})
    unwanted = sent(tenant, workflow="announcement")
    assert unwanted["reason"] == "UNWANTED"
    why = tenant.rest.get(f"{PATH}/{unwanted['notificationId']}/explain").json()["reasons"][-1]
    assert (why["step"], why["ruleId"], why["code"]) == ("preferences", "CATEGORY announcements", "UNWANTED")
    assert tenant.rest.get(f"{PATH}/{unwanted['notificationId']}").status_code == 404
    assert counts(tenant.rest) == (0, 0)
    refused = tenant.rest.post(PATH, {"userIds": [tenant.owner.id], "message": new_message() | {"workflow": "x"}})
    assert (refused.status_code, problem(refused).rules) == (422, ("notification.workflow",))


def test_a_batch_tells_each_its_own(tenant: Tenant) -> None:
    accounts = [new_member(tenant, "member")[0] for _ in range(3)]
    messages = [
        {"userIds": [account.id, tenant.owner.id], "message": new_message(f"for {place}")}
        for place, account in enumerate(accounts)
    ]
    answer = tenant.rest.post(f"{PATH}/batch", {"requests": messages})
    assert answer.status_code == 201, answer.text
    outcomes = [[each["userId"] for each in one["outcomes"]] for one in answer.json()["responses"]]
    assert outcomes == [message["userIds"] for message in messages]
    assert (counts(tenant.rest), sorted(titles(tenant.rest))) == ((3, 3), ["for 0", "for 1", "for 2"])
    many = {"requests": [{"userIds": [new_id() for _ in range(100)], "message": new_message()}] * 11}
    refused = tenant.rest.post(f"{PATH}/batch", many)
    assert (refused.status_code, problem(refused).rules) == (422, ("notification.recipients",))


def test_what_expires_leaves_list_and_counts_at_once_and_the_row_later(tenant: Tenant) -> None:
    kept, over = told(tenant, title="kept"), told(tenant, title="over", expireTime="2099-01-01T00:00:00Z")
    rows(tenant.stack, "UPDATE notifications SET expire_time = now() WHERE id = %s RETURNING id", over)
    assert (titles(tenant.rest), counts(tenant.rest)) == (["kept"], (1, 1))
    sweep(tenant.stack)
    # A worker of the stack may have been first, and not be done yet.
    wait_for(lambda: stored(tenant) == (1, 1), what="the counts of what is left")
    assert (titles(tenant.rest), counts(tenant.rest)) == (["kept"], (1, 1))
    rows(
        tenant.stack,
        "UPDATE notifications SET create_time = now() - interval '91 days' WHERE id = %s RETURNING id",
        kept,
    )
    sweep(tenant.stack)
    wait_for(lambda: stored(tenant) == (0, 0), what="the counts of nothing")
    assert (titles(tenant.rest), counts(tenant.rest)) == ([], (0, 0))
    assert titles(tenant.rest, f"{PATH}/archived") == ["kept"]


def sweep(stack: Stack) -> None:
    """As a worker does it."""
    with connections(stack.settings.dispatch_dsn) as dispatch:
        sweeper = Sweeper(Database(dispatch), utc_now)
        sweeper.archive_expired()
        sweeper.archive_old()


def stored(tenant: Tenant) -> tuple[int, int]:
    [row] = rows(tenant.stack, "SELECT unread, unseen FROM notification_counts WHERE tenant_id = %s", tenant.id)
    return row["unread"], row["unseen"]


ACTS = ("tell", "tell", "read", "unread", "archive", "unarchive", "delete", "all", "seen", "group")
TRUE = """SELECT count(*) FILTER (WHERE unread)::int AS unread, count(*) FILTER (WHERE seen_time IS NULL)::int AS unseen
            FROM notifications WHERE tenant_id = %s AND archive_time IS NULL"""


def act(tenant: Tenant, ids: list[str], chance: random.Random) -> httpx.Response | None:
    """One of the things that happen to an inbox; None if somebody was told something."""
    kind = chance.choice(ACTS)
    if kind == "tell" or not ids:
        ids.append(told(tenant, groupKey=chance.choice(("", "a", "b"))))
        return None
    if kind == "delete":
        return tenant.rest.delete(f"{PATH}/{ids[chance.randrange(len(ids))]}")
    if kind in {"all", "group"}:
        return tenant.rest.put(f"{PATH}/read-all", {"groupKey": "a"} if kind == "group" else {})
    if kind == "seen":
        return tenant.rest.post(f"{PATH}/seen", {})
    return tenant.rest.post(f"{PATH}/{chance.choice(ids)}/{kind}", {})


def test_counts_never_drift_in_a_storm(tenant: Tenant) -> None:
    ids: list[str] = []

    def storm(seed: int) -> set[int]:
        chance = random.Random(seed)  # noqa: S311 - which act comes next
        answers = [act(tenant, ids, chance) for _ in range(40)]
        return {answer.status_code for answer in answers if answer is not None}

    with ThreadPoolExecutor(6) as pool:
        statuses = set().union(*pool.map(storm, range(6)))
    # What is deleted is not there for those who act on it next.
    assert {200, 204, 404} >= statuses >= {200, 204}
    [true] = rows(tenant.stack, TRUE, tenant.id)
    assert stored(tenant) == counts(tenant.rest) == (true["unread"], true["unseen"])


def test_an_export_has_all_of_them(tenant: Tenant) -> None:
    first = told(tenant, title="Ärger")
    second = told(tenant)
    tenant.rest.post(f"{PATH}/{second}/archive", {})
    answer = tenant.rest.get(f"{PATH}/export")
    assert answer.headers["content-type"] == "application/x-ndjson"
    lines = [json.loads(line) for line in answer.text.splitlines()]
    assert [line["id"] for line in lines] == [first, second]
    assert lines[0] == tenant.rest.get(f"{PATH}/{first}").json() | lines[0]


def test_what_is_told_goes_with_the_membership(tenant: Tenant) -> None:
    account, _ = new_member(tenant, "member")
    told(tenant, account.id)
    assert tenant.rest.delete(f"{tenant.path}/users/{account.id}").status_code in {200, 204}
    assert rows(tenant.stack, "SELECT id FROM notifications WHERE user_id = %s", account.id) == []


def frames(lines: Iterator[str]) -> Iterator[tuple[str, Any]]:
    """The events of a stream, with their data."""
    event = ""
    for line in lines:
        name, _, value = line.partition(": ")
        if name == "event":
            event = value
        elif name == "data":
            yield event, json.loads(value)


def test_a_stream_tells_what_comes_and_what_is_new(tenant: Tenant, stack: Stack) -> None:
    first = told(tenant)
    account, session = new_member(tenant, "member")
    with stack_stream(stack, tenant.access_token) as lines:
        stream = frames(lines)
        assert next(stream) == ("stream.open", {})
        assert next(stream) == ("notification.counts", {"unreadCount": 1, "unseenCount": 1})
        # The owner holds the permission to see those of others, and gets none of them here.
        theirs = told(tenant, account.id)
        assert Rest(stack, session.access_token).put(f"{PATH}/{theirs}/read").status_code == 200
        mine, shown = told(tenant, title="Mine"), []
        for event, data in stream:
            # The reader of the log may be behind the beginning of the stream: then the first one comes as well.
            if event != "notification.counts":
                shown.append(data["id"])
            if shown[-1:] == [mine]:
                break
        assert set(shown) <= {first, mine}
        assert next(stream) == ("notification.counts", {"unreadCount": 2, "unseenCount": 2})
        tenant.rest.put(f"{PATH}/read-all", {})
        assert next(stream)[0] == "notification.all_read"
        assert next(stream) == ("notification.counts", {"unreadCount": 0, "unseenCount": 0})


def test_an_api_key_has_no_inbox(tenant: Tenant, stack: Stack) -> None:
    body = {"name": "Sender", "permissions": ["notifications.notifications.read", "notifications.notifications.send"]}
    key = tenant.rest.post(f"{tenant.path}/api-keys", body).json()["key"]
    rest = Rest(stack, key)
    for path in ("stream", "export", "unread-count", "groups", "archived"):
        assert reason(rest.get(f"{PATH}/{path}")) == (403, "USER_REQUIRED"), path
    answer = rest.post(PATH, {"userIds": [tenant.owner.id], "message": new_message("By a program")})
    [outcome] = answer.json()["outcomes"]
    assert (outcome["isTold"], titles(tenant.rest)) == (True, ["By a program"])
    assert rest.get(f"{PATH}/{outcome['notificationId']}/explain").status_code == 200


@contextmanager
def stack_stream(stack: Stack, access_token: str) -> Iterator[Iterator[str]]:
    """The lines of a person's stream."""
    headers = {"authorization": f"Bearer {access_token}", "accept": "text/event-stream"}
    with (
        httpx.Client(base_url=stack.url, timeout=20, trust_env=False) as client,
        client.stream("GET", f"{PATH}/stream", headers=headers) as answer,
    ):
        assert answer.status_code == 200
        yield answer.iter_lines()
