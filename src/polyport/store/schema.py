"""The tables as the newest revision has them. `migrations/` holds the way there; a test holds the two together."""

import sqlalchemy as sa

#: The newest revision in `migrations/versions`.
HEAD = "0005"

metadata = sa.MetaData()


def _resource_columns() -> list[sa.Column[str] | sa.Column[float]]:
    """What all named resources have. ``key`` is the lower-case name: names are unique whatever their case."""
    return [
        sa.Column("account", sa.String(12), nullable=False),
        sa.Column("region", sa.String(32), nullable=False),
        sa.Column("name", sa.String(63), nullable=False),
        sa.Column("key", sa.String(63), nullable=False),
        sa.Column("created_at", sa.Double, nullable=False),
    ]


models = sa.Table(
    "models",
    metadata,
    sa.Column("arn", sa.String(256), primary_key=True),
    *_resource_columns(),
    sa.Column("definition", sa.Text, nullable=False),
    sa.UniqueConstraint("account", "region", "key", name="models_by_name"),
)

endpoint_configs = sa.Table(
    "endpoint_configs",
    metadata,
    sa.Column("arn", sa.String(256), primary_key=True),
    *_resource_columns(),
    sa.Column("definition", sa.Text, nullable=False),
    sa.UniqueConstraint("account", "region", "key", name="endpoint_configs_by_name"),
)

endpoints = sa.Table(
    "endpoints",
    metadata,
    sa.Column("id", sa.String(64), primary_key=True),
    sa.Column("arn", sa.String(256), nullable=False, unique=True),
    *_resource_columns(),
    sa.Column("modified_at", sa.Double, nullable=False),
    sa.Column("generation", sa.BigInteger, nullable=False),
    sa.Column("version", sa.BigInteger, nullable=False),
    # What DescribeEndpoint shows, kept beside the JSON so that lists can filter and sort by it.
    sa.Column("status", sa.String(32), nullable=False),
    sa.Column("wanted", sa.Text, nullable=False),
    sa.Column("state", sa.Text, nullable=False),
    sa.UniqueConstraint("account", "region", "key", name="endpoints_by_name"),
    sa.Index("endpoints_by_status", "account", "region", "status"),
)

tags = sa.Table(
    "tags",
    metadata,
    sa.Column("arn", sa.String(512), primary_key=True),
    sa.Column("key", sa.String(128), primary_key=True),
    sa.Column("value", sa.String(256), nullable=False),
)

#: Everything that can carry tags, and has its ARN in a column. Alarms can too, by theirs.
TAGGABLE = (models, endpoint_configs, endpoints)

principals = sa.Table(
    "principals",
    metadata,
    sa.Column("account", sa.String(12), primary_key=True),
    sa.Column("kind", sa.String(8), primary_key=True),
    sa.Column("name", sa.String(64), primary_key=True),
    sa.Column("id", sa.String(32), nullable=False, unique=True),
    sa.Column("created_at", sa.Double, nullable=False),
    sa.Column("trust", sa.Text, nullable=False),
    sa.Column("max_session", sa.Integer, nullable=False),
)

policies = sa.Table(
    "policies",
    metadata,
    sa.Column("account", sa.String(12), primary_key=True),
    sa.Column("kind", sa.String(8), primary_key=True),
    sa.Column("principal", sa.String(64), primary_key=True),
    sa.Column("name", sa.String(128), primary_key=True),
    sa.Column("document", sa.Text, nullable=False),
)

access_keys = sa.Table(
    "access_keys",
    metadata,
    sa.Column("id", sa.String(128), primary_key=True),
    sa.Column("account", sa.String(12), nullable=False),
    sa.Column("user", sa.String(64), nullable=False),
    sa.Column("secret", sa.Text, nullable=False),
    sa.Column("status", sa.String(16), nullable=False),
    sa.Column("created_at", sa.Double, nullable=False),
    sa.Column("expires_at", sa.Double, nullable=True),
)

endpoint_policies = sa.Table(
    "endpoint_policies",
    metadata,
    sa.Column("arn", sa.String(256), primary_key=True),
    sa.Column("document", sa.Text, nullable=False),
)

#: One row. Its number grows with each change of the four tables above, so that a look at it tells whether to read them.
access_revision = sa.Table(
    "access_revision",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("number", sa.BigInteger, nullable=False),
)

alarms = sa.Table(
    "alarms",
    metadata,
    sa.Column("account", sa.String(12), primary_key=True),
    sa.Column("region", sa.String(32), primary_key=True),
    sa.Column("name", sa.String(255), primary_key=True),
    sa.Column("state", sa.String(32), nullable=False),
    sa.Column("changed_at", sa.Double, nullable=False),
    # The request that made it, as JSON; empty: it is set by hand alone.
    sa.Column("definition", sa.Text, nullable=False, server_default=""),
    sa.Column("configured_at", sa.Double, nullable=False, server_default="0"),
    sa.Column("reason", sa.Text, nullable=False, server_default=""),
    sa.Column("reason_data", sa.Text, nullable=False, server_default=""),
)

alarm_history = sa.Table(
    "alarm_history",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("account", sa.String(12), nullable=False),
    sa.Column("region", sa.String(32), nullable=False),
    sa.Column("name", sa.String(255), nullable=False),
    sa.Column("at", sa.Double, nullable=False),
    sa.Column("kind", sa.String(32), nullable=False),
    sa.Column("summary", sa.Text, nullable=False),
    sa.Column("data", sa.Text, nullable=False),
    sa.Column("type", sa.String(16), nullable=False, server_default="MetricAlarm"),
    sa.Index("alarm_history_by_time", "account", "region", "at"),
)

#: What is still to be done because an alarm came into another state, each as the JSON of a `Notice`.
alarm_actions = sa.Table(
    "alarm_actions",
    metadata,
    sa.Column("number", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("due_at", sa.Double, nullable=False),
    sa.Column("tries", sa.Integer, nullable=False),
    sa.Column("notice", sa.Text, nullable=False),
    sa.Index("alarm_actions_by_time", "due_at"),
)
