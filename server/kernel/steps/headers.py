"""headers: fields of requests that come in headers, by the option `header`.

It comes after parse, whose message it completes, and before validate, so that rules hold for what it fills in.
"""

from collections.abc import Callable

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message
from plinth.policy.v1 import policy_pb2

from server.kernel.call import Call
from server.kernel.chain import Guard, GuardStep
from server.kernel.messages.fields import is_set, option_of
from server.kernel.policy import MethodPolicy
from server.kernel.problems import Malformed, Reason

WHOLE_NUMBERS = (FieldDescriptor.CPPTYPE_INT32, FieldDescriptor.CPPTYPE_INT64)
MOST_DIGITS = 9


class Headers(GuardStep):
    """Fills fields that are empty. Answers INVALID_ARGUMENT to a header that is no number where one is wanted."""

    name = "headers"

    def guard(self, method: MethodPolicy) -> Guard | None:
        """Only for RPCs with such a field."""
        fields = header_fields(method.descriptor.input_type)
        if not fields:
            return None
        readers = [(field, name, _reader(field)) for field, name in fields]

        def fill(call: Call, request: Message) -> None:
            for field, name, read in readers:
                value = call.metadata.get(name)
                if value is not None and not is_set(request, field):
                    setattr(request, field.name, read(name, value))

        return fill


def header_fields(message: Descriptor) -> list[tuple[FieldDescriptor, str]]:
    """The fields of a message that headers fill, and the names of the headers, in small letters."""
    return [(field, str(option_of(field, policy_pb2.header)).lower()) for field in message.fields if has_header(field)]


def has_header(field: FieldDescriptor) -> bool:
    """Whether a header fills it, where the request leaves it empty."""
    return bool(option_of(field, policy_pb2.header))


def _reader(field: FieldDescriptor) -> Callable[[str, str], int | str]:
    return _whole_number if field.cpp_type in WHOLE_NUMBERS else lambda _, value: value


def _whole_number(name: str, value: str) -> int:
    if not (value.isascii() and value.isdigit() and len(value) <= MOST_DIGITS):
        raise Malformed(
            f"The header `{name}` has to be a whole number, not negative.",
            reason=Reason.REASON_MALFORMED,
            metadata={"field": name},
        )
    return int(value)
