"""Values of options."""

import argparse
from collections.abc import Callable


def above_zero(kind: type[float]) -> Callable[[str], float]:
    """Read a number of this kind, int or float, that is above 0."""

    def read(text: str) -> float:
        number = kind(text)
        if number <= 0:
            raise argparse.ArgumentTypeError(f"{text} is not above 0")
        return number

    # What argparse says of a text that is no number.
    read.__name__ = kind.__name__
    return read
