from collections.abc import Iterator

import pytest

from tests.limits.engine import Engine


@pytest.fixture(scope="module")
def engine() -> Iterator[Engine]:
    """A Redis of the module's own. Who kills it brings it back."""
    engine = Engine()
    try:
        yield engine.start()
    finally:
        engine.remove()
