"""authenticate: identifies the caller. Not in the chain of public RPCs."""

from collections.abc import Mapping

from server.kernel.call import Call
from server.kernel.chain import Guard, GuardStep, Request
from server.kernel.guard.tokens import AccessTokens
from server.kernel.policy import Access, MethodPolicy
from server.kernel.ports import ApiKeys
from server.kernel.problems import Reason, Unauthenticated
from server.kernel.steps.parse import is_early

SCHEME = "bearer"
KEY_HEADER = "x-api-key"


class Authenticate(GuardStep):
    """Turns credentials into a principal, or answers UNAUTHENTICATED."""

    name = "authenticate"

    def __init__(self, tokens: AccessTokens, keys: ApiKeys) -> None:
        self._tokens = tokens
        self._keys = keys

    def guard(self, method: MethodPolicy) -> Guard | None:
        """Verify the bearer token or API key. For an EventSource it may be a field of the request instead."""
        if method.access is Access.PUBLIC:
            return None
        verify_token, keys = self._tokens.verify, self._keys
        takes_field = is_early(method)

        def authenticate(call: Call, request: Request) -> None:
            header = call.metadata.get("authorization") or call.metadata.get(KEY_HEADER)
            secret = request.access_token if header is None and takes_field else credential(call.metadata)
            if not secret:
                raise Unauthenticated(
                    "This call needs credentials: send `Authorization: Bearer <access token or API key>`.",
                    reason=Reason.REASON_CREDENTIALS_MISSING,
                )
            call.principal = keys.verify(secret) if keys.is_key(secret) else verify_token(secret)

        return authenticate


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
