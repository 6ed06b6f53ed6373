"""``[scheduler]`` and ``[scheduling]``: how the service runs, and how it chooses; Nova's names where Nova has them."""

from __future__ import annotations

from typing import Annotated

import msgspec

from agent.core.address import parse_http, parse_listen
from agent.core.errors import BadInput
from agent.settings.agent import Seconds

Count = Annotated[int, msgspec.Meta(ge=1)]

DEFAULT_FILTERS = (
    "Retry",
    "AvailabilityZone",
    "Compute",
    "ComputeCapabilities",
    "ImageProperties",
    "AggregateInstanceExtraSpecs",
    "AggregateMultiTenancyIsolation",
    "AggregateImagePropertiesIsolation",
    "IsolatedHosts",
    "SameHost",
    "DifferentHost",
    "ServerGroupAntiAffinity",
    "ServerGroupAffinity",
    "Core",
    "Ram",
    "Disk",
    "Json",
    "PciPassthrough",
    "NUMATopology",
)

DEFAULT_MULTIPLIERS = {
    "ram_weight_multiplier": 1.0,
    "disk_weight_multiplier": 1.0,
    "cpu_weight_multiplier": 1.0,
    "io_ops_weight_multiplier": -1.0,
    "metrics_weight_multiplier": 1.0,
    "pci_weight_multiplier": 1.0,
    "soft_affinity_weight_multiplier": 1.0,
    "soft_anti_affinity_weight_multiplier": 1.0,
    "num_instances_weight_multiplier": 0.0,
    "build_failure_weight_multiplier": 1_000_000.0,
    "hypervisor_version_weight_multiplier": 1.0,
    "affinity_room_weight_multiplier": 800_000.0,
    "cell_pairs_weight_multiplier": 100_000.0,
    "cell_fragmentation_weight_multiplier": 2_000.0,
    "l3_weight_multiplier": 1.0,
    "distance_weight_multiplier": 1.0,
    "device_locality_weight_multiplier": 1.0,
}


class Service(msgspec.Struct, frozen=True, kw_only=True):
    """``[scheduler]``: where the service listens and keeps its data.

    ``region`` is this scheduler's; ``peers`` maps other regions to their schedulers' addresses.  ``claim_s`` bounds how
    long an agent may leave a claim unconfirmed.  ``token_file`` receives the first operator token.
    """

    listen: str = "127.0.0.1:8774"
    database: str = "sqlite:////var/lib/cellwright-scheduler/scheduler.db"
    region: str = "RegionOne"
    peers: dict[str, str] = {}
    token_file: str = "/var/lib/cellwright-scheduler/operator.token"
    tls_certificate: str | None = None
    tls_key: str | None = None
    claim_s: Seconds = 300.0
    report_interval_s: Seconds = 10.0
    largest_body_bytes: Count = 8 << 20


def check_service(service: Service) -> None:
    """BadInput for addresses that are none, and for a key without its certificate."""
    parse_listen(service.listen, what="listen address")
    for region, address in service.peers.items():
        parse_http(address, what=f"[scheduler.peers] {region}")
    if service.tls_key is not None and service.tls_certificate is None:
        raise BadInput(
            f"tls_key {service.tls_key} without tls_certificate; allowed: both, or a certificate with its key"
        )


class SchedulingSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Filters and weighers in use, and their parameters.

    ``multipliers`` overrides single entries of DEFAULT_MULTIPLIERS; an aggregate's metadata of the same key overrides
    both for its hosts, the least value winning where a host is in several aggregates.  ``tries`` bounds how many hosts
    are asked for an exact fit before the request is given up.  ``numa_exact`` has the NUMATopology filter ask every
    host for the exact fit, as Nova's does: slower, and no host is weighed that cannot take the guest.

    The cells' multipliers make an order: room for members of affinity groups and then pair room before everything
    but failed builds, then how full a cell becomes, then RAM, CPU and the rest, each 1 at most.  They weigh dedicated
    guests alone; 0 turns them off.
    """

    filters: tuple[str, ...] = DEFAULT_FILTERS
    weighers: tuple[str, ...] | None = None
    multipliers: dict[str, float] = {}
    default_availability_zone: str = "nova"
    max_io_ops_per_host: Count = 8
    max_instances_per_host: Count = 50
    isolated_hosts: tuple[str, ...] = ()
    isolated_images: tuple[str, ...] = ()
    restrict_isolated_hosts_to_isolated_images: bool = True
    aggregate_image_properties_isolation_namespace: str | None = None
    aggregate_image_properties_isolation_separator: str = "."
    image_properties_default_architecture: str | None = None
    metrics_weights: dict[str, float] = {}
    metrics_weight_of_unavailable: float = -10000.0
    service_down_time_s: Seconds = 60.0
    alternates: Annotated[int, msgspec.Meta(ge=0)] = 2
    numa_exact: bool = False
    tries: Count = 100

    def multiplier(self, key: str) -> float:
        """The configured multiplier of a weigher."""
        return self.multipliers.get(key, DEFAULT_MULTIPLIERS.get(key, 1.0))
