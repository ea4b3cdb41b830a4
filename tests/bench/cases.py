"""What is compared with what, and what the goals are."""

import json
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import grpc
from google.protobuf.json_format import MessageToDict
from plinth.sites.v1 import page_pb2

from tests.bench import database, servers
from tests.bench.clocks import Clock, clock_of, clock_of_family
from tests.bench.engine import Case, Goal, Side, latencies
from tests.bench.load import CreateLoad, GrpcLoad, Load, Ran, RestLoad, WrongAnswerError, one_by_one, send
from tests.bench.subject import STUBS, Subject

GET_PAGE = "/plinth.sites.v1.PageService/GetPage"
PAGE_SIZE = 25
DEEP = 1_000
# A round of ListPages is short, so that page 1 and page 1,000 alternate often.
LIST_CALLS = 40
LIST_ROUNDS = 4
DEADLINE = 10.0


@dataclass(frozen=True, slots=True)
class Setting:
    """What cases are made from."""

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


def prepare(subject: Subject, folder: Path, rows: int) -> Setting:
    """Give the baselines' tables the same page that Plinth holds."""
    page = subject.get_page()
    url = database.baseline_url(subject.postgres_socket_dir)
    database.make_baseline(subject.admin_dsn, url, _answer(page))
    return Setting(subject, page, folder, url, rows)


def get_grpc(setting: Setting, stack: ExitStack) -> Case:
    """GetPage against a server that has nothing to do."""
    subject = setting.subject
    hello = stack.enter_context(servers.hello(setting.folder, setting.page.SerializeToString()))
    return Case(
        name="get-grpc",
        title="GetPage, gRPC / bare grpc.server hello-world",
        goal=Goal(0.50),
        subject=_plinth(setting, _get_page(setting, stack, subject.api_socket, subject.token)),
        baseline=_baseline(setting, "hello_grpc", hello.pid, _get_page(setting, stack, hello.socket, "none")),
    )


def get_rest(setting: Setting, stack: ExitStack) -> Case:
    """GetPage over REST against FastAPI as documented."""
    return Case(
        name="get-rest",
        title="GetPage, REST / FastAPI as documented",
        goal=Goal(3.0),
        subject=_plinth(setting, _get_page_rest(setting, setting.subject.port, setting.subject.token), envoy=True),
        baseline=_fastapi_get(setting, stack, "fastapi_documented"),
    )


def get_rest_tuned(setting: Setting, stack: ExitStack) -> Case:
    """GetPage over REST against FastAPI tuned by hand."""
    return Case(
        name="get-rest-tuned",
        title="GetPage, REST / FastAPI tuned by hand",
        goal=Goal(1.0),
        subject=_plinth(setting, _get_page_rest(setting, setting.subject.port, setting.subject.token), envoy=True),
        baseline=_fastapi_get(setting, stack, "fastapi_tuned"),
    )


def create(setting: Setting, stack: ExitStack) -> Case:
    """CreatePage over REST against FastAPI as documented."""
    subject, path = setting.subject, setting.pages_path
    app = stack.enter_context(servers.fastapi("fastapi_documented", setting.baseline_url, subject.tenant_id))
    ours = CreateLoad(subject.port, path, subject.token, database.counter(subject.admin_dsn, subject.tenant_id))
    theirs = CreateLoad(app.port, path, app.token, database.counter(setting.baseline_url, subject.tenant_id))
    return Case(
        name="create",
        title="CreatePage, REST / FastAPI as documented",
        goal=Goal(3.0),
        subject=_plinth(setting, ours, envoy=True),
        baseline=_baseline(setting, "fastapi_documented", app.pid, theirs),
    )


def list_pages(setting: Setting, stack: ExitStack) -> Case:
    """ListPages, page 1,000 against page 1."""
    subject = setting.subject
    database.fill(subject.admin_dsn, subject.tenant_id, setting.rows)
    channel = stack.enter_context(grpc.insecure_channel(f"unix:{subject.api_socket}"))
    stub = STUBS.PageServiceStub(channel)

    def call(token: str = "") -> page_pb2.ListPagesResponse:
        request = page_pb2.ListPagesRequest(tenant_id=subject.tenant_id, page_size=PAGE_SIZE, page_token=token)
        answer: page_pb2.ListPagesResponse = stub.ListPages(request, metadata=subject.metadata, timeout=DEADLINE)
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
        subject=_plinth(setting, one_by_one(lambda: call(token), deep.__eq__)),
        baseline=_plinth(setting, one_by_one(call, first.__eq__)),
        ratio=latencies,
        calls=LIST_CALLS,
        more_rounds=LIST_ROUNDS,
    )


CASES: dict[str, Callable[[Setting, ExitStack], Case]] = {
    "get-grpc": get_grpc,
    "get-rest": get_rest,
    "get-rest-tuned": get_rest_tuned,
    "create": create,
    # The last one: it adds the rows.
    "list": list_pages,
}


def _plinth(setting: Setting, load: Load, *, envoy: bool = False) -> Side:
    subject = setting.subject
    clocks: dict[str, Clock] = {
        "server": clock_of([subject.api]),
        "postgres": clock_of_family(subject.postgres),
        "others": clock_of(subject.others),
    }
    if envoy:
        clocks["envoy"] = clock_of([subject.envoy])
    return Side(name="plinth", load=load, clocks=clocks)


def _baseline(setting: Setting, name: str, pid: int, load: Load) -> Side:
    clocks: dict[str, Clock] = {"server": clock_of([pid])}
    if name.startswith("fastapi"):
        clocks["postgres"] = clock_of_family(setting.subject.postgres)
    return Side(name=name, load=load, clocks=clocks)


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


def _get_page_rest(setting: Setting, port: int, token: str) -> Load:
    path = setting.page_path

    def check() -> None:
        answer = json.loads(send(port, "GET", path, token))
        if _comparable(answer) != _comparable(_answer(setting.page)):
            raise WrongAnswerError(f"GET {path} answers {answer}")

    return _checked(RestLoad(port, path, token, send(port, "GET", path, token)), check)


def _fastapi_get(setting: Setting, stack: ExitStack, application: str) -> Side:
    app = stack.enter_context(servers.fastapi(application, setting.baseline_url, setting.subject.tenant_id))
    return _baseline(setting, application, app.pid, _get_page_rest(setting, app.port, app.token))


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
    """Make answers comparable: times may be written in several ways, and what is unset may be left out."""
    return {
        key: datetime.fromisoformat(value) if key.endswith("Time") else value
        for key, value in answer.items()
        if value is not None
    }
