"""Settings: what each source says, who wins, and what is refused with which words."""

from pathlib import Path

import msgspec
import pytest

from agent.core.cpuset import CpuSet
from agent.core.errors import BadInput
from agent.core.policy import PackingPolicy
from agent.core.usage import Limits, ReservedPages
from agent.settings.agent import AgentSettings
from agent.settings.document import Host, Settings
from agent.settings.load import read_settings
from agent.settings.merge import merge
from agent.settings.nova import parse_nova_conf
from agent.settings.parse import parse_toml
from agent.settings.present import is_configured
from agent.settings.sets import apply_sets, limits
from tests.hosts import host

NOVA_CONF = """
# a compute host of 2024
[DEFAULT]
reserved_host_memory_mb = 4096
reserved_huge_pages = node:0,size:2048,count:64
reserved_huge_pages = node:1,size:1GB,count:1
cpu_allocation_ratio = 16.0
ram_allocation_ratio: 0.0
transport_url = rabbit://user:pass@host
[compute]
cpu_dedicated_set = 4-17,
   40-53
cpu_shared_set = "0-3,36-39"
packing_host_numa_cells_allocation_strategy = True
"""


def test_nova_conf_with_repeated_options_continued_lines_and_both_signs() -> None:
    found = merge([parse_nova_conf(NOVA_CONF, "nova.conf")]).settings.host
    assert found == Host(
        cpu_dedicated_set=CpuSet.parse("4-17,40-53"),
        cpu_shared_set=CpuSet.parse("0-3,36-39"),
        cpu_allocation_ratio=16.0,
        ram_allocation_ratio=None,  # Nova reads 0.0 as unset
        packing=PackingPolicy.PACK,
        reserved_host_memory_mb=4096,
        reserved_huge_pages=(ReservedPages(0, 2048, 64), ReservedPages(1, 1 << 20, 1)),
    )


def test_nova_conf_says_how_idle_pcpus_save_power() -> None:
    text = """[libvirt]
virt_type = kvm
cpu_power_management = True
cpu_power_management_strategy = governor
cpu_power_governor_low = conservative
cpu_power_governor_high = schedutil
"""
    found = merge([parse_nova_conf(text, "nova.conf")])
    assert found.settings.agent == AgentSettings(
        cpu_power_management=True,
        cpu_power_management_strategy="governor",
        cpu_power_governor_low="conservative",
        cpu_power_governor_high="schedutil",
    )
    assert found.origins["agent.cpu_power_management"] == "nova.conf"


def test_every_key_of_toml_reaches_the_limits() -> None:
    text = """
    [host]
    vcpu_pin_set = "4-12,^8,15"
    cpu_allocation_ratio = 4
    ram_allocation_ratio = 1.5
    packing = "spread"
    reserved_memory_mb = {0 = 2048}
    reserved_huge_pages = [{cell = 1, size_kib = 2048, count = 8}]
    """
    settings = merge([parse_toml(text, "a.toml")]).settings
    assert limits(settings) == Limits(4.0, 1.5, {0: 2048}, (ReservedPages(1, 2048, 8),), PackingPolicy.SPREAD)
    placed = apply_sets(host("osdev-01"), settings)
    assert placed.dedicated_set == placed.shared_set == CpuSet.parse("4-7,9-12,15")


def test_later_files_win_key_by_key_and_values_keep_their_source(tmp_path: Path) -> None:
    nova = tmp_path / "nova.conf"
    nova.write_text(NOVA_CONF)
    (tmp_path / "cellwright.toml").write_text(f'[host]\nnova_conf = "{nova}"\ncpu_allocation_ratio = 2.0\n')
    drop_ins = tmp_path / "conf.d"
    drop_ins.mkdir()
    (drop_ins / "20-b.toml").write_text('[host]\ncpu_shared_set = "0-1"\n')
    (drop_ins / "10-a.toml").write_text('[host]\ncpu_shared_set = "2-3"\nram_allocation_ratio = 1.0\n')
    (drop_ins / "30-c.conf").write_text("no settings file")
    found = read_settings(folder=str(tmp_path))
    assert (found.settings.host.cpu_shared_set, found.origins["host.cpu_shared_set"]) == (
        CpuSet.parse("0-1"),
        str(drop_ins / "20-b.toml"),
    )
    assert found.settings.host.cpu_allocation_ratio == 2.0, "our own file stands above the nova.conf it names"
    assert found.origins["host.cpu_dedicated_set"] == str(nova)
    assert found.settings.host.ram_allocation_ratio == 1.0


def test_sets_of_the_command_line_stand_instead_of_all_others(tmp_path: Path) -> None:
    config = tmp_path / "c.toml"
    config.write_text('[host]\ncpu_dedicated_set = "4-17"\ncpu_shared_set = "0-3"\n')
    found = read_settings(str(config), sets={"vcpu_pin_set": "0-7"}).settings.host
    assert (found.vcpu_pin_set, found.cpu_dedicated_set, found.cpu_shared_set) == (CpuSet.parse("0-7"), None, None)


def test_no_files_are_the_defaults(tmp_path: Path) -> None:
    assert read_settings(folder=str(tmp_path / "absent")).settings == Settings()
    assert read_settings(folder=None).origins == {}


def test_a_host_is_configured_by_a_file_or_by_drop_ins(tmp_path: Path) -> None:
    assert not is_configured(str(tmp_path))
    (tmp_path / "conf.d").mkdir()
    assert is_configured(str(tmp_path))


def test_an_empty_set_unsets_what_an_earlier_file_set() -> None:
    layers = [parse_toml('[host]\ncpu_dedicated_set = "4"', "a"), parse_toml('[host]\ncpu_dedicated_set = ""', "b")]
    assert merge(layers).settings.host.cpu_dedicated_set is None


@pytest.mark.parametrize(
    ("dedicated", "shared", "answer"),
    [
        ("4-7", None, ("4-7", "")),  # only dedicated: no pCPU for floating guests
        (None, "0-3", ("", "0-3")),  # only shared: none for pinned ones
        ("4-7", "0-3", ("4-7", "0-3")),
        (None, None, ("0-71", "0-71")),  # nothing set: both kinds may use every pCPU
    ],
)
def test_unset_sets(dedicated: str | None, shared: str | None, answer: tuple[str, str]) -> None:
    texts = {"cpu_dedicated_set": dedicated, "cpu_shared_set": shared}
    settings = read_settings(folder=None, sets={key: text for key, text in texts.items() if text is not None}).settings
    placed = apply_sets(host("osdev-01"), settings)
    assert (str(placed.dedicated()), str(placed.shared())) == answer


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('[host]\nvcpu_pin_sets = "1"', "x.toml: [host]: unknown key 'vcpu_pin_sets'; allowed: vcpu_pin_set, cpu_ded"),
        ("[hosts]\n", "x.toml: unknown section 'hosts'; allowed: host"),
        ("host = 3", "x.toml: host: found 3; allowed: a table, [host]"),
        ('[host]\nvcpu_pin_set = "5-3"', "the range 5-3 runs backwards - at `$.host.vcpu_pin_set`"),
        ('[host]\nvcpu_pin_set = "^1"', "[host] vcpu_pin_set='^1' leaves no pCPU"),
        ('[host]\nvcpu_pin_set = ","', "a CPU number is missing"),
        ("[host]\nvcpu_pin_set = 5", "expected a CPU list such as '0-3,8', got 5"),
        ("[host]\ncpu_allocation_ratio = 0.0", "Expected `float` > 0.0"),
        ('[host]\npacking = "tight"', "Invalid enum value 'tight'"),
        ("[host]\nreserved_memory_mb = {0 = -1}", "Expected `int` >= 0"),
        ("[host]\nreserved_huge_pages = [{node = 0}]", "unknown field `node`"),
        ("[host\n", "x.toml: not TOML"),
        (
            '[host]\nnova_conf = "/etc/\\u0000"',
            "x.toml: [host] nova_conf: found '/etc/\\x00'; allowed: text without NUL",
        ),
        ("[host]\nvcpu_pin_set = " + "1" * 5000, "x.toml: not TOML"),
        ('[host]\nvcpu_pin_set = "1"\ncpu_dedicated_set = "2"', "exclude each other"),
        ('[host]\ncpu_shared_set = "1-4"\ncpu_dedicated_set = "3-9"', "pCPUs 3-4 are in cpu_dedicated_set (x.toml)"),
    ],
)
def test_refused_toml(text: str, said: str) -> None:
    with pytest.raises(BadInput) as why:
        merge([parse_toml(text, "x.toml")])
    assert said in str(why.value)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[DEFAULT]\nvcpu_pin_set = ^1", "leaves no pCPU"),
        (
            "[DEFAULT]\nreserved_huge_pages = 0,2048,64",
            "[DEFAULT] reserved_huge_pages: found '0,2048,64'; allowed: node:0",
        ),
        ("[DEFAULT]\nreserved_huge_pages = node:0,size:huge,count:64", "not a size: 'huge'"),
        ("[DEFAULT]\ncpu_allocation_ratio = many", "[DEFAULT] cpu_allocation_ratio: found 'many'; allowed: a number"),
        ("[DEFAULT]\ncpu_allocation_ratio = nan", "nova.conf: Expected `float` > 0.0"),
        ("[DEFAULT]\nreserved_host_memory_mb = -1", "allowed: a whole number of MiB"),
        ("[compute]\npacking_host_numa_cells_allocation_strategy = maybe", "allowed: true or false"),
        ("[libvirt]\ncpu_power_management = 2", "[libvirt] cpu_power_management: found '2'; allowed: true or false"),
        ("[libvirt]\ncpu_power_management_strategy = sleep", "found 'sleep'; allowed: cpu_state or governor"),
        ("[DEFAULT\n", "line 1: '[DEFAULT' is no section; allowed: [name]"),
        ("vcpu_pin_set\n", "line 1: 'vcpu_pin_set' is no option; allowed: key = value"),
        ("vcpu_pin_set = 4-7\n", "line 1: 'vcpu_pin_set = 4-7' is in no section; allowed: [DEFAULT] before it"),
    ],
)
def test_refused_nova_conf(text: str, said: str) -> None:
    with pytest.raises(BadInput) as why:
        parse_nova_conf(text, "nova.conf")
    assert said in str(why.value)


def test_a_set_must_be_online_and_the_message_tells_absent_from_offline() -> None:
    tiny = host("tiny")
    with_offline = msgspec.structs.replace(tiny, online=CpuSet.parse("0-2"), offline=CpuSet.parse("3"))
    settings = read_settings(folder=None, sets={"cpu_dedicated_set": "1-5"}).settings
    with pytest.raises(
        BadInput, match=r"cpu_dedicated_set=1-5 .* tiny cannot give \(absent: 4-5; offline: 3\); online: 0-2"
    ):
        apply_sets(with_offline, settings)


def test_offline_pcpus_of_a_set_may_be_asleep() -> None:
    """Where power management is on, an offline pCPU is no mistake; one that the host does not have still is."""
    tiny = host("tiny")
    with_offline = msgspec.structs.replace(tiny, online=CpuSet.parse("0-1"), offline=CpuSet.parse("2-3"))
    text = '[agent]\ncpu_power_management = true\n[host]\ncpu_dedicated_set = "1-{}"'
    settings = merge([parse_toml(text.format(3), "here")]).settings
    assert apply_sets(with_offline, settings).dedicated() == CpuSet([1])
    with pytest.raises(BadInput, match="absent: 4"):
        apply_sets(with_offline, merge([parse_toml(text.format(4), "here")]).settings)


@pytest.mark.parametrize(
    ("content", "said"),
    [(None, "No such file"), (b"\xff\xfe", "byte 0 is no UTF-8"), (b"#" * (1 << 20) + b"#", "more than 1048576 bytes")],
)
def test_unreadable_files_are_named(tmp_path: Path, content: bytes | None, said: str) -> None:
    path = tmp_path / "c.toml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(BadInput) as why:
        read_settings(str(path))
    assert str(path) in str(why.value)
    assert said in str(why.value)
