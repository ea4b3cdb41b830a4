"""Tables of a search: the words of the rows of another table, and what is typed for those words by mistake.

Row-level security lets a condition use an index only if its function is LEAKPROOF. Full-text search, trigrams, arrays
and LIKE are not. Equality and ranges of text are, so a search is made of rows that hold one word each. The words are
collated by code point ("C"), so that all words with a beginning are one range (docs/search.md).
"""

from typing import NamedTuple

from sqlalchemy import Column, ForeignKeyConstraint, Index, PrimaryKeyConstraint, SmallInteger, Table, Text

from server.data.clauses import AnyColumn
from server.data.tables import OWN_TENANT, ROW_SECURITY, metadata, uuid_column

SEARCHED = "searched"
"""Key of Table.info of a table of words: the name of the table that is searched."""


class SearchTables(NamedTuple):
    """The tables of one search."""

    words: Table
    """A row per word of a resource: `word`, and the `weight` of the heaviest field that has it."""
    typos: Table
    """The distinct words of a tenant. Each has a row per `key`: itself, and itself without one of its letters."""


def search_tables(searched: Table) -> SearchTables:
    """The tables `<searched>_words` and `<searched>_typos`.

    A trigger deletes the words of deleted rows (search_trigger.py). A foreign key would check the row once per word,
    which took half of the time of writing the words. The row of a typo names a resource that has the word, so that two
    calls that write the same word at once do not wait for each other.
    """
    words = Table(
        f"{searched.name}_words",
        metadata,
        uuid_column("tenant_id"),
        uuid_column("resource_id"),
        _word_column("word"),
        Column("weight", SmallInteger, nullable=False),
        PrimaryKeyConstraint("tenant_id", "resource_id", "word"),
        info={ROW_SECURITY: OWN_TENANT, SEARCHED: searched.name},
    )
    # Read backwards: the heaviest and newest resources of a word come first.
    Index(f"{words.name}_word_idx", words.c.tenant_id, words.c.word, words.c.weight, words.c.resource_id)
    typos = Table(
        f"{searched.name}_typos",
        metadata,
        uuid_column("tenant_id"),
        _word_column("key"),
        _word_column("word"),
        uuid_column("resource_id"),
        PrimaryKeyConstraint("tenant_id", "key", "word", "resource_id"),
        ForeignKeyConstraint(["tenant_id"], ["tenants.id"], ondelete="CASCADE"),
        info={ROW_SECURITY: OWN_TENANT},
    )
    return SearchTables(words, typos)


def _word_column(name: str) -> AnyColumn:
    return Column(name, Text(collation="C"), nullable=False)
