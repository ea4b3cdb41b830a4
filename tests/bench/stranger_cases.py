"""What callers wait while strangers post the largest bodies that they may: the gateway reads them on its one thread."""

import json
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from server.gateway.body_limits import STRANGERS_BYTES, UNPROVEN_BYTES
from tests.bench.cases import Setting, Stage
from tests.bench.clocks import clock_of
from tests.bench.engine import Case, Goal, Side
from tests.bench.readers import reading
from tests.bench.subject import CACHED

STRANGERS = 8
# Seconds that 99 of 100 calls may take meanwhile.
LONGEST = 0.02
CALLS = 1_000
# What takes longest to read for its size: small objects.
ELEMENT = {"a": 1, "b": "x"}


@dataclass(frozen=True, slots=True)
class Way:
    """What strangers post."""

    title: str
    path: Callable[[Setting], str]
    body: dict[str, Any]
    most: int
    """Bytes of the body, which is filled with small objects."""
    field: str
    token: str = ""

    def write(self, folder: Path) -> Path:
        """Write the largest body."""
        count = (self.most - len(json.dumps(self.body | {self.field: {"all": []}}))) // len(json.dumps(ELEMENT) + ", ")
        file = folder / "body.json"
        file.write_text(json.dumps(self.body | {self.field: {"all": [ELEMENT] * count}}))
        return file


SIGN_IN = Way(
    title="post 16 KB to the sign-in",
    path=lambda _: "/api/v1/auth/login",
    body={"email": "nobody@example.com", "password": "no"},
    most=STRANGERS_BYTES,
    field="unknown",
)
CREATE = Way(
    title="post pages of 4 KB with a token that is none",
    path=lambda setting: setting.pages_path,
    body={"title": "x"},
    most=UNPROVEN_BYTES,
    field="settings",
    token="none",
)


def strangers_sign_in(stage: Stage, stack: ExitStack) -> Case:
    """The p99 of GetPage while strangers post the most that anybody may."""
    del stack
    return _case(stage(CACHED), "strangers-sign-in", SIGN_IN)


def strangers_create(stage: Stage, stack: ExitStack) -> Case:
    """The p99 of GetPage while strangers post the most that is read again and again with bad credentials."""
    del stack
    return _case(stage(CACHED), "strangers-create", CREATE)


CASES: dict[str, Callable[[Stage, ExitStack], Case]] = {
    "strangers-sign-in": strangers_sign_in,
    "strangers-create": strangers_create,
}


def _case(setting: Setting, name: str, way: Way) -> Case:
    clocks = {"server": clock_of([setting.subject.envoy])}
    return Case(
        name=name,
        title=f"GetPage, REST, while {STRANGERS} strangers {way.title}, p99 / {LONGEST * 1000:.0f} ms",
        goal=Goal(1.0, at_least=False),
        subject=Side(name="with", load=reading(setting, lambda: _posting(setting, way)), clocks=clocks),
        baseline=Side(name="without", load=reading(setting, nullcontext), clocks=clocks),
        ratio=lambda sample, _: sample.latency / LONGEST,
        calls=CALLS,
    )


@contextmanager
def _posting(setting: Setting, way: Way) -> Iterator[None]:
    """Have strangers post meanwhile, each as fast as it is answered."""
    with tempfile.TemporaryDirectory() as folder:
        command = ["h2load", "--h1", f"--clients={STRANGERS}", "--duration=600", f"--data={way.write(Path(folder))}"]
        command += ["--header=content-type: application/json"]
        command += [f"--header=authorization: Bearer {way.token}"] if way.token else []
        command += [f"http://127.0.0.1:{setting.subject.port}{way.path(setting)}"]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        try:
            yield
        finally:
            process.kill()
            process.wait()
