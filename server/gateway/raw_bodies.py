"""Raw bodies at the gateway: the content types of a binding, and the pages of any origin that may call it."""

import re
from collections.abc import Collection, Iterable, Iterator

from server.gateway.contract import VARIABLE, Binding, Contract, Method
from server.gateway.cors import open_cors_policy
from server.gateway.pieces import Config, headers, typed
from server.settings import Settings

CORS = "envoy.filters.http.cors"
MUTATION = "envoy.filters.http.header_mutation"
SEGMENT = "[^/]+"
WILDCARDS = {"*": SEGMENT, "**": ".+"}


def facts(contract: Contract, method: Method, binding: Binding) -> dict[str, str]:
    """What the Lua script knows of a binding with a raw body, as Lua."""
    raw = method.raw
    if raw is None:
        return {}
    found: dict[str, str] = {}
    if raw.content_types:
        found["types"] = _set(raw.content_types)
        found["told"] = _quote(", ".join(raw.content_types))
    if raw.max_inflated_bytes:
        found["inflates"] = "true"
    if raw.ignores_unknown_query:
        found["known"] = _set(_parameters(contract, method.request, {*binding.variables, binding.body}))
    return found


def open_routes(settings: Settings, contract: Contract, route: Config) -> list[Config]:
    """Routes of the bindings that pages of any origin may call. `route` is what such a request does then.

    A path is matched before it is transcoded, so that the cors filter finds the policy, of a preflight as well.
    """
    return [
        route
        | {
            "match": {"safe_regex": {"regex": _regex(binding)}, "headers": conditions},
            "typed_per_filter_config": open_filters(settings, method),
        }
        for method in contract.methods
        for binding in method.bindings
        if is_open(method)
        for conditions in _verb_or_preflight(binding.verb)
    ]


def is_open(method: Method) -> bool:
    """Whether pages of any origin may call."""
    return method.raw is not None and method.raw.any_origin


def open_filters(settings: Settings, method: Method) -> Config:
    """What the filters do for pages of any origin.

    The cors filter repeats the origin of the request. The header mutation, which sees every response last, writes `*`.
    """
    exposed = list(method.raw.exposed_headers) if method.raw is not None else []
    policy = open_cors_policy(settings, exposed)
    told = {"access-control-allow-origin": "*", "access-control-expose-headers": str(policy["expose_headers"])}
    mutations: list[Config] = [{"append": option} for option in headers(told)]
    return {
        CORS: policy,
        MUTATION: typed(
            "extensions.filters.http.header_mutation.v3.HeaderMutationPerRoute",
            mutations={"response_mutations": mutations},
        ),
    }


def _verb_or_preflight(verb: str) -> Iterator[list[Config]]:
    """The headers of a request with this HTTP method, and those of its preflight."""
    yield [_is(":method", verb)]
    yield [_is(":method", "OPTIONS"), _is("access-control-request-method", verb)]


def _is(name: str, value: str) -> Config:
    return {"name": name, "string_match": {"exact": value}}


def _regex(binding: Binding) -> str:
    """The paths of a binding without their query, and with a slash at the end as well."""
    pieces = VARIABLE.split(binding.pattern)
    # split() gives the text, then name and pattern of each variable.
    texts, patterns = pieces[::3], pieces[2::3]
    return (
        re.escape(texts[0])
        + "".join(f"{_variable(pattern)}{re.escape(text)}" for pattern, text in zip(patterns, texts[1:], strict=True))
        + "/?"
    )


def _variable(pattern: str | None) -> str:
    if not pattern:
        return SEGMENT
    return "".join(WILDCARDS.get(piece, re.escape(piece)) for piece in re.split(r"(\*+)", pattern))


def _parameters(contract: Contract, request: str, taken: Collection[str]) -> Iterator[str]:
    """The JSON names of what a query can set: the fields of the request, and those of messages in it (`hub.mode`)."""
    for field in contract.messages[request].field:
        if field.name in taken:
            continue
        yield field.json_name
        below = contract.messages.get(field.type_name.lstrip("."))
        if below is not None:
            yield from (f"{field.json_name}.{inner.json_name}" for inner in below.field)


def _set(names: Iterable[str]) -> str:
    return "{" + ", ".join(f"[{_quote(name)}] = true" for name in sorted(names)) + "}"


def _quote(text: str) -> str:
    return f'"{text}"'
