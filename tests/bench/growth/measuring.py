"""Starts the stack of a stamped project, and measures what it takes: time, memory, and CPU time per call."""

import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil
from plinth.sites.v1 import page_pb2

from tests.bench.clocks import OTHER_CORES, SERVER_CORE, cpu_seconds, pin
from tests.bench.growth.stamping import stamp
from tests.bench.load import GrpcLoad, Load, RestLoad, ask
from tests.bench.subject import API, HIGH_LIMITS, TOKEN_LIFETIME, Subject, subject_of
from tests.stack import Stack

GET_PAGE = "/plinth.sites.v1.PageService/GetPage"
API_WORKERS = 2
ROUNDS = 15
CALLS = 2_000
# Makes connections, composes the chain and fills the caches.
FIRST_CALLS = 500
# Seconds after which an idle stack has done what it does once, and its pools have closed what nobody needs of them.
SETTLED = 75.0
GROUPS = ("supervisor", "api", "realtime", "worker", "postgres", "redis", "envoy")
FAMILIES = ("postgres", "redis", "envoy")
KIB_PER_MIB = 1024
# The project, beside the data, in the folder of a size.
TREE = "tree"


@dataclass(frozen=True, slots=True)
class Measured:
    """What a stack of some size takes."""

    services: int
    figures: dict[str, float]
    """By name, whose end is the unit."""


class StampedStack(Stack):
    """A stack of the project in a folder of its own."""

    def __init__(self, tree: Path, data_dir: Path, **settings: object) -> None:
        own = {"access_token_lifetime": TOKEN_LIFETIME, "rate_limits": HIGH_LIMITS}
        super().__init__(data_dir, **own, **settings)
        self._tree = tree

    def _environment(self) -> dict[str, str]:
        return super()._environment() | {"PYTHONPATH": f"{self._tree}{os.pathsep}{self._tree}/clients/python/src"}


@contextmanager
def scratch() -> Iterator[Path]:
    """A folder that the engines' user may pass through, and that is removed in the end."""
    stack = Stack()
    try:
        yield stack.data_dir.parent
    finally:
        stack.remove()


def measure(sizes: Sequence[int], today: int) -> list[Measured]:
    """Measure stacks of so many services, `today` of which are the project's own.

    Starts and memory are measured with one stack at a time. What a call costs is measured with all of them running, in
    turns: minutes apart, the machine alone makes a call a third dearer or cheaper.
    """
    with ExitStack() as folders:
        places = {size: folders.enter_context(scratch()) for size in sizes}
        figures = {size: _alone(place, size - today) for size, place in places.items()}
        for how in ("cached", "uncached"):
            with ExitStack() as running:
                stacks = {size: _stack(place, cache_enabled=how == "cached") for size, place in places.items()}
                for stack in stacks.values():
                    running.enter_context(_running(stack))
                for size, costs in _reads(stacks, how).items():
                    figures[size] |= costs
    return [Measured(size, found) for size, found in figures.items()]


def _alone(folder: Path, copies: int) -> dict[str, float]:
    """Stamp out a project into a folder, and measure what its stack takes to start and when it is idle."""
    (folder / TREE).mkdir(mode=0o755)
    stamp(folder / TREE, copies)
    stack = _stack(folder)
    with _running(stack) as took:
        figures = {"first start s": took}
    with _running(stack) as took:
        figures |= {"start s": took} | _cpu_of_start(stack)
        time.sleep(SETTLED)
        return figures | _memory(stack) | _gateway(stack)


def _stack(folder: Path, **settings: object) -> StampedStack:
    return StampedStack(folder / TREE, folder / "data", api_workers=API_WORKERS, **settings)


@contextmanager
def _running(stack: Stack) -> Iterator[float]:
    """The stack while it runs, and the seconds that its start took."""
    began = time.perf_counter()
    try:
        stack.start()
        yield time.perf_counter() - began
    finally:
        stack.stop()


def _cpu_of_start(stack: Stack) -> dict[str, float]:
    """CPU seconds until the stack served: what is imported and composed once, and what each api worker adds."""
    processes = stack.processes()
    return {
        "start CPU supervisor s": cpu_seconds(processes["supervisor"]),
        "start CPU api worker s": cpu_seconds(processes[API]),
    }


def _memory(stack: Stack) -> dict[str, float]:
    """Proportional set sizes in MiB, by kind of process and in all."""
    sizes = dict.fromkeys(GROUPS, 0.0)
    files = 0.0
    for name, pid in stack.processes().items():
        group = name.partition("-")[0]
        for each in _family(pid) if group in FAMILIES else [pid]:
            found = _rollup(each)
            sizes[group] += found.get("Pss", 0.0)
            files += found.get("Pss_File", 0.0)
    everything = sum(sizes.values())
    sizes["api"] /= API_WORKERS
    named = {f"{'each api worker' if group == 'api' else group} MiB": size for group, size in sizes.items()}
    return named | {"in all MiB": everything, "in all but files MiB": everything - files}


def _family(pid: int) -> list[int]:
    return [pid, *(child.pid for child in psutil.Process(pid).children(recursive=True))]


def _rollup(pid: int) -> dict[str, float]:
    """The sums over a process's memory in MiB, by the kernel's names; empty for a process that has just ended."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]
    except OSError:
        return {}
    fields = (line.split() for line in lines)
    return {name.rstrip(":"): int(size) / KIB_PER_MIB for name, size, *_ in fields}


def _gateway(stack: Stack) -> dict[str, float]:
    files = (stack.data_dir / "gateway").iterdir()
    return {"Envoy's configuration KiB": sum(file.stat().st_size for file in files) / KIB_PER_MIB}


def _reads(stacks: Mapping[int, Stack], how: str) -> dict[int, dict[str, float]]:
    """CPU time of a read by size, in microseconds: of the api worker, and where it is cached of Envoy over REST."""
    subjects = {size: subject_of(stack) for size, stack in stacks.items()}
    for subject in subjects.values():
        pin(subject.api, SERVER_CORE)
    found = {f"{how} read us": {size: (_grpc(one), one.api) for size, one in subjects.items()}}
    if how == "cached":
        found["Envoy's read us"] = {size: (_rest(one), one.envoy) for size, one in subjects.items()}
    usual = os.sched_getaffinity(0)
    os.sched_setaffinity(0, OTHER_CORES)
    try:
        costs = {name: _costs(loads) for name, loads in found.items()}
    finally:
        os.sched_setaffinity(0, usual)
    return {size: {name: by_size[size] for name, by_size in costs.items()} for size in stacks}


def _grpc(subject: Subject) -> Load:
    request = page_pb2.GetPageRequest(tenant_id=subject.tenant_id, page_id=subject.page_id).SerializeToString()
    answer = subject.get_page().SerializeToString()
    return GrpcLoad(subject.api_socket, GET_PAGE, request, answer, subject.token)


def _rest(subject: Subject) -> Load:
    path = f"/api/v1/tenants/{subject.tenant_id}/pages/{subject.page_id}"
    return RestLoad(subject.port, path, subject.token, ask(subject.port, "GET", path, subject.token)[1])


def _costs(loads: Mapping[int, tuple[Load, int]]) -> dict[int, float]:
    """The least that a call took each process in any round: what else runs on the machine only adds to it."""
    for load, _ in loads.values():
        load(FIRST_CALLS)
    rounds = [{size: _round(load, pid) for size, (load, pid) in loads.items()} for _ in range(ROUNDS)]
    return {size: min(each[size] for each in rounds) for size in loads}


def _round(load: Load, pid: int) -> float:
    before = cpu_seconds(pid)
    load(CALLS)
    return (cpu_seconds(pid) - before) / CALLS * 1e6
