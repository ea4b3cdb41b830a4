"""How many statements each read takes, and that lists are answered from indexes.

`statements.tsv` records the counts: who changes one sees it, and says why in the commit. A list takes as many whatever
its size. Asked of the composed RPCs in this process, with nothing cached.

After a change: `RECORD=1 pytest tests/contract/test_statement_counts.py`.
"""

import csv
import json
import os
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

import psycopg
import pytest
from psycopg import sql

from server import app, guard
from server.data.connections import PipelineConnection
from server.data.statements import Statement
from server.kernel.caching.generations import Generations
from server.kernel.policy import Access, Kind, MethodPolicy
from tests.clients import Tenant
from tests.contract import wall
from tests.contract.wall import House
from tests.domains.platform import new_platform_admin
from tests.kernel.calls import Aborted, Context
from tests.stack import Stack

RECORDED = Path(__file__).with_name("statements.tsv")
READS = {
    path: method
    for path, method in app.policies().items()
    if method.read_only
    and not method.on_loop
    and not method.providers
    and method.access in (Access.PERMISSION, Access.PLATFORM, Access.SIGNED_IN)
}
LISTS = {path: method for path, method in READS.items() if method.kind is Kind.LIST}
# Reads of a house that has not got what they ask for; they are counted up to there.
REFUSED = {
    "/plinth.communication.v1.EmailTemplateService/PreviewEmailTemplate": "its template needs a value",
    "/plinth.notifications.v1.NotificationTemplateService/PreviewNotificationTemplate": "its template needs a value",
    "/plinth.tenancy.v1.RateLimitsService/ExplainRateLimits": "it explains a user or an API key, not both",
    "/plinth.tenancy.v1.RoleService/ExplainAccess": "it explains a user or an API key, not both",
}
# Reads that take as many as the tree of the log is high, which depends on when it was sealed.
BY_HEIGHT = ("/plinth.audit.v1.AuditService/GetConsistencyProof", "/plinth.audit.v1.AuditService/GetInclusionProof")
# Lists with a statement that sorts what it reads, or reads a table whole, each with why that is little.
SORTED = {
    "/plinth.communication.v1.EmailTemplateVersionService/ListEmailTemplateVersions": "1,000 of a template",
    "/plinth.dictionary.v1.DictionaryRevisionService/ListDictionaryRevisions": "200 of an entry",
    "/plinth.flags.v1.FeatureFlagService/ListFeatureFlags": "the counts of the flags of one page",
    "/plinth.identity.v1.UserService/ListUsers": "the invitations of the users of one page",
    "/plinth.sites.v1.PageService/ListPages": "the pages above those of one page, six levels at most",
    "/plinth.sites.v1.PageVersionService/ListPageVersions": "100 of a page",
    "/plinth.tenancy.v1.RoleService/ListRoles": "those of a tenant, which nothing bounds yet",
}
Sent = list[tuple[Statement, dict[str, Any]]]


@pytest.fixture(scope="module")
def application(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[app.Application]:
    """The api role on the stack's database, without its server and its cache."""
    own = partial(Generations, tmp_path_factory.mktemp("own") / "generations", None)
    with patch.object(guard, "Generations", lambda *_: own()):
        settings = stack.settings.model_copy(update={"cache_enabled": False, "rate_limits_enabled": False})
        application = app.build(settings, "test", streams=False)
    application.guard.generations.open()
    application.databases.start()
    yield application
    application.databases.close()


@pytest.fixture(scope="module")
def house(stack: Stack) -> House:
    return wall.furnished(stack)


@pytest.fixture(scope="module")
def platform(stack: Stack) -> str:
    return new_platform_admin(stack).access_token


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> Sent:
    """Every statement sent from here on."""
    statements: Sent = []
    send = PipelineConnection.send

    def remembering(self: PipelineConnection, statement: Statement, parameters: dict[str, Any]) -> None:
        statements.append((statement, dict(parameters)))
        send(self, statement, parameters)

    monkeypatch.setattr(PipelineConnection, "send", remembering)
    return statements


class Asker:
    """Asks RPCs as who may."""

    def __init__(self, application: app.Application, house: House, platform: str, sent: Sent) -> None:
        self._application, self._house, self._platform, self._sent = application, house, platform, sent

    def statements(self, path: str, **fields: Any) -> Sent:
        """What a read sends. The first call of a session also loads what it may do."""
        method = READS[path]
        request: Any = self._house.request(method)
        for name, value in fields.items():
            setattr(request, name, value)
        token = self._platform if method.access is Access.PLATFORM else self._house.tenant.access_token
        serve: Any = self._application.routes[path].handler.unary_unary
        for _ in range(2):
            self._sent.clear()
            context = Context(authorization=f"Bearer {token}")
            try:
                serve(request.SerializeToString(), context)
            except Aborted:
                assert path in REFUSED, f"{path} answers its owner {context.code}: {context.details}"
        return list(self._sent)


@pytest.fixture
def asker(application: app.Application, house: House, platform: str, sent: Sent) -> Asker:
    return Asker(application, house, platform, sent)


def recorded() -> dict[str, int]:
    with RECORDED.open(newline="") as file:
        return {row["rpc"]: int(row["statements"]) for row in csv.DictReader(file, delimiter="\t")}


def test_every_read_takes_as_many_statements_as_are_recorded(asker: Asker) -> None:
    found = {path: len(asker.statements(path)) for path in sorted(READS) if path not in BY_HEIGHT}
    if os.environ.get("RECORD"):
        lines = ["rpc\tstatements", *(f"{path}\t{count}" for path, count in found.items())]
        RECORDED.write_text("\n".join(lines) + "\n")
    assert found == recorded()


@pytest.mark.parametrize("path", sorted(LISTS), ids=lambda path: path.rpartition("/")[2])
def test_a_list_takes_as_many_whatever_its_size(asker: Asker, path: str) -> None:
    counts = {len(asker.statements(path, page_size=size)) for size in (1, 100)}
    assert len(counts) == 1


@pytest.mark.parametrize("path", sorted(LISTS), ids=lambda path: path.rpartition("/")[2])
def test_a_list_is_answered_from_an_index(stack: Stack, house: House, asker: Asker, path: str) -> None:
    sent = asker.statements(path)[1:]
    found = [table for each in sent for table in without_index(stack, house.tenant, LISTS[path], *each)]
    assert bool(found) is (path in SORTED), found


def without_index(
    stack: Stack, tenant: Tenant, method: MethodPolicy, statement: Statement, parameters: dict[str, Any]
) -> list[str]:
    """The tables that a statement reads whole or sorts, although it may do neither where an index serves."""
    values = [None if value is None else value.decode() for value in statement.encode(parameters)]
    with psycopg.connect(stack.settings.runtime_dsn) as connection:
        is_platform = "on" if method.access is Access.PLATFORM else ""
        for name, value in (("tenant_id", tenant.id), ("user_id", tenant.owner.id), ("platform", is_platform)):
            connection.execute("SELECT set_config(%s, %s, true)", (f"plinth.{name}", value))
        # The tables are small, so that reading them whole would be right.
        for way in ("seqscan", "sort", "incremental_sort"):
            connection.execute(f"SET LOCAL enable_{way} = off".encode())
        connection.execute(b"PREPARE planned AS " + statement.sql)
        explain = (
            sql.SQL("EXPLAIN (FORMAT JSON) EXECUTE planned ({})")
            if values
            else sql.SQL("EXPLAIN (FORMAT JSON) EXECUTE planned")
        )
        row: Any = connection.execute(explain.format(sql.SQL(", ").join(map(sql.Literal, values)))).fetchone()
        connection.rollback()
    plan = list(nodes(json.loads(json.dumps(row[0]))[0]["Plan"]))
    tables = sorted({node["Relation Name"] for node in plan if "Relation Name" in node})
    # Only what has no index in its order is sorted now.
    is_sorted = any(node["Node Type"] in ("Sort", "Incremental Sort") for node in plan)
    return tables if is_sorted else [node["Relation Name"] for node in plan if node["Node Type"] == "Seq Scan"]


def nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for below in plan.get("Plans", ()):
        yield from nodes(below)
