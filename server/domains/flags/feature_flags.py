"""Feature flags: what they may be, and what evaluations tell about them."""

from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime, timedelta

from google.protobuf.empty_pb2 import Empty
from google.protobuf.struct_pb2 import Value
from plinth.flags.v1 import feature_flag_pb2
from plinth.flags.v1.feature_flag_pb2 import FeatureFlag, FlagServing, FlagVariant
from sqlalchemy import bindparam, func, select
from sqlalchemy.dialects.postgresql import ARRAY, UUID

from server.data.statements import Row, Statement
from server.domains.flags.evaluation import WHOLE
from server.domains.flags.tables import feature_flag_evaluations, feature_flags
from server.kernel.call import Call
from server.kernel.clock import Clock
from server.kernel.problems import Reason, StateForbids, Violation, broken_rules
from server.kernel.resources import ConversionPlan, Resource, Service

MOST = 500
LONGEST_CHAIN = 10
SETTLED = timedelta(days=30)
KINDS: Mapping[int, tuple[str, ...]] = {
    FeatureFlag.KIND_BOOLEAN: ("bool_value",),
    FeatureFlag.KIND_STRING: ("string_value",),
    FeatureFlag.KIND_NUMBER: ("number_value",),
    FeatureFlag.KIND_OBJECT: ("struct_value", "list_value"),
}
PLAN = ConversionPlan(FeatureFlag, feature_flags, (), ("last_evaluation_time", "lifecycle"))
_f, _e = feature_flags.c, feature_flag_evaluations.c
_of_tenant = _f.tenant_id == bindparam("tenant", type_=_f.tenant_id.type)
ALL = Statement(select(*PLAN.columns).where(_of_tenant).order_by(_f.key).limit(MOST))
"""The flags of the tenant `tenant`."""
# Of a flag's prerequisites, whichever call changes one of them waits for the others: they lead to each other.
LOCK_ALL = Statement(select(*PLAN.columns).where(_of_tenant).order_by(_f.id).limit(MOST).with_for_update())
EVIDENCE = Statement(
    select(
        _e.flag_id,
        func.max(_e.last_time).label("last_time"),
        func.count(_e.variant.distinct()).filter(_e.day >= bindparam("since", type_=_e.day.type)).label("variants"),
    )
    .where(
        _e.tenant_id == bindparam("tenant", type_=_e.tenant_id.type),
        _e.flag_id.in_(select(func.unnest(bindparam("ids", type_=ARRAY(UUID(as_uuid=False)))))),
    )
    .group_by(_e.flag_id)
)
"""When flags were last evaluated, and how many variants anybody got since a day."""


class FeatureFlagService(Service[FeatureFlag]):
    """Feature flags."""

    descriptor = feature_flag_pb2.DESCRIPTOR.services_by_name["FeatureFlagService"]
    resource = Resource(
        FeatureFlag,
        feature_flags,
        filterable=("id", "key", "enabled", "create_time", "update_time"),
        sortable=("create_time", "key"),
        unique={"feature_flags_key_key": "key"},
        computed=("last_evaluation_time", "lifecycle"),
        most=MOST,
    )

    def __init__(self, clock: Clock) -> None:
        super().__init__()
        self._clock = clock

    def prepare(self, call: Call, resource: FeatureFlag, before: FeatureFlag | None) -> None:
        """A boolean flag needs nothing said to be on or off. Shares that are new take the place of a variant."""
        del call
        if before is not None:
            _keep_the_new_one(resource.default_serving, before.default_serving)
        resource.kind = resource.kind or FeatureFlag.KIND_BOOLEAN
        if resource.kind != FeatureFlag.KIND_BOOLEAN:
            return
        if not resource.variants:
            resource.variants.extend(
                FlagVariant(name=name, value=Value(bool_value=name == "on")) for name in ("on", "off")
            )
        resource.off_variant = resource.off_variant or "off"
        if not resource.default_serving.variant and not resource.default_serving.shares:
            resource.default_serving.variant = "on"

    def check(self, call: Call, resource: FeatureFlag, before: FeatureFlag | None) -> None:
        """Refuse variants that are not there, shares that are no whole, and prerequisites that lead in a circle."""
        if before is not None and resource.kind != before.kind:
            # It is refused, since it cannot change.
            return
        faults = [*_variant_faults(resource), *_serving_faults(resource)]
        known = before or FeatureFlag(variants=resource.variants)
        if resource.prerequisites != known.prerequisites or resource.variants != known.variants:
            others = {each.key: each for each in PLAN.messages(call.writes.run(LOCK_ALL, tenant=call.tenant_id))}
            faults += list(_prerequisite_faults(resource, others)) or list(_chain_faults(resource, others))
            names = {variant.name for variant in resource.variants}
            _refuse_lost(others.values(), resource, names)
        if faults:
            raise broken_rules(faults)

    def delete_feature_flag(self, call: Call, request: feature_flag_pb2.DeleteFeatureFlagRequest) -> Empty:
        """Delete a flag that no other one needs."""
        others = PLAN.messages(call.writes.run(LOCK_ALL, tenant=call.tenant_id))
        before = self.rows.lock(call, request.feature_flag_id, etag=request.etag)
        _refuse_lost(others, before, set())
        call.event_payload = self.rows.delete(call, before)
        return Empty()

    def present(self, call: Call, resources: list[FeatureFlag]) -> None:
        """Show what evaluations tell."""
        now = self._clock()
        ids = [flag.id for flag in resources]
        since = (now - SETTLED).date().isoformat()
        found = call.reads.run(EVIDENCE, tenant=call.tenant_id, ids=ids, since=since).all() if ids else []
        evidence = {row["flag_id"]: row for row in found}
        for flag in resources:
            _show_evidence(flag, evidence.get(flag.id), now)


def _keep_the_new_one(serving: FlagServing, before: FlagServing) -> None:
    """Of a variant and shares, drop the one that was there before the other came."""
    if serving.variant and serving.shares:
        if serving.shares != before.shares and serving.variant == before.variant:
            serving.variant = ""
        elif serving.variant != before.variant and serving.shares == before.shares:
            del serving.shares[:]


def _show_evidence(flag: FeatureFlag, found: Row | None, now: datetime) -> None:
    flag.ClearField("last_evaluation_time")
    if found is None:
        flag.lifecycle = FeatureFlag.LIFECYCLE_NEW
        return
    flag.last_evaluation_time.FromDatetime(found["last_time"])
    if now - found["last_time"] > SETTLED:
        flag.lifecycle = FeatureFlag.LIFECYCLE_UNUSED
    elif found["variants"] == 1 and now - flag.update_time.ToDatetime(now.tzinfo) > SETTLED:
        flag.lifecycle = FeatureFlag.LIFECYCLE_SETTLED
    else:
        flag.lifecycle = FeatureFlag.LIFECYCLE_ACTIVE


def _variant_faults(flag: FeatureFlag) -> Iterator[Violation]:
    names: set[str] = set()
    for place, variant in enumerate(flag.variants):
        field = f"feature_flag.variants[{place}]"
        if variant.name in names:
            yield Violation(f"{field}.name", "is there already", "variant.unique")
        names.add(variant.name)
        if variant.value.WhichOneof("kind") not in KINDS[flag.kind]:
            yield Violation(f"{field}.value", "is not of the kind of the flag", "variant.kind")
    if not names:
        yield Violation("feature_flag.variants", "are needed by a flag of this kind", "variants.some")
    if flag.off_variant not in names:
        yield Violation("feature_flag.off_variant", "is no variant of the flag", "variant.known")


def _serving_faults(flag: FeatureFlag) -> Iterator[Violation]:
    names = {variant.name for variant in flag.variants}
    servings = [("feature_flag.default_serving", flag.default_serving)]
    servings += [(f"feature_flag.rules[{place}].serving", rule.serving) for place, rule in enumerate(flag.rules)]
    for field, serving in servings:
        yield from _faults_of_one(field, serving, names)
    for place, rule in enumerate(flag.rules):
        for number, condition in enumerate(rule.conditions):
            takes_none = condition.operator == feature_flag_pb2.FlagCondition.OPERATOR_EXISTS
            if takes_none == bool(condition.values):
                field = f"feature_flag.rules[{place}].conditions[{number}].values"
                fault = "are not compared with whether the attribute exists" if takes_none else "are required"
                yield Violation(field, fault, "condition.values")
    if flag.HasField("enable_time") and flag.HasField("disable_time"):
        start, end = flag.enable_time, flag.disable_time
        if (start.seconds, start.nanos) >= (end.seconds, end.nanos):
            yield Violation("feature_flag.disable_time", "is not after `enable_time`", "schedule.order")


def _faults_of_one(field: str, serving: FlagServing, names: set[str]) -> Iterator[Violation]:
    if bool(serving.variant) == bool(serving.shares):
        yield Violation(field, "says a `variant`, or `shares`", "serving.one")
        return
    if serving.variant and serving.variant not in names:
        yield Violation(f"{field}.variant", "is no variant of the flag", "variant.known")
    for place, share in enumerate(serving.shares):
        if share.variant not in names:
            yield Violation(f"{field}.shares[{place}].variant", "is no variant of the flag", "variant.known")
    if serving.shares and sum(share.weight for share in serving.shares) != WHOLE:
        yield Violation(f"{field}.shares", "have weights that do not add up to 10,000", "shares.whole")


def _prerequisite_faults(flag: FeatureFlag, others: Mapping[str, FeatureFlag]) -> Iterator[Violation]:
    for place, wanted in enumerate(flag.prerequisites):
        field = f"feature_flag.prerequisites[{place}]"
        other = others.get(wanted.key)
        if wanted.key == flag.key or flag.key in _needed_by(wanted.key, others):
            yield Violation(f"{field}.key", "leads back to this flag", "prerequisite.circle")
        elif other is None:
            yield Violation(f"{field}.key", "is the key of no flag", "prerequisite.known")
        elif wanted.variant not in {variant.name for variant in other.variants}:
            yield Violation(f"{field}.variant", "is no variant of that flag", "variant.known")


def _chain_faults(flag: FeatureFlag, others: Mapping[str, FeatureFlag]) -> Iterator[Violation]:
    if _longest_chain({**others, flag.key: flag}) > LONGEST_CHAIN:
        fault = f"make a chain of more than {LONGEST_CHAIN} flags that need each other"
        yield Violation("feature_flag.prerequisites", fault, "prerequisite.chain")


def _needed_by(key: str, flags: Mapping[str, FeatureFlag]) -> set[str]:
    """The keys of the flags to which the prerequisites of a flag lead."""
    found: set[str] = set()
    level = {key}
    while level:
        level = {each.key for one in level if one in flags for each in flags[one].prerequisites} - found
        found |= level
    return found


def _longest_chain(flags: Mapping[str, FeatureFlag]) -> int:
    """How many prerequisites follow each other at most, where none of them lead in a circle."""
    lengths: dict[str, int] = {}

    def length(key: str) -> int:
        if key not in lengths:
            lengths[key] = 0
            below = (length(each.key) for each in flags[key].prerequisites if each.key in flags)
            lengths[key] = max((one + 1 for one in below), default=0)
        return lengths[key]

    return max(map(length, flags))


def _refuse_lost(flags: Iterable[FeatureFlag], flag: FeatureFlag, kept: set[str]) -> None:
    """Raise StateForbids if another flag needs a variant that is not kept."""
    for other in flags:
        for wanted in other.prerequisites:
            if wanted.key == flag.key and wanted.variant not in kept:
                raise StateForbids(
                    f"The flag `{other.key}` needs the variant `{wanted.variant}` of this one.",
                    reason=Reason.REASON_REFERENCE_INVALID,
                )
