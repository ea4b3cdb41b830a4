"""`plinth call`: any RPC by its name, with JSON in and JSON out."""

import argparse
import json
import mimetypes
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from google.api.httpbody_pb2 import HttpBody
from google.protobuf.message import Message
from plinth.client.client import Plinth
from plinth.client.command.arguments import above_zero
from plinth.client.command.connecting import add_target, work_with
from plinth.client.command.contract import Contract, Method
from plinth.client.command.describing import describe
from plinth.client.command.faults import FAILED, CommandFault
from plinth.client.command.output import print_json, print_table
from plinth.client.command.progress import following, sending
from plinth.client.json_messages import json_of, message_of
from plinth.client.operations import OperationFailed
from plinth.client.rpc import Metadata
from plinth.client.uploading import Pieces
from plinth.operations.v1.operation_pb2 import Operation

OPERATION_ID = "operation_id"
PAGE_TOKEN, NEXT = "page_token", "next_page_token"
WORDS_OF_METHODS = "_plinth_methods"
"""The function of the shell that completes names of RPCs."""
_HEADER = re.compile(r"[a-z0-9._-]+")


def add_commands(commands: Any) -> None:
    """Add the command to a parser."""
    call = commands.add_parser(
        "call",
        help="call an RPC with JSON",
        description="Call an RPC by its name, with a request in the JSON of REST. Prints the answer as JSON.",
        epilog="plinth call PageService/ListPages '{\"pageSize\": 5}'",
    )
    call.set_defaults(run=run)
    name = call.add_argument("method", nargs="?", help="PageService/GetPage, sites.PageService/GetPage, or get_page")
    name.complete = dict.fromkeys(("bash", "zsh"), WORDS_OF_METHODS)
    call.add_argument("request", nargs="?", default="{}", help="JSON, @file, or - for standard input (default: {})")
    call.add_argument("--list", action="store_true", help="list the RPCs, or those with a word instead of a name")
    call.add_argument("--describe", action="store_true", help="tell what the RPC takes and answers")
    call.add_argument("--dry-run", action="store_true", help="only try it: nothing of it is kept")
    call.add_argument("--all", action="store_true", help="get all pages of a list, an item in each line")
    call.add_argument("--wait", action="store_true", help="follow the operation that it answers to its end")
    call.add_argument("--json", action="store_true", help="print JSON in one line, also on a terminal")
    call.add_argument("--file", default="", help="the file that an upload sends")
    call.add_argument("--header", action="append", default=[], metavar="NAME:VALUE", help="send a header as well")
    call.add_argument("--idempotency-key", default="", metavar="KEY", help="the key of a call that is made again")
    call.add_argument(
        "--timeout", type=above_zero(float), default=60.0, metavar="SECONDS", help="for the call (default: 60)"
    )
    add_target(call)


def run(options: argparse.Namespace) -> int:
    """Call, list or describe."""
    contract = Contract.installed()
    if options.list:
        return _list(contract, options.method or "")
    if not options.method:
        raise CommandFault("name an RPC, or list them with --list")
    method = contract.find(options.method)
    if options.describe:
        sys.stdout.write(describe(contract, method))
        return 0
    request = _request(contract, method, options.request)
    try:
        return work_with(options, lambda client: _Call(client, contract, method, options).make(request))
    except OperationFailed as failed:
        raise CommandFault(str(failed), FAILED) from failed
    except ValueError as error:
        # Of the client, such as an upload whose request has no place for a file.
        raise CommandFault(str(error)) from error


class _Call:
    """One call, in whichever way its RPC answers."""

    def __init__(self, client: Plinth, contract: Contract, method: Method, options: argparse.Namespace) -> None:
        self._client = client
        self._method = method
        self._rpc = contract.rpc(method)
        self._options = options
        self._metadata = tuple(_headers(options))

    def make(self, request: Message) -> int:
        """Make it, and print what comes. Raises PlinthError and OperationFailed."""
        if self._method.proto.client_streaming:
            self._print(self._upload(request), is_line=self._options.json)
        elif self._method.proto.server_streaming:
            for message in self._stream(request):
                self._print(message, is_line=True)
        elif self._options.all:
            for item in self._items(request):
                print_json(item, is_compact=True)
        else:
            self._print(self._finished(self._unary(request)), is_line=self._options.json)
        return 0

    def _unary(self, request: Message) -> Message:
        return self._client.calls.unary(
            self._rpc,
            request,
            timeout=self._options.timeout,
            idempotency_key=self._options.idempotency_key,
            metadata=self._metadata,
        )

    def _upload(self, request: Message) -> Message:
        path = self._options.file
        if not path:
            raise CommandFault(f"{self._method.name} takes a file: name it with --file")
        kind = mimetypes.guess_type(path)[0] or "application/octet-stream"
        try:
            with Path(path).open("rb") as file, sending(Path(path).name) as progress:
                pieces = Pieces(request, file, kind, progress)
                return self._client.calls.upload(self._rpc, pieces.messages(), metadata=self._metadata)
        except OSError as error:
            raise CommandFault(f"{path}: {error.strerror}") from error

    def _stream(self, request: Message) -> Iterator[Message]:
        """The messages. A live stream goes on over broken connections."""
        if self._rpc.response is not HttpBody and hasattr(request, "last_event_id"):
            return self._client.calls.events(self._rpc, request, metadata=self._metadata)
        return self._client.calls.stream(self._rpc, request, metadata=self._metadata)

    def _items(self, request: Any) -> Iterator[Any]:
        """The items of all pages, as JSON."""
        if not hasattr(request, PAGE_TOKEN):
            raise CommandFault(f"{self._method.name} answers no pages: leave --all out")
        while True:
            page: Any = self._unary(request)
            lists = [value for field, value in page.ListFields() if field.message_type and field.name != NEXT]
            for item in lists[0] if lists else ():
                yield json_of(item)
            request.page_token = getattr(page, NEXT)
            if not request.page_token:
                return

    def _finished(self, answer: Message) -> Message:
        """The answer, or the operation that it is once that has ended."""
        if not self._options.wait:
            return answer
        if not isinstance(answer, Operation) and not hasattr(answer, OPERATION_ID):
            raise CommandFault(f"{self._method.name} answers no operation: leave --wait out")
        operation = answer if isinstance(answer, Operation) else str(getattr(answer, OPERATION_ID))
        if not operation:
            # There was nothing to be done.
            return answer
        with following(self._method.name) as progress:
            return self._client.wait(operation, progress=progress)

    def _print(self, answer: Message, *, is_line: bool) -> None:
        if isinstance(answer, HttpBody):
            # A file is written as it is.
            sys.stdout.buffer.write(answer.data)
            sys.stdout.buffer.flush()
        else:
            print_json(json_of(answer), is_compact=is_line)


def _list(contract: Contract, word: str) -> int:
    wanted = word.casefold()
    rows = [
        (method.long_name, method.summary)
        for method in contract.methods
        if wanted in method.long_name.casefold() or wanted in method.comment.casefold()
    ]
    if not rows:
        raise CommandFault(f"no RPC has the word `{word}`")
    print_table(("RPC", "WHAT IT DOES"), rows)
    return 0


def _request(contract: Contract, method: Method, given: str) -> Message:
    """The request of JSON, of a file with JSON, or of standard input. Raises CommandFault."""
    try:
        text = sys.stdin.read() if given == "-" else Path(given[1:]).read_text() if given[:1] == "@" else given
    except (OSError, UnicodeDecodeError) as error:
        raise CommandFault(f"{given[1:]}: {getattr(error, 'strerror', None) or 'is no text'}") from error
    try:
        return message_of(contract.rpc(method).request, json.loads(text or "{}"))
    except json.JSONDecodeError as error:
        raise CommandFault(f"the request is no JSON: {error}") from error
    except ValueError as error:
        raise CommandFault(f"the request: {error}") from error


def _headers(options: argparse.Namespace) -> Metadata:
    found = []
    for header in options.header:
        name, colon, value = header.partition(":")
        if not colon or not _HEADER.fullmatch(name.strip().lower()) or not value.isprintable() or not value.isascii():
            raise CommandFault(f"`{header}` is no header: write NAME:VALUE")
        found.append((name.strip().lower(), value.strip()))
    return [*found, *([("x-validate-only", "true")] if options.dry_run else [])]
