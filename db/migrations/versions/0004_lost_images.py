"""What came and could not be used, and how many images a job has read of how many."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

MOMENT = sa.DateTime(timezone=True)
NUMBER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
JSON = sa.JSON(none_as_null=True).with_variant(JSONB(none_as_null=True), "postgresql")


def upgrade() -> None:
    """Jobs that were done before say nothing of what they read."""
    op.create_table(
        "lost_image",
        sa.Column("id", NUMBER, nullable=False),
        sa.Column("receipt", sa.Text(), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("study_instance_uid", sa.Text(), nullable=False),
        sa.Column("series_instance_uid", sa.Text(), nullable=False),
        sa.Column("sop_instance_uid", sa.Text(), nullable=False),
        sa.Column("association_id", sa.Text(), nullable=True),
        sa.Column("source_ae", sa.Text(), nullable=False),
        sa.Column("number", sa.Text(), nullable=False),
        sa.Column("position", JSON, nullable=True),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("file", sa.Text(), nullable=False),
        sa.Column("lost_at", MOMENT, nullable=False),
        sa.CheckConstraint(
            "kind IN ('quarantined', 'cut off', 'not finished', 'refused', 'conflicting')",
            name=op.f("ck_lost_image_losskind"),
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_lost_image")),
        sa.UniqueConstraint("receipt", name=op.f("uq_lost_image_receipt")),
    )
    for column in ("study_instance_uid", "series_instance_uid", "sop_instance_uid", "association_id", "lost_at"):
        op.create_index(op.f(f"ix_lost_image_{column}"), "lost_image", [column])
    # Not as a batch: SQLite would get a new table, which forgets that numbers of jobs are never given twice.
    op.add_column("job", sa.Column("read", JSON, nullable=False, server_default=sa.text("'{}'")))
