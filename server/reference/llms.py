"""llms.txt (llmstxt.org): what there is to read, and every operation in a line, for programs that read text."""

from collections.abc import Iterator, Sequence

from server.reference.document import Document
from server.reference.guides import Guide

SUMMARY = (
    "Plinth is a multi-tenant back end. Every resource is served over gRPC and over REST/JSON; live changes come as "
    "server-sent events."
)


def llms(document: Document, guides: Sequence[Guide]) -> str:
    """The text."""
    return "\n".join(_lines(document, guides)) + "\n"


def _lines(document: Document, guides: Sequence[Guide]) -> Iterator[str]:
    yield from (f"# {document['info']['title']}", "", f"> {SUMMARY}", "", "## Guides", "")
    yield from (f"- [{guide.title}]({guide.path}.md): {guide.summary}" for guide in guides)
    yield from ("", "## Documents", "")
    yield "- [OpenAPI](/docs/openapi.json): every operation with its fields, rules, errors and code samples"
    yield "- [Postman collection](/docs/postman.json): every operation as a request"
    yield from ("", "## Operations", "")
    for path, verbs in document["paths"].items():
        yield from (f"- `{verb.upper()} {path}`: {operation['summary']}" for verb, operation in verbs.items())
