"""Fields on the command line, `registration:text!?unique`, and their form in a proto and a table."""

import re
from dataclasses import dataclass

from server.faults import REFUSED, Fault

WORD = re.compile(r"[a-z][a-z0-9]*(_[a-z0-9]+)*")
REFERENCE = re.compile(r"ref\([a-z]+\.[A-Z][A-Za-z0-9]*\)")
# Fields of every resource, and of the requests of its standard methods.
TAKEN = frozenset(
    ("id", "tenant_id", "etag", "version", "create_time", "update_time", "delete_time", "update_mask", "metadata")
)
# Words of proto3 and of Python that cannot be field names in both.
RESERVED = frozenset(
    (
        *("message", "enum", "service", "rpc", "option", "package", "import", "reserved", "repeated", "optional"),
        *("oneof", "map", "stream", "returns", "class", "def", "from", "global", "lambda", "pass", "raise", "return"),
        *("async", "await", "None", "True", "False", "and", "or", "not", "in", "is", "if", "else", "for", "while"),
    )
)


@dataclass(frozen=True)
class Kind:
    """The proto and table form of a type on the command line."""

    proto: str
    column: str
    """The constructor of the column; `{name}` is the field's."""
    rule: str = ""
    """The rule of protovalidate that bounds a value."""
    sample: str = ""
    """A valid JSON value, as Python source."""
    sortable: bool = False
    has_presence: bool = False
    """Whether an unset value is NULL."""


KINDS = {
    "text": Kind(
        "string",
        "Column({name!r}, Text, nullable=False{default})",
        'string = {{max_len: 300, example: "{camel}"}}',
        'unique("sample")',
        sortable=True,
    ),
    "int": Kind(
        "int32",
        "Column({name!r}, Integer, nullable=False{default})",
        "int32 = {{gte: 0, example: 7}}",
        "7",
        sortable=True,
    ),
    "bool": Kind("bool", "Column({name!r}, Boolean, nullable=False{default})", "", "True"),
    "time": Kind(
        "google.protobuf.Timestamp",
        "time_column({name!r}, nullable={nullable})",
        "",
        '"2026-01-02T03:04:05Z"',
        has_presence=True,
    ),
    "date": Kind(
        "google.type.Date",
        "Column({name!r}, Date, nullable={nullable})",
        "",
        '{{"year": 2026, "month": 1, "day": 2}}',
        sortable=True,
        has_presence=True,
    ),
    "enum": Kind(
        "{camel}",
        "Column({name!r}, SmallInteger, nullable=False{default})",
        "enum.defined_only = true",
        '"{upper}_ACTIVE"',
    ),
    "uuid": Kind(
        "optional string",
        "uuid_column({name!r}, nullable={nullable})",
        "string.uuid = true",
        '"01890000-0000-7000-8000-000000000000"',
        has_presence=True,
    ),
    "json": Kind(
        "google.protobuf.Struct",
        "Column({name!r}, JSONB, nullable={nullable})",
        "",
        '{{"wheels": 4}}',
        has_presence=True,
    ),
    "texts": Kind(
        "repeated string",
        "Column({name!r}, ARRAY(Text), nullable=False{default})",
        'repeated = {{max_items: 100, items: {{string: {{max_len: 300, example: "{camel}"}}}}}}',
        '["one", "two"]',
    ),
    "money": Kind(
        "google.type.Money",
        'Column("{name}_minor", BigInteger, nullable={nullable}),\n'
        '    Column("{name}_currency", Text, nullable={nullable})',
        "",
        '{{"currencyCode": "EUR", "units": "12", "nanos": 500_000_000}}',
        has_presence=True,
    ),
}
DEFAULTS = {
    "text": "text(\"''\")",
    "int": 'text("0")',
    "enum": 'text("0")',
    "bool": 'text("false")',
    "texts": "text(\"'{}'\")",
}
# Types that the command line offers.
OFFERED = ("text", "int", "bool", "time", "date", "enum", "uuid", "ref(domain.Resource)", "json", "texts", "money")


@dataclass(frozen=True)
class Field:
    """One field of the resource."""

    name: str
    type: str
    required: bool = False
    unique: bool = False
    comment: str = ""

    @property
    def kind(self) -> Kind:
        """The form of its type."""
        return KINDS[self.type]

    def fill(self, pattern: str) -> str:
        """Fill in a pattern of its kind."""
        default = "" if self.required or self.type not in DEFAULTS else f", server_default={DEFAULTS[self.type]}"
        camel = "".join(word.capitalize() for word in self.name.split("_"))
        filled = pattern.format(
            name=self.name, default=default, nullable=not self.required, camel=camel, upper=self.name.upper()
        )
        return filled.replace("'" + self.name + "'", f'"{self.name}"')

    @property
    def sample(self) -> str:
        """A valid JSON value, as Python source."""
        return self.fill(self.kind.sample)

    @property
    def json_name(self) -> str:
        """Its name in JSON."""
        first, *rest = self.name.split("_")
        return first + "".join(word.capitalize() for word in rest)


def parse(argument: str) -> Field:
    """The field for an argument. Raises Fault, which names the argument."""
    name, colon, rest = argument.partition(":")
    bare = rest.removesuffix("?unique")
    unique, required = bare != rest, bare.endswith("!")
    kind = bare.removesuffix("!")
    if not colon or not WORD.fullmatch(name):
        raise refused(argument, "a field is written name:type, its name in snake_case")
    if name in TAKEN:
        raise refused(argument, f"every resource has `{name}` already, or its requests do")
    if name in RESERVED:
        raise refused(argument, f"`{name}` is a reserved word")
    if REFERENCE.fullmatch(kind):
        of = kind.removeprefix("ref(").removesuffix(")")
        called = name if name.endswith("_id") else f"{name}_id"
        return Field(called, "uuid", required, unique, f"The {of} by its id. Nothing checks yet that it exists.")
    if kind in KINDS:
        if unique and kind not in ("text", "int", "uuid", "date"):
            raise refused(argument, f"{kind} cannot be unique")
        return Field(name, kind, required, unique)
    raise refused(argument, f"`{kind}` is no type; types are {', '.join(OFFERED)}")


def refused(argument: str, why: str) -> Fault:
    """The refusal of an argument."""
    return Fault(f"`{argument}`: {why}", REFUSED)
