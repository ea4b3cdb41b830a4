"""What is compared with what, and what the goals are."""

import functools
import json
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import grpc
import jwt
from google.protobuf.json_format import MessageToDict
from plinth.sites.v1 import page_pb2
from plinth.travel.v1 import trip_pb2, trip_pb2_grpc

from tests.bench import database, servers, subject
from tests.bench.clocks import Clock, clock_of, clock_of_family
from tests.bench.content import DESCRIPTION
from tests.bench.engine import Case, Goal, Side, latencies
from tests.bench.load import (
    CountedLoad,
    CreateLoad,
    FutureLoad,
    GrpcLoad,
    Load,
    PacedLoad,
    Ran,
    RestLoad,
    WrongAnswerError,
    ask,
    one_by_one,
    send,
)
from tests.bench.subject import CACHED, ENQUEUEING, RECORDING, STUBS, UNCACHED, UNLIMITED, Subject, Variant
from tests.clients import unique
from tests.observability.points import METHOD as RECORD_POINTS
from tests.observability.points import Point, RecordPointsRequest

GET_PAGE = "/plinth.sites.v1.PageService/GetPage"
CREATE_PAGE = "/plinth.sites.v1.PageService/CreatePage"
# The generated stubs have no types.
TRIP_STUBS: Any = trip_pb2_grpc
GET_TRIP = "/plinth.travel.v1.TripService/GetTrip"
PAGE_SIZE = 25
LISTED = 20
DEEP = 1_000
# A round of ListPages is short, so that page 1 and page 1,000 alternate often.
LIST_CALLS = 40
LIST_ROUNDS = 4
DEADLINE = 10.0
# What telemetry should be taken at: calls per second of an api worker, and the seconds that 95 % of them may take.
PACE = 1_000
LONGEST = 0.02
PACED_CALLS = 5_000
SHOWN = (
    *("id", "tenantId", "slug", "title", "description", "status", "settings", "publishTime", "createTime"),
    *("updateTime", "etag"),
)
LIMIT_HEADER = "x-ratelimit-limit"


@dataclass(frozen=True, slots=True)
class Setting:
    """What cases are made from: a stack, and the same page in the tables of the baselines."""

    subject: Subject
    page: page_pb2.Page
    folder: Path
    """For sockets and files of the baselines."""
    baseline_url: str
    rows: int
    """How many pages ListPages goes through."""

    @property
    def pages_path(self) -> str:
        """Path of the pages over REST, the same everywhere."""
        return f"/api/v1/tenants/{self.subject.tenant_id}/pages"

    @property
    def page_path(self) -> str:
        """Path of the page that is read."""
        return f"{self.pages_path}/{self.page.id}"


Stage = Callable[[Variant], Setting]
"""Gives the setting of a variant, whose stack it starts for the first case that asks."""


def make_stage(stack: ExitStack, folder: Path, rows: int) -> Stage:
    """Make a stage whose stacks end with the exit stack."""

    @functools.cache
    def stage(variant: Variant) -> Setting:
        setting = _prepare(stack.enter_context(subject.start(variant)), folder, rows)
        _prove_variant(setting, variant)
        return setting

    return stage


def prove_cache(read: Callable[[], object], changed: AbstractContextManager[None], *, cached: bool) -> None:
    """Read, change what is read behind the server's back, and read again: only a cache answers the same."""
    before = read()
    with changed:
        after = read()
    if (after == before) is not cached:
        raise WrongAnswerError(f"the answer comes from {'the database, not from a' if cached else 'a'} cache")


def get_grpc(stage: Stage, stack: ExitStack) -> Case:
    """GetPage against a server that has nothing to do."""
    return _against_hello(
        stage(UNCACHED), stack, "get-grpc", "GetPage, gRPC / bare grpc.server hello-world", Goal(0.50)
    )


def cached_grpc(stage: Stage, stack: ExitStack) -> Case:
    """GetPage from the cache against a server that has nothing to do."""
    return _against_hello(
        stage(CACHED), stack, "cached-grpc", "GetPage cached, gRPC / bare grpc.server hello-world", Goal(0.95)
    )


def get_direct(stage: Stage, stack: ExitStack) -> Case:
    """GetPage against a gRPC server that is written by hand and runs the same SQL."""
    setting = stage(UNCACHED)
    plinth = setting.subject
    known = jwt.decode(plinth.token, options={"verify_signature": False})
    claims = {name: str(known[name]) for name in ("sub", "tid", "sid")}
    server = stack.enter_context(servers.direct(setting.folder, plinth.runtime_dsn, claims))
    return Case(
        name="get-direct",
        title="GetPage, gRPC / grpc.server, psycopg and PyJWT by hand, server CPU",
        goal=Goal(1.10, at_least=False),
        subject=_plinth_grpc(setting, stack),
        baseline=baseline_of(
            setting, "direct_grpc", server.pid, _get_page(setting, stack, server.socket, server.token)
        ),
        ratio=lambda ours, theirs: ours.server_us / theirs.server_us,
    )


def get_rest(stage: Stage, stack: ExitStack) -> Case:
    """GetPage over REST against FastAPI as documented."""
    setting = stage(UNCACHED)
    return Case(
        name="get-rest",
        title="GetPage, REST / FastAPI as documented",
        goal=Goal(3.0),
        machine=Goal(3.5),
        subject=_plinth_rest(setting),
        baseline=_fastapi_get(setting, stack, "fastapi_documented"),
    )


def get_rest_tuned(stage: Stage, stack: ExitStack) -> Case:
    """GetPage over REST against FastAPI tuned by hand."""
    setting = stage(UNCACHED)
    return Case(
        name="get-rest-tuned",
        title="GetPage, REST / FastAPI tuned by hand",
        goal=Goal(1.0),
        subject=_plinth_rest(setting),
        baseline=_fastapi_get(setting, stack, "fastapi_tuned"),
    )


def cached_rest(stage: Stage, stack: ExitStack) -> Case:
    """GetPage from the cache over REST against FastAPI with a limit and a cache as documented."""
    setting = stage(CACHED)
    return Case(
        name="cached-rest",
        title="GetPage cached, REST / FastAPI as documented, limit and cache in Redis",
        goal=Goal(5.0),
        machine=Goal(6.0),
        subject=_plinth_rest(setting),
        baseline=_fastapi_get(setting, stack, "fastapi_documented_cached", cached=True),
    )


def cached_rest_tuned(stage: Stage, stack: ExitStack) -> Case:
    """GetPage from the cache over REST against FastAPI with a limit and a cache tuned by hand."""
    setting = stage(CACHED)
    return Case(
        name="cached-rest-tuned",
        title="GetPage cached, REST / FastAPI tuned by hand, limit and cache in Redis",
        goal=Goal(1.8),
        subject=_plinth_rest(setting),
        baseline=_fastapi_get(setting, stack, "fastapi_tuned_cached", cached=True),
    )


def limits(stage: Stage, stack: ExitStack) -> Case:
    """GetPage from the cache with limits against the same without."""
    return Case(
        name="limits",
        title="GetPage cached, gRPC, limits on / off",
        goal=Goal(0.95),
        subject=_plinth_grpc(stage(CACHED), stack),
        baseline=_plinth_grpc(stage(UNLIMITED), stack),
    )


def create(stage: Stage, stack: ExitStack) -> Case:
    """CreatePage over REST against FastAPI as documented."""
    setting = stage(UNCACHED)
    plinth, path = setting.subject, setting.pages_path
    app = fastapi_of(setting, stack, "fastapi_documented")
    ours = CreateLoad(plinth.port, path, plinth.token, database.counter(plinth.admin_dsn, plinth.tenant_id))
    theirs = CreateLoad(app.port, path, app.token, database.counter(setting.baseline_url, plinth.tenant_id))
    return Case(
        name="create",
        title="CreatePage, REST / FastAPI as documented",
        goal=Goal(3.0),
        machine=Goal(2.0),
        note=database.durability(plinth.admin_dsn),
        subject=plinth_of(setting, ours, envoy=True),
        baseline=baseline_of(setting, "fastapi_documented", app.pid, theirs),
    )


def create_whole(stage: Stage, stack: ExitStack) -> Case:
    """CreatePage with all that belongs to it against FastAPI that writes the page and one row about it."""
    setting = stage(ENQUEUEING)
    plinth, path = setting.subject, setting.pages_path
    app = fastapi_of(setting, stack, "fastapi_documented")
    counted = database.counter(plinth.admin_dsn, plinth.tenant_id, database.ALL_OF_IT)
    ours = CreateLoad(plinth.port, path, plinth.token, counted, keys=True)
    theirs = CreateLoad(app.port, path, app.token, database.counter(setting.baseline_url, plinth.tenant_id))
    return Case(
        name="create-whole",
        title="CreatePage with audit, event, job, idempotency key, invalidation, REST / FastAPI, page and audit row",
        goal=Goal(2.0),
        machine=Goal(1.3),
        note=database.durability(plinth.admin_dsn),
        subject=plinth_of(setting, ours, envoy=True),
        baseline=baseline_of(setting, "fastapi_documented", app.pid, theirs),
    )


def telemetry(stage: Stage, stack: ExitStack) -> Case:
    """RecordPoints of one point against CreatePage."""
    setting = stage(RECORDING)
    return Case(
        name="telemetry",
        title="RecordPoints, gRPC / CreatePage, gRPC",
        goal=Goal(2.0),
        subject=plinth_of(setting, _recorded(setting, _record_points(setting))),
        baseline=plinth_of(setting, _create_pages(setting, stack)),
    )


def telemetry_paced(stage: Stage, stack: ExitStack) -> Case:
    """The p95 of RecordPoints at 1,000 a second, against that of a server that has nothing to do."""
    setting = stage(RECORDING)
    hello = stack.enter_context(servers.hello(setting.folder, setting.page.SerializeToString()))
    idle = GrpcLoad(hello.socket, GET_PAGE, b"", setting.page.SerializeToString(), "none")
    paced = PacedLoad(_record_points(setting), PACE)
    return Case(
        name="telemetry-paced",
        title=f"RecordPoints at {PACE:,} per second, p95 / {LONGEST * 1000:.0f} ms",
        goal=Goal(1.0, at_least=False),
        subject=plinth_of(setting, _recorded(setting, paced)),
        baseline=baseline_of(setting, "hello_grpc", hello.pid, PacedLoad(idle, PACE)),
        ratio=lambda sample, _: sample.latency / LONGEST,
        calls=PACED_CALLS,
    )


def owned(stage: Stage, stack: ExitStack) -> Case:
    """GetTrip by its owner, whose reads are narrowed, against the same by a caller who sees everyone's."""
    setting = stage(UNCACHED)
    plinth = setting.subject
    return Case(
        name="owned",
        title="GetTrip, gRPC, narrowed to the caller / not narrowed",
        goal=Goal(0.95),
        subject=plinth_of(setting, _get_trip(setting, stack, plinth.member_token)),
        baseline=plinth_of(setting, _get_trip(setting, stack, plinth.token)),
    )


def slug_rest(stage: Stage, stack: ExitStack) -> Case:
    """GetPageBySlug over REST against FastAPI as documented."""
    setting = stage(UNCACHED)
    path = f"{setting.pages_path}/slug/{setting.page.slug}"
    return _read_rest(setting, stack, "slug-rest", "GetPageBySlug, REST / FastAPI as documented", path)


def list_rest(stage: Stage, stack: ExitStack) -> Case:
    """ListPages of 20 over REST against FastAPI as documented."""
    setting = stage(UNCACHED)
    for dsn in (setting.subject.admin_dsn, setting.baseline_url):
        database.fill(dsn, setting.subject.tenant_id, LISTED, "bench-listed")
    path = f"{setting.pages_path}?pageSize={LISTED}"
    return _read_rest(setting, stack, "list-rest", f"ListPages of {LISTED}, REST / FastAPI as documented", path)


def _read_rest(setting: Setting, stack: ExitStack, name: str, title: str, path: str) -> Case:
    plinth, app = setting.subject, fastapi_of(setting, stack, "fastapi_documented")
    ours, theirs = (json.loads(send(each.port, "GET", path, each.token)) for each in (plinth, app))
    told = [len(answer.get("pages", [answer])) for answer in (ours, theirs)]
    if told[0] != told[1]:
        raise WrongAnswerError(f"GET {path} answers {told[0]} pages, and {told[1]}")

    def load(port: int, token: str) -> Load:
        return RestLoad(port, path, token, send(port, "GET", path, token))

    return Case(
        name=name,
        title=title,
        goal=Goal(3.0),
        subject=plinth_of(setting, load(plinth.port, plinth.token), envoy=True),
        baseline=baseline_of(setting, "fastapi_documented", app.pid, load(app.port, app.token)),
    )


def list_pages(stage: Stage, stack: ExitStack) -> Case:
    """ListPages, page 1,000 against page 1."""
    setting = stage(UNCACHED)
    plinth = setting.subject
    database.fill(plinth.admin_dsn, plinth.tenant_id, setting.rows)
    channel = stack.enter_context(grpc.insecure_channel(f"unix:{plinth.api_socket}"))
    stub = STUBS.PageServiceStub(channel)

    def call(token: str = "") -> page_pb2.ListPagesResponse:
        request = page_pb2.ListPagesRequest(tenant_id=plinth.tenant_id, page_size=PAGE_SIZE, page_token=token)
        answer: page_pb2.ListPagesResponse = stub.ListPages(request, metadata=plinth.metadata, timeout=DEADLINE)
        return answer

    first, token = call(), ""
    for _ in range(DEEP - 1):
        token = call(token).next_page_token
    deep = call(token)
    if {page.id for page in first.pages} & {page.id for page in deep.pages}:
        raise WrongAnswerError(f"page {DEEP} repeats pages of page 1")
    return Case(
        name="list",
        title=f"ListPages of {setting.rows:,} rows, page {DEEP:,} / page 1",
        goal=Goal(1.3, at_least=False),
        subject=plinth_of(setting, one_by_one(lambda: call(token), deep.__eq__)),
        baseline=plinth_of(setting, one_by_one(call, first.__eq__)),
        ratio=latencies,
        calls=LIST_CALLS,
        more_rounds=LIST_ROUNDS,
    )


CASES: dict[str, Callable[[Stage, ExitStack], Case]] = {
    "get-grpc": get_grpc,
    "get-direct": get_direct,
    "get-rest": get_rest,
    "get-rest-tuned": get_rest_tuned,
    "cached-grpc": cached_grpc,
    "cached-rest": cached_rest,
    "cached-rest-tuned": cached_rest_tuned,
    "limits": limits,
    "owned": owned,
    "slug-rest": slug_rest,
    "list-rest": list_rest,
    "telemetry": telemetry,
    "telemetry-paced": telemetry_paced,
    "create": create,
    "create-whole": create_whole,
    # The last one: it adds the rows.
    "list": list_pages,
}


def _prepare(plinth: Subject, folder: Path, rows: int) -> Setting:
    """Give the baselines' tables the same page that Plinth holds."""
    page = plinth.get_page()
    url = database.baseline_url(plinth.postgres_socket_dir)
    database.make_baseline(plinth.admin_dsn, url, _answer(page))
    return Setting(plinth, page, folder, url, rows)


def _prove_variant(setting: Setting, variant: Variant) -> None:
    """See that a stack caches and limits as its variant says."""
    plinth = setting.subject
    changed = database.changed_page(plinth.admin_dsn, setting.page.id)
    prove_cache(_rest_reader(setting, plinth.port, plinth.token), changed, cached=variant.cached)
    headers, _ = ask(plinth.port, "GET", setting.page_path, plinth.token)
    if (LIMIT_HEADER in headers) is not variant.limited:
        raise WrongAnswerError(f"{LIMIT_HEADER} is {headers[LIMIT_HEADER]!r} for {variant}")


def _against_hello(setting: Setting, stack: ExitStack, name: str, title: str, goal: Goal) -> Case:
    hello = stack.enter_context(servers.hello(setting.folder, setting.page.SerializeToString()))
    load = _get_page(setting, stack, hello.socket, "none")
    return Case(
        name=name,
        title=title,
        goal=goal,
        subject=_plinth_grpc(setting, stack),
        baseline=baseline_of(setting, "hello_grpc", hello.pid, load),
    )


def _plinth_grpc(setting: Setting, stack: ExitStack) -> Side:
    plinth = setting.subject
    return plinth_of(setting, _get_page(setting, stack, plinth.api_socket, plinth.token))


def _plinth_rest(setting: Setting) -> Side:
    plinth = setting.subject
    return plinth_of(setting, _get_page_rest(setting, plinth.port, plinth.token), envoy=True)


def plinth_of(setting: Setting, load: Load, *, envoy: bool = False) -> Side:
    plinth = setting.subject
    clocks: dict[str, Clock] = {
        "server": clock_of([plinth.api]),
        "postgres": clock_of_family(plinth.postgres),
        "redis": clock_of([plinth.redis]),
        "others": clock_of(plinth.others),
    }
    if envoy:
        clocks["envoy"] = clock_of([plinth.envoy])
    return Side(name="plinth", load=load, clocks=clocks, pid=plinth.api)


def baseline_of(setting: Setting, name: str, pid: int, load: Load, *, cached: bool = False) -> Side:
    clocks: dict[str, Clock] = {"server": clock_of([pid])}
    if name.startswith(("fastapi", "direct")):
        clocks["postgres"] = clock_of_family(setting.subject.postgres)
    if cached:
        clocks["redis"] = clock_of([setting.subject.redis])
    return Side(name=name, load=load, clocks=clocks, pid=pid)


def fastapi_of(setting: Setting, stack: ExitStack, application: str) -> servers.FastApiServer:
    plinth = setting.subject
    return stack.enter_context(servers.fastapi(application, setting.baseline_url, plinth.redis_url, plinth.tenant_id))


def _fastapi_get(setting: Setting, stack: ExitStack, application: str, *, cached: bool = False) -> Side:
    app = fastapi_of(setting, stack, application)
    changed = database.changed_page(setting.baseline_url, setting.page.id)
    prove_cache(_rest_reader(setting, app.port, app.token), changed, cached=cached)
    return baseline_of(setting, application, app.pid, _get_page_rest(setting, app.port, app.token), cached=cached)


def _get_page(setting: Setting, stack: ExitStack, socket: Path, token: str) -> Load:
    channel = stack.enter_context(grpc.insecure_channel(f"unix:{socket}"))
    stub = STUBS.PageServiceStub(channel)
    request = page_pb2.GetPageRequest(tenant_id=setting.subject.tenant_id, page_id=setting.page.id)

    def check() -> None:
        answer = stub.GetPage(request, metadata=(("authorization", f"Bearer {token}"),), timeout=DEADLINE)
        if answer != setting.page:
            raise WrongAnswerError(f"GetPage answers {answer}")

    load = GrpcLoad(socket, GET_PAGE, request.SerializeToString(), setting.page.SerializeToString(), token)
    return _checked(load, check)


def _get_trip(setting: Setting, stack: ExitStack, token: str) -> Load:
    plinth = setting.subject
    stub = TRIP_STUBS.TripServiceStub(stack.enter_context(grpc.insecure_channel(f"unix:{plinth.api_socket}")))
    request = trip_pb2.GetTripRequest(trip_id=plinth.trip_id)
    metadata = (("authorization", f"Bearer {token}"),)
    answer = stub.GetTrip(request, metadata=metadata, timeout=DEADLINE)

    def check() -> None:
        if stub.GetTrip(request, metadata=metadata, timeout=DEADLINE) != answer:
            raise WrongAnswerError("GetTrip answers something else")

    return _checked(
        GrpcLoad(plinth.api_socket, GET_TRIP, request.SerializeToString(), answer.SerializeToString(), token), check
    )


def _record_points(setting: Setting) -> GrpcLoad:
    """Record one point."""
    plinth, request = setting.subject, RecordPointsRequest(points=[Point(name="load", value=1.5)])
    return GrpcLoad(plinth.api_socket, RECORD_POINTS, request.SerializeToString(), b"", plinth.token)


def _recorded(setting: Setting, load: Load) -> Load:
    """Count after each round that every point is there, and nothing else."""
    plinth = setting.subject
    counted = database.counter(plinth.admin_dsn, plinth.tenant_id, database.POINTS)
    return CountedLoad(load, counted, {"points": 1, "audit entries": 0, "events": 0})


def _create_pages(setting: Setting, stack: ExitStack) -> Load:
    """Create pages, each with a slug of its own."""
    plinth = setting.subject
    stub = STUBS.PageServiceStub(stack.enter_context(grpc.insecure_channel(f"unix:{plinth.api_socket}")))
    run = unique("bench")

    def create(number: int) -> Any:
        page = page_pb2.Page(slug=f"{run}-{number}", title="Opening hours", description=DESCRIPTION)
        request = page_pb2.CreatePageRequest(tenant_id=plinth.tenant_id, page=page)
        return stub.CreatePage.future(request, metadata=plinth.metadata, timeout=DEADLINE)

    counted = database.counter(plinth.admin_dsn, plinth.tenant_id)
    return CountedLoad(FutureLoad(create), counted, {"pages": 1, "events": 1})


def _get_page_rest(setting: Setting, port: int, token: str) -> Load:
    path, read = setting.page_path, _rest_reader(setting, port, token)

    def check() -> None:
        answer = read()
        if answer != _comparable(_answer(setting.page)):
            raise WrongAnswerError(f"GET {path} answers {answer}")

    return _checked(RestLoad(port, path, token, send(port, "GET", path, token)), check)


def _rest_reader(setting: Setting, port: int, token: str) -> Callable[[], dict[str, Any]]:
    return lambda: _comparable(json.loads(send(port, "GET", setting.page_path, token)))


def _checked(load: Load, check: Callable[[], None]) -> Load:
    """Wrap a load so that one answer is read in full before it and after it."""

    def checked(count: int) -> Ran:
        check()
        ran = load(count)
        check()
        return ran

    return checked


def _answer(page: page_pb2.Page) -> dict[str, Any]:
    """Tell what every server should answer over REST; what is empty may be left out."""
    empty: dict[str, Any] = {"title": "", "description": "", "settings": {}, "publishTime": None}
    return empty | MessageToDict(page)


def _comparable(answer: dict[str, Any]) -> dict[str, Any]:
    """Make answers comparable: times may be written in several ways, and what is unset may be left out.

    Plinth's pages have more than those of the baselines.
    """
    return {
        key: datetime.fromisoformat(value) if key.endswith("Time") else value
        for key, value in answer.items()
        if key in SHOWN and value is not None
    }
