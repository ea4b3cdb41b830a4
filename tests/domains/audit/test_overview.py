"""The security overview: its figures are those of the stored entries, over REST and gRPC, in any zone."""

from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

import psycopg
import pytest
from plinth.audit.v1 import audit_pb2
from plinth.types.v1.time_range_pb2 import TimeRange
from psycopg import sql

from server.data.statements import Statement
from server.domains.audit.overview import SECURITY
from server.kernel.actors import USER, Actor
from server.kernel.ids import new_id
from tests.clients import Tenant, new_tenant, reason
from tests.domains.audit.planting import entry, plant
from tests.stack import Stack

CAIRO = ZoneInfo("Africa/Cairo")
DAY = timedelta(days=1)
REFUSED: dict[str, Any] = {"security": True, "outcome": "PERMISSION_DENIED", "reason": "PERMISSION_MISSING"}
FOUND = {"events": 8.0, "refusals": 7.0, "changes": 1.0, "actors": 2.0}


class History(NamedTuple):
    """A tenant whose log has entries around the start of a local day."""

    tenant: Tenant
    start: datetime
    """The first moment of the local day before yesterday, in Cairo."""

    @property
    def range(self) -> dict[str, str]:
        """That day as a range of local days."""
        first = self.start.astimezone(CAIRO).date()
        dates = {"startDate": first.isoformat(), "endDate": (first + DAY).isoformat()}
        return {f"range.{name}": value for name, value in (dates | {"timeZone": CAIRO.key}).items()}

    def get(self, path: str = "", **params: Any) -> dict[str, Any]:
        """What the overview answers the owner about that day."""
        answer = self.tenant.rest.get(f"{self.tenant.path}/audit/security-overview{path}", self.range | params)
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found


@pytest.fixture(scope="module")
def history(stack: Stack) -> History:
    """On that day: four, two and one refusals, a change, and what is no security event. More just before and after."""
    tenant = new_tenant(stack)
    today = datetime.now(CAIRO).replace(hour=0, minute=0, second=0, microsecond=0)
    start = (today - 2 * DAY).astimezone(UTC)
    alice, bob = (Actor(USER, new_id()) for _ in range(2))
    away = timedelta(microseconds=1)
    plant(
        stack,
        entry(tenant.id, create_time=start - away, actor=alice, count=100, **REFUSED),
        entry(tenant.id, create_time=start, actor=alice, count=4, **REFUSED),
        entry(tenant.id, create_time=start + timedelta(hours=5), actor=bob, count=2, **REFUSED),
        entry(tenant.id, create_time=start + timedelta(hours=5), **REFUSED),
        entry(tenant.id, create_time=start + DAY - away, actor=bob, security=True),
        entry(tenant.id, create_time=start + timedelta(hours=5), actor=bob),
        entry(tenant.id, create_time=start + DAY, actor=alice, count=1000, **REFUSED),
    )
    return History(tenant, start)


def values(answer: dict[str, Any]) -> dict[str, float]:
    return {metric["name"]: metric["value"] for metric in answer["metrics"]}


def test_figures_are_those_of_the_entries_of_a_local_day(history: History) -> None:
    answer = history.get()
    assert values(answer) == FOUND
    assert answer["series"] == []
    metric = answer["metrics"][1]
    assert metric["state"] == "STATE_OK"
    assert metric["definition"] == {
        "id": "security.refusals",
        "version": 1,
        "formula": "sum(count) where security and outcome != 'OK'",
        "sources": ["audit_entries"],
    }
    assert metric["range"]["timeZone"] == "Africa/Cairo"
    assert datetime.fromisoformat(metric["range"]["startTime"]) == history.start
    assert metric["sourceRows"] == 3


def test_the_members_of_a_figure_fold_to_it(history: History) -> None:
    for metric in history.get()["metrics"]:
        entries: list[dict[str, Any]] = []
        token = ""
        while token or not entries:
            page = history.get(f"/{metric['name']}/members", pageSize=2, pageToken=token)
            entries, token = entries + page["auditEntries"], page["nextPageToken"]
        folded = {
            "changes": len(entries),
            "actors": len({each["actorId"] for each in entries}),
        }.get(metric["name"], sum(each["count"] for each in entries))
        assert folded == metric["value"]
        assert len(entries) == metric["sourceRows"]


def test_a_series_has_a_point_for_each_hour(history: History) -> None:
    answer = history.get(includeSeries="true", bucket="BUCKET_HOUR")
    assert [series["name"] for series in answer["series"]] == list(FOUND)
    points = answer["series"][1]["points"]
    assert {n: point["value"] for n, point in enumerate(points) if point["value"]} == {0: 4.0, 5: 3.0}
    assert 23 <= len(points) <= 25
    assert points[0]["localStart"] == history.start.astimezone(CAIRO).isoformat(timespec="seconds")


def test_a_figure_is_compared_with_the_day_before(history: History) -> None:
    refusals = history.get(compare="true")["metrics"][1]
    assert refusals["comparison"]["value"] == 100.0
    assert refusals["comparison"]["change"] == -93.0
    assert refusals["comparison"]["changeRatio"] == -0.93
    assert refusals["comparison"]["comparable"] is True


def test_over_grpc_and_without_a_tenant_the_answer_is_the_same(history: History) -> None:
    shown = TimeRange(time_zone=CAIRO.key)
    shown.start_time.FromDatetime(history.start)
    shown.end_time.FromDatetime(history.start + DAY)
    request = audit_pb2.GetSecurityOverviewRequest(range=shown)
    answer = history.tenant.stubs.audit.GetSecurityOverview(request)
    assert {metric.name: metric.value for metric in answer.metrics} == FOUND
    assert values(history.tenant.rest.get("security", history.range).json()) == FOUND
    members = history.tenant.rest.get("security/refusals/members", history.range).json()
    assert members == history.get("/refusals/members")


def test_another_zone_has_other_days(history: History) -> None:
    assert values(history.get(**{"range.timeZone": "Pacific/Kiritimati"}))["events"] != FOUND["events"]


def test_a_range_from_before_the_retention_time_is_partial(history: History) -> None:
    asked = {"range.startDate": "2019-01-01", "range.endDate": "2028-01-01"}
    metric = history.get(**asked)["metrics"][0]
    assert (metric["state"], metric["reason"]) == ("STATE_PARTIAL", "BEFORE_RETENTION")
    metric = history.get(**{"range.startDate": "2019-01-01", "range.endDate": "2019-02-01"})["metrics"][0]
    assert (metric["state"], metric["reason"]) == ("STATE_NO_DATA", "BEFORE_RETENTION")
    assert "value" not in metric


def test_what_is_no_range_is_refused_with_its_rule(history: History) -> None:
    def rule(**params: str) -> list[tuple[str, str]]:
        answer = history.tenant.rest.get("security", params)
        assert reason(answer) == (422, "RULE_VIOLATED"), answer.text
        (details,) = [each for each in answer.json()["details"] if "fieldViolations" in each]
        return [(each["field"], each["reason"]) for each in details["fieldViolations"]]

    assert rule(**{"range.timeZone": "Mars/Olympus"}) == [("range.timeZone", "time_range.time_zone")]
    assert rule(**{"range.startDate": "2026-02-30", "range.endDate": "2026-03-01"}) == [
        ("range.startDate", "time_range.day")
    ]
    assert rule(**{"range.startDate": "2026-02-01"}) == [("range", "time_range.both_ends")]
    asked = {"range.period": "PERIOD_THIS_YEAR", "includeSeries": "true", "bucket": "BUCKET_HOUR"}
    assert rule(**asked) == [("bucket", "bucket.points")]
    assert reason(history.tenant.rest.get("security/profit/members")) == (404, "RESOURCE_NOT_FOUND")


def test_nobody_else_sees_the_figures(history: History, stack: Stack) -> None:
    stranger = new_tenant(stack)
    path = f"{history.tenant.path}/audit/security-overview"
    assert stranger.rest.get(path).status_code == 404
    assert stranger.rest.get(f"{path}/events/members").status_code == 404
    answer = stranger.rest.get("security", history.range).json()
    assert {metric.get("value") for metric in answer["metrics"]} <= {0.0, None}


# The statement -------------------------------------------------------------------------------------------------------


def index_conditions(stack: Stack, statement: Statement, tenant_id: str, **parameters: Any) -> list[str]:
    """The conditions under which the role that serves would read indexes, inside a tenant."""
    encoded = [value.decode() for value in statement.encode(parameters | {"series_tenant_id": tenant_id}) if value]
    given = sql.SQL(", ").join(map(sql.Literal, encoded))
    with psycopg.connect(stack.settings.runtime_dsn) as connection:
        connection.execute("SELECT set_config('plinth.tenant_id', %s, true)", (tenant_id,))
        # A table of few rows is read whole if it may be. What an index cannot serve has no other plan even so.
        connection.execute("SET enable_seqscan = off")
        connection.execute(b"PREPARE figures AS " + statement.sql)
        rows = connection.execute(sql.SQL("EXPLAIN EXECUTE figures ({})").format(given)).fetchall()
    lines = [str(line) for (line,) in rows]
    assert not [line for line in lines if "Seq Scan on audit_entries" in line], "\n".join(lines)
    return [line.partition(":")[2] for line in lines if "Index Cond:" in line]


def test_the_statement_reads_ranges_of_an_index_as_the_role_that_serves(stack: Stack) -> None:
    """Row-level security lets only leakproof conditions use an index; those of a range of time are."""
    start = datetime.now(UTC) - DAY
    period = {"first": start - DAY, "compared_end": start, "start": start, "end": start + DAY}
    for in_buckets, bounds in ((False, {}), (True, {"bounds": [start]})):
        statement = SECURITY.statement(in_buckets=in_buckets)
        conditions = index_conditions(stack, statement, new_tenant(stack).id, **period, **bounds)
        assert conditions
        assert all("tenant_id = " in condition for condition in conditions)
        ranges = [condition for condition in conditions if "create_time >=" in condition]
        assert ranges
        assert all("create_time <" in condition for condition in ranges)
