import pytest

from agent.core.errors import BadInput
from agent.core.observation import Role
from agent.inspection.threads import find_role, parse_schedstat, parse_stat, parse_status
from tests.inspection.qemu import stat


@pytest.mark.parametrize(
    ("name", "cgroup", "role", "number"),
    [
        ("CPU 0/KVM", "/m/vcpu0", Role.VCPU, 0),
        ("CPU 127/KVM", "/m/vcpu127", Role.VCPU, 127),
        ("CPU 3/TCG", "/m/vcpu3", Role.VCPU, 3),
        ("ALL CPUs/TCG", "/m/emulator", Role.VCPU, None),
        ("qemu-kvm", "/m/libvirt/vcpu5", Role.VCPU, 5),  # a QEMU that does not name its threads
        ("IO iothread12", "/m/iothread12", Role.IOTHREAD, 12),
        ("IO mon_iothread", "/m/emulator", Role.MONITOR, None),
        ("worker", "/m/emulator", Role.WORKER, None),
        ("worker", "/m/iothread2", Role.WORKER, 2),  # born in an I/O thread, and bound like it
        ("call_rcu", "/m/emulator", Role.RCU, None),
        ("live_migration", "/m/emulator", Role.MIGRATION, None),
        ("multifdsend_3", "/m/emulator", Role.MIGRATION, None),
        ("mig/src/send_1", "/m/emulator", Role.MIGRATION, None),
        ("TC tc-ram-node0", "/m/emulator", Role.PREALLOC, None),
        ("SPICE Worker", "/m/emulator", Role.DISPLAY, None),
        ("vhost-4000", "/m/emulator", Role.VHOST, None),
        ("kvm-nx-lpage-recovery-4000", "/", Role.KERNEL, None),
        ("something-new", "/m/emulator", Role.OTHER, None),
        ("something-new", None, Role.OTHER, None),
    ],
)
def test_roles_by_name_and_cgroup(name: str, cgroup: str | None, role: Role, number: int | None) -> None:
    assert find_role(name, main=False, cgroup=cgroup) == (role, number)


def test_the_main_thread_is_the_emulator_whatever_it_is_called() -> None:
    assert find_role("worker", main=True, cgroup="/m/emulator") == (Role.EMULATOR, None)


def test_stat_of_a_name_with_brackets_and_blanks() -> None:
    found = parse_stat(stat(7, "a) S (b", 71, flags=0x04208040, priority=1, policy=1))
    assert (found.last_cpu, found.priority, found.scheduler, found.flags) == (71, 1, "fifo", 0x04208040)


@pytest.mark.parametrize("text", ["", "1 (x) S 1 2", "1 (x) " + "q " * 60])
def test_a_truncated_stat_is_refused(text: str) -> None:
    with pytest.raises(BadInput):
        parse_stat(text)


def test_status_needs_a_mask() -> None:
    assert str(parse_status("Name:\tx\nCpus_allowed_list:\t0-17,36-53\n").allowed) == "0-17,36-53"
    with pytest.raises(BadInput, match="Cpus_allowed_list"):
        parse_status("Name:\tx\n")


def test_schedstat_is_the_time_waited() -> None:
    assert parse_schedstat("66594634 26265537 1117") == 26265537
    with pytest.raises(BadInput):
        parse_schedstat("")
