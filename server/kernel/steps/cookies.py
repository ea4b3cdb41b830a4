"""cookies: credentials of browsers in cookies, for RPCs whose request or answer has a field with the option `cookie`.

It comes after parse, whose message it completes, and outside of idempotency: what is kept of an answer has the
credential itself, so that a repeated call sets the cookie again.
"""

from google.protobuf.descriptor import Descriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from plinth.policy.v1 import policy_pb2

from server.kernel.call import Call
from server.kernel.chain import Answer, Request, Stream, Unary
from server.kernel.cookies import ASKED, BrowserCookies, cookies_of
from server.kernel.messages.fields import option_of
from server.kernel.policy import MethodPolicy


class Cookies:
    """Fills fields of requests from cookies, and moves fields of answers into them."""

    name = "cookies"

    def __init__(self, cookies: BrowserCookies) -> None:
        self._cookies = cookies

    def unary(self, method: MethodPolicy, proceed: Unary) -> Unary:
        """Only for RPCs with such a field."""
        taken, given = cookie_field(method.descriptor.input_type), cookie_field(method.descriptor.output_type)
        if not (taken or given):
            return proceed
        answer_class = GetMessageClass(method.descriptor.output_type)

        def with_cookies(call: Call, request: Request) -> Answer:
            is_filled = taken is not None and self._fill(call, request, *taken)
            answer = proceed(call, request)
            if given is None or not (is_filled or call.metadata.get(ASKED) == "true"):
                return answer
            return self._moved(call, answer_class.FromString(_bytes(answer)), *given)

        return with_cookies

    def stream(self, method: MethodPolicy, proceed: Stream) -> Stream:
        """Streams take no credentials from cookies."""
        del method
        return proceed

    def _fill(self, call: Call, request: Message, field: str, cookie: str) -> bool:
        """Fill a field that is empty. Returns whether a cookie did. Raises Denied if another site may have sent it."""
        if getattr(request, field) or not call.is_rest:
            return False
        value = cookies_of(call.metadata).get(cookie, "")
        if not value:
            return False
        self._cookies.check_csrf(call.metadata)
        setattr(request, field, value)
        return True

    def _moved(self, call: Call, answer: Message, field: str, cookie: str) -> Message:
        """The answer without the field, whose text goes into the cookie."""
        value = getattr(answer, field)
        if value and call.is_rest:
            call.headers.append(self._cookies.keep(cookie, value))
            answer.ClearField(field)
        return answer


def cookie_field(message: Descriptor) -> tuple[str, str] | None:
    """The field of a message that a cookie holds, and the name of the cookie; None if it has none."""
    for field in message.fields:
        name = option_of(field, policy_pb2.cookie)
        if name:
            return field.name, str(name)
    return None


def _bytes(answer: Answer) -> bytes:
    return answer if isinstance(answer, bytes) else answer.SerializeToString()
