"""The first schema"""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Every table, empty."""
    op.create_table(
        "aggregates",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("name", sa.String(length=255), nullable=False),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("name"),
    )
    op.create_table(
        "flavors",
        sa.Column("name", sa.String(length=255), nullable=False),
        sa.Column("document", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("name"),
    )
    op.create_table(
        "groups",
        sa.Column("name", sa.String(length=255), nullable=False),
        sa.Column("policy", sa.String(length=32), nullable=False),
        sa.Column("max_server_per_host", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("name"),
    )
    op.create_table(
        "hosts",
        sa.Column("name", sa.String(length=255), nullable=False),
        sa.Column("topology", sa.LargeBinary(), nullable=True),
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("facts", sa.LargeBinary(), nullable=False),
        sa.Column("foreign_usage", sa.LargeBinary(), nullable=False),
        sa.Column("foreign_vcpus", sa.Integer(), nullable=False),
        sa.Column("foreign_ram_mb", sa.Integer(), nullable=False),
        sa.Column("reserved_ram_mb", sa.Integer(), nullable=False),
        sa.Column("enabled", sa.Boolean(), nullable=False),
        sa.Column("disabled_reason", sa.String(length=255), nullable=False),
        sa.Column("agent", sa.Boolean(), nullable=False),
        sa.Column("last_seen_s", sa.Float(), nullable=False),
        sa.Column("generation", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("name"),
    )
    op.create_table(
        "pools",
        sa.Column("host", sa.String(length=255), nullable=False),
        sa.Column("cell", sa.Integer(), nullable=False),
        sa.Column("size_kib", sa.BigInteger(), nullable=False),
        sa.Column("total", sa.BigInteger(), nullable=False),
        sa.Column("used", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("used <= total", name="used_within_total"),
        sa.CheckConstraint("used >= 0", name="used_not_negative"),
        sa.PrimaryKeyConstraint("host", "cell", "size_kib"),
    )
    op.create_table(
        "quotas",
        sa.Column("project", sa.String(length=255), nullable=False),
        sa.Column("resource", sa.String(length=32), nullable=False),
        sa.Column("most", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("project", "resource"),
    )
    op.create_table(
        "tokens",
        sa.Column("sha256", sa.String(length=64), nullable=False),
        sa.Column("role", sa.String(length=16), nullable=False),
        sa.Column("subject", sa.String(length=255), nullable=False),
        sa.PrimaryKeyConstraint("sha256"),
        sa.UniqueConstraint("role", "subject"),
    )
    op.create_table(
        "aggregate_hosts",
        sa.Column("aggregate", sa.Integer(), nullable=False),
        sa.Column("host", sa.String(length=255), nullable=False),
        sa.ForeignKeyConstraint(["aggregate"], ["aggregates.id"], ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["host"], ["hosts.name"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("aggregate", "host"),
    )
    op.create_table(
        "aggregate_metadata",
        sa.Column("aggregate", sa.Integer(), nullable=False),
        sa.Column("key", sa.String(length=255), nullable=False),
        sa.Column("value", sa.String(length=4000), nullable=False),
        sa.ForeignKeyConstraint(["aggregate"], ["aggregates.id"], ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("aggregate", "key"),
    )
    op.create_table(
        "instances",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("name", sa.String(length=255), nullable=False),
        sa.Column("project", sa.String(length=255), nullable=False),
        sa.Column("status", sa.String(length=16), nullable=False),
        sa.Column("host", sa.String(length=255), nullable=True),
        sa.Column("group_name", sa.String(length=255), nullable=True),
        sa.Column("vcpus", sa.Integer(), nullable=False),
        sa.Column("ram_mb", sa.Integer(), nullable=False),
        sa.Column("disk_gb", sa.Integer(), nullable=False),
        sa.Column("request", sa.LargeBinary(), nullable=False),
        sa.Column("placement", sa.LargeBinary(), nullable=True),
        sa.Column("decision", sa.LargeBinary(), nullable=True),
        sa.Column("reason", sa.String(length=4000), nullable=False),
        sa.Column("tried", sa.String(length=4000), nullable=False),
        sa.Column("created_s", sa.Float(), nullable=False),
        sa.Column("updated_s", sa.Float(), nullable=False),
        sa.Column("expires_s", sa.Float(), nullable=True),
        sa.ForeignKeyConstraint(
            ["host"],
            ["hosts.name"],
        ),
        sa.PrimaryKeyConstraint("id"),
    )
    with op.batch_alter_table("instances", schema=None) as batch_op:
        batch_op.create_index("instances_group", ["group_name"], unique=False)
        batch_op.create_index("instances_host", ["host"], unique=False)
        batch_op.create_index("instances_name", ["name"], unique=False)
        batch_op.create_index("instances_project", ["project"], unique=False)

    op.create_table(
        "pcpus",
        sa.Column("host", sa.String(length=255), nullable=False),
        sa.Column("pcpu", sa.Integer(), nullable=False),
        sa.Column("instance", sa.String(length=36), nullable=False),
        sa.ForeignKeyConstraint(
            ["instance"],
            ["instances.id"],
        ),
        sa.PrimaryKeyConstraint("host", "pcpu"),
    )
    with op.batch_alter_table("pcpus", schema=None) as batch_op:
        batch_op.create_index("pcpus_instance", ["instance"], unique=False)


def downgrade() -> None:
    """No table."""
    with op.batch_alter_table("pcpus", schema=None) as batch_op:
        batch_op.drop_index("pcpus_instance")

    op.drop_table("pcpus")
    with op.batch_alter_table("instances", schema=None) as batch_op:
        batch_op.drop_index("instances_project")
        batch_op.drop_index("instances_name")
        batch_op.drop_index("instances_host")
        batch_op.drop_index("instances_group")

    op.drop_table("instances")
    op.drop_table("aggregate_metadata")
    op.drop_table("aggregate_hosts")
    op.drop_table("tokens")
    op.drop_table("quotas")
    op.drop_table("pools")
    op.drop_table("hosts")
    op.drop_table("groups")
    op.drop_table("flavors")
    op.drop_table("aggregates")
