"""What messages and descriptors hold, for code that learns it at run time."""

import pytest
from plinth.sites.v1.page_pb2 import Page

from server.kernel.messages.fields import descriptor_of, message_type_of, value_of


def test_the_message_of_a_field_is_found_and_a_field_without_one_is_named() -> None:
    fields = descriptor_of(Page).fields_by_name
    assert message_type_of(fields["settings"]).full_name == "google.protobuf.Struct"
    with pytest.raises(LookupError, match=r"plinth\.sites\.v1\.Page\.slug holds no message"):
        message_type_of(fields["slug"])


def test_a_value_is_that_of_the_field() -> None:
    assert value_of(Page(slug="a"), "slug") == "a"
    with pytest.raises(AttributeError):
        value_of(Page(), "nothing")
