"""Which form of segmentation a result is or refers to, so that it can be sent to somebody else later."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Names told it until now: seg.dcm, sr.dcm, seg-labelmap.dcm, sr-labelmap.dcm."""
    with op.batch_alter_table("result", schema=None) as batch_op:
        batch_op.add_column(sa.Column("encoding", sa.Text(), nullable=False, server_default=""))
    result = sa.table("result", *map(sa.column, ("kind", "name", "encoding")))
    of_a_form = result.c.kind.in_(("segmentation", "report"))
    labelmap = result.c.name.contains("labelmap")
    op.execute(sa.update(result).where(of_a_form, labelmap).values(encoding="LABELMAP"))
    op.execute(sa.update(result).where(of_a_form, ~labelmap).values(encoding="BINARY"))
