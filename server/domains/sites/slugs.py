"""Generated slugs: made from a title or from another slug, and numbered if they are taken."""

import secrets
from collections.abc import Sequence

from sqlalchemy import Text, any_, bindparam, func, select
from sqlalchemy.dialects.postgresql import ARRAY

from server.data.locks import LOCK
from server.data.statements import Statement
from server.domains.sites.tables import pages
from server.kernel.call import Call

LONGEST_SLUG = 64
MOST_NUMBERED = 100
"""Largest number of numbered slugs per stem. Later ones end in random digits, so that finding one costs the same."""
RANDOM_BYTES = 4

TAKEN = Statement(
    select(func.array_agg(pages.c.slug).label("slugs")).where(
        pages.c.tenant_id == bindparam("tenant", type_=pages.c.tenant_id.type),
        pages.c.delete_time.is_(None),
        pages.c.slug == any_(bindparam("candidates", type_=ARRAY(Text()))),
    )
)


def slug_of(title: str) -> str:
    """The slug of a title; empty if the title has neither letters nor digits."""
    # Imported here, because its tables take 5 MB, which only processes that name pages need.
    from slugify import slugify  # noqa: PLC0415

    slug: str = slugify(title, max_length=LONGEST_SLUG, word_boundary=True)
    return slug


def free_slug(call: Call, stem: str) -> str:
    """The first of `<stem>`, `<stem>-2`, `<stem>-3` ... that no page of the tenant has, each cut to fit.

    A call that names its slug takes no lock and may take this one first. The insertion then collides and is retried.
    """
    candidates = [stem, *(with_suffix(stem, f"-{number}") for number in range(2, MOST_NUMBERED + 1))]
    _, found = call.writes.run_both(
        LOCK, TAKEN, name=f"slug {call.tenant_id} {stem}", tenant=call.tenant_id, candidates=candidates
    )
    taken: Sequence[str] = found.value() or ()
    free = (candidate for candidate in candidates if candidate not in taken)
    return next(free, "") or with_suffix(stem, f"-{secrets.token_hex(RANDOM_BYTES)}")


def with_suffix(stem: str, suffix: str) -> str:
    """A slug with a suffix, cut to fit."""
    return stem[: LONGEST_SLUG - len(suffix)].rstrip("-") + suffix
