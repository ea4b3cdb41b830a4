"""Changes of a page: what one version, or the draft, says otherwise than another."""

import json
from collections.abc import Iterator, Mapping
from typing import NamedTuple, cast

from google.protobuf import json_format
from plinth.sites.v1.page_version_pb2 import PageChange

from server.domains.sites.drafts import SAID_BY_PAGE, Draft
from server.json_values import JsonValue

MOST = 1_000
MOST_BYTES = 1024 * 1024
_ABSENT = object()
_EMPTY: tuple[JsonValue, ...] = (None, "", False, 0, [], {})


class _Difference(NamedTuple):
    path: str
    before: object
    after: object
    section_id: str = ""


def changes_between(before: Draft, after: Draft) -> tuple[list[PageChange], bool]:
    """What has changed, and whether more of it was left out."""
    changes: list[PageChange] = []
    size = 0
    for difference in _differences(before, after):
        change = _change(difference)
        size += change.ByteSize()
        if len(changes) == MOST or size > MOST_BYTES:
            return changes, True
        changes.append(change)
    return changes, False


def _differences(before: Draft, after: Draft) -> Iterator[_Difference]:
    for name in SAID_BY_PAGE:
        yield from _inside(name, before[name], after[name])
    # Without metadata, all of it is empty.
    old, new = _object(before["seo"]), _object(after["seo"])
    for name in sorted(old.keys() | new.keys()):
        values = [held.get(name) for held in (old, new)]
        yield from _inside(f"seo.{name}", *(None if value in _EMPTY else value for value in values))
    yield from _of_sections(_sections(before), _sections(after))


def _of_sections(before: Mapping[str, "_Section"], after: Mapping[str, "_Section"]) -> Iterator[_Difference]:
    for key, section in before.items():
        if key not in after:
            yield _Difference(f"sections[{key}]", section.value, _ABSENT, key)
    for key, section in after.items():
        if key not in before:
            yield _Difference(f"sections[{key}]", _ABSENT, section.value, key)
            continue
        if before[key].place != section.place:
            yield _Difference(f"sections[{key}].place", before[key].place, section.place, key)
        for difference in _inside(f"sections[{key}]", before[key].value, section.value):
            yield difference._replace(section_id=key)


def _inside(path: str, before: object, after: object) -> Iterator[_Difference]:
    """The differences of two values: those within two objects, else the whole values."""
    if isinstance(before, dict) and isinstance(after, dict):
        for name in sorted(before.keys() | after.keys()):
            yield from _inside(f"{path}.{name}", before.get(name, _ABSENT), after.get(name, _ABSENT))
    elif before != after:
        yield _Difference(path, _ABSENT if before is None else before, _ABSENT if after is None else after)


class _Section(NamedTuple):
    place: int
    value: dict[str, JsonValue]


def _sections(draft: Draft) -> dict[str, _Section]:
    listed = cast("list[dict[str, JsonValue]]", draft["sections"])
    return {
        str(section["id"]): _Section(place, {name: value for name, value in section.items() if name != "id"})
        for place, section in enumerate(listed, 1)
    }


def _object(value: JsonValue) -> dict[str, JsonValue]:
    return value if isinstance(value, dict) else {}


def _change(difference: _Difference) -> PageChange:
    before, after = difference.before, difference.after
    kinds = {(True, False): PageChange.KIND_ADDED, (False, True): PageChange.KIND_REMOVED}
    kind = kinds.get((before is _ABSENT, after is _ABSENT), PageChange.KIND_CHANGED)
    change = PageChange(kind=kind, path=difference.path, section_id=difference.section_id)
    for value, field in ((before, change.before), (after, change.after)):
        if value is not _ABSENT:
            json_format.Parse(json.dumps(value), field)
    return change
