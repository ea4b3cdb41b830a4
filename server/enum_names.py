"""Names of enum values: `PUBLISHED` and `published` mean `STATUS_PUBLISHED`, wherever a caller names a value."""

from collections.abc import Mapping

_UNSPECIFIED = "UNSPECIFIED"


def short_names(values: Mapping[str, int]) -> dict[str, int]:
    """The values by their names without the prefix that the first one, `<PREFIX>_UNSPECIFIED`, has.

    Empty for an enum without such a value. A name that would begin with a digit has no short form.
    """
    first = next(iter(values))
    if not first.endswith(f"_{_UNSPECIFIED}"):
        return {}
    prefix = first.removesuffix(_UNSPECIFIED)
    short = {name.removeprefix(prefix): number for name, number in values.items() if name.startswith(prefix)}
    return {name: number for name, number in short.items() if name.isidentifier()}


def told(values: Mapping[str, int]) -> str:
    """The names that a caller may choose from, for messages."""
    return ", ".join(name for name in short_names(values) or values if name != _UNSPECIFIED)
