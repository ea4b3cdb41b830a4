"""The tools that are made from the contract: each RPC is one, or is left out for a reason."""

import json
import re
from typing import Any

import pytest
from google.protobuf import json_format
from google.protobuf.message_factory import GetMessageClass
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from plinth.identity.v1.api_key_pb2 import ApiKey, ListApiKeysResponse
from plinth.identity.v1.auth_pb2 import Caller
from plinth.sites.v1.page_pb2 import ListPagesResponse, Page

from server import app
from server.agents.catalogue import Catalogue, Options, UnknownGroup
from server.agents.results import MOST_CHARACTERS, text_of, without_secrets
from server.agents.schemas import ToolSchemas
from server.agents.search import ToolSearch
from server.agents.tools import Tool, is_offered, tools_of
from server.kernel.policy import Access, MethodPolicy
from server.reference.examples import examples_of

METHODS = list(app.policies().values())
CATALOGUE = Catalogue(app.reference())
TOOLS = list(CATALOGUE.tools.values())
SCHEMAS = ToolSchemas(app.reference().comments())
# Names that the interfaces of models take.
NAME = re.compile(r"[a-z][a-z0-9_]{0,63}")
EVERYTHING = Caller(
    user_id="a", permissions={method.permission for method in METHODS if method.access is Access.PERMISSION}
)


def name_of(tool: Tool) -> str:
    return tool.name


@pytest.mark.parametrize("tool", TOOLS, ids=name_of)
def test_every_tool_has_a_name_and_words_and_arguments_in_one_piece(tool: Tool) -> None:
    schema = SCHEMAS.of(tool)
    assert NAME.fullmatch(tool.name)
    assert tool.description
    Draft202012Validator.check_schema(schema)
    assert schema["type"] == "object"
    assert "$ref" not in json.dumps(schema)


@pytest.mark.parametrize("tool", TOOLS, ids=name_of)
def test_the_example_of_every_request_is_taken_by_the_schema_of_its_tool(tool: Tool) -> None:
    fields = list(tool.method.descriptor.input_type.fields)
    example = examples_of(fields)
    faults = [error.message for error in Draft202012Validator(dict(SCHEMAS.of(tool))).iter_errors(example)]
    assert not faults
    json_format.ParseDict(example, GetMessageClass(tool.method.descriptor.input_type)())


def test_what_is_no_tool_is_a_stream_a_file_a_secret_or_somebody_elses() -> None:
    left_out = {method.name for method in METHODS if not is_offered(method)}
    assert {"WatchEvents", "StreamPages", "ExportAuditEntries", "WaitOperation"} <= left_out
    assert {"LogIn", "SignUp", "CreateApiKey", "RotateApiKey", "CreateWebhook", "CreateTicket"} <= left_out
    assert not {"ListApiKeys", "GetWebhook", "UpdateWebhook", "PublishPage"} & left_out


def test_two_rpcs_of_one_name_refuse_the_start() -> None:
    pages = [method for method in METHODS if method.name == "GetPage"]
    with pytest.raises(ValueError, match="both the tool sites_get_page"):
        tools_of([*pages, *_copies(pages)], {})


def _copies(methods: list[MethodPolicy]) -> list[MethodPolicy]:
    return [MethodPolicy(**{name: getattr(method, name) for name in method.__slots__}) for method in methods]


@pytest.mark.parametrize(
    ("question", "wanted"),
    [
        ("publish a page", "sites_publish_page"),
        ("Seiten pages auflisten", "sites_list_pages"),
        ("create expense", "travel_create_expense"),
        ("who am I", "identity_get_caller"),
        ("reorder the sections of a page", "sites_reorder_sections"),
        ("roles of a member", "tenancy_list_member_roles"),
        ("audit entries", "audit_list_audit_entries"),
        ("pub", "sites_publish_page"),
    ],
)
def test_tools_are_found_by_words(question: str, wanted: str) -> None:
    found = [tool.name for tool in ToolSearch(TOOLS).best(question, TOOLS)]
    assert wanted in found[:3]


@pytest.mark.parametrize("tool", TOOLS, ids=name_of)
def test_every_tool_is_found_by_its_title(tool: Tool) -> None:
    found = ToolSearch(TOOLS).best(f"{tool.group} {tool.title}", TOOLS)
    assert tool in found[:5]


def test_words_that_no_tool_has_find_nothing() -> None:
    assert ToolSearch(TOOLS).best("xylophone", TOOLS) == []


def test_an_answer_of_a_search_is_bounded_and_names_the_rest() -> None:
    found = CATALOGUE.found(EVERYTHING, Options(may_write=True), "", "", 1000)
    shown, more = found["tools"], found["more"]
    assert isinstance(shown, list)
    assert isinstance(more, list)
    assert len(shown) == 20
    assert len(shown) + len(more) == len(CATALOGUE.permitted(EVERYTHING, Options(may_write=True)))


@given(st.sets(st.sampled_from(sorted(EVERYTHING.permissions))), st.booleans(), st.booleans())
def test_nobody_is_shown_what_they_may_not_call(permissions: set[str], is_key: bool, may_write: bool) -> None:  # noqa: FBT001
    caller = Caller(permissions=permissions, api_key_id="a" if is_key else "", user_id="" if is_key else "a")
    for tool in CATALOGUE.permitted(caller, Options(may_write=may_write)):
        method = tool.method
        assert may_write or method.read_only
        assert method.access is not Access.PLATFORM
        assert method.access is not Access.PERMISSION or method.permission in permissions
        assert method.access is not Access.SIGNED_IN or not is_key or method.takes_api_keys


def test_a_group_that_does_not_exist_is_told_with_those_that_do() -> None:
    with pytest.raises(UnknownGroup, match=r"`cars` is no group of tools\. There are: .*sites"):
        CATALOGUE.options(["sites", "cars"], may_write=False)


def test_secrets_are_in_no_text() -> None:
    for answer in (
        ApiKey(name="A", key="sn_live_secret"),
        ListApiKeysResponse(api_keys=[ApiKey(name="A", key="sn_live_")]),
    ):
        text = str(text_of(answer))
        assert "sn_live_" not in text
        assert '"name":"A"' in text


pages = st.builds(Page, title=st.text(max_size=300), description=st.text(max_size=60_000), slug=st.text(max_size=64))


@given(st.lists(pages, max_size=30))
def test_an_answer_is_whole_or_shortened_or_none(listed: list[Any]) -> None:
    answer = ListPagesResponse(pages=listed, next_page_token="next")
    text = text_of(answer, least=1000)
    if text is None:
        assert sum(len(page.description) for page in listed) > MOST_CHARACTERS / 2
        return
    assert len(text) <= MOST_CHARACTERS
    shown = json.loads(text)
    assert len(shown["pages"]) == len(listed)
    assert shown["nextPageToken"] == "next"
    assert without_secrets(answer) == answer
