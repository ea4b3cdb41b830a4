"""What may grow how: nothing faster than the number of services, and what a call costs not at all."""

from collections.abc import Sequence
from itertools import pairwise

from tests.bench.growth.measuring import Measured

PER_CALL = " us"
# How far a figure may be off from one start to the next, by its unit: what grows by less does not count as growing.
NOISE = {" s": 0.3, " MiB": 4.0, " KiB": 1.0}
# How much steeper the later stretch may be than the earlier one, and how much dearer a call may become.
STEEPER = 1.3
DEARER = 1.15
FASTER, DEARER_CALLS = "FASTER THAN LINEAR", "GROWS"


def judge(name: str, sizes: Sequence[int], values: Sequence[float]) -> str:
    """In words, how a figure grows over these numbers of services, in capitals where that is more than it may."""
    if name.endswith(PER_CALL):
        return DEARER_CALLS if max(values) > DEARER * values[0] else "level"
    noise = next(noise for unit, noise in NOISE.items() if name.endswith(unit))
    steps = [larger - smaller for smaller, larger in pairwise(sizes)]
    rises = [later - earlier for earlier, later in pairwise(values)]
    slope = max(rises[0] / steps[0], 0.0)
    if any(rise > slope * step * STEEPER + noise for rise, step in zip(rises[1:], steps[1:], strict=True)):
        return FASTER
    return "linear" if values[-1] - values[0] > noise else "level"


def verdicts(measured: Sequence[Measured]) -> dict[str, str]:
    """How each figure grows, by name."""
    sizes = [each.services for each in measured]
    return {name: judge(name, sizes, [each.figures[name] for each in measured]) for name in measured[0].figures}


def faults(measured: Sequence[Measured]) -> list[str]:
    """The names of the figures that grow more than they may."""
    return [name for name, verdict in verdicts(measured).items() if verdict.isupper()]


def table(measured: Sequence[Measured]) -> str:
    """A line per figure: its value at each size, and how it grows."""
    heads = ("services", *(str(each.services) for each in measured), "grows")
    rows = [
        (name, *(_text(name, each.figures[name]) for each in measured), verdict)
        for name, verdict in verdicts(measured).items()
    ]
    widths = [max(len(row[column]) for row in (heads, *rows)) for column in range(len(heads))]
    lines = [_line(row, widths) for row in (heads, *rows)]
    lines.insert(1, "-" * max(map(len, lines)))
    return "\n".join(lines)


def _text(name: str, value: float) -> str:
    return f"{value:.2f}" if name.endswith(" s") else f"{value:.0f}"


def _line(row: Sequence[str], widths: Sequence[int]) -> str:
    name, *values, verdict = row
    numbers = (value.rjust(width) for value, width in zip(values, widths[1:-1], strict=True))
    return "  ".join((name.ljust(widths[0]), *numbers, verdict))
