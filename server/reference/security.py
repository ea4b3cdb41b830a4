"""Who may call an RPC: in words, and as security schemes of OpenAPI."""

from collections.abc import Mapping

from server.json_values import JsonObject
from server.kernel.policy import Access, MethodPolicy

BEARER, API_KEY, TICKET = "bearer", "apiKey", "ticket"
SCHEMES: Mapping[str, JsonObject] = {
    BEARER: {"type": "http", "scheme": "bearer", "description": "An access token, or an API key."},
    API_KEY: {
        "type": "apiKey",
        "in": "header",
        "name": "x-api-key",
        "description": "An API key, for callers who cannot set `Authorization`.",
    },
    TICKET: {
        "type": "apiKey",
        "in": "query",
        "name": "ticket",
        "description": "A ticket that opens one stream, from `POST /api/v1/realtime/tickets`.",
    },
}


def needs_credentials(method: MethodPolicy) -> bool:
    """Whether an RPC needs an access token or an API key. The signature of a provider is neither."""
    return method.access not in (Access.PUBLIC, Access.PROVIDER_SIGNATURE)


def security(method: MethodPolicy) -> list[JsonObject]:
    """The schemes of which one is needed; none if an RPC needs no credentials."""
    if not needs_credentials(method):
        return []
    takes_keys = method.access is not Access.SIGNED_IN or method.takes_api_keys
    found: list[JsonObject] = [{BEARER: []}]
    if takes_keys:
        found.append({API_KEY: []})
    if method.streaming and "ticket" in method.descriptor.input_type.fields_by_name:
        found.append({TICKET: []})
    return found


def who(method: MethodPolicy) -> str:
    """Who may call, in a sentence."""
    sentences = {
        Access.PUBLIC: "Anyone may call it, without credentials.",
        Access.SIGNED_IN: "Anyone who is signed in may call it"
        + (", and so may API keys." if method.takes_api_keys else "."),
        Access.PERMISSION: f"Needs the permission `{method.permission}`.",
        Access.PLATFORM: f"For platform administrators with the permission `{method.permission}`.",
        Access.PROVIDER_SIGNATURE: f"For the provider `{method.permission}`, which signs its calls.",
    }
    lately = " A user has to have proven who they are lately: by signing in, or with StepUp." if method.step_up else ""
    return sentences[method.access] + lately
