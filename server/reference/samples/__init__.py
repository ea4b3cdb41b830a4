"""Code samples of operations. Each language has a module, with its name and a function that writes a call."""

from collections.abc import Iterator

from server.json_values import JsonObject
from server.reference.document import Document, Operation
from server.reference.samples import curl, python, typescript
from server.reference.samples.request import request_of

__all__ = ["with_samples"]
LANGUAGES = (curl, python, typescript)


def with_samples(document: Document) -> Document:
    """The document, where each operation has its samples as `x-code-samples`."""
    paths: dict[str, dict[str, Operation]] = {
        path: {verb: {**operation, "x-code-samples": list(_samples(path, verb, operation))}
               for verb, operation in verbs.items()}
        for path, verbs in document["paths"].items()
    }  # fmt: skip
    return {**document, "paths": paths}


def _samples(path: str, verb: str, operation: Operation) -> Iterator[JsonObject]:
    request = request_of(path, verb, operation)
    for language in LANGUAGES:
        yield {"lang": language.LANGUAGE, "label": language.LABEL, "source": language.sample(request)}
