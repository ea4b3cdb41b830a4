"""Files that the gateway answers itself: the pages for people, and the documents for tools.

They are the same for every caller and change with the release alone, so neither a process nor a database is asked.
Envoy reads them once, when it starts; an answer costs a copy in memory.
"""

import gzip
import hashlib
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from server.gateway.pieces import Config, header, headers, typed

FOLDER = "static"
MUTATION = "envoy.filters.http.header_mutation"
# What these filters do is for calls of the API.
DISABLED = "type.googleapis.com/envoy.config.route.v3.FilterConfig"
UNUSED = ("envoy.filters.http.lua", "envoy.filters.http.compressor", "envoy.filters.http.grpc_json_transcoder")
# A page is asked about again, and answered with 304. What has its digest in its name never changes.
ASK_AGAIN, FOREVER = "public, no-cache", "public, max-age=31536000, immutable"
DIGEST_BYTES = 8
# Smaller ones fit a packet as they are.
COMPRESS_FROM_BYTES = 1024


@dataclass(frozen=True)
class StaticFile:
    """A file at an exact path, which anyone may get."""

    path: str
    content_type: str
    body: bytes
    policy: str = ""
    """The Content-Security-Policy; empty for that of every other response."""
    is_versioned: bool = False
    """Whether the path changes with the content."""
    compressed: bytes = field(default=b"", repr=False)
    """The body as gzip, for a file that is kept as one. Such a file is sent in no other form: the largest ones would
    take several times the memory for callers that no browser is."""

    @cached_property
    def digest(self) -> str:
        """A digest of the content, in hexadecimal."""
        return digest(self.compressed or self.body)

    @cached_property
    def forms(self) -> list[tuple[str, bytes]]:
        """The content by its Content-Encoding, in order of preference; the last one is for who accepts no other."""
        if self.compressed:
            return [("gzip", self.compressed)]
        if len(self.body) < COMPRESS_FROM_BYTES:
            return [("", self.body)]
        return [("gzip", gzip.compress(self.body, mtime=0)), ("", self.body)]

    def name_of(self, encoding: str) -> str:
        """The name of a form in the folder."""
        plain = re.sub(r"[^A-Za-z0-9.]+", "-", self.path).strip("-") or "index"
        return f"{plain}.{self.digest}" + (f".{encoding}" if encoding else "")


def digest(content: bytes) -> str:
    """A digest that names a content, in hexadecimal."""
    return hashlib.blake2b(content, digest_size=DIGEST_BYTES).hexdigest()


def write_files(files: Iterable[StaticFile], folder: Path) -> None:
    """Write every form of every file below the folder of the gateway. Others are removed."""
    place = folder / FOLDER
    place.mkdir(exist_ok=True)
    written = set()
    for file in files:
        for encoding, content in file.forms:
            written.add(file.name_of(encoding))
            (place / file.name_of(encoding)).write_bytes(content)
    for path in place.iterdir():
        if path.name not in written:
            path.unlink()


def largest(files: Iterable[StaticFile]) -> int:
    """Bytes of the largest form. Envoy refuses a larger body than it is told of."""
    return max((len(content) for file in files for _, content in file.forms), default=0)


def static_routes(files: Iterable[StaticFile], folder: Path) -> list[Config]:
    """The routes of the files: to who has a file already, by what the caller accepts, and as it is."""
    return [route for file in files for route in _routes_of(file, folder / FOLDER)]


def _routes_of(file: StaticFile, folder: Path) -> Iterator[Config]:
    known: Config = {"name": "if-none-match", "string_match": {"contains": file.digest}}
    yield _route(file, {"status": 304}, known)
    for encoding, _ in file.forms:
        accepted: Config = {"name": "accept-encoding", "string_match": {"contains": encoding}}
        answer: Config = {"status": 200, "body": {"filename": str(folder / file.name_of(encoding))}}
        conditions = [accepted] if encoding and not file.compressed else []
        yield _route(file, answer, *conditions, encoding=encoding)


def _route(file: StaticFile, answer: Config, *conditions: Config, encoding: str = "") -> Config:
    told = {
        "content-type": file.content_type,
        "etag": f'W/"{file.digest}"',
        "cache-control": FOREVER if file.is_versioned else ASK_AGAIN,
        "vary": "accept-encoding",
    }
    if answer["status"] != 200:  # noqa: PLR2004 - a 304 has no content
        del told["content-type"]
    if encoding:
        told["content-encoding"] = encoding
    reads = {"name": ":method", "string_match": {"safe_regex": {"regex": "GET|HEAD"}}}
    return {
        "match": {"path": file.path, "headers": [reads, *conditions]},
        "direct_response": answer,
        "response_headers_to_add": headers(told),
        "typed_per_filter_config": {
            **{name: {"@type": DISABLED, "disabled": True} for name in UNUSED},
            MUTATION: _mutation(file),
        },
    }


def _mutation(file: StaticFile) -> Config:
    """What is done after the headers of every response: Envoy's Location of a 304 goes, the file's policy comes."""
    mutations: list[Config] = [{"remove": "location"}]
    if file.policy:
        mutations.append({"append": header("content-security-policy", file.policy)})
    message = "extensions.filters.http.header_mutation.v3.HeaderMutationPerRoute"
    return typed(message, mutations={"response_mutations": mutations})
