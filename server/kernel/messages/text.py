"""Text in requests: what looks alike and means the same is the same text (Unicode Standard Annex #15).

An `é` may be one code point or two. Whatever compares texts, in PostgreSQL or here, compares code points. So every text
is composed (NFC) where it comes in, before its rules are checked: what is stored, and what a filter asks for, have one
form. The option `text` of a field (plinth/policy/v1/policy.proto) names another form.
"""

from collections.abc import Callable
from functools import cache
from typing import Literal, NamedTuple
from unicodedata import combining, is_normalized, normalize

from buf.validate import validate_pb2
from google.api import field_behavior_pb2
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message
from plinth.policy.v1 import policy_pb2

from server.extensions import RULES
from server.kernel.messages.fields import option_of

Form = Literal["NFC", "NFKC"]
Normaliser = Callable[[Message], None]

MOST_SHRINKING = 4
"""Code points that compose to one at most: a text that is longer than so many times its rule breaks it in any form."""
LONGEST = 100_000
"""Characters of a text whose rules name no length."""
LONGEST_RUN = 30
"""Combining marks in a row in text of any language, as the Stream-Safe Text Format has it. Putting marks into their
order takes the square of their number, so a text with more of them stays as it is."""


def normal_form(text: str, form: Form = "NFC") -> str:
    """A text in this form."""
    if text.isascii() or is_normalized(form, text) or _has_long_run(text):
        return text
    return normalize(form, text)


def _has_long_run(text: str) -> bool:
    run = 0
    for sign in text:
        run = run + 1 if combining(sign) else 0
        if run > LONGEST_RUN:
            return True
    return False


class _Text(NamedTuple):
    name: str
    form: Form
    is_repeated: bool
    longest: int
    """Beyond it, a text is left as it is, for its rule to refuse."""


class _Part(NamedTuple):
    name: str
    normalise: Normaliser
    is_repeated: bool


@cache
def normaliser(message: Descriptor) -> Normaliser | None:
    """What puts the texts of a request into their forms; None when it has none."""
    texts = tuple(_texts_of(message))
    parts = tuple(_parts_of(message))
    if not texts and not parts:
        return None

    def normalise(request: Message) -> None:
        for text in texts:
            _normalise_field(request, text)
        for part in parts:
            if part.is_repeated:
                for one in getattr(request, part.name):
                    part.normalise(one)
            elif request.HasField(part.name):
                part.normalise(getattr(request, part.name))

    return normalise


def _normalise_field(request: Message, text: _Text) -> None:
    value = getattr(request, text.name)
    if not text.is_repeated:
        if not value.isascii() and len(value) <= text.longest:
            setattr(request, text.name, normal_form(value, text.form))
    elif not all(map(str.isascii, value)):
        value[:] = [normal_form(one, text.form) if len(one) <= text.longest else one for one in value]


def _texts_of(message: Descriptor) -> list[_Text]:
    found = []
    for field in message.fields:
        form = _form_of(field)
        if form is not None:
            found.append(_Text(field.name, form, field.is_repeated, MOST_SHRINKING * _longest(field)))
    return found


def _form_of(field: FieldDescriptor) -> Form | None:
    """The form of a field's text; None for what is no text of a caller's, or stays as it was sent."""
    asked = option_of(field, policy_pb2.text)
    is_ours = field_behavior_pb2.OUTPUT_ONLY in option_of(field, field_behavior_pb2.field_behavior)
    is_id = _rules(field).uuid
    if field.type != FieldDescriptor.TYPE_STRING or asked == policy_pb2.TEXT_VERBATIM or is_ours or is_id:
        return None
    return "NFKC" if asked == policy_pb2.TEXT_NFKC else "NFC"


def _longest(field: FieldDescriptor) -> int:
    return int(_rules(field).max_len) or LONGEST


def _rules(field: FieldDescriptor) -> validate_pb2.StringRules:
    rules = field.GetOptions().Extensions[RULES]
    return rules.repeated.items.string if field.is_repeated else rules.string


def _parts_of(message: Descriptor) -> list[_Part]:
    found = []
    for field in message.fields:
        below = field.message_type
        if below is None or below.GetOptions().map_entry or below.full_name.startswith("google.protobuf."):
            continue
        normalise = normaliser(below)
        if normalise is not None:
            found.append(_Part(field.name, normalise, field.is_repeated))
    return found
