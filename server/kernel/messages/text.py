"""Normal forms of text in requests: texts that look alike and mean the same become equal (Unicode Standard Annex #15).

An `é` may be one code point or two. PostgreSQL and Python compare code points. Every text is therefore composed (NFC)
on arrival, before its rules are checked, so that stored values and filters have the same form. The option `text` of a
field (plinth/policy/v1/policy.proto) selects another form.
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
from server.kernel.messages.fields import has_behavior, option_of

Form = Literal["NFC", "NFKC"]
Normaliser = Callable[[Message], None]

MOST_SHRINKING = 4
"""Largest number of code points that compose to one. A text longer than its rule times this breaks it in any form."""
LONGEST = 100_000
"""Characters of a text whose rules set no length."""
LONGEST_RUN = 30
"""Longest run of combining marks in text of any language, by the Stream-Safe Text Format. Ordering marks takes
quadratic time, so a text with a longer run is left unchanged."""


def normal_form(text: str, form: Form = "NFC") -> str:
    """The text in this form."""
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
    """A longer text is left unchanged, for its rule to refuse."""


class _Part(NamedTuple):
    name: str
    normalise: Normaliser
    is_repeated: bool


@cache
def normaliser(message: Descriptor) -> Normaliser | None:
    """A function that normalises the texts of a request; None if it has no texts."""
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
    """The form of a field's text; None for a field that is not set by callers, is not text, or is stored verbatim."""
    asked = option_of(field, policy_pb2.text)
    is_ours = has_behavior(field, field_behavior_pb2.OUTPUT_ONLY)
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
