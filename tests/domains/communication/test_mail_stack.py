"""Mail of whole stacks: held without an SMTP server and sent once there is one, and lost with a worker."""

import re
import signal
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.clients import Rest, database, new_tenant, rows, sign_up
from tests.domains.communication.test_smtp import ANSWERS, Scripted
from tests.mailbox import Mailbox, address, mail_server
from tests.stack import Stack, wait_for

pytestmark = pytest.mark.heavy
MESSAGE = "SELECT status, attempts, last_answer FROM email_messages WHERE id = %s"
SENDING, UNCERTAIN, HELD = 2, 5, 8


@pytest.fixture
def alone() -> Iterator[Stack]:
    """A stack that a test may stop and start."""
    stack = Stack(api_workers=1)
    try:
        yield stack
    finally:
        stack.remove()


def log_of(stack: Stack) -> str:
    return "".join(path.read_text() for path in (stack.data_dir / "logs").glob("worker-*.log"))


def test_without_a_server_mail_is_held_and_shown_and_later_sent(alone: Stack, tmp_path: Path) -> None:
    stack = alone.start()
    account = sign_up(stack)
    wait_for(lambda: f"mail to {account.email}: Verify your mail address" in log_of(stack))
    link = re.search(r"https?://[^\s\\]+/auth/verify-email/[\w-]{43}", log_of(stack))
    assert link is not None
    assert httpx.get(link[0], trust_env=False, timeout=30).json()["email"] == account.email
    tenant, to = new_tenant(stack), address()
    queued = tenant.rest.post("/api/v1/email/messages", {"to": to, "subject": "One", "text": "Two"}).json()
    wait_for(lambda: rows(stack, MESSAGE, queued["id"])[0]["status"] == HELD)
    told = tenant.rest.get(f"/api/v1/email/messages/{queued['id']}").json()
    assert "PLINTH_COMMUNICATION_SMTP_URL" in told["lastAnswer"]
    stack.stop()
    with mail_server(tmp_path / "mail") as url:
        stack.set(communication_smtp_url=url)
        stack.start()
        box = Mailbox(tmp_path / "mail")
        assert box.wait_for(to)[0]["Subject"] == "One"
        box.wait_for(account.email)


def test_a_worker_that_dies_while_it_sends_leaves_it_uncertain(alone: Stack) -> None:
    """The server has the whole message, and has not answered yet."""
    with Scripted(len(ANSWERS) - 1, leaves=False) as server:
        alone.set(communication_smtp_url=server.url)
        stack = alone.start()
        tenant = new_tenant(stack)
        body = {"to": address(), "subject": "One", "text": "Two"}
        queued = tenant.rest.post("/api/v1/email/messages", body).json()
        wait_for(lambda: rows(stack, MESSAGE, queued["id"])[0]["status"] == SENDING)
        wait_for(lambda: server.messages)
        stack.kill("worker-0", signal.SIGKILL)
        with database(stack) as connection:
            connection.execute(
                "UPDATE email_messages SET lease_time = now(), next_attempt_time = now() WHERE id = %s", (queued["id"],)
            )
        wait_for(lambda: rows(stack, MESSAGE, queued["id"])[0]["status"] == UNCERTAIN)
        (row,) = rows(stack, MESSAGE, queued["id"])
        assert (row["attempts"], row["last_answer"]) == (1, "the worker that sent it was lost")
        assert Rest(stack, tenant.access_token).get("/api/v1/auth/me").status_code == 200
