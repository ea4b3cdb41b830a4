"""A caller that reads the page again and again, one call after the other, while something else goes on."""

import http.client
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack

from tests.bench.cases import Setting
from tests.bench.load import Load, Ran, WrongAnswerError

DEADLINE = 10.0


def reading(setting: Setting, beside: Callable[[], AbstractContextManager[None]]) -> Load:
    """Reads the page over REST while `beside` goes on; the latency is the p99."""

    def load(count: int) -> Ran:
        with ExitStack() as stack:
            stack.enter_context(beside())
            connection = http.client.HTTPConnection("127.0.0.1", setting.subject.port, timeout=DEADLINE)
            stack.callback(connection.close)
            times = sorted(_read(connection, setting) for _ in range(count))
        return Ran(sum(times), times[len(times) * 99 // 100])

    return load


def _read(connection: http.client.HTTPConnection, setting: Setting) -> float:
    """Read the page once; the seconds that it took."""
    began = time.perf_counter()
    connection.request("GET", setting.page_path, headers={"authorization": f"Bearer {setting.subject.token}"})
    answer = connection.getresponse()
    answer.read()
    if answer.status != http.client.OK:
        raise WrongAnswerError(f"{setting.page_path} answers {answer.status}")
    return time.perf_counter() - began
