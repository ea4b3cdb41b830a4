"""Text of every request is composed before its rules are checked, but for what is named here."""

from collections.abc import Iterator
from typing import Any
from unicodedata import normalize

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message_factory import GetMessageClass
from hypothesis import given
from hypothesis import strategies as st

from server.kernel.messages.text import LONGEST_RUN, MOST_SHRINKING, Form, normal_form, normaliser
from tests.contract.contract import real

COMPOSED, DECOMPOSED = "\u00e9", "e\u0301"
# What stays as it is sent, each with the reason.
VERBATIM = {
    "plinth.identity.v1.LogInRequest.password": "hashes from before are of what was sent",
    "plinth.identity.v1.ChangePasswordRequest.current_password": "as with LogIn",
    "plinth.identity.v1.EraseOwnDataRequest.password": "as with LogIn",
    "plinth.identity.v1.StepUpRequest.password": "as with LogIn",
    "plinth.webhooks.v1.Webhook.url": "another path may lead elsewhere",
    "plinth.notifications.v1.WebPushSubscription.endpoint": "another path may lead elsewhere",
    "plinth.notifications.v1.FcmRegistration.token": "another one is that of another device",
}
TEXT = st.text(st.characters(codec="utf-8"), max_size=60) | st.text(
    "e\u0301\u0323\u1100\u1161\u212b\ufdfa", max_size=60
)


def texts_of(message: Any, above: str = "") -> Iterator[tuple[str, str, Any]]:
    """Every text field of a request, with its path from the request and its own name."""
    for field in message.fields:
        path = f"{above}{field.name}"
        if field.type == FieldDescriptor.TYPE_STRING:
            yield path, field.full_name, field
        elif is_part(field):
            yield from texts_of(field.message_type, f"{path}.")


def is_part(field: Any) -> bool:
    """Whether a field is one message of ours."""
    below = field.message_type
    return below is not None and not field.is_repeated and not below.full_name.startswith("google.protobuf.")


def put(request: Any, path: str, field: Any, text: str) -> Any:
    """Set a field, and what reads it."""
    *parents, name = path.split(".")
    for parent in parents:
        request = getattr(request, parent)
    request.SetInParent()
    if field.is_repeated:
        getattr(request, name).append(text)
        return lambda: getattr(request, name)[0]
    setattr(request, name, text)
    return lambda: getattr(request, name)


def test_every_text_of_every_request_is_composed() -> None:
    left: dict[str, set[str]] = {"ours": set(), "verbatim": set()}
    composed = 0
    for message in real().requests:
        for path, name, field in texts_of(message):
            request = GetMessageClass(message)()
            read = put(request, path, field, DECOMPOSED)
            normalise = normaliser(message)
            if normalise is not None:
                normalise(request)
            if read() == DECOMPOSED:
                left["verbatim" if name in VERBATIM else "ours"].add(name)
            else:
                assert read() == COMPOSED, name
                composed += 1
    # Ids, and what callers do not write.
    endings = (
        "id",
        ".ids",
        "_ids",
        ".key",
        ".secret",
        "prefix",
        ".last_answer",
        "_names",
        ".account",
        ".last_error",
        ".variables",
        ".Page.path",
        ".CustomDomain.record_value",
        ".CustomDomain.record_name",
        ".Asset.content_type",
        ".Asset.sha256",
        ".Asset.uploaded_by",
        ".Asset.url",
        ".NotificationDevice.push_service",
        ".DictionaryEntry.language",
        ".DictionaryEntry.sort_key",
        ".DictionaryEntry.return_reason",
        ".DictionaryProposal.reason",
        *(f".{name}.reason" for name in ("Story", "StoryChapter", "StoryComment")),
        ".StoryComment.path",
    )
    assert all(name.endswith(endings) for name in left["ours"]), left["ours"]
    assert left["verbatim"] == VERBATIM.keys()
    assert composed > 50


@given(TEXT)
def test_a_form_is_one_form_however_it_was_sent(text: str) -> None:
    forms: tuple[Form, ...] = ("NFC", "NFKC")
    for form in forms:
        once = normal_form(text, form)
        assert normal_form(once, form) == once
        # Decomposed, a character of at most four has fewer marks in a row than are left alone.
        if len(text) <= LONGEST_RUN / MOST_SHRINKING:
            assert {normal_form(normalize(other, text), form) for other in ("NFC", "NFD")} == {once}
