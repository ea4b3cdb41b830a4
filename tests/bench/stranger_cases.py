"""What callers wait while strangers post the largest bodies that they may: the gateway reads them on its one thread."""

import http.client
import json
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from pathlib import Path

from server.gateway.body_limits import STRANGERS_BYTES
from tests.bench.cases import Setting, Stage
from tests.bench.clocks import clock_of
from tests.bench.engine import Case, Goal, Side
from tests.bench.load import Load, Ran, WrongAnswerError
from tests.bench.subject import CACHED

STRANGERS = 8
# Seconds that 99 of 100 calls may take meanwhile.
LONGEST = 0.02
CALLS = 1_000
# What takes longest to read for its size: small objects.
ELEMENT = {"a": 1, "b": "x"}


def strangers(stage: Stage, stack: ExitStack) -> Case:
    """The p99 of GetPage while strangers post."""
    del stack
    setting = stage(CACHED)
    clocks = {"server": clock_of([setting.subject.envoy])}
    return Case(
        name="strangers",
        title=f"GetPage, REST, while {STRANGERS} strangers post 16 KB each, p99 / {LONGEST * 1000:.0f} ms",
        goal=Goal(1.0, at_least=False),
        subject=Side(name="with", load=_reading(setting, lambda: _posting(setting)), clocks=clocks),
        baseline=Side(name="without", load=_reading(setting, nullcontext), clocks=clocks),
        ratio=lambda sample, _: sample.latency / LONGEST,
        calls=CALLS,
    )


CASES: dict[str, Callable[[Stage, ExitStack], Case]] = {"strangers": strangers}


def _reading(setting: Setting, beside: Callable[[], AbstractContextManager[None]]) -> Load:
    """Reads the page, one call after the other; the latency is the p99."""

    def load(count: int) -> Ran:
        with ExitStack() as stack:
            stack.enter_context(beside())
            connection = http.client.HTTPConnection("127.0.0.1", setting.subject.port, timeout=10)
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


@contextmanager
def _posting(setting: Setting) -> Iterator[None]:
    """Have strangers post pages without credentials meanwhile, each as fast as it is answered."""
    with tempfile.TemporaryDirectory() as folder:
        body = Path(folder) / "body.json"
        body.write_text(_largest())
        command = ["h2load", "--h1", f"--clients={STRANGERS}", "--duration=600", f"--data={body}"]
        command += ["--header=content-type: application/json"]
        command += [f"http://127.0.0.1:{setting.subject.port}{setting.pages_path}"]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        try:
            yield
        finally:
            process.kill()
            process.wait()


def _largest() -> str:
    """A page as large as strangers may send one."""
    count = STRANGERS_BYTES // len(json.dumps(ELEMENT) + ", ") - 2
    return json.dumps({"title": "x", "settings": {"all": [ELEMENT] * count}})
