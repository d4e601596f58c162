"""Who may call: users and roles, their policies and keys, and the policies of endpoints."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Principals, policies, access keys, endpoint policies; and a number that grows with each change of them."""
    op.create_table(
        "principals",
        sa.Column("account", sa.String(12), primary_key=True),
        sa.Column("kind", sa.String(8), primary_key=True),
        sa.Column("name", sa.String(64), primary_key=True),
        sa.Column("id", sa.String(32), nullable=False, unique=True),
        sa.Column("created_at", sa.Double, nullable=False),
        sa.Column("trust", sa.Text, nullable=False),
        sa.Column("max_session", sa.Integer, nullable=False),
    )
    op.create_table(
        "policies",
        sa.Column("account", sa.String(12), primary_key=True),
        sa.Column("kind", sa.String(8), primary_key=True),
        sa.Column("principal", sa.String(64), primary_key=True),
        sa.Column("name", sa.String(128), primary_key=True),
        sa.Column("document", sa.Text, nullable=False),
    )
    op.create_table(
        "access_keys",
        sa.Column("id", sa.String(128), primary_key=True),
        sa.Column("account", sa.String(12), nullable=False),
        sa.Column("user", sa.String(64), nullable=False),
        sa.Column("secret", sa.Text, nullable=False),
        sa.Column("status", sa.String(16), nullable=False),
        sa.Column("created_at", sa.Double, nullable=False),
        sa.Column("expires_at", sa.Double, nullable=True),
    )
    op.create_table(
        "endpoint_policies",
        sa.Column("arn", sa.String(256), primary_key=True),
        sa.Column("document", sa.Text, nullable=False),
    )
    op.create_table(
        "access_revision",
        sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("number", sa.BigInteger, nullable=False),
    )
    op.execute("INSERT INTO access_revision (id, number) VALUES (1, 1)")
