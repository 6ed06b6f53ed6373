"""KVM or TCG: the trial guest really runs, what cannot run it is said, and it is tried once a boot."""

from pathlib import Path

import pytest

from agent.compute import virt_type
from agent.compute.driver import Driver
from agent.compute.virt_type import Trial, VirtType, choose_virt_type, render_firmware, render_trial, try_kvm
from agent.core.codec import encode


def test_the_trial_guest_finishes_on_a_machine_that_runs_guests(
    libvirt: Driver, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """TCG stands for a KVM that works: the same firmware, the same answer through the serial port."""
    for folder in (tmp_path, *tmp_path.parents):
        if folder.stat().st_mode & 0o077 == 0:
            folder.chmod(0o755)  # QEMU runs as another user and must reach the firmware
    real = render_trial

    def under_tcg(name: str, *, firmware: Path, answer: Path) -> str:
        return real(name, firmware=firmware, answer=answer).replace("type='kvm'", "type='qemu'")

    monkeypatch.setattr(virt_type, "render_trial", under_tcg)
    monkeypatch.setattr(virt_type, "PATIENCE_S", 60.0)
    assert try_kvm(libvirt, tmp_path) == ""
    assert list(tmp_path.iterdir()) == []


def test_what_libvirt_cannot_start_is_the_reason(
    libvirt: Driver, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = render_trial
    broken = {"firmware": Path("/nowhere.bin")}
    monkeypatch.setattr(
        virt_type, "render_trial", lambda name, *, firmware, answer: real(name, **broken, answer=answer)
    )
    why = try_kvm(libvirt, tmp_path)
    assert "nowhere.bin" in why or "no KVM" in why


def test_a_trial_of_this_boot_is_not_repeated_and_one_of_another_boot_is(
    libvirt: Driver, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried: list[Path] = []
    monkeypatch.setattr(virt_type, "try_kvm", lambda _libvirt, folder: tried.append(folder) or "no luck")
    kept = Trial("boot-1", libvirt.uri, VirtType.KVM)
    (tmp_path / "virt-type.json").write_bytes(encode(kept))
    assert choose_virt_type(libvirt, VirtType.AUTO, boot_id="boot-1", folder=tmp_path) == kept
    assert tried == []
    found = choose_virt_type(libvirt, VirtType.AUTO, boot_id="boot-2", folder=tmp_path)
    assert (found.type, found.why, len(tried)) == (VirtType.QEMU, "no luck", 1)
    assert choose_virt_type(libvirt, VirtType.AUTO, boot_id="boot-2", folder=tmp_path) == found
    assert len(tried) == 1


def test_a_damaged_result_is_tried_again(libvirt: Driver, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(virt_type, "try_kvm", lambda _libvirt, _folder: "")
    (tmp_path / "virt-type.json").write_bytes(b"{")
    assert choose_virt_type(libvirt, VirtType.AUTO, boot_id="b", folder=tmp_path).type is VirtType.KVM


def test_who_names_a_type_gets_it_untried(libvirt: Driver, tmp_path: Path) -> None:
    assert choose_virt_type(libvirt, VirtType.KVM, boot_id="b", folder=tmp_path).type is VirtType.KVM
    assert list(tmp_path.iterdir()) == []


def test_the_firmware_is_64_kib_with_the_jump_where_a_pc_starts() -> None:
    firmware = render_firmware()
    assert len(firmware) == 65536
    assert firmware[0xFFF0:0xFFF3] == b"\xe9\x0d\x00"
