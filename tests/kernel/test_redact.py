"""What is marked debug_redact never survives, wherever it stands."""

from typing import Any

import pytest
from plinth.identity.v1.auth_pb2 import LogInRequest, Session
from plinth.identity.v1.user_pb2 import User
from plinth.sites.v1.page_pb2 import Page

from server.kernel.messages.redact import redacted
from tests.kernel.messages import secretive

SECRET = "tok3n-that-must-not-survive"
Node = secretive()


def test_nothing_is_copied_when_there_is_nothing_to_hide() -> None:
    page = Page(title="x")
    assert redacted(page) is page


def test_the_message_itself_stays_whole() -> None:
    session = Session(access_token=SECRET, refresh_token=SECRET, tenant_id="t", user=User(email="a@example.com"))
    hidden = redacted(session)
    assert session.access_token == SECRET
    assert hidden == Session(tenant_id="t", user=User(email="a@example.com"))


def test_a_password_is_hidden() -> None:
    assert redacted(LogInRequest(email="a@example.com", password=SECRET)) == LogInRequest(email="a@example.com")


@pytest.mark.parametrize(
    "message",
    [
        Node(token=SECRET),
        Node(tokens=[SECRET, SECRET]),
        Node(leaf={"token": SECRET}),
        Node(leaves=[{"token": SECRET}, {"name": "a", "token": SECRET}]),
        Node(by_name={"a": {"token": SECRET}}),
        Node(left={"token": SECRET}),
        Node(right=SECRET),
        Node(child={"token": SECRET}),
        Node(child={"child": {"leaves": [{"token": SECRET}]}}),
    ],
    ids=["field", "list", "nested", "in a list", "in a map", "oneof", "oneof text", "recursive", "deep"],
)
def test_no_secret_survives(message: Any) -> None:
    assert SECRET.encode() in message.SerializeToString()
    assert SECRET.encode() not in redacted(message).SerializeToString()


def test_what_is_no_secret_survives() -> None:
    message = Node(name="n", token=SECRET, leaf={"name": "l", "token": SECRET}, leaves=[{"name": "m"}])
    assert redacted(message) == Node(name="n", leaf={"name": "l"}, leaves=[{"name": "m"}])


def test_a_field_that_is_unset_stays_unset() -> None:
    hidden: Any = redacted(Node(name="n"))
    assert not hidden.HasField("leaf")
    assert not hidden.HasField("child")
