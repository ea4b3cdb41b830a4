"""Paths: where comments stand in their thread.

The path of a comment is that of the comment above it and seven characters more, which count the comments of the story.
Compared by code point, paths have each comment before its replies and after what was written earlier beside it. They
never change, so that a page goes on behind the last path whatever is written meanwhile.
"""

LEVELS = 8
WIDTH = 7
DIGITS = "0123456789abcdefghijklmnopqrstuv"
"""In the order of their code points, so that paths sort as numbers do."""
END = "~"
"""Behind every digit."""


def path_below(path: str, number: int) -> str:
    """The path of the comment with a number that answers the one with this path; beside it at the last level."""
    above = path[: WIDTH * (LEVELS - 1)]
    return above + segment_of(number)


def segment_of(number: int) -> str:
    """A number as a part of a path. Raises OverflowError for one that has no room."""
    digits = []
    for _ in range(WIDTH):
        number, digit = divmod(number, len(DIGITS))
        digits.append(DIGITS[digit])
    if number:
        raise OverflowError("more comments than a story can have")
    return "".join(reversed(digits))


def depth_of(path: str) -> int:
    """The level of a comment, from 1."""
    return len(path) // WIDTH
