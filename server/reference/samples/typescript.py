"""Samples for TypeScript with `fetch`. `base` is where Plinth is, `token` an access token or an API key."""

import json
from urllib.parse import urlencode

from server.reference.samples.request import JSON, Answer, Request

LANGUAGE, LABEL = "typescript", "TypeScript"
_READ = {
    Answer.NOTHING: ["console.log(response.status);"],
    Answer.JSON: ["console.log(await response.json());"],
    Answer.BYTES: ["const file = await response.blob();"],
    Answer.EVENTS: [
        "const reader = response.body!.pipeThrough(new TextDecoderStream()).getReader();",
        "for (let part = await reader.read(); !part.done; part = await reader.read()) console.log(part.value);",
    ],
}


def sample(request: Request) -> str:
    """The call as statements of a module."""
    path = request.path_with(lambda name: f"${{{name}}}")
    query = f"?{urlencode(request.query)}" if request.query else ""
    options = [*_method(request), *_headers(request), *_body(request)]
    lines = [f"const response = await fetch(`${{base}}{path}{query}`, {{", *(f"  {each}," for each in options), "});"]
    if not options:
        lines = [f"const response = await fetch(`${{base}}{path}{query}`);"]
    # An error of Plinth has its reason in words.
    lines.append("if (!response.ok) throw new Error((await response.json()).message);")
    return "\n".join([*lines, *_READ[request.answer]])


def _method(request: Request) -> list[str]:
    return [] if request.verb == "GET" else [f'method: "{request.verb}"']


def _headers(request: Request) -> list[str]:
    pairs = ["authorization: `Bearer ${token}`"] if request.is_guarded else []
    if request.content_type:
        pairs.append(f'"content-type": "{request.content_type}"')
    return [f"headers: {{{', '.join(pairs)}}}"] if pairs else []


def _body(request: Request) -> list[str]:
    if request.content_type == JSON:
        return [f"body: JSON.stringify({json.dumps(request.body, ensure_ascii=False)})"]
    return ["body: file"] if request.content_type else []
