"""The table at the end, and the same as JSON."""

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from statistics import median
from typing import Any

from tests.bench.engine import Goal, Result, Sample, latencies
from tests.bench.load import IN_FLIGHT

HEADS = (
    "what",
    "goal",
    "ratio",
    "min..max",
    "",
    "server us",
    "Envoy us",
    "PostgreSQL us",
    "Redis us",
    "others us",
    "all us",
    "wall req/s",
)
SHORT = "FALLS SHORT"
# What CPU of all processes a write may take, as a multiple of what an uncached read takes.
READ = "get-rest"
WRITES = {"create": Goal(1.7, at_least=False), "create-whole": Goal(2.5, at_least=False)}
NOTES = f"""\
The sides took turns; a ratio is the median of those of neighbouring rounds, and min..max are their extremes.
Pairs are `Plinth / baseline`. A ratio compares requests per CPU second of the server: the api worker, or the process of
the baseline. For ListPages it compares the median latencies of calls that wait for each other.
us: CPU time per request, user and system, of the processes named; `others` are realtime and worker, `all` is the sum.
The server has a core of its own; all else, the load generator too, shares the others. {IN_FLIGHT} requests were in
flight.
One page is read over and over. Where it says `cached`, each side answers it from its cache, and hello-world holds it;
elsewhere every request reads the database. But for `limits off`, Plinth counts each call against a limit that is never
reached, and so does FastAPI where it says so."""


def table(results: Sequence[Result], quick: str = "") -> str:
    """Write the results as a table."""
    rows = [HEADS, *(_row(result) for result in results), *_further_rows(results)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(HEADS))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    lines.insert(1, "-" * max(map(len, lines)))
    notes = dict.fromkeys(result.case.note for result in results if result.case.note)
    return "\n".join([*lines, "", NOTES, *notes, *([quick] if quick else [])])


def save(results: Sequence[Result], path: Path) -> None:
    """Write everything that was measured as JSON."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps([_entry(result) for result in results], indent=2) + "\n")


def _row(result: Result) -> tuple[str, ...]:
    case = result.case
    return (
        case.title,
        str(case.goal),
        f"{result.ratio:.2f}",
        f"{min(result.ratios):.2f}..{max(result.ratios):.2f}",
        "pass" if result.passed else SHORT,
        _pair(result, lambda sample: sample.server_us, "{:.0f}"),
        *(_pair(result, _cpu_us(name), "{:.0f}") for name in ("envoy", "postgres", "redis", "others")),
        _pair(result, lambda sample: sample.whole_us, "{:.0f}"),
        _pair(result, _rate_at_one if case.ratio is latencies else lambda sample: sample.rate, "{:.0f}"),
    )


def _further_rows(results: Sequence[Result]) -> Iterator[tuple[str, ...]]:
    """What is compared besides: requests per second of the whole machine, and the CPU of a write against a read's."""
    for result in results:
        if result.case.machine:
            yield _verdict(f"whole machine: {result.case.title}", result.case.machine, result.machine_ratios)
    costs = {result.case.name: result.whole_us for result in results}
    for name, goal in WRITES.items():
        if name in costs and READ in costs:
            title = f"all processes: {name} / {READ}, CPU per request"
            yield _verdict(title, goal, (costs[name] / costs[READ],))


def _verdict(title: str, goal: Goal, ratios: Sequence[float]) -> tuple[str, ...]:
    ratio = median(ratios)
    passed = "pass" if goal.met_by(ratio) else SHORT
    return (title, str(goal), f"{ratio:.2f}", f"{min(ratios):.2f}..{max(ratios):.2f}", passed, *[""] * (len(HEADS) - 5))


def _pair(result: Result, figure: Callable[[Sample], float | None], form: str) -> str:
    return " / ".join(_figure(samples, figure, form) for samples in (result.subject, result.baseline))


def _figure(samples: Sequence[Sample], figure: Callable[[Sample], float | None], form: str) -> str:
    value = _median(samples, figure)
    return "-" if value is None else form.format(value)


def _median(samples: Sequence[Sample], figure: Callable[[Sample], float | None]) -> float | None:
    known = [value for value in map(figure, samples) if value is not None]
    return median(known) if known else None


def _cpu_us(name: str) -> Callable[[Sample], float | None]:
    return lambda sample: sample.cpu[name] / sample.requests * 1e6 if name in sample.cpu else None


def _rate_at_one(sample: Sample) -> float:
    return 1 / sample.latency


def _entry(result: Result) -> dict[str, Any]:
    case = result.case
    return {
        "name": case.name,
        "title": case.title,
        "goal": str(case.goal),
        "ratio": result.ratio,
        "ratios": result.ratios,
        "passed": result.passed,
        "whole_us": result.whole_us,
        "machine_ratios": result.machine_ratios,
        "sides": {
            role: {"name": side.name, "server_us": _median(samples, lambda sample: sample.server_us)}
            | {"rounds": [asdict(sample) for sample in samples]}
            for role, side, samples in (
                ("subject", case.subject, result.subject),
                ("baseline", case.baseline, result.baseline),
            )
        },
    }
