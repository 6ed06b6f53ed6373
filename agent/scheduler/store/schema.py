"""The tables.  Documents (topologies, requests, placements) are kept as the JSON they travel as.

A pCPU has one owner because ``pcpus`` has (host, pcpu) as its primary key, a PCI device because ``devices`` has
(host, pci); a pool of huge pages cannot go below zero because ``pools`` checks ``used <= total``; an instance that owns
pCPUs cannot be deleted because a trigger looks.  The database refuses what the code must never ask for.
"""

from __future__ import annotations

from sqlalchemy import (
    Boolean,
    CheckConstraint,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    PrimaryKeyConstraint,
    String,
    Table,
    UniqueConstraint,
    text,
)
from sqlalchemy.types import BigInteger

metadata = MetaData()
_GROUPED = text("group_name IS NOT NULL")

topologies = Table(
    "topologies",
    metadata,
    Column("digest", String(64), primary_key=True),
    Column("document", LargeBinary, nullable=False),
)

hosts = Table(
    "hosts",
    metadata,
    Column("name", String(255), primary_key=True),
    Column("model", String(64)),
    Column("digest", String(64), nullable=False, default=""),
    Column("facts", LargeBinary, nullable=False),
    Column("foreign_usage", LargeBinary, nullable=False),
    Column("foreign_vcpus", Integer, nullable=False, default=0),
    Column("foreign_ram_mb", Integer, nullable=False, default=0),
    Column("reserved_ram_mb", Integer, nullable=False, default=0),
    Column("enabled", Boolean, nullable=False, default=True),
    Column("disabled_reason", String(255), nullable=False, default=""),
    Column("agent", Boolean, nullable=False, default=True),
    Column("last_seen_s", Float, nullable=False, default=0.0),
    Column("generation", BigInteger, nullable=False, default=0),
)

instances = Table(
    "instances",
    metadata,
    Column("id", String(36), primary_key=True),
    Column("name", String(255), nullable=False),
    Column("project", String(255), nullable=False, default=""),
    Column("status", String(16), nullable=False),
    Column("host", String(255), ForeignKey("hosts.name")),
    Column("group_name", String(255)),
    Column("vcpus", Integer, nullable=False),
    Column("ram_mb", Integer, nullable=False),
    Column("disk_gb", Integer, nullable=False),
    Column("request", LargeBinary, nullable=False),
    Column("placement", LargeBinary),
    Column("decision", LargeBinary),
    Column("reason", String(4000), nullable=False, default=""),
    Column("tried", String(4000), nullable=False, default=""),
    Column("waits_for", String(4000), nullable=False, default="", server_default=""),
    Column("created_s", Float, nullable=False),
    Column("updated_s", Float, nullable=False),
    Column("expires_s", Float),
    Column("generation", BigInteger, nullable=False, default=0, server_default="0"),
    Index("instances_host", "host"),
    Index("instances_group", "group_name", sqlite_where=_GROUPED, postgresql_where=_GROUPED),
    Index("instances_project", "project"),
    Index("instances_name", "name"),
)

leaving = Table(
    "leaving",
    metadata,
    Column("instance", String(36), ForeignKey("instances.id"), nullable=False),
    Column("host", String(255), ForeignKey("hosts.name"), nullable=False),
    Column("vcpus", Integer, nullable=False),
    Column("ram_mb", Integer, nullable=False),
    Column("disk_gb", Integer, nullable=False),
    Column("placement", LargeBinary, nullable=False),
    Column("since_s", Float, nullable=False),
    PrimaryKeyConstraint("instance", "host"),
    Index("leaving_host", "host"),
)

pcpus = Table(
    "pcpus",
    metadata,
    Column("host", String(255), nullable=False),
    Column("pcpu", Integer, nullable=False),
    Column("instance", String(36), nullable=False),
    PrimaryKeyConstraint("host", "pcpu"),
    sqlite_with_rowid=False,
)

devices = Table(
    "devices",
    metadata,
    Column("host", String(255), nullable=False),
    Column("pci", String(32), nullable=False),
    Column("instance", String(36), ForeignKey("instances.id"), nullable=False),
    PrimaryKeyConstraint("host", "pci"),
    Index("devices_instance", "instance"),
)

pools = Table(
    "pools",
    metadata,
    Column("host", String(255), nullable=False),
    Column("cell", Integer, nullable=False),
    Column("size_kib", BigInteger, nullable=False),
    Column("total", BigInteger, nullable=False),
    Column("used", BigInteger, nullable=False, default=0),
    PrimaryKeyConstraint("host", "cell", "size_kib"),
    CheckConstraint("used >= 0", name="used_not_negative"),
    CheckConstraint("used <= total", name="used_within_total"),
)

aggregates = Table(
    "aggregates",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("name", String(255), nullable=False, unique=True),
)

aggregate_hosts = Table(
    "aggregate_hosts",
    metadata,
    Column("aggregate", Integer, ForeignKey("aggregates.id", ondelete="CASCADE"), nullable=False),
    Column("host", String(255), ForeignKey("hosts.name", ondelete="CASCADE"), nullable=False),
    PrimaryKeyConstraint("aggregate", "host"),
)

aggregate_metadata = Table(
    "aggregate_metadata",
    metadata,
    Column("aggregate", Integer, ForeignKey("aggregates.id", ondelete="CASCADE"), nullable=False),
    Column("key", String(255), nullable=False),
    Column("value", String(4000), nullable=False),
    PrimaryKeyConstraint("aggregate", "key"),
)

flavors = Table(
    "flavors",
    metadata,
    Column("name", String(255), primary_key=True),
    Column("document", LargeBinary, nullable=False),
)

groups = Table(
    "groups",
    metadata,
    Column("name", String(255), primary_key=True),
    Column("policy", String(32), nullable=False),
    Column("max_server_per_host", Integer, nullable=False, default=1),
)

quotas = Table(
    "quotas",
    metadata,
    Column("project", String(255), nullable=False),
    Column("resource", String(32), nullable=False),
    Column("most", BigInteger, nullable=False),
    PrimaryKeyConstraint("project", "resource"),
)

counters = Table(
    "counters",
    metadata,
    Column("name", String(32), primary_key=True),
    Column("number", BigInteger, nullable=False),
)

tokens = Table(
    "tokens",
    metadata,
    Column("sha256", String(64), primary_key=True),
    Column("role", String(16), nullable=False),
    Column("subject", String(255), nullable=False),
    UniqueConstraint("role", "subject"),
)
