"""The examples of the client and the code of its README run, each in a process of its own."""

import os
import re
import subprocess
import sys
import threading
from itertools import count
from pathlib import Path

import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from plinth.webhooks.v1.webhook_pb2 import CreateWebhookRequest, ReplayWebhookEventsRequest, Webhook

from tests.clients import Tenant, new_tenant
from tests.stack import Stack
from tests.streams import writers

FOLDER = Path(__file__).parent.parent.parent / "clients" / "python"
EXAMPLES = sorted((FOLDER / "examples").glob("*.py"))
README = (FOLDER / "README.md").read_text()
BLOCKS = re.findall(r"^```python\n(.*?)^```", README, re.DOTALL | re.MULTILINE)
SAYS = {
    "asynchronous": r"created page-0, page-1, page-2\n(listed page-\d\n){3}",
    "errors": r"page\.slug breaks string\.slug\nRESOURCE_TAKEN: slug\nRESOURCE_NOT_FOUND, request \S+\n",
    "events": r"(page\.created page-\S+\n){3}",
    "operation": r"(\d+ of \d+\n)+sent again: .*\n",
    "quickstart": r"created hello\nlisted hello\n",
}
# A block may take up what the blocks before it have made.
PREFACE = """
import os
URL, EMAIL, PASSWORD = (os.environ[f"PLINTH_{name}"] for name in ("URL", "EMAIL", "PASSWORD"))
"""


@pytest.fixture
def tenant(stack: Stack) -> Tenant:
    """A tenant whose owner has no other, so that logging in leads to it."""
    return new_tenant(stack)


def environment_of(tenant: Tenant) -> dict[str, str]:
    """What an example takes from the environment."""
    who = {"URL": tenant.stack.url, "EMAIL": tenant.owner.email, "PASSWORD": tenant.owner.password}
    named = {f"PLINTH_{name}": value for name, value in who.items()}
    return {**os.environ, **named, "HOOK_URL": "http://127.0.0.1:9/"}


def run(code: list[str], tenant: Tenant) -> str:
    """What a program says that ends well."""
    done = subprocess.run(
        [sys.executable, "-W", "error", *code],
        env=environment_of(tenant),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert not done.stderr
    return done.stdout


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
def test_every_example_runs(example: Path, tenant: Tenant) -> None:
    assert re.fullmatch(SAYS[example.stem], run([str(example)], tenant))


def test_every_example_is_in_the_readme() -> None:
    assert {path.name for path in EXAMPLES} == set(re.findall(r"examples/(\w+\.py)", README))
    assert {path.stem for path in EXAMPLES} == set(SAYS)


def test_the_code_of_the_readme_runs(tenant: Tenant) -> None:
    """All of it in order, in one program, as it is written, while something happens in the tenant."""
    assert len(BLOCKS) > 5
    replay(tenant)
    over = threading.Event()
    with writers.beside(lambda: write_until(over, tenant)):
        try:
            said = run(["-c", PREFACE + "\n".join(BLOCKS)], tenant)
        finally:
            over.set()
    assert said.startswith("hello\n")
    assert "\nwebhook_replay {" in said


def replay(tenant: Tenant) -> None:
    """Start an operation."""
    writers.create(tenant, "first")
    hook = Webhook(url="http://127.0.0.1:9/", event_types=["page.*"])
    webhook = tenant.stubs.webhooks.CreateWebhook(CreateWebhookRequest(tenant_id=tenant.id, webhook=hook))
    request = ReplayWebhookEventsRequest(tenant_id=tenant.id, webhook_id=webhook.id, start_time=Timestamp(seconds=1))
    assert tenant.stubs.webhooks.ReplayWebhookEvents(request).operation_id


def write_until(over: threading.Event, tenant: Tenant) -> None:
    """Make pages until it is over."""
    for number in count():
        writers.create(tenant, f"p-{number}")
        if over.wait(0.2):
            return
