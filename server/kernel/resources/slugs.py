"""Generated slugs: made from a title or from another slug, and numbered if they are taken."""

import secrets
from collections.abc import Sequence
from typing import Generic

import psycopg
from sqlalchemy import Text, any_, bindparam, func, select
from sqlalchemy.dialects.postgresql import ARRAY

from server.data.locks import LOCK
from server.data.statements import Statement
from server.kernel.call import Call
from server.kernel.problems import Collision, Problem, Violation, broken_rules
from server.kernel.resources.resource import M
from server.kernel.resources.rows import ResourceRows

LONGEST_SLUG = 64
MOST_NUMBERED = 100
"""Largest number of numbered slugs per stem. Later ones end in random digits, so that finding one costs the same."""
RANDOM_BYTES = 4


class Slugs(Generic[M]):
    """The slugs of a resource with a column `slug`, unique among the rows of a tenant that are not deleted."""

    def __init__(self, rows: ResourceRows[M], singular: str, key: str) -> None:
        """`singular` is the name of the resource in requests, `key` that of the unique index."""
        self._rows, self._singular, self._key = rows, singular, key
        columns = rows.resource.table.c
        self._taken = Statement(
            lambda: select(func.array_agg(columns.slug).label("slugs")).where(
                columns.tenant_id == bindparam("tenant", type_=columns.tenant_id.type),
                columns.delete_time.is_(None),
                columns.slug == any_(bindparam("candidates", type_=ARRAY(Text()))),
            )
        )

    def from_title(self, call: Call, title: str) -> str:
        """The slug of a title, numbered if it is taken. A conflict is mostly detected by the insertion.

        Raises RuleViolated for a title without letters and digits.
        """
        slug = slug_of(title)
        if not slug:
            description = "has no letters or digits to make a slug from: send a slug"
            raise broken_rules([Violation(f"{self._singular}.title", description, f"{self._singular}.title.slug")])
        return self._generated(call, self._free(call, slug) if call.collisions else slug)

    def from_stem(self, call: Call, stem: str) -> str:
        """The first of `<stem>`, `<stem>-2`, `<stem>-3` ... that no other one of the tenant has."""
        return self._generated(call, self._free(call, stem))

    def _free(self, call: Call, stem: str) -> str:
        """The first that is free, cut to fit.

        A call that names its slug takes no lock and may take this one first: the insertion collides and is retried.
        """
        candidates = [stem, *(with_suffix(stem, f"-{number}") for number in range(2, MOST_NUMBERED + 1))]
        name = f"slug {self._rows.resource.table.name} {call.tenant_id} {stem}"
        _, found = call.writes.run_both(LOCK, self._taken, name=name, tenant=call.tenant_id, candidates=candidates)
        taken: Sequence[str] = found.value() or ()
        free = (candidate for candidate in candidates if candidate not in taken)
        return next(free, "") or with_suffix(stem, f"-{secrets.token_hex(RANDOM_BYTES)}")

    def _generated(self, call: Call, slug: str) -> str:
        """Mark a generated slug: if it turns out to be taken, the call is retried with another one."""
        call.conflicts[self._rows.resource.table.name] = self._collision
        return slug

    def _collision(self, error: psycopg.errors.UniqueViolation) -> Problem:
        problem = self._rows.taken(error)
        if error.diag.constraint_name != self._key:
            return problem
        return Collision(problem.message, metadata=problem.metadata)


def slug_of(title: str) -> str:
    """The slug of a title; empty if the title has neither letters nor digits."""
    # Imported here, because its tables take 5 MB, which only processes that name things need.
    from slugify import slugify  # noqa: PLC0415

    slug: str = slugify(title, max_length=LONGEST_SLUG, word_boundary=True)
    return slug


def with_suffix(stem: str, suffix: str) -> str:
    """A slug with a suffix, cut to fit."""
    return stem[: LONGEST_SLUG - len(suffix)].rstrip("-") + suffix
