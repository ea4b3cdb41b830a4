"""authenticate: who calls. Not in the chain of public RPCs."""

from typing import Any

from server.kernel.call import Call
from server.kernel.chain import Guard, GuardStep
from server.kernel.policy import Access, MethodPolicy
from server.kernel.problems import Reason, Unauthenticated
from server.kernel.tokens import AccessTokens

SCHEME = "bearer"
QUERY_TOKEN = "access_token"  # noqa: S105 - the name of a field


class Authenticate(GuardStep):
    """Turns credentials into a principal, or answers UNAUTHENTICATED."""

    name = "authenticate"

    def __init__(self, tokens: AccessTokens) -> None:
        self._tokens = tokens

    def guard(self, method: MethodPolicy) -> Guard | None:
        """Verify the bearer token; EventSource may bring it as a field of the request instead."""
        if method.access is Access.PUBLIC:
            return None
        verify = self._tokens.verify
        takes_field = QUERY_TOKEN in method.descriptor.input_type.fields_by_name

        def authenticate(call: Call, request: Any) -> None:
            header = call.metadata.get("authorization")
            token = request.access_token if header is None and takes_field else bearer_token(header)
            if not token:
                raise Unauthenticated(
                    "This call needs credentials: send `Authorization: Bearer <access token>`.",
                    reason=Reason.REASON_CREDENTIALS_MISSING,
                )
            call.principal = verify(token)

        return authenticate


def bearer_token(header: Any) -> str:
    """The token of an Authorization header, or nothing. Raises Unauthenticated for another scheme."""
    if not isinstance(header, str) or not header:
        return ""
    scheme, _, token = header.partition(" ")
    if scheme.lower() != SCHEME:
        raise Unauthenticated("Only the scheme `Bearer` is taken.")
    return token.strip()
