from __future__ import annotations

from dataclasses import fields

import pytest

from db.records import AssociationRow, IndexedInstance, InstanceRow, LossRow, NewMeasurement, NewResult
from db.records.mapping import record, values
from db.tables import Association, Base, Instance, Loss, Measurement, Result, Series, Study
from dicomio.files.headers import Header
from tests.db.conftest import Images


def names(kind: type) -> set[str]:
    return {field.name for field in fields(kind)}


def columns(*tables: type[Base]) -> set[str]:
    return {column.key for table in tables for column in table.__mapper__.column_attrs}


@pytest.mark.parametrize(
    ("kind", "tables", "elsewhere"),
    [
        (InstanceRow, (Instance,), set()),
        (IndexedInstance, (Instance, Series, Study), set()),
        (LossRow, (Loss,), set()),
        (AssociationRow, (Association,), set()),
        (NewMeasurement, (Measurement,), set()),
        (NewResult, (Result,), {"destinations"}),  # a row of `delivery` each
    ],
)
def test_no_field_of_a_record_is_without_a_column(
    kind: type, tables: tuple[type[Base], ...], elsewhere: set[str]
) -> None:
    assert names(kind) - columns(*tables) == elsewhere


def test_all_that_a_header_tells_is_recorded() -> None:
    assert names(Header) <= names(IndexedInstance)


def test_what_is_given_beside_wins(images: Images) -> None:
    (image,) = images(1)
    row = values(Instance, image, series_id=3, frames=7, current=True, conflict=False)
    assert set(row) == columns(Instance) - {"id"}
    assert (row["frames"], row["instance_tags"]) == (7, image.instance_tags)
    assert record(InstanceRow, image, frames=7).frames == 7
