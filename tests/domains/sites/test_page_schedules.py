"""Pages that are published, and taken off their site, when their time has come."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from server.data.transactions import Database
from server.domains.sites.schedules import PageSchedules
from server.kernel.caching import Generations
from server.kernel.clock import utc_now
from tests.clients import Tenant, database, new_tenant, problem, reason, rows, unique
from tests.domains.events import events_of
from tests.guard.locks import PAGE, held
from tests.kernel.database import connections
from tests.stack import Stack

SOON = timedelta(hours=1)


@pytest.fixture(scope="module")
def schedules(stack: Stack) -> Iterator[PageSchedules]:
    """Those of a worker, run by hand."""
    generations = Generations(stack.settings.socket_dir / "generations")
    generations.open()
    settings = stack.settings
    with connections(settings.dispatch_dsn) as dispatch, connections(settings.runtime_dsn) as runtime:
        yield PageSchedules(Database(dispatch), Database(runtime), generations, utc_now)


@pytest.fixture
def site(stack: Stack) -> Tenant:
    return new_tenant(stack)


@pytest.fixture
def path(site: Tenant) -> str:
    """That of a new page."""
    page = site.rest.post(f"{site.path}/pages", {"slug": unique("page"), "title": "Before"}).json()
    return f"{site.path}/pages/{page['id']}"


def at(moment: datetime) -> str:
    return moment.isoformat()


def plan(site: Tenant, path: str, **facts: Any) -> dict[str, Any]:
    answer = site.rest.post(f"{path}/schedule", facts)
    assert answer.status_code == 200, answer.text
    planned: dict[str, Any] = answer.json()
    return planned


def come(site: Tenant, path: str, *names: str, ago: int = 1) -> None:
    """Let the planned time come."""
    with database(site.stack) as connection:
        for place, name in enumerate(names):
            connection.execute(
                f"UPDATE pages SET scheduled_{name}_time = now() - make_interval(mins => %s) WHERE id = %s",
                (ago - place, path.rpartition("/")[2]),
            )


def kinds_of(site: Tenant) -> list[str]:
    return [event.type.removeprefix("page.") for event in events_of(site.stack, site.id) if "page." in event.type]


def test_a_page_is_published_as_its_draft_is_then(site: Tenant, path: str, schedules: PageSchedules) -> None:
    planned = plan(site, path, publishTime=at(utc_now() + SOON))
    assert (planned["status"], "scheduledUnpublishTime" in planned) == ("STATUS_DRAFT", False)
    schedules.run()
    assert site.rest.get(path).json() == planned
    assert site.rest.patch(path, {"title": "After"}).status_code == 200
    come(site, path, "publish")
    schedules.run()
    page = site.rest.get(path).json()
    assert (page["status"], page["versionNumber"], "scheduledPublishTime" in page) == ("STATUS_PUBLISHED", 1, False)
    assert page["etag"] != planned["etag"]
    [version] = site.rest.get(f"{path}/versions").json()["pageVersions"]
    assert (version["title"], version["reason"]) == ("After", "REASON_PUBLISHED")
    published = events_of(site.stack, site.id)[-1]
    assert (published.type, published.payload.path) == ("page.published", page["path"])
    audited = "SELECT method, changes FROM audit_entries WHERE tenant_id = %s AND action = 'page.published'"
    [entry] = rows(site.stack, audited, site.id)
    assert entry["method"] == "sites.page_schedule"
    assert json.loads(entry["changes"]).keys() == {"status", "versionNumber", "publishTime", "scheduledPublishTime"}


def test_what_was_missed_is_done_in_order(site: Tenant, path: str, schedules: PageSchedules) -> None:
    plan(site, path, publishTime=at(utc_now() + SOON), unpublishTime=at(utc_now() + 2 * SOON))
    come(site, path, "publish", "unpublish", ago=5)
    schedules.run()
    assert kinds_of(site) == ["created", "scheduled", "published", "unpublished"]
    page = site.rest.get(path).json()
    assert (page["status"], page["versionNumber"]) == ("STATUS_DRAFT", 1)
    assert not {"scheduledPublishTime", "scheduledUnpublishTime"} & page.keys()


def test_publishing_by_hand_drops_what_was_planned(site: Tenant, path: str) -> None:
    plan(site, path, publishTime=at(utc_now() + SOON), unpublishTime=at(utc_now() + 2 * SOON))
    page = site.rest.post(f"{path}/publish", {}).json()
    assert ("scheduledPublishTime" in page, "scheduledUnpublishTime" in page) == (False, True)
    page = site.rest.post(f"{path}/unpublish", {}).json()
    assert "scheduledUnpublishTime" not in page
    plan(site, path, publishTime=at(utc_now() + SOON))
    assert "scheduledPublishTime" not in plan(site, path)


def test_times_that_make_no_sense_are_refused(site: Tenant, path: str) -> None:
    past = site.rest.post(f"{path}/schedule", {"publishTime": at(datetime(2020, 1, 1, tzinfo=UTC))})
    assert (problem(past).rules, set(problem(past).violations)) == (("schedule.past",), {"publishTime"})
    wrong = {"publishTime": at(utc_now() + 2 * SOON), "unpublishTime": at(utc_now() + SOON)}
    assert problem(site.rest.post(f"{path}/schedule", wrong)).rules == ("schedule.order",)
    # What is not published, and will not be, cannot be taken off.
    alone = site.rest.post(f"{path}/schedule", {"unpublishTime": at(utc_now() + SOON)})
    assert reason(alone) == (409, "STATE_FORBIDS")
    stale = site.rest.post(f"{path}/schedule", {"etag": '"x"', "publishTime": at(utc_now() + SOON)})
    assert stale.status_code == 412


def test_a_draft_that_is_too_large_is_told_of(site: Tenant, path: str, schedules: PageSchedules) -> None:
    for number in range(36):
        section = {"kind": "text", "title": str(number), "content": {"more": "x" * 60_000}}
        assert site.rest.post(f"{path}/sections", section).status_code == 201
    plan(site, path, publishTime=at(utc_now() + SOON))
    come(site, path, "publish")
    schedules.run()
    assert kinds_of(site)[-1] == "schedule_failed"
    page = site.rest.get(path).json()
    assert (page["status"], "scheduledPublishTime" in page) == ("STATUS_DRAFT", False)


def test_what_somebody_is_changing_is_left_to_the_next_run(
    stack: Stack, site: Tenant, path: str, schedules: PageSchedules
) -> None:
    other = site.rest.post(f"{site.path}/pages", {"slug": unique("page")}).json()["id"]
    other_path = f"{site.path}/pages/{other}"
    for each in (path, other_path):
        plan(site, each, publishTime=at(utc_now() + SOON))
        come(site, each, "publish")
    with held(stack, PAGE, path.rpartition("/")[2]):
        schedules.run()
        found = rows(stack, "SELECT id::text FROM pages WHERE tenant_id = %s AND status = 2", site.id)
        assert [row["id"] for row in found] == [other]
    schedules.run()
    assert site.rest.get(path).json()["status"] == "STATUS_PUBLISHED"


def test_a_deleted_page_is_not_published(site: Tenant, path: str, schedules: PageSchedules) -> None:
    plan(site, path, publishTime=at(utc_now() + SOON))
    assert site.rest.delete(path).status_code == 204
    come(site, path, "publish")
    schedules.run()
    assert "published" not in kinds_of(site)
