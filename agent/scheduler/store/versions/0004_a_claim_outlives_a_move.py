"""A claim outlives a move until the old host says that the guest is gone

Instances that are there wait for nobody.
"""

import msgspec
import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"

LEAVING = sa.table("leaving", sa.column("instance"), sa.column("host"), sa.column("placement", sa.LargeBinary()))
PCPUS = sa.table("pcpus", sa.column("host"), sa.column("instance"))
POOLS = sa.table("pools", sa.column("host"), sa.column("cell"), sa.column("size_kib"), sa.column("used"))


def upgrade() -> None:
    """An empty table, and nobody waits."""
    op.add_column("instances", sa.Column("waits_for", sa.String(length=4000), nullable=False, server_default=""))
    op.create_table(
        "leaving",
        sa.Column("instance", sa.String(length=36), nullable=False),
        sa.Column("host", sa.String(length=255), nullable=False),
        sa.Column("vcpus", sa.Integer(), nullable=False),
        sa.Column("ram_mb", sa.Integer(), nullable=False),
        sa.Column("disk_gb", sa.Integer(), nullable=False),
        sa.Column("placement", sa.LargeBinary(), nullable=False),
        sa.Column("since_s", sa.Float(), nullable=False),
        sa.ForeignKeyConstraint(["instance"], ["instances.id"]),
        sa.ForeignKeyConstraint(["host"], ["hosts.name"]),
        sa.PrimaryKeyConstraint("instance", "host"),
    )
    with op.batch_alter_table("leaving", schema=None) as batch_op:
        batch_op.create_index("leaving_host", ["host"], unique=False)


def downgrade() -> None:
    """What was still held on hosts that instances left is given back: the older program did so at once."""
    connection = op.get_bind()
    for instance, host, data in connection.execute(sa.select(LEAVING)).all():
        connection.execute(sa.delete(PCPUS).where(PCPUS.c.instance == instance, PCPUS.c.host == host))
        for cell in msgspec.json.decode(data)["cells"]:
            if cell.get("page_kib"):
                pool = (POOLS.c.cell == cell["host_cell"]) & (POOLS.c.size_kib == cell["page_kib"])
                used = POOLS.c.used - cell["memory_kib"] // cell["page_kib"]
                connection.execute(sa.update(POOLS).where(POOLS.c.host == host, pool).values(used=used))
    op.drop_table("leaving")
    op.drop_column("instances", "waits_for")
