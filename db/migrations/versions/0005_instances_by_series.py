"""Images are told apart by study, series and SOP Instance UID, and remember whose they said they are."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

_PATIENT_OF_STUDY = """
    UPDATE instance SET patient_id = (
        SELECT study.patient_id FROM series JOIN study ON study.id = series.study_id
        WHERE series.id = instance.series_id
    )
"""
# The first of each image that was a conflict with one of another study or series.
_NO_CONFLICTS = """
    UPDATE instance SET current = true, conflict = false WHERE id IN (
        SELECT min(id) FROM instance AS other
        WHERE conflict AND NOT EXISTS (
            SELECT 1 FROM instance AS kept
            WHERE kept.current AND kept.series_id = other.series_id AND kept.sop_instance_uid = other.sop_instance_uid
        )
        GROUP BY series_id, sop_instance_uid
    )
"""
_COUNT_OF_SERIES = """
    UPDATE series SET images = (SELECT count(*) FROM instance WHERE instance.series_id = series.id AND current)
"""
_COUNT_OF_STUDIES = """
    UPDATE study SET images = (SELECT coalesce(sum(series.images), 0) FROM series WHERE series.study_id = study.id)
"""


def upgrade() -> None:
    """What was a conflict only with an image of another study or series is none any more, and counts.

    The studies stay in their state: `scanward jobs retry STUDY_UID` puts one before the rules again.
    """
    with op.batch_alter_table("study", schema=None) as batch_op:
        batch_op.add_column(sa.Column("became", sa.Text(), nullable=True))
    with op.batch_alter_table("instance", schema=None) as batch_op:
        batch_op.add_column(sa.Column("patient_id", sa.Text(), nullable=True))
    op.execute(_PATIENT_OF_STUDY)
    with op.batch_alter_table("instance", schema=None) as batch_op:
        batch_op.alter_column("patient_id", existing_type=sa.Text(), nullable=False)
        batch_op.drop_index("uq_instance_current")
        batch_op.drop_index(batch_op.f("ix_instance_series_id"))
        batch_op.drop_constraint(batch_op.f("uq_instance_sop_instance_uid_content_digest"), type_="unique")
        batch_op.create_unique_constraint(
            batch_op.f("uq_instance_series_id_sop_instance_uid_content_digest"),
            ["series_id", "sop_instance_uid", "content_digest"],
        )
        batch_op.create_index(batch_op.f("ix_instance_sop_instance_uid"), ["sop_instance_uid"], unique=False)
        batch_op.create_index(
            "uq_instance_current",
            ["series_id", "sop_instance_uid"],
            unique=True,
            sqlite_where=sa.text("current"),
            postgresql_where=sa.text("current"),
        )
    for statement in (_NO_CONFLICTS, _COUNT_OF_SERIES, _COUNT_OF_STUDIES):
        op.execute(statement)
