"""Bounds of free-form fields: exact to the byte and to the level, wherever such a field stands."""

import json
from functools import cache
from typing import Any

import pytest
from google.protobuf import json_format
from google.protobuf.descriptor_pb2 import FieldDescriptorProto, FileDescriptorProto, FileDescriptorSet
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass
from hypothesis import given
from hypothesis import strategies as st
from plinth.policy.v1 import policy_pb2

from server import app
from server.kernel.messages import free_form
from server.kernel.messages.free_form import MAX_BYTES, MAX_DEPTH, Bounds
from server.kernel.messages.structs import json_text

MESSAGE = FieldDescriptorProto.TYPE_MESSAGE
ONE = FieldDescriptorProto.LABEL_OPTIONAL
MANY = FieldDescriptorProto.LABEL_REPEATED
SMALL = Bounds(200, 4)
# Texts that grow when they are escaped, and some that do not.
words = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
leaves = st.none() | st.booleans() | st.floats(allow_nan=False, allow_infinity=False).map(lambda n: n + 0.0) | words
values = st.recursive(
    leaves,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(words, inner, max_size=4),
    max_leaves=20,
)


def add_field(message: Any, name: str, type_name: str, label: "FieldDescriptorProto.Label.ValueType" = ONE) -> Any:
    number = len(message.field) + 1
    return message.field.add(name=name, number=number, type=MESSAGE, label=label, type_name=type_name)


def file_of(**option: int) -> FileDescriptorProto:
    """`Form`: free-form fields of every kind, and forms below it. The first has the option that is given."""
    file = FileDescriptorProto(name="test/form.proto", package="test", syntax="proto3")
    file.dependency.extend(["google/protobuf/struct.proto", "plinth/policy/v1/policy.proto"])
    form = file.message_type.add(name="Form")
    extension: Any = policy_pb2.free_form
    bounded = add_field(form, "object", ".google.protobuf.Struct")
    if option:
        bounded.options.Extensions[extension].CopyFrom(policy_pb2.FreeForm(**option))
    add_field(form, "value", ".google.protobuf.Value")
    add_field(form, "list", ".google.protobuf.ListValue")
    add_field(form, "objects", ".google.protobuf.Struct", MANY)
    add_field(form, "by_name", ".test.Form.ByNameEntry", MANY)
    add_field(form, "form", ".test.Form")
    add_field(form, "forms", ".test.Form", MANY)
    entry = form.nested_type.add(name="ByNameEntry")
    entry.options.map_entry = True
    entry.field.add(name="key", number=1, type=FieldDescriptorProto.TYPE_STRING, label=ONE)
    entry.field.add(name="value", number=2, type=MESSAGE, label=ONE, type_name=".google.protobuf.Struct")
    return file


@cache
def form_type(**option: int) -> Any:
    pool = DescriptorPool()
    for file in (*FileDescriptorSet.FromString(app.descriptors()).file, file_of(**option)):
        pool.AddSerializedFile(file.SerializeToString())
    return GetMessageClass(pool.FindMessageTypeByName("test.Form"))


def broken(form: Any) -> dict[str, str]:
    """Field path to rule."""
    return {violation.field: violation.rule for violation in free_form.violations(form)}


def form_of(content: Any, **option: int) -> Any:
    return json_format.ParseDict(content, form_type(**option)(), max_recursion_depth=1000)


def nested(levels: int, *, of_lists: bool = False) -> dict[str, Any]:
    """So many levels, the outermost an object."""
    value: Any = "x"
    for _ in range(levels - 1):
        value = [value] if of_lists else {"a": value}
    return {"a": value}


def depth(value: Any) -> int:
    if not isinstance(value, dict | list):
        return 0
    return 1 + max(map(depth, value.values() if isinstance(value, dict) else value), default=0)


@pytest.mark.parametrize("of_lists", [False, True], ids=["objects", "lists"])
@pytest.mark.parametrize("wrap", [lambda v: {"object": v}, lambda v: {"value": v}, lambda v: {"objects": [{}, v]}])
def test_depth_is_counted_to_the_level(wrap: Any, *, of_lists: bool) -> None:
    for levels in range(1, 30):
        rules = set(broken(form_of(wrap(nested(levels, of_lists=of_lists)))).values())
        assert rules == ({"free_form.max_depth"} if levels > MAX_DEPTH else set()), levels


@pytest.mark.parametrize("unit", ["x", "é", "𝄞", "\x01", '"', "<"], ids=ascii)
def test_bytes_are_those_of_the_json_text(unit: str) -> None:
    size = len(json.dumps(unit, ensure_ascii=False).encode()) - 2
    room = MAX_BYTES - len(b'{"a":""}')
    for count, rules in ((room // size, set()), (room // size + 1, {"free_form.max_bytes"})):
        assert set(broken(form_of({"object": {"a": unit * count}})).values()) == rules


def test_numbers_count_as_they_are_written() -> None:
    room = (MAX_BYTES - len(b'{"a":[]}') + 1) // len(b"0,")
    assert broken(form_of({"object": {"a": [0] * room}})) == {}
    assert broken(form_of({"object": {"a": [0] * (room + 1)}})) == {"object": "free_form.max_bytes"}


@given(content=st.dictionaries(words, values, max_size=4))
def test_what_is_refused_is_what_json_says(content: dict[str, Any]) -> None:
    form = form_of({"object": content}, max_bytes=SMALL.max_bytes, max_depth=SMALL.max_depth)
    plain = json_format.MessageToDict(form).get("object", {})
    text = json_text(form.object)
    assert json.loads(text) == plain
    expected = None
    if len(text.encode()) > SMALL.max_bytes:
        expected = "free_form.max_bytes"
    if depth(plain) > SMALL.max_depth:
        # What is far too large is not looked into.
        expected = broken(form).get("object", "nothing")
        assert expected in ("free_form.max_depth", "free_form.max_bytes")
    assert broken(form).get("object") == expected


def test_each_field_is_named_by_its_path_and_lists_count_as_a_whole() -> None:
    deep, half = nested(MAX_DEPTH + 1), {"a": "x" * (MAX_BYTES * 2 // 3)}
    form = form_of(
        {
            "object": deep,
            "value": deep,
            "list": [deep],
            "objects": [half, half],
            "byName": {"one": half, "two": half},
            "form": {"object": deep, "objects": [half]},
            "forms": [{}, {"form": {"value": deep}}],
        }
    )
    assert broken(form) == {
        **dict.fromkeys(("object", "value", "list", "form.object", "forms[1].form.value"), "free_form.max_depth"),
        **dict.fromkeys(("objects", "by_name"), "free_form.max_bytes"),
    }


def test_an_option_sets_other_bounds_for_its_field_alone() -> None:
    for option, levels in (({"max_depth": 2}, 2), ({"max_depth": 24}, 24), ({"max_bytes": 100_000}, MAX_DEPTH)):
        assert broken(form_of({"object": nested(levels)}, **option)) == {}
        assert broken(form_of({"object": nested(levels + 1)}, **option)) == {"object": "free_form.max_depth"}
        assert broken(form_of({"value": nested(MAX_DEPTH + 1)}, **option)) == {"value": "free_form.max_depth"}
    assert broken(form_of({"object": {"a": "x" * 90_000}}, max_bytes=100_000)) == {}


@pytest.mark.parametrize(
    ("option", "fault"),
    [
        ({"max_bytes": -1}, "bounds nothing"),
        ({"max_depth": -1, "max_bytes": 10}, "bounds nothing"),
        ({"max_depth": 25}, "more than can be shown"),
        ({"max_bytes": 262_145}, "more than can be shown"),
    ],
    ids=str,
)
def test_bounds_that_contradict_themselves_are_faults(option: dict[str, int], fault: str) -> None:
    (found,) = free_form.faults(form_type(**option).DESCRIPTOR)
    assert found.startswith("test.Form.object")
    assert fault in found
    assert list(free_form.faults(form_type(max_bytes=262_144, max_depth=24).DESCRIPTOR)) == []


def test_lists_and_single_values_are_measured_to_the_byte() -> None:
    room = MAX_BYTES - len('[""]')
    assert broken(form_of({"list": ["x" * room], "value": "x" * (MAX_BYTES - 2)})) == {}
    assert broken(form_of({"list": ["x" * (room + 1)]})) == {"list": "free_form.max_bytes"}
    assert broken(form_of({"value": "x" * (MAX_BYTES - 1)})) == {"value": "free_form.max_bytes"}
    assert broken(form_of({"value": [1] * (MAX_BYTES // 2)})) == {"value": "free_form.max_bytes"}


def test_what_is_far_too_large_is_refused_without_writing_it_as_json(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(free_form, "json_text", lambda _: pytest.fail("it was written"))
    form = form_of({"object": {"a": "x" * 10 * SMALL.max_bytes}}, max_bytes=SMALL.max_bytes)
    assert broken(form) == {"object": "free_form.max_bytes"}


def test_text_that_looks_like_levels_is_none() -> None:
    text = free_form.STRUCT_TAG.decode() * 4
    assert broken(form_of({"object": {"a": text}}, max_depth=4)) == {}
    assert broken(form_of({"object": nested(5)}, max_depth=4)) == {"object": "free_form.max_depth"}
