"""SQLAlchemy's generic types where tables and columns are only known when a process starts, so their values are not."""

from typing import Any

from sqlalchemy import BindParameter, Column, ColumnElement, Select
from sqlalchemy.types import TypeEngine

AnyParameter = BindParameter[Any]
AnyColumn = Column[Any]
AnyExpression = ColumnElement[Any]
AnySelect = Select[Any]
AnyType = TypeEngine[Any]
