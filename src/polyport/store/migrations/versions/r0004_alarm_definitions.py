"""What alarms watch, why they are in their state, and what became of them."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """Alarms that there are already have no definition: they were set by hand."""
    op.add_column("alarms", sa.Column("definition", sa.Text, nullable=False, server_default=""))
    op.add_column("alarms", sa.Column("configured_at", sa.Double, nullable=False, server_default="0"))
    op.add_column("alarms", sa.Column("reason", sa.Text, nullable=False, server_default=""))
    op.add_column("alarms", sa.Column("reason_data", sa.Text, nullable=False, server_default=""))
    op.create_table(
        "alarm_history",
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
        sa.Column("account", sa.String(12), nullable=False),
        sa.Column("region", sa.String(32), nullable=False),
        sa.Column("name", sa.String(255), nullable=False),
        sa.Column("at", sa.Double, nullable=False),
        sa.Column("kind", sa.String(32), nullable=False),
        sa.Column("summary", sa.Text, nullable=False),
        sa.Column("data", sa.Text, nullable=False),
        sa.Index("alarm_history_by_time", "account", "region", "at"),
    )
