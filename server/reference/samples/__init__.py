"""Code samples of operations. Each language has a module, with its name and a function that writes a call."""

from collections.abc import Iterator, Mapping
from typing import Any

from server.reference.sample_values import Examples
from server.reference.samples import curl, python, typescript
from server.reference.samples.request import request_of

__all__ = ["with_samples"]
LANGUAGES = (curl, python, typescript)


def with_samples(document: Mapping[str, Any]) -> dict[str, Any]:
    """The document, where each operation has its samples as `x-code-samples`."""
    examples = Examples(document["components"]["schemas"])
    paths = {
        path: {verb: operation | {"x-code-samples": list(_samples(path, verb, operation, examples))}
               for verb, operation in verbs.items()}
        for path, verbs in document["paths"].items()
    }  # fmt: skip
    return {**document, "paths": paths}


def _samples(path: str, verb: str, operation: Mapping[str, Any], examples: Examples) -> Iterator[dict[str, str]]:
    request = request_of(path, verb, operation, examples)
    for language in LANGUAGES:
        yield {"lang": language.LANGUAGE, "label": language.LABEL, "source": language.sample(request)}
