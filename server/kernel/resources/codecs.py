"""Codecs: how the fields of a message are stored in columns, and read back.

A scalar is stored in one column of the field's name; the plan (convert.py) reads it without a codec, since most fields
are scalars. Everything else has a codec here, chosen by the type of the field in the .proto. A field that no codec
takes keeps the server from starting.
"""

import json
from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime, timedelta
from functools import partial
from typing import ClassVar, cast

from google.protobuf import json_format
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from sqlalchemy import BigInteger, Date, DateTime, Double, Interval, Text
from sqlalchemy.dialects.postgresql import JSONB

from server.data.clauses import AnyType
from server.data.statements import (
    POSTGRES_EPOCH_SECONDS,
    ColumnValue,
    decode_date,
    decode_float,
    decode_int,
    microseconds_of_interval,
)
from server.kernel.messages.fields import FieldValue, value_of
from server.kernel.messages.money import MONEY, NoMoney, decimal_places, fill_money, minor_units
from server.kernel.messages.structs import STRUCT, TIMESTAMP, fill_struct, json_text
from server.kernel.problems import RuleViolated, Violation, broken_rules
from server.kernel.time_zones import is_time_zone

MICROSECONDS = 1_000_000
DURATION = "google.protobuf.Duration"
DATE = "google.type.Date"
DATE_TIME = "google.type.DateTime"
LAT_LNG = "google.type.LatLng"
NOT_JSON = "has a number that JSON does not have: NaN or an infinity"
# Degrees.
MOST_LATITUDE, MOST_LONGITUDE = 90, 180

Raw = Sequence[bytes | None]


class Codec:
    """The conversion of one field."""

    columns: ClassVar[tuple[tuple[str, type[AnyType]], ...]]
    """What each column is called behind the name of the field, and its type."""

    def __init__(self, field: FieldDescriptor) -> None:
        self.name = field.name
        self.has_presence = bool(field.has_presence)

    def read(self, message: Message, raw: Raw, place: int) -> None:
        """Set the field from its columns, of which the first is at `place` and not NULL."""
        raise NotImplementedError

    @property
    def stores(self) -> tuple[Callable[[Message], ColumnValue], ...]:
        """What reads the parameter of each column from a message."""
        return (self.store,)

    def store(self, message: Message) -> ColumnValue:
        """The parameter of the only column; None where the field is unset. Raises RuleViolated."""
        raise NotImplementedError

    def settle(self, message: Message) -> None:
        """Change a field that is set to what reading it back will give. By default it comes back as it was."""


class TimeCodec(Codec):
    """A Timestamp, to the microsecond."""

    columns = (("", DateTime),)

    def read(self, message: Message, raw: Raw, place: int) -> None:
        """A binary timestamptz is microseconds since 2000."""
        seconds, rest = divmod(decode_int(raw[place] or b""), MICROSECONDS)
        timestamp: FieldValue = value_of(message, self.name)
        timestamp.seconds = seconds + POSTGRES_EPOCH_SECONDS
        timestamp.nanos = rest * 1000

    def store(self, message: Message) -> datetime | None:
        """Raises RuleViolated for a time that is not between the years 1 and 9999."""
        if not message.HasField(self.name):
            return None
        try:
            moment: datetime = value_of(message, self.name).ToDatetime(tzinfo=UTC)
        except (ValueError, OverflowError) as error:
            raise _refused(self.name, "is no moment between the years 1 and 9999", "timestamp.range") from error
        return moment

    def settle(self, message: Message) -> None:
        """PostgreSQL stores microseconds."""
        moment: FieldValue = value_of(message, self.name)
        moment.nanos -= moment.nanos % 1000


class StructCodec(Codec):
    """A Struct, as JSON."""

    columns = (("", JSONB),)

    def read(self, message: Message, raw: Raw, place: int) -> None:
        """A binary jsonb is a version byte and the text."""
        struct: FieldValue = value_of(message, self.name)
        struct.SetInParent()
        fill_struct(struct, json.loads((raw[place] or b"")[1:]))

    def store(self, message: Message) -> str | None:
        """JSON without white space. Raises RuleViolated for NaN."""
        if not message.HasField(self.name):
            return None
        try:
            return json_text(value_of(message, self.name))
        except RuleViolated as error:
            raise _refused(self.name, NOT_JSON, "json.value") from error


class JsonCodec(Codec):
    """A message, a list of messages, a map, or free-form JSON other than a Struct: as protobuf's own JSON."""

    columns = (("", JSONB),)

    def __init__(self, field: FieldDescriptor) -> None:
        super().__init__(field)
        # Only extensions have none.
        self._holder: Callable[[], Message] = GetMessageClass(cast("Descriptor", field.containing_type))
        self._is_repeated = field.is_repeated

    def read(self, message: Message, raw: Raw, place: int) -> None:
        """What a later release has stored beside is ignored."""
        stored = {self.name: json.loads((raw[place] or b"")[1:])}
        json_format.ParseDict(stored, message, ignore_unknown_fields=True)

    def store(self, message: Message) -> str | None:
        """With keys in order, so that equal values are equal texts. An empty list or map is stored as such."""
        if self.has_presence and not message.HasField(self.name):
            return None
        holder = self._holder()
        if self._is_repeated:
            value_of(holder, self.name).MergeFrom(value_of(message, self.name))
        else:
            value_of(holder, self.name).CopyFrom(value_of(message, self.name))
        try:
            shown = json_format.MessageToDict(
                holder, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
            )
        except (json_format.SerializeToJsonError, ValueError) as error:
            raise _refused(self.name, NOT_JSON, "json.value") from error
        return json.dumps(shown[self.name], sort_keys=True, separators=(",", ":"), ensure_ascii=False)


class DurationCodec(Codec):
    """A Duration, to the microsecond."""

    columns = (("", Interval),)

    def read(self, message: Message, raw: Raw, place: int) -> None:
        """Days and months of other writers count as 24 hours and 30 days, as in PostgreSQL's comparisons."""
        value_of(message, self.name).FromMicroseconds(microseconds_of_interval(raw[place] or b""))

    def store(self, message: Message) -> str | None:
        """An interval in microseconds alone."""
        if not message.HasField(self.name):
            return None
        return f"{value_of(message, self.name).ToMicroseconds()} microseconds"

    def settle(self, message: Message) -> None:
        """PostgreSQL stores microseconds."""
        duration: FieldValue = value_of(message, self.name)
        duration.FromMicroseconds(duration.ToMicroseconds())


class DateCodec(Codec):
    """A whole google.type.Date: year, month and day."""

    columns = (("", Date),)

    def read(self, message: Message, raw: Raw, place: int) -> None:
        """A binary date is days since 2000."""
        day = decode_date(raw[place] or b"")
        shown: FieldValue = value_of(message, self.name)
        shown.year, shown.month, shown.day = day.year, day.month, day.day

    def store(self, message: Message) -> str | None:
        """Raises RuleViolated for a date that the calendar does not have, or that is not whole."""
        if not message.HasField(self.name):
            return None
        asked: FieldValue = value_of(message, self.name)
        try:
            return date(asked.year, asked.month, asked.day).isoformat()
        except ValueError as error:
            raise _refused(self.name, "is no day of the calendar", "date.day") from error


class LatLngCodec(Codec):
    """A google.type.LatLng, in two columns: `<field>_latitude` and `<field>_longitude`."""

    columns = (("_latitude", Double), ("_longitude", Double))

    def read(self, message: Message, raw: Raw, place: int) -> None:
        """Two doubles."""
        point: FieldValue = value_of(message, self.name)
        point.latitude, point.longitude = decode_float(raw[place] or b""), decode_float(raw[place + 1] or b"")

    @property
    def stores(self) -> tuple[Callable[[Message], float | None], ...]:
        """The latitude and the longitude."""
        return partial(self._degrees, "latitude"), partial(self._degrees, "longitude")

    def _degrees(self, name: str, message: Message) -> float | None:
        """Raises RuleViolated for what is not on the globe."""
        if not message.HasField(self.name):
            return None
        point: FieldValue = value_of(message, self.name)
        if not (abs(point.latitude) <= MOST_LATITUDE and abs(point.longitude) <= MOST_LONGITUDE):
            raise _refused(self.name, "has a latitude of -90 to 90 and a longitude of -180 to 180", "lat_lng.range")
        degrees: float = getattr(point, name)
        return degrees


class MoneyCodec(Codec):
    """A google.type.Money, in two columns: whole minor units, `<field>_minor`, and `<field>_currency`."""

    columns = (("_minor", BigInteger), ("_currency", Text))

    def __init__(self, field: FieldDescriptor) -> None:
        super().__init__(field)
        # Loaded before processes fork.
        decimal_places()

    def read(self, message: Message, raw: Raw, place: int) -> None:
        """An integer and a text."""
        fill_money(value_of(message, self.name), decode_int(raw[place] or b""), (raw[place + 1] or b"").decode())

    @property
    def stores(self) -> tuple[Callable[[Message], ColumnValue], ...]:
        """The minor units and the currency."""
        return self._minor, self._currency

    def _minor(self, message: Message) -> int | None:
        """Raises RuleViolated for an amount that is not whole in minor units, or in no currency."""
        if not message.HasField(self.name):
            return None
        try:
            return minor_units(value_of(message, self.name))
        except NoMoney as fault:
            raise _refused(self.name, str(fault), fault.rule) from fault

    def _currency(self, message: Message) -> str | None:
        return value_of(message, self.name).currency_code if message.HasField(self.name) else None


class LocalTimeCodec(Codec):
    """A google.type.DateTime: a local time, `<field>_local`, in an IANA time zone, `<field>_zone`.

    Both are stored as they were given, because the rules of a zone may change before the moment has come.
    """

    columns = (("_local", DateTime), ("_zone", Text))

    def read(self, message: Message, raw: Raw, place: int) -> None:
        """A binary timestamp is microseconds since 2000."""
        local = LOCAL_EPOCH + timedelta(microseconds=decode_int(raw[place] or b""))
        shown: FieldValue = value_of(message, self.name)
        shown.year, shown.month, shown.day = local.year, local.month, local.day
        shown.hours, shown.minutes, shown.seconds = local.hour, local.minute, local.second
        shown.nanos = local.microsecond * 1000
        shown.time_zone.id = (raw[place + 1] or b"").decode()

    @property
    def stores(self) -> tuple[Callable[[Message], ColumnValue], ...]:
        """The local time and the zone."""
        return self._local, self._zone

    def settle(self, message: Message) -> None:
        """PostgreSQL stores microseconds."""
        local: FieldValue = value_of(message, self.name)
        local.nanos -= local.nanos % 1000

    def _local(self, message: Message) -> str | None:
        """Raises RuleViolated for what no calendar or clock shows."""
        if not message.HasField(self.name):
            return None
        given: FieldValue = value_of(message, self.name)
        clock = (given.hours, given.minutes, given.seconds, given.nanos // 1000)
        try:
            return datetime(given.year, given.month, given.day, *clock).isoformat()  # noqa: DTZ001 - its zone is beside
        except ValueError as error:
            raise _refused(self.name, "is no day of the calendar, or no time of a day", "date_time.local") from error

    def _zone(self, message: Message) -> str | None:
        """Raises RuleViolated without a known zone. An offset from UTC does not say what a later day is like."""
        if not message.HasField(self.name):
            return None
        zone: str = value_of(message, self.name).time_zone.id
        if not is_time_zone(zone):
            raise _refused(self.name, "names an IANA time zone, such as `Europe/Berlin`", "date_time.zone")
        return zone


# What is in an Any is not known before it is there.
WITHOUT = frozenset(("google.protobuf.Any",))
LOCAL_EPOCH = datetime(2000, 1, 1)  # noqa: DTZ001 - a local time
CODECS: dict[str, type[Codec]] = {
    TIMESTAMP: TimeCodec,
    STRUCT: StructCodec,
    DURATION: DurationCodec,
    DATE: DateCodec,
    LAT_LNG: LatLngCodec,
    MONEY: MoneyCodec,
    DATE_TIME: LocalTimeCodec,
}


def codec_of(field: FieldDescriptor) -> type[Codec] | None:
    """The codec of a field; None for a scalar, or a list of scalars, which needs none."""
    if field.message_type is None:
        return None
    if field.is_repeated:
        return JsonCodec
    return CODECS.get(field.message_type.full_name, JsonCodec)


def _refused(name: str, description: str, rule: str) -> RuleViolated:
    return broken_rules([Violation(name, description, rule)])
