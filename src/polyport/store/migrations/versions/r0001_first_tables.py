"""The first tables."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Models, endpoint configurations, endpoints, tags."""
    for kind in ("models", "endpoint_configs"):
        op.create_table(
            kind,
            sa.Column("arn", sa.String(256), primary_key=True),
            *_resource_columns(),
            sa.Column("definition", sa.Text, nullable=False),
            sa.UniqueConstraint("account", "region", "key", name=f"{kind}_by_name"),
        )
    op.create_table(
        "endpoints",
        sa.Column("id", sa.String(64), primary_key=True),
        sa.Column("arn", sa.String(256), nullable=False, unique=True),
        *_resource_columns(),
        sa.Column("modified_at", sa.Double, nullable=False),
        sa.Column("generation", sa.BigInteger, nullable=False),
        sa.Column("version", sa.BigInteger, nullable=False),
        sa.Column("status", sa.String(32), nullable=False),
        sa.Column("wanted", sa.Text, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.UniqueConstraint("account", "region", "key", name="endpoints_by_name"),
    )
    op.create_index("endpoints_by_status", "endpoints", ["account", "region", "status"])
    op.create_table(
        "tags",
        sa.Column("arn", sa.String(256), primary_key=True),
        sa.Column("key", sa.String(128), primary_key=True),
        sa.Column("value", sa.String(256), nullable=False),
    )


def _resource_columns() -> list[sa.Column[str] | sa.Column[float]]:
    return [
        sa.Column("account", sa.String(12), nullable=False),
        sa.Column("region", sa.String(32), nullable=False),
        sa.Column("name", sa.String(63), nullable=False),
        sa.Column("key", sa.String(63), nullable=False),
        sa.Column("created_at", sa.Double, nullable=False),
    ]
