"""A code beside the words of every reason, so that reasons can be counted."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """What was told in words alone gets the codes that are certain."""
    for table in ("study", "job", "delivery"):
        with op.batch_alter_table(table, schema=None) as batch_op:
            batch_op.add_column(sa.Column("reason_code", sa.Text(), nullable=True))
    study = sa.table("study", *map(sa.column, ("state", "reason_code")))
    op.execute(sa.update(study).where(study.c.state == "unmatched").values(reason_code="no-rule"))
    _jobs()
    _deliveries()


def _jobs() -> None:
    job = sa.table("job", *map(sa.column, ("id", "state", "reason", "reason_code")))
    result = sa.table("result", sa.column("job_id"))
    failed = sa.update(job).where(job.c.state == "failed")
    op.execute(sa.update(job).where(job.c.state == "refused").values(reason_code="refused"))
    op.execute(failed.values(reason_code="failed"))
    op.execute(failed.where(job.c.reason.startswith("killed its worker twice")).values(reason_code="worker-lost-twice"))
    op.execute(failed.where(job.c.id.in_(sa.select(result.c.job_id))).values(reason_code="not-delivered"))


def _deliveries() -> None:
    delivery = sa.table("delivery", *map(sa.column, ("status", "last_error", "reason_code")))
    told = sa.update(delivery).where(delivery.c.last_error.is_not(None))
    op.execute(told.where(delivery.c.status.is_(None)).values(reason_code="no-answer"))
    statuses = sa.select(delivery.c.status).where(delivery.c.status.is_not(None), delivery.c.last_error.is_not(None))
    for status in op.get_bind().scalars(statuses.distinct()).all():
        op.execute(told.where(delivery.c.status == status).values(reason_code=f"status-{status:04x}"))
