"""The column types that mean the same on SQLite and PostgreSQL."""

from __future__ import annotations

import datetime as dt
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

from sqlalchemy import JSON, BigInteger, Dialect, Double, Enum, Integer, MetaData, Text
from sqlalchemy.dialects.postgresql import JSONB, TIMESTAMP
from sqlalchemy.orm import DeclarativeBase, mapped_column
from sqlalchemy.types import DateTime, TypeDecorator, TypeEngine

from db.errors import NaiveTimestamp
from db.files import FilePath


class UTC(TypeDecorator[dt.datetime]):
    """A moment, aware of its time zone, which is always UTC.

    PostgreSQL has such a type. SQLite gets the UTC time as text of fixed length, which sorts as the moments do.
    """

    impl = DateTime
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[dt.datetime]:
        """TIMESTAMP WITH TIME ZONE where there is one."""
        if dialect.name == "postgresql":
            return dialect.type_descriptor(TIMESTAMP(timezone=True))
        return dialect.type_descriptor(DateTime())

    def process_bind_param(self, value: dt.datetime | None, dialect: Dialect) -> dt.datetime | None:
        """To UTC; for SQLite without the zone, which its text form has no room for."""
        if value is None:
            return None
        if value.tzinfo is None:
            raise NaiveTimestamp(value=value)
        utc = value.astimezone(dt.UTC)
        return utc if dialect.name == "postgresql" else utc.replace(tzinfo=None)

    def process_result_value(self, value: dt.datetime | None, dialect: Dialect) -> dt.datetime | None:
        """Aware again, in UTC whatever the time zone of the server's session."""
        if value is None:
            return None
        return value.replace(tzinfo=dt.UTC) if value.tzinfo is None else value.astimezone(dt.UTC)


def by_value(kind: type[StrEnum]) -> Enum:
    """An enumeration stored as the string that people know, with a CHECK that lets nothing else in."""
    return Enum(
        kind,
        name=kind.__name__.lower(),
        native_enum=False,
        create_constraint=True,
        values_callable=lambda members: [member.value for member in members],
        validate_strings=True,
        length=16,
    )


Number = BigInteger().with_variant(Integer, "sqlite")  # SQLite numbers rows by itself only in an INTEGER
Json = JSON(none_as_null=True).with_variant(JSONB(none_as_null=True), "postgresql")

Key = Annotated[int, mapped_column(Number, primary_key=True)]


class Base(DeclarativeBase):
    """Every constraint has a name, because a migration can only change what it can name."""

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
            "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
            "pk": "pk_%(table_name)s",
        }
    )
    # Text without a length: a header may hold more than its value representation allows, and that must lose no image.
    type_annotation_map = {  # noqa: RUF012 - SQLAlchemy reads a plain class attribute
        str: Text,
        int: Number,
        float: Double,
        dt.datetime: UTC,
        Path: FilePath,
        dict[str, Any]: Json,
        list[str]: Json,
        list[float]: Json,
        dict[str, str]: Json,
        dict[str, float]: Json,
    }


def now() -> dt.datetime:
    """This moment, in UTC."""
    return dt.datetime.now(dt.UTC)
