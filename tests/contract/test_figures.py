"""RPCs that answer figures: each can be asked for what is behind it, waits its turn, and is not cached for long."""

from collections.abc import Iterable, Iterator
from dataclasses import replace

from server import app
from server.kernel.policy import Criticality, MethodPolicy
from tests.contract.checks import reachable

FIGURES = frozenset(("plinth.types.v1.Metric", "plinth.types.v1.Series"))
# Seconds. Figures of a range that lasts change with the clock, and no write invalidates them for that.
LONGEST_CACHED = 60


def answers_figures(method: MethodPolicy) -> bool:
    fields = reachable(method.descriptor.output_type, into_output=True)
    return any(field.message_type is not None and field.message_type.full_name in FIGURES for _, field in fields)


def figure_faults(methods: Iterable[MethodPolicy]) -> Iterator[str]:
    methods = list(methods)
    for method in filter(answers_figures, methods):
        service = method.descriptor.containing_service
        names = [
            each.descriptor.input_type.fields_by_name
            for each in methods
            if each.descriptor.containing_service is service
        ]
        if not method.read_only:
            yield f"{method.path} answers figures: say that it has NO_SIDE_EFFECTS"
        if method.criticality is not Criticality.SHEDDABLE:
            yield f"{method.path} answers figures, which can be asked for later: make it SHEDDABLE"
        if method.cache_seconds > LONGEST_CACHED:
            yield f"{method.path} answers figures: cache them for {LONGEST_CACHED} seconds at most"
        if not any({"metric", "page_token"} <= {*fields} for fields in names):
            yield f"{method.path} answers figures: add an RPC that lists their members by `metric`"


def test_figures_are_reads_with_members_that_are_shed_first_and_not_cached_for_long() -> None:
    assert [method.name for method in app.policies().values() if answers_figures(method)]
    assert list(figure_faults(app.policies().values())) == []


def test_each_fault_is_found() -> None:
    (method,) = [method for method in app.policies().values() if method.name == "GetSecurityOverview"]
    bad = replace(method, read_only=False, criticality=Criticality.NORMAL, cache_seconds=61)
    assert [fault.removeprefix(f"{method.path} answers figures") for fault in figure_faults([bad])] == [
        ": say that it has NO_SIDE_EFFECTS",
        ", which can be asked for later: make it SHEDDABLE",
        ": cache them for 60 seconds at most",
        ": add an RPC that lists their members by `metric`",
    ]
