"""What is to read at the gateway: pages, documents, samples, and the collection of Postman."""

import copy
import gzip
import hashlib
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from importlib.resources import files
from typing import Any

import pytest

from server import app
from server.reference import guides, pages
from server.reference.headers import EVERYWHERE
from server.reference.inputs import ANY_JSON
from server.reference.samples import curl, python, typescript
from server.reference.samples.request import request_of
from tests.clients import Rest, new_tenant
from tests.stack import PATIENCE, Stack

ASSETS = files("server.reference") / "assets"
# Bytes that a browser loads for the reference when every RPC of the product is there. The document grows with them.
LARGEST_PAGE = 1_500_000
ALL_RPCS = 600
PAGES = ("/", "/docs", *(guide.path for guide in guides.guides()))
SHAPES = {"raw": str, "host": list, "path": list}


@pytest.fixture(scope="module")
def rest(stack: Stack) -> Rest:
    return Rest(stack)


@pytest.fixture(scope="module")
def document(rest: Rest) -> dict[str, Any]:
    found: dict[str, Any] = rest.get("/docs/openapi.json").json()
    return found


class Links(HTMLParser):
    """Where a page leads to, and what it loads."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.targets: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag not in {"style", "iframe", "object"}
        values = dict(attrs)
        assert not [name for name in values if name == "style" or name.startswith("on")]
        assert tag != "script" or values.get("src")
        self.targets += [value for name, value in attrs if name in {"href", "src", "spec-url"} and value]


@pytest.mark.parametrize("path", PAGES)
def test_every_link_of_a_page_leads_somewhere(rest: Rest, path: str) -> None:
    answer = rest.get(path)
    assert (answer.status_code, answer.headers["content-type"]) == (200, "text/html; charset=utf-8")
    targets = [target for target in Links(answer.text).targets if not target.startswith(("http", "data:"))]
    assert targets
    for target in targets:
        assert rest.get(target).status_code == 200, target


def test_pages_may_load_nothing_of_others(rest: Rest) -> None:
    for path in PAGES:
        policy = rest.get(path).headers["content-security-policy"]
        assert policy == (pages.REFERENCE_POLICY if path == "/docs" else pages.POLICY)
        assert policy.startswith("default-src 'none'; ")
        assert "http" not in policy
        assert "unsafe-eval" not in policy
        assert "unsafe-inline" not in policy.replace("style-src 'self' 'unsafe-inline'", "")


def test_the_reference_is_small(rest: Rest) -> None:
    loaded = [target for target in Links(rest.get("/docs").text).targets if target.startswith("/docs/")]
    sizes = {
        target: int(rest.head(target, headers={"accept-encoding": "gzip"}).headers["content-length"])
        for target in loaded
    }
    documents = [target for target in loaded if target == "/docs/viewer.json"]
    assert len(documents) == 1, loaded
    document = sizes.pop(documents[0])
    assert 0 < sum(sizes.values()) + document * ALL_RPCS / len(app.policies()) < LARGEST_PAGE


def test_the_viewer_is_the_published_one() -> None:
    noted = re.search(r"`([0-9a-f]{64})`", (ASSETS / "README.md").read_text())
    assert noted is not None
    content = gzip.decompress((ASSETS / "openapi-explorer.min.js.gz").read_bytes())
    assert hashlib.sha256(content).hexdigest() == noted[1]


def test_the_document_has_samples_and_nothing_else_beside(document: dict[str, Any]) -> None:
    plain, found = json.loads(app.reference().openapi()), copy.deepcopy(document)
    for path, verb, operation in operations(found):
        labels = [each["label"] for each in operation.pop("x-code-samples")]
        assert labels == ["curl", "Python", "TypeScript"], (path, verb)
    assert found == plain


def test_the_viewer_gets_short_errors_and_all_else(rest: Rest, document: dict[str, Any]) -> None:
    shown = rest.get("/docs/viewer.json").json()
    # Its schema refers to itself, which the viewer follows for ever.
    document["components"]["schemas"][ANY_JSON] = {}
    every = {f"#/components/responses/{name}": name for name in document["components"].pop("responses")}
    assert shown["components"].pop("responses") == {}
    for (*_, told), (*_, plain) in zip(operations(shown), operations(document), strict=True):
        for status, response in plain.pop("responses").items():
            short = told["responses"].pop(status)
            if "$ref" not in response:
                assert short.pop("headers").keys() == response.pop("headers").keys() - set(EVERYWHERE)
                assert short == response
                continue
            reasons = re.findall(r"^- `([A-Z_]+)`: .", short["description"], re.MULTILINE)
            assert ".".join([status, *reasons]) == every[response["$ref"]]
            assert ("Retry-After" in short.get("headers", ())) == (status in {"429", "503"})
        assert told.pop("responses") == {}
    # That texts hold no NUL is not told of each.
    schemas = json.dumps(document["components"].pop("schemas"))
    kept = json.loads(re.sub(r', "pattern": "\^\[\^\\\\u0000\]\*\$"', "", schemas))
    assert shown["components"].pop("schemas") == kept != json.loads(schemas)
    assert shown == document


def test_the_way_of_the_viewer_is_short(rest: Rest) -> None:
    """It walks through the target of each reference; at 140 operations these were 237,000 steps with all headers."""
    shown = rest.get("/docs/viewer.json").json()
    operations_of_it = sum(len(verbs) for verbs in shown["paths"].values())
    assert steps(shown, shown["paths"], {}) < 400 * operations_of_it


def steps(document: dict[str, Any], value: Any, known: dict[str, int]) -> int:
    """How many values somebody meets who follows every reference again."""
    if isinstance(value, dict) and "$ref" in value:
        name = value["$ref"]
        if name not in known:
            _, _, kind, component = name.split("/", 3)
            known[name] = 1 + steps(document, document["components"][kind][component], known)
        return known[name]
    below = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return 1 + sum(steps(document, each, known) for each in below)


def operations(document: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, verbs in document["paths"].items():
        for verb, operation in verbs.items():
            yield path, verb, operation


def samples(document: dict[str, Any], language: str) -> dict[str, str]:
    """The samples by operation."""
    return {
        operation["operationId"]: sample["source"]
        for _, _, operation in operations(document)
        for sample in operation["x-code-samples"]
        if sample["lang"] == language
    }


def test_samples_can_be_read(document: dict[str, Any]) -> None:
    for name, source in samples(document, "python").items():
        compile(source, name, "exec")
    text = "\n".join(samples(document, "shell").values())
    subprocess.run(["bash", "-n"], input=text, text=True, check=True, timeout=PATIENCE)


@pytest.mark.parametrize("language", ["shell", "python"])
def test_samples_run(document: dict[str, Any], stack: Stack, language: str) -> None:
    """A page is created and listed."""
    tenant = new_tenant(stack)
    if language == "shell" and shutil.which("curl") is None:
        pytest.skip("no curl")
    known = samples(document, language)
    chosen = [known[f"PageService.{name}Page{'s' if name == 'List' else ''}"] for name in ("Create", "List")]
    values = {"B": stack.url, "TOKEN": tenant.access_token, "TENANT_ID": tenant.id}
    if language == "shell":
        command, text = ["bash", "-e"], "\necho\n".join(chosen)
    else:
        names = {"base": stack.url, "token": tenant.access_token, "tenant_id": tenant.id}
        command = [sys.executable, "-"]
        text = "\n".join([*(f"{name} = {value!r}" for name, value in names.items()), *chosen])
    done = subprocess.run(
        command, input=text, text=True, capture_output=True, timeout=PATIENCE, env=values, check=False
    )
    assert done.returncode == 0, done.stderr
    (created,) = tenant.rest.get(f"{tenant.path}/pages").json()["pages"]
    assert created["id"] in done.stdout.splitlines()[-1]


def test_a_body_of_any_type_is_a_file() -> None:
    operation: Any = {"parameters": [], "security": [], "requestBody": {"content": {"*/*": {"schema": {}}}},
                 "responses": {"204": {"description": "Done."}}}  # fmt: skip
    request = request_of("/api/v1/files/{folderId}", "post", operation)
    assert curl.sample(request).splitlines() == [
        'curl -X POST "$B/api/v1/files/${FOLDER_ID}" \\',
        '  -H "Content-Type: application/octet-stream" \\',
        "  --data-binary @file",
    ]
    compile(python.sample(request), "sample", "exec")
    assert 'data=open("file", "rb").read()' in python.sample(request)
    assert "body: file" in typescript.sample(request)


def test_the_collection_of_postman(rest: Rest, document: dict[str, Any]) -> None:
    """The schema of collections is in no package index, so its parts are looked at."""
    command = [sys.executable, "-m", "server", "openapi", "--postman"]
    done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=PATIENCE)
    collection = rest.get("/docs/postman.json").json()
    assert collection == json.loads(done.stdout)
    assert collection["info"]["schema"].endswith("/v2.1.0/collection.json")
    variables = {each["key"] for each in collection["variable"]}
    requests = [item for folder in collection["item"] for item in folder["item"]]
    assert len(requests) == sum(1 for _ in operations(document))
    for item in requests:
        request, url = item["request"], item["request"]["url"]
        assert item["name"]
        assert request["method"] in {"GET", "POST", "PUT", "PATCH", "DELETE"}
        assert {name: type(url[name]) for name in SHAPES} == SHAPES
        assert url["raw"].startswith("{{baseUrl}}/")
        assert {part[1:] for part in url["path"] if part.startswith(":")} == {v["key"] for v in url.get("variable", ())}
        assert "baseUrl" in variables
        # What is in forms of others is sent from a file.
        if request.get("body", {}).get("mode") == "raw":
            json.loads(request["body"]["raw"])
            assert {"key": "Content-Type", "value": "application/json"} in request["header"]


def test_llms_txt_names_everything(rest: Rest, document: dict[str, Any]) -> None:
    answer = rest.get("/llms.txt")
    assert answer.headers["content-type"] == "text/plain; charset=utf-8"
    text = answer.text
    assert text.startswith("# Plinth\n\n> ")
    for path, verb, operation in operations(document):
        assert f"- `{verb.upper()} {path}`: {operation['summary']}" in text
    for target in re.findall(r"\]\(([^)]+)\)", text):
        assert rest.get(target).status_code == 200, target
