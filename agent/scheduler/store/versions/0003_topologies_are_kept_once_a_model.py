"""Topologies are kept once a model

Hosts of one hardware model have the same topology but for their name and for what changes by the minute.  Every host's
document moves to ``topologies``, under its digest without those, and the host keeps the digest.
"""

from hashlib import sha256

import msgspec
import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"

HOSTS = sa.table("hosts", sa.column("name"), sa.column("topology", sa.LargeBinary()), sa.column("model"))
TOPOLOGIES = sa.table("topologies", sa.column("digest"), sa.column("document", sa.LargeBinary()))


def upgrade() -> None:
    """One document a model."""
    op.create_table(
        "topologies",
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("document", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("digest"),
    )
    op.add_column("hosts", sa.Column("model", sa.String(length=64), nullable=True))
    connection = op.get_bind()
    known: set[str] = set()
    for name in connection.execute(sa.select(HOSTS.c.name).order_by(HOSTS.c.name)).scalars().all():
        data = connection.execute(sa.select(HOSTS.c.topology).where(HOSTS.c.name == name)).scalar_one()
        if data is None:
            continue
        document = _model(msgspec.json.decode(data))
        digest = sha256(document).hexdigest()
        if digest not in known:
            connection.execute(sa.insert(TOPOLOGIES).values(digest=digest, document=document))
            known.add(digest)
        connection.execute(sa.update(HOSTS).where(HOSTS.c.name == name).values(model=digest))
    op.drop_column("hosts", "topology")


def downgrade() -> None:
    """One document a host again."""
    op.add_column("hosts", sa.Column("topology", sa.LargeBinary(), nullable=True))
    connection = op.get_bind()
    both = sa.select(HOSTS.c.name, TOPOLOGIES.c.document).where(HOSTS.c.model == TOPOLOGIES.c.digest)
    for name, document in connection.execute(both).all():
        tree = {**msgspec.json.decode(document), "hostname": name}
        data = msgspec.json.encode(tree)
        connection.execute(sa.update(HOSTS).where(HOSTS.c.name == name).values(topology=data))
    op.drop_column("hosts", "model")
    op.drop_table("topologies")


def _model(tree: dict) -> bytes:  # type: ignore[type-arg]
    """The document without the host's name and what is free at the moment."""
    tree = {**tree, "hostname": "", "collected_at": None}
    for cell in tree["cells"]:
        cell["free_kib"] = None
        for pool in cell.get("pages", ()):
            pool["free"] = None
    return msgspec.json.encode(tree)
