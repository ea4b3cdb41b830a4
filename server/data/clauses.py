"""SQLAlchemy's generic types, for tables and columns that are known only at run time, so that their types are not."""

from typing import Any

from sqlalchemy import BindParameter, Column, ColumnElement, Select
from sqlalchemy.types import TypeEngine

AnyParameter = BindParameter[Any]
AnyColumn = Column[Any]
AnyExpression = ColumnElement[Any]
AnySelect = Select[Any]
AnyType = TypeEngine[Any]
