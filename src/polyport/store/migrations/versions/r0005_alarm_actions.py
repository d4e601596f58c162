"""Alarms made of alarms, what is to be done when one changes its state, and tags of alarms."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    """All alarms so far are on metrics, and none has done anything."""
    op.add_column("alarm_history", sa.Column("type", sa.String(16), nullable=False, server_default="MetricAlarm"))
    op.create_table(
        "alarm_actions",
        sa.Column("number", sa.Integer, primary_key=True, autoincrement=True),
        sa.Column("due_at", sa.Double, nullable=False),
        sa.Column("tries", sa.Integer, nullable=False),
        sa.Column("notice", sa.Text, nullable=False),
        sa.Index("alarm_actions_by_time", "due_at"),
    )
    # An alarm's name may be 255 characters long, without the rest of its ARN.
    with op.batch_alter_table("tags") as tags:
        tags.alter_column("arn", existing_type=sa.String(256), type_=sa.String(512), existing_nullable=False)
