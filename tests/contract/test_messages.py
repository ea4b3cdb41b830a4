"""What holds for every message of the contract; a planted fault proves that each check bites."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from buf.validate import validate_pb2
from google.api import annotations_pb2
from google.protobuf.descriptor_pb2 import FieldDescriptorProto, FileDescriptorProto

from tests.contract import checks
from tests.contract.contract import (
    API_KEYS,
    AUTH,
    PAGES,
    USERS,
    Contract,
    in_field,
    in_message,
    in_method,
    planted,
    real,
)

Check = Callable[[Contract], Iterator[str]]

# Fields that look like a secret and are none, each with the reason.
NO_SECRETS = {
    "plinth.communication.v1.EmailTemplate.key": "the name of a template",
    "plinth.communication.v1.EmailTemplateUse.key": "the name of a template",
    "plinth.dictionary.v1.Dictionary.key": "the name of a dictionary",
    "plinth.dictionary.v1.DictionaryEntry.sort_key": "the headword without case and diacritics",
    "plinth.sites.v1.PageTemplate.key": "the name of a template",
    "plinth.sites.v1.Industry.key": "the name of an industry",
    "plinth.flags.v1.FeatureFlag.key": "the name by which programs evaluate a flag",
    "plinth.flags.v1.FlagPrerequisite.key": "the name of a flag",
    "plinth.identity.v1.Session.token_type": "says `Bearer`, which everybody knows",
    "plinth.identity.v1.CreateApiKeyRequest.api_key": "a message, whose own `key` is redacted",
    "plinth.integrations.v1.Integration.credential_names": "their names in the template",
    "plinth.integrations.v1.Integration.credentials_time": "a time",
    "plinth.webhooks.v1.Webhook.previous_secret_expire_time": "a time",
    "plinth.notifications.v1.Notification.group_key": "what it is about",
    "plinth.notifications.v1.NotificationGroup.group_key": "what they are about",
    "plinth.notifications.v1.NotificationMessage.group_key": "what it is about",
    "plinth.notifications.v1.NotificationMessage.dedupe_key": "tells repetitions",
    "plinth.notifications.v1.MarkAllNotificationsReadRequest.group_key": "what they are about",
    "plinth.notifications.v1.NotificationRule.key": "the name of a workflow",
    "plinth.notifications.v1.NotificationTemplate.key": "the name of a template",
    "plinth.notifications.v1.NotificationTemplateUse.key": "the name of a template",
}
# What answers repeat without a page token, each with what bounds it.
BOUNDED = {
    "plinth.audit.v1.ConsistencyProof.hashes": "logarithm of the tree's size",
    "plinth.audit.v1.InclusionProof.hashes": "logarithm of the tree's size",
    "plinth.audit.v1.ListCheckpointKeysResponse.keys": "one for each secret that the deployment has had",
    "plinth.communication.v1.EmailTemplate.variables": "those that 100,000 characters name",
    "plinth.communication.v1.EmailTemplateVersion.variables": "those that 100,000 characters name",
    "plinth.notifications.v1.NotificationTemplate.variables": "those that 13,000 characters name",
    "plinth.sites.v1.SiteSeo.findings": "at most one of each rule",
    "plinth.sites.v1.PageSeo.findings": "at most one of each rule",
    "plinth.sites.v1.PageSeo.keywords": "at most 20",
    "plinth.integrations.v1.Integration.credential_names": "at most 10",
    "plinth.integrations.v1.IntegrationTemplate.credentials": "they are in the code",
    "plinth.integrations.v1.IntegrationTemplate.options": "they are in the code",
    "plinth.integrations.v1.ListIntegrationTemplatesResponse.integration_templates": "they are in the code",
    "plinth.identity.v1.ApiKey.ancestor_ids": "at most 8 (MOST_ANCESTORS)",
    "plinth.identity.v1.ApiKeyUsage.days": "at most 92 are asked for",
    "plinth.identity.v1.ApiKeyUsage.methods": "at most 200",
    "plinth.identity.v1.Caller.permissions": "the catalogue",
    "plinth.identity.v1.Caller.roles": "at most 50 for each member (MOST_ROLES)",
    "plinth.identity.v1.CurrentUser.memberships": "at most 100 (LARGEST_LIST)",
    "plinth.identity.v1.CurrentUser.roles": "at most 50 for each member (MOST_ROLES)",
    "plinth.identity.v1.Invitation.roles": "at most 20 are sent",
    "plinth.identity.v1.InvitationPreview.roles": "at most 20 are sent",
    "plinth.identity.v1.ListOwnSessionsResponse.sessions": "at most 100 (MOST_SESSIONS)",
    "plinth.identity.v1.ListIdentityProvidersResponse.providers": "those in the settings",
    "plinth.identity.v1.ListOwnFederatedIdentitiesResponse.identities": "at most 20 (MOST)",
    "plinth.identity.v1.ListOwnPasskeysResponse.passkeys": "at most 20 (MOST)",
    "plinth.identity.v1.RecoveryCodes.codes": "ten (CODES)",
    "plinth.identity.v1.ListJsonWebKeysResponse.keys": "those in use",
    "plinth.identity.v1.Membership.roles": "at most 50 for each member (MOST_ROLES)",
    "plinth.identity.v1.Session.roles": "at most 50 for each member (MOST_ROLES)",
    "plinth.operations.v1.CacheStats.methods": "the RPCs there are",
    "plinth.operations.v1.Health.checks": "the dependencies there are",
    "plinth.operations.v1.InvalidateCacheResponse.tags": "as many as the request has",
    "plinth.operations.v1.WarmCacheResponse.methods": "the RPCs there are",
    "plinth.tenancy.v1.Explanation.considered": "at most 50 for each member (MOST_ROLES)",
    "plinth.tenancy.v1.Explanation.grants": "at most 50 for each member (MOST_ROLES)",
    "plinth.tenancy.v1.Explanation.roles_that_allow": "at most 200 beside those built in (MOST_NAMED)",
    "plinth.tenancy.v1.ListMemberRolesResponse.roles": "at most 50 for each member (MOST_ROLES)",
    "plinth.tenancy.v1.ListPermissionsResponse.permissions": "the catalogue",
    "plinth.tenancy.v1.Membership.roles": "at most 50 for each member (MOST_ROLES)",
    "plinth.tenancy.v1.Permission.methods": "the RPCs there are",
    "plinth.tenancy.v1.RateLimits.limits": "the rate classes there are",
    "plinth.webhooks.v1.ListEventTypesResponse.event_types": "the types of events there are",
    "plinth.webhooks.v1.WebhookDelivery.Attempt.request_headers": "at most 50 (MOST_HEADERS)",
    "plinth.webhooks.v1.WebhookDelivery.Attempt.response_headers": "at most 50 (MOST_HEADERS)",
    "plinth.webhooks.v1.WebhookDelivery.attempt_log": "at most 20 (MOST_ATTEMPTS)",
}
CHECKS: dict[str, Check] = {
    "answers": lambda contract: checks.unbounded_answers(contract.methods, BOUNDED),
    "unbounded": lambda contract: checks.unbounded_fields(contract.requests),
    "64 bits": lambda contract: checks.sixty_four_bit_fields(contract.messages),
    "any": lambda contract: checks.open_any(contract.responses),
    "enums": lambda contract: checks.misnamed_enums(contract.enums),
    "ids": lambda contract: checks.ids_that_may_hold_a_colon(contract.requests),
    "response_body": lambda contract: checks.response_bodies(contract.methods),
    "json names": lambda contract: checks.ambiguous_json_names(contract.messages),
    "secrets": lambda contract: checks.unredacted_secrets(contract.methods, NO_SECRETS),
    "allowances": lambda contract: checks.unused_allowances(contract.messages, {**NO_SECRETS, **BOUNDED}),
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


def rename_field(message: Any, name: str) -> None:
    field = next(field for field in message.field if field.name == name)
    field.name = field.json_name = "other"


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
    "a list without a page token": (
        "answers",
        PAGES,
        in_message("ListPagesResponse", lambda message: rename_field(message, "next_page_token")),
        "ListPagesResponse.pages",
    ),
    "any number of messages below an answer": (
        "answers",
        PAGES,
        in_message("Page", add_field("parents", MESSAGE, type_name=".plinth.sites.v1.Page", label=REPEATED)),
        "Page.parents",
    ),
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
        USERS,
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
