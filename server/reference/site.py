"""The files that the gateway answers itself: pages, guides, the documents for tools, and what the pages are made of."""

from collections.abc import Iterator
from importlib.resources import files

from server.gateway.static_files import StaticFile, digest
from server.reference import pages
from server.reference.document import Document, compact
from server.reference.guides import guides
from server.reference.llms import llms
from server.reference.postman import collection
from server.reference.samples import with_samples
from server.reference.viewer import for_viewer

VIEWER = "openapi-explorer.min.js"
HTML, MARKDOWN, TEXT = "text/html; charset=utf-8", "text/markdown; charset=utf-8", "text/plain; charset=utf-8"
CSS, SCRIPT, JSON = "text/css; charset=utf-8", "text/javascript; charset=utf-8", "application/json"
DOCUMENT, SHOWN, COLLECTION = "/docs/openapi.json", "/docs/viewer.json", "/docs/postman.json"


def site(document: Document) -> list[StaticFile]:
    """The files."""
    style = _asset("style.css", CSS)
    viewer = _asset(VIEWER, SCRIPT)
    complete = with_samples(document)
    return [
        style,
        viewer,
        *_pages(document, style.path, viewer.path),
        StaticFile(DOCUMENT, JSON, compact(complete)),
        StaticFile(SHOWN, JSON, compact(for_viewer(complete))),
        StaticFile(COLLECTION, JSON, compact(collection(document))),
        StaticFile("/llms.txt", TEXT, llms(document, guides()).encode()),
    ]


def _pages(document: Document, style: str, viewer: str) -> Iterator[StaticFile]:
    found, version = guides(), document["info"]["version"]
    yield StaticFile("/", HTML, pages.first_page(found, version, style).encode(), pages.POLICY)
    reference = pages.reference_page(style, viewer, SHOWN)
    yield StaticFile("/docs", HTML, reference.encode(), pages.REFERENCE_POLICY)
    for guide in found:
        html = pages.guide_page(guide, found, style)
        yield StaticFile(guide.path, HTML, html.encode(), pages.POLICY)
        yield StaticFile(f"{guide.path}.md", MARKDOWN, guide.text.encode())


def _asset(name: str, content_type: str) -> StaticFile:
    """A file of the folder of assets, under a path that its content names. The largest one is kept as gzip."""
    folder, stem, suffix = files("server.reference") / "assets", *name.rsplit(".", 1)
    compressed = folder / f"{name}.gz"
    content = compressed.read_bytes() if compressed.is_file() else (folder / name).read_bytes()
    path = f"/docs/assets/{stem}.{digest(content)}.{suffix}"
    if compressed.is_file():
        return StaticFile(path, content_type, b"", is_versioned=True, compressed=content)
    return StaticFile(path, content_type, content, is_versioned=True)
