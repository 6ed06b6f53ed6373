"""Filters over aggregate metadata and host software: extra specs, tenants, image properties, capabilities, versions."""

import pytest

from agent.core.errors import BadRequest
from agent.core.request import Image
from agent.core.topology import Device
from agent.settings.scheduling import SchedulingSettings
from tests.scheduler.tables import passing, row, wish

HOSTS = (
    row("fast", facts={"hypervisor_type": "QEMU", "hypervisor_version": 7_002_000, "cpu_info": {"vendor": "Intel"}}),
    row("slow", facts={"hypervisor_type": "QEMU", "hypervisor_version": 6_000_001, "stats": {"gpu": "4"}}),
    row("arm", facts={"supported_instances": (("aarch64", "kvm", "hvm"),)}),
)
ALL = "fast slow arm"
AGGREGATES = {
    "fast-io": ({"io": "fast", "filter_tenant_id": "red, blue", "os": "linux"}, "fast"),
    "slow-io": ({"io": "slow,quiet", "instance_type": "small"}, "slow"),
}


def specs(**more: str) -> dict[str, object]:
    return {"extra_specs": {key.replace("__", ":"): value for key, value in more.items()}}


def properties(**more: str) -> Image:
    return Image(properties=dict(more))


def version(predicate: str) -> Image:
    return properties(img_hv_type="kvm", img_hv_requested_version=predicate)


EXTRA, IMAGES = "AggregateInstanceExtraSpecs", "AggregateImagePropertiesIsolation"
CAPABILITIES, TENANTS = "ComputeCapabilities", "AggregateMultiTenancyIsolation"
TABLE = [
    (EXTRA, wish(), ALL, "no extra spec asks nothing"),
    (EXTRA, wish(flavor=specs(io="fast")), "fast", "a key without a namespace"),
    (EXTRA, wish(flavor=specs(aggregate_instance_extra_specs__io="slow")), "slow", "its own namespace"),
    (EXTRA, wish(flavor=specs(hw__cpu_policy="dedicated")), ALL, "another namespace is another's"),
    (EXTRA, wish(flavor=specs(io="quiet")), "slow", "commas separate values"),
    (EXTRA, wish(flavor=specs(io="<or> fast <or> quiet")), "fast slow", "operators"),
    (EXTRA, wish(flavor=specs(aggregate_instance_extra_specs__io="fast", io="s!= fast")), "", "both spellings count"),
    (EXTRA, wish(flavor=specs(aggregate_instance_extra_specs__io="quiet", io="slow")), "slow", "and both may match"),
    (EXTRA, wish(flavor=specs(io="fast", colour="red")), "", "every key must be matched"),
    (TENANTS, wish(project="red"), ALL, "a project of the list, and hosts that have none"),
    (TENANTS, wish(project="green"), "slow arm", "other projects keep off"),
    (IMAGES, wish(image=properties(os="linux")), ALL, "the value that the aggregate names"),
    (IMAGES, wish(image=properties(os="windows")), "slow arm", "another value keeps off"),
    (IMAGES, wish(), ALL, "an image without the property goes anywhere"),
    ("AggregateTypeAffinity", wish(flavor={"name": "small"}), ALL, "the flavor that the aggregate names"),
    ("AggregateTypeAffinity", wish(flavor={"name": "large"}), "fast arm", "another flavor keeps off"),
    (CAPABILITIES, wish(flavor=specs(capabilities__cpu_info__vendor="Intel")), "fast", "a path into what is reported"),
    (CAPABILITIES, wish(flavor=specs(capabilities__gpu=">= 4")), "slow", "statistics count"),
    (CAPABILITIES, wish(flavor=specs(gpu=">= 5")), "fast arm", "without a namespace, only hosts that have it mind"),
    (CAPABILITIES, wish(flavor=specs(capabilities__cpu_allocation_ratio="1.0")), ALL, "a ratio has its point"),
    (CAPABILITIES, wish(flavor=specs(capabilities__nothing="1")), "", "what nobody has"),
    ("ImageProperties", wish(image=properties(hw_architecture="x86_64")), "fast slow", "the architecture"),
    ("ImageProperties", wish(image=properties(hw_architecture="amd64")), "fast slow", "by its other name"),
    ("ImageProperties", wish(image=properties(hw_architecture="aarch64", img_hv_type="qemu")), "", "all of it at once"),
    ("ImageProperties", wish(image=version(">=7.0")), "fast arm", "a version; hosts of unknown version pass"),
    ("ImageProperties", wish(image=version(">7.2rc1,<7.2.post1")), "fast arm", "around a release"),
    ("ImageProperties", wish(image=version("<12345678901")), "fast slow arm", "a number of any length"),
]  # fmt: skip


@pytest.mark.parametrize(("rule", "wanted", "hosts", "why"), TABLE, ids=[f"{r[0]}: {r[3]}" for r in TABLE])
def test_table(rule, wanted, hosts, why):
    assert passing(rule, HOSTS, wanted, aggregates=AGGREGATES) == hosts, why


@pytest.mark.parametrize("predicate", ["new", "~7", ">=7.x", ">=", ">=7.", "7", ">=" + "9" * 5000, ">=7,"])
def test_a_version_predicate_that_is_none_is_refused_whatever_else_is_asked(predicate):
    for others in ({}, {"img_hv_type": "kvm"}):
        with pytest.raises(BadRequest, match="img_hv_requested_version"):
            passing("ImageProperties", HOSTS[2:], wish(image=properties(img_hv_requested_version=predicate, **others)))


def test_address_bits_are_a_number():
    image = properties(hw_architecture="x86_64", hw_maxphysaddr_bits="42")
    bits = {"cpu_info": {"maxphysaddr": {"mode": "passthrough", "bits": 46}}}
    hosts = (row("wide", facts=bits), row("unknown"), row("narrow", facts={"cpu_info": {"maxphysaddr": {"bits": 40}}}))
    assert passing("ImageProperties", hosts, wish(image=image)) == "wide unknown"
    with pytest.raises(BadRequest, match="hw_maxphysaddr_bits=many: not a number"):
        passing("ImageProperties", hosts, wish(image=properties(hw_maxphysaddr_bits="many")))


def test_a_default_architecture_has_its_other_names_too():
    settings = SchedulingSettings(image_properties_default_architecture="AMD64")
    assert passing("ImageProperties", HOSTS, wish(), settings=settings) == "fast slow"


CARD = {"kind": "net", "vendor": "8086", "product": "1572"}
CARDS = tuple(Device(name=f"eth{n}", pci=f"0000:0{n}:00.0", **CARD) for n in range(2))
GPUS = tuple(Device(kind="gpu", name="", pci=f"0000:a{n}:00.0", vendor="10de", product="1") for n in range(9))


@pytest.mark.parametrize(
    ("alias", "hosts"),
    [
        ("8086.1572:1", "two one mixed"),
        ("8086.1572:2", "two"),
        ("net:3", ""),
        ("gpu", "other mixed"),
        ("gpu:1,net:1", "mixed"),
        ("eth1", "two"),
        ("0000:a8:00.0:1", "other"),
    ],
)
def test_pci_devices(alias, hosts):
    have = (
        row("two", devices=CARDS),
        row("one", devices=CARDS[:1]),
        row("other", devices=GPUS),
        row("mixed", devices=(CARDS[0], GPUS[0])),
        row("none"),
    )
    assert passing("PciPassthrough", have, wish(flavor={"extra_specs": {"pci_passthrough:alias": alias}})) == hosts
