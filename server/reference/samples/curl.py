"""Samples for curl. `$B` is where Plinth is, `$TOKEN` an access token or an API key."""

import json
from urllib.parse import urlencode

from server.reference.samples.request import JSON, Answer, Request, snake_case

LANGUAGE, LABEL = "shell", "curl"


def sample(request: Request) -> str:
    """The call as a command of a shell."""
    path = request.path_with(lambda name: f"${{{snake_case(name).upper()}}}")
    query = f"?{urlencode(request.query)}" if request.query else ""
    parts = [f'{_command(request)} "$B{path}{query}"']
    if request.is_guarded:
        parts.append('-H "Authorization: Bearer $TOKEN"')
    if request.content_type:
        parts.append(f'-H "Content-Type: {request.content_type}"')
    if request.content_type == JSON:
        parts.append("-d " + _quoted(json.dumps(request.body, ensure_ascii=False)))
    elif request.content_type:
        parts.append("--data-binary @file")
    return " \\\n  ".join(parts)


def _command(request: Request) -> str:
    words = ["curl"]
    if request.answer is Answer.EVENTS:
        words.append("-N")
    elif request.answer is Answer.BYTES:
        words.append("-o file")
    return " ".join(words if request.verb == "GET" else [*words, f"-X {request.verb}"])


def _quoted(text: str) -> str:
    escaped = text.replace("'", "'\\''")
    return f"'{escaped}'"
