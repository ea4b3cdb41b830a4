"""The sweep of decisions finds what nobody decided, and what contradicts itself or cannot be done, with the remedy."""

from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import Column, Index, Integer, LargeBinary, MetaData, PrimaryKeyConstraint, Table, Text, text
from sqlalchemy.dialects.postgresql import ARRAY, JSONB, UUID

from server import modules
from server.data.tables import metadata, uuid_column
from server.domains.travel.tables import expenses, trips
from server.domains.travel.trips import TripService
from server.kernel.module import ModuleFault
from server.kernel.privacy import Erase, Export, Kept, NotPersonal, Owner, Privacy, Pseudonymise, Remove, decisions
from server.kernel.privacy.decisions import shapes_of
from server.kernel.privacy.platform import DECISIONS
from server.kernel.privacy.statements import neutral_value

NOTHING = Privacy((), (), ())


def table(*columns: Column[Any], name: str = "notes", indexed: str = "user_id") -> Table:
    """A table of tenants with these columns, and an index on one of them."""
    made = Table(
        name, MetaData(), uuid_column("tenant_id"), uuid_column("id"), *columns, PrimaryKeyConstraint("tenant_id", "id")
    )
    if indexed in made.c:
        Index(f"{name}_idx", made.c.tenant_id, made.c[indexed])
    return made


def undecided(made: Table, *declared: Any) -> list[str]:
    """What is found in one table with these decisions."""
    return list(decisions.undecided(replace(NOTHING, decisions=declared), shapes_of([made])))


@pytest.mark.parametrize("kind", [Text(), JSONB(), LargeBinary(), ARRAY(Text())], ids=str)
def test_what_can_hold_anything_needs_a_decision(kind: Any) -> None:
    notes = table(Column("body", kind))
    (fault,) = undecided(notes)
    assert fault.startswith("`notes.body` may hold personal data")
    assert 'Pseudonymise(notes, "body")' in fault
    assert "module.py" in fault
    for decision in (
        NotPersonal(notes, "body", why="no"),
        Pseudonymise(notes, "body"),
        Remove(notes),
        Erase(table=notes, columns=("body",), run=lambda _: None),
    ):
        assert not [fault for fault in undecided(notes, decision) if "notes.body" in fault]


def test_so_does_a_column_that_says_whose_a_row_is() -> None:
    notes = table(uuid_column("user_id"), Column("place", Integer), Column("ids", ARRAY(UUID(as_uuid=False))))
    (fault,) = undecided(notes)
    assert fault.startswith("`notes.user_id` may hold personal data")
    assert undecided(notes, Pseudonymise(notes)) == []
    assert undecided(notes, Remove(notes)) == []


def test_rows_that_are_removed_only_partly_need_a_further_decision() -> None:
    notes = table(uuid_column("user_id"))
    assert len(undecided(notes, Remove(notes, where=notes.c.user_id.is_not(None)))) == 1


def test_contradictions_and_what_does_not_exist_are_found() -> None:
    notes = table(Column("body", Text))
    assert undecided(notes, Pseudonymise(notes, "body", by="id"), NotPersonal(notes, "body", why="no")) == [
        "`notes.body` is both erased and declared as kept: drop one of the two"
    ]
    assert undecided(notes, NotPersonal(notes, "body", "boody", why="no")) == [
        "`erases` names `notes.boody`, which does not exist"
    ]


def test_a_decision_without_an_index_is_found() -> None:
    notes = table(uuid_column("user_id"), Column("body", Text), indexed="body")
    for deed in (Remove(notes), Pseudonymise(notes, "body"), Export(notes)):
        of = {"exports": (deed,)} if isinstance(deed, Export) else {"decisions": (deed,)}
        (fault,) = decisions.impossible(replace(NOTHING, **of))
        assert "no index of `notes` begins with it" in fault
    (fault,) = decisions.impossible(replace(NOTHING, decisions=(Remove(notes, by="nobody"),)))
    assert fault == "Remove(notes) names `nobody`, which `notes` does not have"


def test_a_value_that_is_unique_is_not_replaced_by_one_for_all() -> None:
    notes = table(uuid_column("user_id"), Column("slug", Text, nullable=False))
    Index("notes_slug_key", notes.c.tenant_id, notes.c.slug, unique=True)
    (fault,) = decisions.impossible(replace(NOTHING, decisions=(Pseudonymise(notes, "slug"),)))
    assert fault == "Pseudonymise(notes) empties `slug`, which a unique index tells apart: use Erase"


def test_a_personal_field_whose_column_stays_is_found() -> None:
    stays = replace(NOTHING, decisions=(NotPersonal(trips, "title", why="no"), Pseudonymise(trips, *OTHERS)))
    (fault,) = decisions.unmarked(stays, [TripService])
    assert fault.startswith("plinth.travel.v1.Trip.title is personal, and `trips.title` stays when a person is erased")
    kept = replace(NOTHING, decisions=(Kept(trips, "title", why="law"), Pseudonymise(trips, *OTHERS)))
    assert list(decisions.unmarked(kept, [TripService])) == []
    assert list(decisions.unmarked(replace(NOTHING, decisions=(Remove(trips),)), [TripService])) == []


OTHERS = ("destination_name", "special_requirements", "feedback")


def test_an_erased_column_whose_field_is_not_marked_is_found() -> None:
    too_much = replace(NOTHING, decisions=(Pseudonymise(trips, "title", "country", *OTHERS),))
    assert list(decisions.unmarked(too_much, [TripService])) == [
        "`trips.country` is erased with a person: mark plinth.travel.v1.Trip.country (plinth.policy.v1.personal)"
    ]


def test_what_nobody_exports_is_found() -> None:
    half = replace(NOTHING, decisions=(Pseudonymise(expenses), Remove(trips)), exports=(Export(trips),))
    (fault,) = decisions.unexported(half)
    assert fault == "`expenses` has rows of persons, which no export holds: add Export(expenses) to `exports`"


def test_an_owned_resource_without_a_decision_is_found() -> None:
    undecided_trips = Privacy((), (Export(trips),), (TripService,))
    (fault,) = decisions.unexported(undecided_trips)
    assert fault.startswith("plinth.dev/Trip belongs to persons: say with Remove(trips)")


def test_children_that_do_not_name_the_person_follow_their_parents() -> None:
    children = table(uuid_column("trip_id"), Column("body", Text), name="children", indexed="trip_id")
    deed = Remove(children, by="trip_id", of=Owner(trips))
    assert list(decisions.impossible(replace(NOTHING, decisions=(deed,)))) == []
    assert undecided(children, deed) == []


def test_an_emptied_column_keeps_the_row_valid() -> None:
    columns = {
        Column("a", Text, nullable=True): "NULL",
        Column("b", Text, nullable=False, server_default=text("''")): "''",
        Column("c", Text, nullable=False): "'erased'",
        Column("d", ARRAY(Text), nullable=False): "'{}'",
        Column("e", JSONB, nullable=False): "'{}'",
    }
    for column, value in columns.items():
        assert str(neutral_value(column)) == value


def test_what_leads_to_other_rows_is_erased_after_them() -> None:
    children = table(uuid_column("trip_id"), Column("body", Text), name="children", indexed="trip_id")
    below = Remove(children, by="trip_id", of=Owner(trips))
    by_hand = Erase(table=expenses, columns=(), run=lambda _: None)
    privacy = replace(NOTHING, decisions=(Remove(trips), below, NotPersonal(trips, "title", why="no"), by_hand))
    assert privacy.deeds("a tenant") == (by_hand, below, Remove(trips))


def test_the_sweep_sees_the_tables_of_all_domains() -> None:
    privacy = modules.privacy()
    seen = {shape.table for shape in shapes_of(metadata.sorted_tables) if shape.needs_decision}
    decided = {str(each.table) for each in privacy.decisions}
    assert decided >= seen > {"users", "trips", "events", "audit_entries"}
    modules.check_privacy()


def test_the_server_does_not_start_with_a_table_that_nobody_has_decided(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(modules, "DECISIONS", DECISIONS[1:])
    with pytest.raises(ModuleFault, match=r"`events\.payload` may hold personal data"):
        modules.check_privacy()
