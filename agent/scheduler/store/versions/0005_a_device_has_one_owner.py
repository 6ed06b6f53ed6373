"""A PCI device has one owner, as a pCPU has

The devices of instances that are there, and of those that leave hosts, move from their placements into the table.
"""

import msgspec
import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"

INSTANCES = sa.table("instances", sa.column("id"), sa.column("host"), sa.column("placement", sa.LargeBinary()))
LEAVING = sa.table("leaving", sa.column("instance"), sa.column("host"), sa.column("placement", sa.LargeBinary()))


def upgrade() -> None:
    """A row a device that somebody has."""
    devices = op.create_table(
        "devices",
        sa.Column("host", sa.String(length=255), nullable=False),
        sa.Column("pci", sa.String(length=32), nullable=False),
        sa.Column("instance", sa.String(length=36), nullable=False),
        sa.ForeignKeyConstraint(["instance"], ["instances.id"]),
        sa.PrimaryKeyConstraint("host", "pci"),
    )
    with op.batch_alter_table("devices", schema=None) as batch_op:
        batch_op.create_index("devices_instance", ["instance"], unique=False)
    connection = op.get_bind()
    held = sa.select(INSTANCES.c.id, INSTANCES.c.host, INSTANCES.c.placement).where(INSTANCES.c.placement.is_not(None))
    left = sa.select(LEAVING.c.instance, LEAVING.c.host, LEAVING.c.placement)
    rows = [
        {"host": host, "pci": device["pci"], "instance": instance}
        for query in (held, left)
        for instance, host, data in connection.execute(query).all()
        for device in msgspec.json.decode(data).get("devices", ())
    ]
    if rows:
        op.bulk_insert(devices, rows)


def downgrade() -> None:
    """Placements say it still."""
    op.drop_table("devices")
