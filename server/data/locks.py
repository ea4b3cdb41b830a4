"""Locks by name, for rules over rows that may not be there yet. They are held until the transaction ends."""

from sqlalchemy import BigInteger, Text, bindparam, cast, func, literal, select

from server.data.statements import Statement

_lock = func.pg_advisory_xact_lock(func.hashtextextended(bindparam("name", type_=Text()), literal(0, BigInteger())))
LOCK = Statement(select(cast(_lock, Text()).label("locked")))
"""Waits until other transactions that hold the lock of this `name` have ended."""
