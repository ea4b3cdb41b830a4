"""telemetry: logs one structured line per call, with timing and outcome, and counts the call in the metrics."""

import asyncio
import json
import logging
import re
from collections.abc import AsyncIterator
from functools import partial
from time import perf_counter

from google.protobuf.message import Message

from server.kernel import problems
from server.kernel.call import ORIGINAL_PATH, Call
from server.kernel.chain import Answer, Request, Stream, Unary
from server.kernel.policy import MethodPolicy
from server.kernel.ports import CallCounter
from server.kernel.record.logs import call_log
from server.kernel.record.metrics import STREAMS, CallTally, method_label

log = logging.getLogger("plinth.calls")
failures = logging.getLogger("plinth.failures")
INTERNAL_ERROR = 500
EMPTY = '""'
# Lines wait in memory while standard error is not read, and callers choose the path.
LONGEST_PATH = 1000
PLAIN = re.compile(r"[\w\-./:~]*", re.ASCII)


class Telemetry:
    """Logs and counts calls. Unexpected exceptions are logged with their stack; callers see only the request id."""

    name = "telemetry"

    def __init__(self, usage: CallCounter) -> None:
        self._usage = usage
        self.tallies: dict[str, CallTally] = {}
        """The unary calls that ended, by path."""

    def unary(self, method: MethodPolicy, proceed: Unary) -> Unary:
        """Time the call, count it and log it."""
        end, fail = self._end, self._fail
        tally = self.tallies.setdefault(method.path, CallTally(method))
        count = tally.succeeded.note

        def timed(call: Call, request: Request) -> Answer:
            start = perf_counter()
            try:
                answer = proceed(call, request)
            except Exception as error:
                seconds = perf_counter() - start
                tally.fail(fail(call, error, seconds), seconds)
                raise
            seconds = perf_counter() - start
            count(seconds)
            end(call, "OK", call.http_status, seconds)
            return answer

        return timed

    def stream(self, method: MethodPolicy, proceed: Stream) -> Stream:
        """Log and count the stream when it ends. Its lifetime is not recorded as latency."""
        end, fail = self._end, self._fail
        counted = partial(STREAMS.labels, method_label(method))

        async def timed(call: Call, request: Request) -> AsyncIterator[Message]:
            start = perf_counter()
            try:
                async for message in proceed(call, request):
                    yield message
            except Exception as error:
                counted(fail(call, error, perf_counter() - start)).inc()
                raise
            except (GeneratorExit, asyncio.CancelledError):
                # The caller closed the stream, which is how most streams end.
                counted("OK").inc()
                end(call, "OK", call.http_status, perf_counter() - start)
                raise
            counted("OK").inc()
            end(call, "OK", call.http_status, perf_counter() - start)

        return timed

    def _end(self, call: Call, code: str, status: int, seconds: float, reason: str = "") -> None:
        _log(call, code, status, seconds, reason)
        if call.principal is not None and call.principal.api_key_id:
            self._usage.note(call.principal, call.method.path, succeeded=code == "OK")

    def _fail(self, call: Call, error: Exception, seconds: float) -> str:
        """Log a failure. Returns the code of the answer."""
        problem = problems.of(error)
        if problem.http_status == INTERNAL_ERROR:
            failures.error("%s failed, request %s", call.method.path, call.request_id, exc_info=error)
        self._end(call, problem.code.name, problem.http_status, seconds, problem.reason_name)
        return problem.code.name


def _log(call: Call, code: str, status: int, seconds: float, reason: str) -> None:
    """Write the line of a call. The query string is left out because it may hold a token."""
    if not log.isEnabledFor(logging.INFO):
        return
    principal, access = call.principal, call.access
    # The tenant of an access is an id; any other tenant is input of the caller.
    tenant = f'"{access.tenant_id}"' if access else _quoted(call.tenant_id or "")
    kind = "api_key" if principal is not None and principal.api_key_id else "user"
    address = call.client_address
    extra = f',"reason":"{reason}"' if reason else ""
    if call.is_rest:
        extra += f',"path":{_quoted(str(call.metadata[ORIGINAL_PATH]).partition("?")[0][:LONGEST_PATH])}'
    call_log.write(
        f'"request_id":"{call.request_id}","method":"{call.method.path}","code":"{code}","status":{status},'
        f'"ms":{seconds * 1000:.3f},"tenant":{tenant},'
        f'"{kind}":"{principal.id if principal else ""}","ip":{_quoted(address) if address else EMPTY}{extra}',
    )


def _quoted(text: str) -> str:
    """A JSON string. Most texts need no escaping, and checking that takes a tenth of the time."""
    return f'"{text}"' if PLAIN.fullmatch(text) else json.dumps(text)
