"""Search (`Resource.search`): `q` of a list finds by words. How it ranks is tried in tests/search."""

import pytest

from tests.clients import another_tenant
from tests.standard.doors import Door

pytestmark = pytest.mark.needs("search", "text", "alone")


def test_words_are_found_as_they_are_now(door: Door) -> None:
    text = door.kind.text
    made = door.create(**{text: "Zanzibar by sea"})
    door.create(**{text: "Elsewhere"})
    door.at(another_tenant(door.tenant)).create(**{text: "Zanzibar"})
    assert door.listing(q="zanzi").ids == door.listing(q="Zanzibar sea").ids == [made["id"]]
    door.update(made["id"], {text: "Lamu by sea"})
    assert (door.listing(q="zanzibar").ids, door.listing(q="lamu").ids) == ([], [made["id"]])
    door.delete(made["id"])
    assert door.listing(q="lamu").ids == []
    if "undelete" in door.kind.capabilities:
        door.undelete(made["id"])
        assert door.listing(q="lamu").ids == [made["id"]]
