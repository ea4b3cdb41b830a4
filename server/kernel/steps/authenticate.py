"""authenticate: identifies the caller. Not in the chain of RPCs that are public or signed by a provider."""

from collections.abc import Mapping

from server.kernel.call import Call, Principal
from server.kernel.chain import Guard, GuardStep, Request
from server.kernel.guard.tokens import LEEWAY, AccessTokens
from server.kernel.policy import Access, MethodPolicy
from server.kernel.ports import ApiKeys, Tickets
from server.kernel.problems import Reason, Unauthenticated
from server.kernel.steps.parse import QUERY_TICKET, QUERY_TOKEN

SCHEME = "bearer"
KEY_HEADER = "x-api-key"


class Authenticate(GuardStep):
    """Turns credentials into a principal, or answers UNAUTHENTICATED."""

    name = "authenticate"

    def __init__(self, tokens: AccessTokens, keys: ApiKeys, tickets: Tickets) -> None:
        self._tokens = tokens
        self._keys = keys
        self._tickets = tickets

    def guard(self, method: MethodPolicy) -> Guard | None:
        """Verify the bearer token or API key. For an EventSource it may be a field of the request, or a ticket."""
        if method.access in (Access.PUBLIC, Access.PROVIDER_SIGNATURE):
            return None
        verify_token, keys = self._tokens.verify, self._keys
        takes_token = QUERY_TOKEN in method.descriptor.input_type.fields_by_name
        takes_ticket = QUERY_TICKET in method.descriptor.input_type.fields_by_name

        def authenticate(call: Call, request: Request) -> None:
            header = call.metadata.get("authorization") or call.metadata.get(KEY_HEADER)
            if header is None and takes_ticket and request.ticket:
                call.principal = self._spend(request.ticket)
                return
            secret = request.access_token if header is None and takes_token else credential(call.metadata)
            if not secret:
                raise Unauthenticated(
                    "This call needs credentials: send `Authorization: Bearer <access token or API key>`.",
                    reason=Reason.REASON_CREDENTIALS_MISSING,
                )
            call.principal = keys.verify(secret) if keys.is_key(secret) else verify_token(secret)

        return authenticate

    def _spend(self, ticket: str) -> Principal:
        """The principal of a ticket that was not used before. Raises Unauthenticated."""
        principal, ticket_id, until = self._tokens.verify_ticket(ticket)
        if not self._tickets.use(ticket_id, until + LEEWAY):
            raise Unauthenticated("The ticket was used before: ask for another one.")
        return principal


def credential(metadata: Mapping[str, str]) -> str:
    """The token or key of a call, or empty text. Raises Unauthenticated for another scheme."""
    header = metadata.get("authorization")
    if not isinstance(header, str) or not header:
        key = metadata.get(KEY_HEADER, "")
        return key.strip() if isinstance(key, str) else ""
    scheme, _, secret = header.partition(" ")
    if scheme.lower() != SCHEME:
        raise Unauthenticated("Only the scheme `Bearer` is taken.")
    return secret.strip()
