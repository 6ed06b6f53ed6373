"""Instances count their changes, the catalogue counts its own, and PostgreSQL tells every scheduler of both

Instances that are there keep what they have and start at generation 0.  On PostgreSQL, triggers notify the channel
``cellwright`` at commit: ``host GENERATION NAME``, ``gone NAME`` and ``catalogue NUMBER``.
"""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"

TELL_HOST = """
CREATE FUNCTION cellwright_tell_host() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF TG_OP = 'DELETE' THEN
    PERFORM pg_notify('cellwright', 'gone ' || OLD.name);
  ELSE
    PERFORM pg_notify('cellwright', 'host ' || NEW.generation || ' ' || NEW.name);
  END IF;
  RETURN NULL;
END $$
"""
ON_HOSTS = """
CREATE TRIGGER cellwright_tell_host AFTER INSERT OR DELETE OR UPDATE OF generation ON hosts
FOR EACH ROW EXECUTE FUNCTION cellwright_tell_host()
"""
TELL_COUNTER = """
CREATE FUNCTION cellwright_tell_counter() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  PERFORM pg_notify('cellwright', NEW.name || ' ' || NEW.number);
  RETURN NULL;
END $$
"""
ON_COUNTERS = """
CREATE TRIGGER cellwright_tell_counter AFTER UPDATE ON counters
FOR EACH ROW EXECUTE FUNCTION cellwright_tell_counter()
"""


def upgrade() -> None:
    """The two counters, and the triggers where the database has them."""
    op.add_column("instances", sa.Column("generation", sa.BigInteger(), nullable=False, server_default="0"))
    counters = op.create_table(
        "counters",
        sa.Column("name", sa.String(length=32), nullable=False),
        sa.Column("number", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("name"),
    )
    op.bulk_insert(counters, [{"name": "catalogue", "number": 0}])
    if op.get_bind().dialect.name == "postgresql":
        for statement in (TELL_HOST, ON_HOSTS, TELL_COUNTER, ON_COUNTERS):
            op.execute(statement)


def downgrade() -> None:
    """Without counters and triggers; nothing else is lost."""
    if op.get_bind().dialect.name == "postgresql":
        op.execute("DROP TRIGGER cellwright_tell_host ON hosts")
        op.execute("DROP FUNCTION cellwright_tell_host()")
    op.drop_table("counters")
    if op.get_bind().dialect.name == "postgresql":
        op.execute("DROP FUNCTION cellwright_tell_counter()")
    op.drop_column("instances", "generation")
