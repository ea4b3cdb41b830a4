"""Where the CPU time of the server under test goes: py-spy for Python frames, perf for what is below them."""

import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.bench.engine import Sample, Side, calibrate, sample

SECONDS = 10
HERTZ = 250
TOP = 45
HOW_TO_INSTALL = "--profile needs py-spy (.venv/bin/pip install py-spy) or perf (apt-get install -y linux-perf)"


class NoProfilerError(Exception):
    """Nothing to profile with."""


def profile(name: str, side: Side, folder: Path) -> list[Path]:
    """Profile the server of a side under its load, once with each tool there is; answer the files written."""
    spy, perf = _find("py-spy"), _find("perf")
    if spy is None and perf is None:
        raise NoProfilerError(HOW_TO_INSTALL)
    folder.mkdir(parents=True, exist_ok=True)
    # Longer than the recording, which starts and ends within it.
    count = calibrate(side, SECONDS + 4)
    written = _py_spy(spy, folder / name, side, count) if spy else []
    return written + (_perf(perf, folder / name, side, count) if perf else [])


def top(folded: str, us_per_sample: float, title: str) -> str:
    """List the functions of folded stacks (`outer;inner count` a line) by what they took themselves and with calls."""
    own: Counter[str] = Counter()
    whole: Counter[str] = Counter()
    for line in folded.splitlines():
        stack, _, count = line.rpartition(" ")
        frames = stack.split(";")
        own[frames[-1]] += int(count)
        # A recursive function counts once.
        whole.update(dict.fromkeys(frames, int(count)))
    parts = [f"{title}\n"]
    for heading, counts in (("itself", own), ("with what it calls", whole)):
        parts.append(f"\n   share     us  {heading}\n")
        parts += [
            f"{count / max(1, own.total()):8.1%} {count * us_per_sample:6.1f}  {frame}\n"
            for frame, count in counts.most_common(TOP)
        ]
    return "".join(parts)


def _py_spy(program: str, stem: Path, side: Side, count: int) -> list[Path]:
    folded, picture, listing = (stem.with_suffix(suffix) for suffix in (".folded", ".svg", ".txt"))
    # Whoever holds the GIL is sampled: exactly one thread. What runs without it, such as gRPC's core, perf shows.
    record = [program, "record", f"--pid={side.pid}", f"--duration={SECONDS}", f"--rate={HERTZ}", "--gil", "--function"]
    taken = _recorded([*record, "--format=raw", f"--output={folded}"], side, count)
    _recorded([*record, "--format=flamegraph", f"--output={picture}"], side, count)
    us_per_sample = taken.seconds / taken.requests / (HERTZ * SECONDS) * 1e6
    title = f"{_summary(taken)}; Python that holds the GIL, in us of time per request:"
    listing.write_text(top(folded.read_text(), us_per_sample, title))
    return [folded, picture, listing]


def _perf(program: str, stem: Path, side: Side, count: int) -> list[Path]:
    data, listing = stem.with_suffix(".perf"), stem.with_suffix(".perf.txt")
    # A clock in software, since virtual machines often have no counters in hardware.
    record = [program, "record", "--event=cpu-clock", f"--freq={HERTZ}", f"--pid={side.pid}", f"--output={data}"]
    parts = [_summary(_recorded([*record, "--", "sleep", str(SECONDS)], side, count))]
    for fields in ("overhead,pid", "overhead,dso", "overhead,dso,symbol"):
        report = [program, "report", f"--input={data}", "--stdio", f"--fields={fields}", "--percent-limit=0.5"]
        parts.append(subprocess.run(report, check=True, capture_output=True, text=True).stdout)
    listing.write_text("\n".join(parts))
    return [data, listing]


def _summary(taken: Sample) -> str:
    return (
        f"{taken.server_us:.0f} us of CPU time per request under the profiler, {taken.requests / taken.seconds:.0f}/s"
    )


def _recorded(command: Sequence[str], side: Side, count: int) -> Sample:
    """Run a recording while the side is under load; answer what the load took."""
    with ThreadPoolExecutor(1) as pool:
        loaded = pool.submit(sample, side, count)
        done = subprocess.run(command, check=False, capture_output=True, text=True)
        taken = loaded.result()
    if done.returncode != 0:
        raise NoProfilerError(f"{command[0]} failed: {done.stderr.strip()[-1000:]}")
    return taken


def _find(program: str) -> str | None:
    return shutil.which(program, path=str(Path(sys.executable).parent)) or shutil.which(program)
