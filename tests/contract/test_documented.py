"""Every RPC is explained, and every field that a caller sets has an example; planted faults prove the checks."""

from google.protobuf.descriptor_pb2 import FileDescriptorProto

from server import app
from server.extensions import RULES
from tests.contract import documented
from tests.contract.contract import PAGES, field_of, planted, real


def test_every_rpc_has_a_comment() -> None:
    assert list(documented.uncommented(real().methods, app.reference().comments())) == []


def test_an_rpc_without_a_comment_is_found() -> None:
    comments = {name: text for name, text in app.reference().comments().items() if not name.endswith(".GetPage")}
    found = list(documented.uncommented(real().methods, comments))
    assert [fault.partition(" ")[0] for fault in found] == ["plinth.sites.v1.PageService.GetPage"]


def test_every_field_that_a_caller_sets_has_an_example() -> None:
    assert list(documented.without_example(real().requests)) == []


def test_a_field_without_an_example_is_found() -> None:
    def forget(file: FileDescriptorProto) -> None:
        field_of(file, "Page", "slug").options.ClearExtension(RULES)

    found = list(documented.without_example(planted(PAGES, forget).requests))
    assert any(fault.startswith("plinth.sites.v1.Page.slug ") for fault in found), found
