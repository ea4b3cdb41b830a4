"""Of a payload, exactly what is personal of one person goes."""

import pytest
from plinth.identity.v1.auth_pb2 import CurrentUser, Session
from plinth.identity.v1.user_pb2 import User
from plinth.operations.v1.operation_pb2 import Operation
from plinth.travel.v1.trip_pb2 import ListTripsResponse, Trip

from server.kernel.ids import new_id
from server.kernel.privacy import Person
from server.kernel.privacy.blanking import blanked
from server.kernel.privacy.log import escaped

ADA = Person(new_id(), "Ada@Example.com")
BOB = new_id()


def test_what_is_personal_goes_and_facts_stay() -> None:
    trip = Trip(id=new_id(), user_id=ADA.id, title="Ours", feedback="Fine", group_size=2, special_requirements=["a"])
    after = Trip.FromString(blanked("plinth.travel.v1.Trip", trip.SerializeToString(), ADA, is_theirs=False))
    assert after == Trip(id=trip.id, user_id=ADA.id, group_size=2)


def test_of_several_messages_only_theirs_are_blanked() -> None:
    trips = ListTripsResponse(trips=[Trip(user_id=who, title="Ours") for who in (ADA.id, BOB)])
    payload = blanked("plinth.travel.v1.ListTripsResponse", trips.SerializeToString(), ADA, is_theirs=False)
    assert [trip.title for trip in ListTripsResponse.FromString(payload).trips] == ["", "Ours"]


def test_a_message_in_another_one_is_found() -> None:
    session = Session(user=User(id=ADA.id, email=ADA.email, first_name="Ada"), tenant_id="t")
    payload = blanked("plinth.identity.v1.Session", session.SerializeToString(), ADA, is_theirs=False)
    assert Session.FromString(payload) == Session(user=User(id=ADA.id), tenant_id="t")


def test_an_address_goes_wherever_it_is_marked_personal() -> None:
    """As in the event of a sign-up with an address that is known, which names no id."""
    for email, left in (("ADA@example.com", ""), ("bob@example.com", "bob@example.com")):
        user = User(email=email, first_name="Kept")
        payload = blanked("plinth.identity.v1.User", user.SerializeToString(), ADA, is_theirs=False)
        assert User.FromString(payload) == User(email=left, first_name="Kept")
    nobody = Person(ADA.id, "")
    user = User(first_name="Kept")
    assert blanked("plinth.identity.v1.User", user.SerializeToString(), nobody, is_theirs=False)


def test_what_belongs_to_them_as_a_whole_is_blanked_whatever_it_names() -> None:
    user = CurrentUser(user=User(id=BOB, first_name="Bob"))
    payload = blanked("plinth.identity.v1.CurrentUser", user.SerializeToString(), ADA, is_theirs=True)
    assert CurrentUser.FromString(payload) == CurrentUser(user=User(id=BOB))


def test_maps_and_structures_are_left_alone() -> None:
    operation = Operation(id=new_id(), owner_id=ADA.id)
    operation.result["lines"] = 3
    payload = operation.SerializeToString()
    assert Operation.FromString(blanked("plinth.operations.v1.Operation", payload, ADA, is_theirs=True)) == operation


@pytest.mark.parametrize(
    ("message_type", "payload"), [("plinth.gone.v1.Gone", b"a"), ("plinth.travel.v1.Trip", b"\xff")]
)
def test_what_cannot_be_read_any_more_is_emptied(message_type: str, payload: bytes) -> None:
    assert blanked(message_type, payload, ADA, is_theirs=True) == b""


def test_an_address_is_compared_as_postgresql_shows_bytes() -> None:
    assert escaped("Me@bücher.example") == "me@b\\303\\274cher.example"
