"""What holds for every message of the contract; a planted fault proves that each check bites."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from buf.validate import validate_pb2
from google.api import annotations_pb2
from google.protobuf.descriptor_pb2 import FieldDescriptorProto, FileDescriptorProto

from tests.contract import checks
from tests.contract.contract import API_KEYS, AUTH, PAGES, Contract, in_field, in_message, in_method, planted, real

Check = Callable[[Contract], Iterator[str]]

# Fields that look like a secret and are none, each with the reason.
NO_SECRETS = {
    "plinth.identity.v1.Session.token_type": "says `Bearer`, which everybody knows",
    "plinth.identity.v1.CreateApiKeyRequest.api_key": "a message, whose own `key` is redacted",
    "plinth.webhooks.v1.Webhook.previous_secret_expire_time": "a time",
}
CHECKS: dict[str, Check] = {
    "unbounded": lambda contract: checks.unbounded_fields(contract.requests),
    "64 bits": lambda contract: checks.sixty_four_bit_fields(contract.messages),
    "any": lambda contract: checks.open_any(contract.responses),
    "enums": lambda contract: checks.misnamed_enums(contract.enums),
    "ids": lambda contract: checks.ids_that_may_hold_a_colon(contract.requests),
    "response_body": lambda contract: checks.response_bodies(contract.methods),
    "json names": lambda contract: checks.ambiguous_json_names(contract.messages),
    "secrets": lambda contract: checks.unredacted_secrets(contract.methods, NO_SECRETS),
    "allowances": lambda contract: checks.unused_allowances(contract.messages, NO_SECRETS),
}


@pytest.mark.parametrize("check", CHECKS.values(), ids=CHECKS.keys())
def test_the_contract_has_no_fault(check: Check) -> None:
    assert list(check(real())) == []


def drop_rules(field: Any) -> None:
    field.options.ClearExtension(validate_pb2.field)


def add_field(name: str, kind: "FieldDescriptorProto.Type.ValueType", **facts: Any) -> Callable[[Any], None]:
    """Another field in a message."""
    optional = FieldDescriptorProto.LABEL_OPTIONAL
    return lambda message: message.field.add(name=name, number=999, type=kind, **{"label": optional} | facts)


def rename_zero(file: FileDescriptorProto) -> None:
    page = next(message for message in file.message_type if message.name == "Page")
    page.enum_type[0].value[0].name = "STATUS_NOTHING"


def weaken_items(field: Any) -> None:
    field.options.Extensions[validate_pb2.field].repeated.ClearField("items")
    field.options.Extensions[validate_pb2.field].repeated.items.string.max_len = 10


TEXT = FieldDescriptorProto.TYPE_STRING
MESSAGE = FieldDescriptorProto.TYPE_MESSAGE
REPEATED = FieldDescriptorProto.LABEL_REPEATED
BIG = FieldDescriptorProto.TYPE_INT64
BINARY = FieldDescriptorProto.TYPE_BYTES
ANY = ".google.protobuf.Any"
FAULTS: dict[str, tuple[str, str, Callable[[FileDescriptorProto], None], str]] = {
    "text without a limit": ("unbounded", PAGES, in_field("ListPagesRequest", "filter", drop_rules), "filter"),
    "nested text without a limit": ("unbounded", PAGES, in_field("Page", "title", drop_rules), "page.title"),
    "list without a limit": ("unbounded", PAGES, in_field("BatchGetPagesRequest", "ids", drop_rules), "max_items"),
    "bytes without a limit": ("unbounded", PAGES, in_message("Page", add_field("icon", BINARY)), "page.icon"),
    "new text in a request": ("unbounded", AUTH, in_message("LogInRequest", add_field("nonce", TEXT)), "nonce"),
    "a count of 64 bits": ("64 bits", PAGES, in_message("Page", add_field("views", BIG)), "Page.views"),
    "an open Any": ("any", PAGES, in_message("Page", add_field("more", MESSAGE, type_name=ANY)), "more"),
    "an Any in a list": (
        "any",
        PAGES,
        in_message("ListPagesResponse", add_field("more", MESSAGE, type_name=ANY, label=REPEATED)),
        "more",
    ),
    "an enum that begins with a meaning": ("enums", PAGES, rename_zero, "STATUS_NOTHING"),
    "an id that is any text": ("ids", PAGES, in_field("GetPageRequest", "page_id", drop_rules), "page_id"),
    "ids that are any text": ("ids", PAGES, in_field("BatchGetPagesRequest", "ids", weaken_items), "ids"),
    "a response_body": (
        "response_body",
        PAGES,
        in_method("GetPage", lambda o: setattr(o.Extensions[annotations_pb2.http], "response_body", "title")),
        "GetPage",
    ),
    "one JSON name twice": (
        "json names",
        PAGES,
        in_message("Page", add_field("tenantId", TEXT, json_name="tenant")),
        "tenantId",
    ),
    "a secret that is not redacted": (
        "secrets",
        AUTH,
        in_field("LogInRequest", "password", lambda field: field.options.ClearField("debug_redact")),
        "password",
    ),
    "a new secret in an answer": (
        "secrets",
        AUTH,
        in_message("User", add_field("recovery_key", TEXT)),
        "recovery_key",
    ),
    "a secret in what is no secret as a whole": (
        "secrets",
        API_KEYS,
        in_field("ApiKey", "key", lambda field: field.options.ClearField("debug_redact")),
        "api_key.key",
    ),
    "an allowance for nothing": (
        "allowances",
        AUTH,
        in_field("Session", "token_type", lambda field: setattr(field, "name", "kind")),
        "token_type",
    ),
}


@pytest.mark.parametrize(("check", "file", "plant", "named"), FAULTS.values(), ids=FAULTS.keys())
def test_a_planted_fault_is_found(
    check: str, file: str, plant: Callable[[FileDescriptorProto], None], named: str
) -> None:
    faults = list(CHECKS[check](planted(file, plant)))
    assert any(named in fault for fault in faults), faults


def test_every_check_has_a_planted_fault() -> None:
    assert {check for check, *_ in FAULTS.values()} == CHECKS.keys()
