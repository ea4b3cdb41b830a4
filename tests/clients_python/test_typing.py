"""A strict type checker sees what calls answer, in an environment that knows nothing of this repository's settings."""

import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.heavy
PROGRAM = """
import grpc
import grpc.aio
from plinth.client import AsyncPlinth, Plinth

from plinth.realtime.v1.realtime_pb2 import WatchEventsRequest
from plinth.sites.v1.page_pb2 import GetPageRequest, ListPagesRequest
from plinth.sites.v1.page_pb2_grpc import PageServiceStub

client = Plinth("https://plinth.example", api_key="key")
reveal_type(client.pages.get_page(GetPageRequest()))
reveal_type(client.pages.list_pages(ListPagesRequest()))
reveal_type(client.pages.list_pages.iterate(ListPagesRequest()))
reveal_type(client.realtime.watch_events(WatchEventsRequest()))
reveal_type(client.wait("id"))
reveal_type(PageServiceStub(grpc.insecure_channel("host")).GetPage(GetPageRequest()))
client.pages.get_page(ListPagesRequest())
client.pages.get_pages


async def work() -> None:
    several = AsyncPlinth("https://plinth.example", api_key="key")
    reveal_type(await several.pages.get_page(GetPageRequest()))
    reveal_type(several.pages.list_pages.iterate(ListPagesRequest()))
    reveal_type(await PageServiceStub(grpc.aio.insecure_channel("host")).GetPage(GetPageRequest()))
"""
WRONG_ARGUMENT = 'Argument 1 to "__call__" of "Method" has incompatible type "ListPagesRequest"'
SEEN = [
    '10: note: Revealed type is "plinth.sites.v1.page_pb2.Page"',
    '11: note: Revealed type is "plinth.sites.v1.page_pb2.ListPagesResponse"',
    '12: note: Revealed type is "typing.Iterator[plinth.sites.v1.page_pb2.Page]"',
    '13: note: Revealed type is "typing.Generator[plinth.realtime.v1.realtime_pb2.RealtimeEvent, None, None]"',
    '14: note: Revealed type is "plinth.operations.v1.operation_pb2.Operation"',
    '15: note: Revealed type is "plinth.sites.v1.page_pb2.Page"',
    f'16: error: {WRONG_ARGUMENT}; expected "GetPageRequest"  [arg-type]',
    '17: error: "PageService" has no attribute "get_pages"; maybe "get_page"?  [attr-defined]',
    '22: note: Revealed type is "plinth.sites.v1.page_pb2.Page"',
    '23: note: Revealed type is "typing.AsyncIterator[plinth.sites.v1.page_pb2.Page]"',
    '24: note: Revealed type is "plinth.sites.v1.page_pb2.Page"',
]


def test_a_strict_checker_sees_answers(tmp_path: Path) -> None:
    (tmp_path / "program.py").write_text(PROGRAM.lstrip())
    checked = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--no-error-summary", "program.py"],
        cwd=tmp_path,
        env={"MYPYPATH": "", "PATH": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    assert checked.stdout.replace("program.py:", "").splitlines() == SEEN, checked.stdout + checked.stderr
