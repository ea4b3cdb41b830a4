"""The pages for people: the first page, the reference, and the frame of the guides."""

from collections.abc import Sequence
from html import escape

from server.reference.guides import Guide

# Nothing but what these pages come from, and no script that is not a file.
POLICY = (
    "default-src 'none'; style-src 'self'; img-src 'self' data:; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'"
)
# The viewer writes style elements of its own into its shadow root. It evaluates no text as script.
REFERENCE_POLICY = (
    "default-src 'none'; script-src 'self'; connect-src 'self'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_COLOURS = {
    "primary-color": "#0b5cad",
    "secondary-color": "#7cb8f5",
    "bg-color": "#ffffff",
    "text-color": "#1f2933",
    "nav-bg-color": "#1f2933",
    "nav-text-color": "#e4e7eb",
    "nav-hover-bg-color": "#323f4b",
    "nav-hover-text-color": "#ffffff",
}


def first_page(guides: Sequence[Guide], version: str, style: str) -> str:
    """What this is, and where to go."""
    listed = "".join(f'<li><a href="{guide.path}">{escape(guide.title)}</a>: {escape(guide.summary)}</li>\n'
                     for guide in guides)  # fmt: skip
    content = f"""\
<h1>Plinth</h1>
<p>One multi-tenant back end that many products stand on. Every resource is served over gRPC and over REST/JSON on this
port; live changes come as server-sent events. This is version {escape(version)}.</p>
<p>New here? <a href="/docs/guides/getting-started">Getting started</a> leads from signing up to a page that lists,
creates, publishes and updates live.</p>
<h2>Reference</h2>
<ul>
<li><a href="/docs">Reference</a>: every operation, with search, code samples, and calls from the page</li>
<li><a href="/docs/openapi.json">OpenAPI document</a>, <a href="/docs/postman.json">Postman collection</a>,
<a href="/llms.txt">llms.txt</a></li>
<li>gRPC: server reflection is on (<code>grpcurl</code>), and so is <code>grpc.health.v1</code></li>
</ul>
<h2>Guides</h2>
<ul>
{listed}</ul>
<p class="faint"><a href="/api/v1/health">Health</a></p>
"""
    return page("Plinth", content, style, "/")


def guide_page(guide: Guide, guides: Sequence[Guide], style: str) -> str:
    """A guide, with what comes after it."""
    following = guides[guides.index(guide) + 1 :]
    after = following[0] if following else None
    next_one = f'<p>Next: <a href="{after.path}">{escape(after.title)}</a></p>\n' if after else ""
    return page(guide.title, guide.html() + next_one, style, guide.path, guides)


def page(title: str, content: str, style: str, path: str, guides: Sequence[Guide] = ()) -> str:
    """A page without script. `style` is where the style sheet is; `path` is where the page is."""
    return f"""\
{_head(title, style)}
<body>
{_header(path, guides)}<main>
{content}</main>
</body>
</html>
"""


def reference_page(style: str, viewer: str, document: str) -> str:
    """The reference. `viewer` and `document` are where its script and the OpenAPI document are."""
    colours = " ".join(f'{name}="{value}"' for name, value in _COLOURS.items())
    return f"""\
{_head("Reference", style, f'<script defer src="{viewer}"></script>')}
<body class="whole">
{_header("/docs", ())}<div id="reference">
<openapi-explorer spec-url="{document}" hide-server-selection="true" hide-components="true" collapse="true" {colours}>
</openapi-explorer>
<noscript>The reference needs JavaScript. <a href="/llms.txt">llms.txt</a> lists every operation without it.</noscript>
</div>
</body>
</html>
"""


def _head(title: str, style: str, more: str = "") -> str:
    name = "Plinth" if title == "Plinth" else f"{title} - Plinth"
    return f"""\
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{escape(name)}</title>
<link rel="icon" href="data:,">
<link rel="stylesheet" href="{style}">
{more}
</head>"""


def _header(path: str, guides: Sequence[Guide]) -> str:
    entries = [("/", "Plinth"), ("/docs", "Reference")]
    entries += [(guide.path, guide.title) for guide in guides] or [("/docs/guides/getting-started", "Guides")]
    links = "\n".join(
        f'<a href="{target}"{" aria-current=page" if target == path else ""}>{escape(text)}</a>'
        for target, text in entries
    )
    return f"<header><nav>\n{links}\n</nav></header>\n"
