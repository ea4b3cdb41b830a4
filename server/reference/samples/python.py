"""Samples for Python's standard library. `base` is where Plinth is, `token` an access token or an API key."""

from urllib.parse import urlencode

from server.reference.samples.request import JSON, Answer, Request, snake_case

LANGUAGE, LABEL = "python", "Python"
_READ = {
    Answer.NOTHING: ("    print(response.status)",),
    Answer.JSON: ("    print(json.load(response))",),
    Answer.BYTES: ('    open("file", "wb").write(response.read())',),
    Answer.EVENTS: ("    for line in response:", "        print(line.decode().rstrip())"),
}


def sample(request: Request) -> str:
    """The call as a script."""
    path = request.path_with(lambda name: f"{{{snake_case(name)}}}")
    query = f"?{urlencode(request.query)}" if request.query else ""
    needs_json = request.content_type == JSON or request.answer is Answer.JSON
    lines = [*(["import json"] if needs_json else []), "import urllib.request", ""]
    lines += ["request = urllib.request.Request(", f'    f"{{base}}{path}{query}",', f'    method="{request.verb}",']
    lines += [*_headers(request), *_data(request), ")"]
    lines += ["with urllib.request.urlopen(request, timeout=30) as response:", *_READ[request.answer]]
    return "\n".join(lines)


def _headers(request: Request) -> list[str]:
    pairs = ['"Authorization": f"Bearer {token}"'] if request.is_guarded else []
    if request.content_type:
        pairs.append(f'"Content-Type": "{request.content_type}"')
    return [f"    headers={{{', '.join(pairs)}}},"] if pairs else []


def _data(request: Request) -> list[str]:
    if request.content_type == JSON:
        return [f"    data=json.dumps({request.body!r}).encode(),"]
    return ['    data=open("file", "rb").read(),'] if request.content_type else []
