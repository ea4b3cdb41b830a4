"""Evaluation of flags: pure functions of the flags of a tenant, a context and a moment."""

import hashlib
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from google.protobuf import json_format
from google.protobuf.struct_pb2 import Struct
from google.protobuf.timestamp_pb2 import Timestamp
from plinth.flags.v1.feature_flag_pb2 import FeatureFlag, FlagCondition, FlagPrerequisite, FlagServing

from server.json_values import JsonValue

TARGETING_KEY = "targetingKey"
WHOLE = 10_000
"""What the shares of a serving add up to."""
LONGEST_VERSION = 100
"""Characters of a version that count."""
STATIC, SPLIT, MATCH, DISABLED = "STATIC", "SPLIT", "TARGETING_MATCH", "DISABLED"
Context = Mapping[str, JsonValue]
COMPARISONS: Mapping[int, Callable[[str, str], bool]] = {
    FlagCondition.OPERATOR_CONTAINS: str.__contains__,
    FlagCondition.OPERATOR_STARTS_WITH: str.startswith,
    FlagCondition.OPERATOR_ENDS_WITH: str.endswith,
}
_version_parts = re.compile(r"\d+")


class NoUnit(Exception):
    """Shares are drawn by an attribute that the context lacks."""

    def __init__(self, attribute: str) -> None:
        self.attribute = attribute
        super().__init__(attribute)


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What a flag is for a context."""

    variant: str
    reason: str
    """As OpenFeature names it."""


@dataclass(frozen=True, slots=True)
class Flag:
    """A flag that can be evaluated."""

    message: FeatureFlag
    values: Mapping[str, JsonValue]
    """The value of each variant, by its name."""

    @staticmethod
    def of(message: FeatureFlag) -> "Flag":
        """A flag as it is stored."""
        values = {each.name: json_format.MessageToDict(each)["value"] for each in message.variants}
        return Flag(message, {name: _plain(value) for name, value in values.items()})


Flags = Mapping[str, Flag]
"""The flags of a tenant, by key."""


def context_of(struct: Struct) -> Context:
    """A context as Python has it. Whole numbers are integers, as JSON writes them."""
    plain = _plain(json_format.MessageToDict(struct))
    return plain if isinstance(plain, dict) else {}


class Evaluator:
    """Evaluates the flags of a tenant for one context at one moment, each once: many may have one prerequisite."""

    def __init__(self, flags: Flags, context: Context, now: datetime) -> None:
        self._flags = flags
        self._context = context
        self._now = now
        self._found: dict[str, Evaluation] = {}

    def evaluate(self, key: str) -> Evaluation:
        """What a flag is. Raises NoUnit."""
        if key not in self._found:
            flag = self._flags[key].message
            off = Evaluation(flag.off_variant, DISABLED)
            # Until it is known, for prerequisites that lead in a circle: two writes at once may have made one.
            self._found[key] = off
            try:
                if is_on(flag, self._now) and all(map(self._holds, flag.prerequisites)):
                    self._found[key] = _decided(flag, self._context)
            except NoUnit:
                del self._found[key]
                raise
        return self._found[key]

    def _holds(self, wanted: FlagPrerequisite) -> bool:
        if wanted.key not in self._flags or not is_on(self._flags[wanted.key].message, self._now):
            return False
        return self.evaluate(wanted.key).variant == wanted.variant


def _decided(flag: FeatureFlag, context: Context) -> Evaluation:
    """What a flag is that is on. Raises NoUnit."""
    for rule in flag.rules:
        if all(holds(condition, context) for condition in rule.conditions):
            return Evaluation(serve(rule.serving, flag, context), SPLIT if rule.serving.shares else MATCH)
    return Evaluation(serve(flag.default_serving, flag, context), SPLIT if flag.default_serving.shares else STATIC)


def is_on(flag: FeatureFlag, now: datetime) -> bool:
    """Whether it is enabled, and within its schedule."""
    begun = not flag.HasField("enable_time") or _time(flag.enable_time) <= now
    ended = flag.HasField("disable_time") and _time(flag.disable_time) <= now
    return flag.enabled and begun and not ended


def serve(serving: FlagServing, flag: FeatureFlag, context: Context) -> str:
    """The variant that somebody gets. Raises NoUnit."""
    if not serving.shares:
        return serving.variant
    unit = serving.unit or TARGETING_KEY
    value = context.get(unit)
    if value is None or value == "":
        raise NoUnit(unit)
    drawn = bucket(flag.id, _text(value))
    reached = 0
    for share in serving.shares:
        reached += share.weight
        if drawn < reached:
            return share.variant
    return serving.shares[-1].variant


def bucket(salt: str, unit: str) -> int:
    """A number from 0 to 9,999 that stays the same for a unit, and is drawn anew for every salt."""
    digest = hashlib.blake2b(f"{salt}:{unit}".encode(), digest_size=8).digest()
    return int.from_bytes(digest) % WHOLE


def holds(condition: FlagCondition, context: Context) -> bool:
    """Whether a condition holds. One about an attribute that is not there does not."""
    there = context.get(condition.attribute)
    if condition.operator == FlagCondition.OPERATOR_EXISTS:
        return (there is not None) != condition.negated
    if there is None:
        return False
    items = there if isinstance(there, list) else [there]
    return any(_compares(condition.operator, item, condition.values) for item in items) != condition.negated


def _compares(operator: int, there: JsonValue, values: Iterable[str]) -> bool:
    kind = FlagCondition
    text = _text(there)
    if operator in (kind.OPERATOR_UNSPECIFIED, kind.OPERATOR_EQUALS):
        return text in values
    if operator == kind.OPERATOR_VERSION_AT_LEAST:
        return any(_version(text) >= _version(value) for value in values)
    if operator in (kind.OPERATOR_LESS, kind.OPERATOR_GREATER):
        sign = 1 if operator == kind.OPERATOR_GREATER else -1
        return any(_difference(text, value) * sign > 0 for value in values)
    compare = COMPARISONS[operator]
    return any(compare(text, value) for value in values)


def _difference(there: str, value: str) -> float:
    """0 where one of them is no number."""
    try:
        return float(there) - float(value)
    except ValueError:
        return 0.0


def _version(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in _version_parts.findall(text[:LONGEST_VERSION]))


def _text(value: JsonValue) -> str:
    """A scalar as JSON writes it, without the quotes of a text."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)


def _plain(value: JsonValue) -> JsonValue:
    """The same JSON with whole numbers as integers: a google.protobuf.Value has floats alone."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, list):
        return [_plain(item) for item in value]
    if isinstance(value, dict):
        return {name: _plain(item) for name, item in value.items()}
    return value


def _time(moment: Timestamp) -> datetime:
    return moment.ToDatetime(UTC)
