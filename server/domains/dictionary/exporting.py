"""Exports: the published entries of a dictionary as a file."""

from collections.abc import Callable, Iterator

from plinth.dictionary.v1.dictionary_entry_pb2 import DictionaryEntry
from plinth.dictionary.v1.dictionary_pb2 import Dictionary
from plinth.dictionary.v1.dictionary_transfer_pb2 import DictionaryFormat
from sqlalchemy import ARRAY, Integer, Text, any_, bindparam, case, func, literal_column, select, text, tuple_
from sqlalchemy.dialects.postgresql import UUID

from server.data.connections import Result
from server.data.events import NO_TENANT
from server.data.statements import Row, Statement
from server.domains.dictionary.formats import write_csv, write_dmlex
from server.domains.dictionary.storing import PLAN
from server.domains.dictionary.tables import dictionary_entries
from server.kernel.transfers import Download

BATCH = 200
MOST_LICENCES = 20
PIECE = 1 << 16
"""Bytes that are sent at once."""
Run = Callable[..., Result]
_e = dictionary_entries.c
_id = UUID(as_uuid=False)
_own = bindparam("own_licence", type_=Text())
_licence = case((_e.licence == text("''"), _own), else_=_e.licence)
_is_exported = (
    _e.tenant_id == bindparam("tenant", type_=_id),
    _e.dictionary_id == bindparam("dictionary", type_=_id),
    _e.state == literal_column("3"),
    _e.delete_time.is_(None),
)
LICENCES = Statement(
    select(_licence.label("licence"), func.count().label("count"))
    .where(*_is_exported)
    .group_by(literal_column("1"))
    .order_by(literal_column("2").desc(), literal_column("1"))
    .limit(bindparam("most", type_=Integer()))
)
"""Takes `tenant`, `dictionary`, `own_licence`, that of the dictionary, and `most`."""
_page = (
    select(*PLAN.columns)
    .where(
        *_is_exported,
        tuple_(_e.sort_key, _e.id) > tuple_(bindparam("after", type_=_e.sort_key.type), bindparam("last", type_=_id)),
    )
    .order_by(_e.sort_key, _e.id)
    .limit(bindparam("limit", type_=Integer()))
)
READ = Statement(_page)
"""Takes `tenant`, `dictionary`, `after` and `last`, and `limit`."""
READ_LICENSED = Statement(_page.where(_e.licence == any_(bindparam("licences", type_=ARRAY(Text())))))
"""Takes `licences` too. Not an expression: PostgreSQL knows how often a column has a value."""
TRANSLATED = Statement(
    text(
        """
SELECT DISTINCT t ->> 'language' AS language
  FROM dictionary_entries e, jsonb_array_elements(e.senses) s,
       jsonb_array_elements(coalesce(s -> 'translations', '[]'::jsonb)) t
 WHERE e.tenant_id = :tenant AND e.dictionary_id = :dictionary AND e.state = 3 AND e.delete_time IS NULL
 ORDER BY 1"""
    )
    .bindparams(bindparam("tenant", type_=_id), bindparam("dictionary", type_=_id))
    .columns(language=Text())
)
"""Takes `tenant` and `dictionary`."""


def export_of(dictionary: Dictionary, form: int, licence: str) -> Download:
    """The published entries of a dictionary, by their headwords; those with a licence, if one is named."""
    is_csv = form == DictionaryFormat.DICTIONARY_FORMAT_CSV

    def pieces(run: Run) -> Iterator[bytes]:
        entries = _entries(run, dictionary, licence)
        if is_csv:
            key = {"tenant": dictionary.tenant_id, "dictionary": dictionary.id}
            languages = [row["language"] for row in run(TRANSLATED, **key).all()]
            return _gathered(write_csv(entries, languages))
        uri = dictionary.source if dictionary.source.startswith(("http://", "https://")) else ""
        return _gathered(write_dmlex(dictionary.display_name, dictionary.language, uri, entries))

    kind, media_type = ("csv", "text/csv; charset=utf-8") if is_csv else ("json", "application/json")
    return Download(f"{dictionary.key}.{kind}", media_type, pieces)


def _entries(run: Run, dictionary: Dictionary, licence: str) -> Iterator[DictionaryEntry]:
    """The entries, each with its licence and source."""
    after, last = "", NO_TENANT
    key: Row = {"tenant": dictionary.tenant_id, "dictionary": dictionary.id, "limit": BATCH}
    if licence:
        key["licences"] = [licence, ""] if licence == dictionary.licence else [licence]
    while True:
        result = run(READ_LICENSED if licence else READ, **key, after=after, last=last)
        found = PLAN.messages(result)
        for entry in found:
            after, last = entry.sort_key, entry.id
            entry.licence = entry.licence or dictionary.licence
            entry.source = entry.source or dictionary.source
            yield entry
        if len(found) < BATCH:
            return


def _gathered(pieces: Iterator[bytes]) -> Iterator[bytes]:
    """Pieces of a size that is worth sending, at least one."""
    gathered = bytearray()
    for piece in pieces:
        gathered += piece
        if len(gathered) >= PIECE:
            yield bytes(gathered)
            gathered.clear()
    yield bytes(gathered)
