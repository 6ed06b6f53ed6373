"""The lab's disk: a Debian with systemd, Python, libvirtd and QEMU, built once and kept.

A folder named by a digest of all that goes in holds ``root.ext4``, ``vmlinuz`` and ``initrd.gz``, and next to them what
machine.py saves.  Building takes about 100 s and the network; it ends with one boot that lets libvirt probe QEMU, which
takes ten seconds under emulation and would do so in every boot.
"""

import gzip
import hashlib
import os
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from tests.lab.archive import FOLDER, PROGRAM, render_cpio, render_folders
from tests.lab.sources import find_sources

GUEST = Path(__file__).parent / "guest"
SUITE = "bookworm"
KERNEL = "linux-image-cloud-amd64"
PACKAGES = [
    *("systemd", "systemd-sysv", "dbus", "udev", "kmod", "busybox-static", "python3"),
    *("libvirt-daemon-system", "libvirt-clients", "libvirt-daemon-driver-qemu", "qemu-system-x86"),
    *("numactl", "util-linux", "procps", "iproute2"),
]
UNPACK_KERNEL = f"""\
set -e
cd "$1/tmp"
export APT_CONFIG="$MMDEBSTRAP_APT_CONFIG"
apt-get download -qq "$(apt-cache depends {KERNEL} | sed -n 's/.*Depends: \\(linux-image-[0-9].*\\)/\\1/p')"
dpkg-deb --fsys-tarfile linux-image-*.deb | tar x -C "$1" --keep-directory-symlink
rm linux-image-*.deb
chroot "$1" depmod "$(ls "$1/lib/modules")"
"""  # installed the usual way, the kernel brings initramfs-tools and takes three times as long
UNWANTED_UNITS = [
    *("apt-daily.timer", "apt-daily-upgrade.timer", "dpkg-db-backup.timer", "e2scrub_all.timer", "fstrim.timer"),
    *("logrotate.timer", "systemd-tmpfiles-clean.timer", "e2scrub_reap.service", "libvirt-guests.service"),
    *("getty@.service", "getty-static.service", "systemd-ask-password-console.path"),
    *("systemd-ask-password-wall.path", "systemd-binfmt.service", "proc-sys-fs-binfmt_misc.automount"),
    *("modprobe@dm_mod.service", "modprobe@drm.service", "modprobe@efi_pstore.service", "modprobe@loop.service"),
    *("systemd-firstboot.service", "systemd-machine-id-commit.service", "systemd-pstore.service"),
    *("systemd-pcrphase-sysinit.service", "systemd-pcrphase.service", "systemd-random-seed.service"),
    *("systemd-repart.service", "systemd-update-utmp-runlevel.service", "systemd-update-utmp.service"),
]
BOOT_MODULES = ["virtio_pci", "virtio_blk", "virtio_console", "ext4"]
INIT = """\
#!/bin/busybox sh
B=/bin/busybox
$B mount -t proc p /proc; $B mount -t sysfs s /sys; $B mount -t devtmpfs d /dev
for m in /m/*; do $B insmod $m; done
n=0; while [ ! -b /dev/vda ] && [ $n -lt 500 ]; do $B usleep 10000; n=$((n+1)); done
$B mount -t ext4 -o rw,noatime /dev/vda /new
for d in dev proc sys; do $B mount --move /$d /new/$d; done
exec $B switch_root /new /sbin/init
"""
PROBE = """\
set -e
virsh -q version; virsh -q capabilities >/dev/null; virsh -q domcapabilities --virttype qemu >/dev/null
virsh net-destroy default || true; virsh net-autostart --disable default || true
python3 -c 'import argparse, asyncio, json, pathlib, subprocess, tarfile, unittest, xml.etree.ElementTree'
systemctl stop libvirtd.service; sync
"""
"""What the first boot runs; the disk keeps what it leaves."""


class LabFailed(Exception):
    """The machine did not do what every machine must; the message has the end of its console, or of the log."""


def digest() -> str:
    """Changes when anything changes that goes into the image."""
    content = [str((SUITE, KERNEL, PACKAGES, UNPACK_KERNEL, UNWANTED_UNITS, BOOT_MODULES, INIT, PROBE))]
    content += [f"{path.relative_to(GUEST)} {path.stat().st_mode} {path.read_text()}" for path in guest_files()]
    return hashlib.sha256("\0".join(content).encode()).hexdigest()[:12]


def guest_files() -> list[Path]:
    return sorted(path for path in GUEST.rglob("*") if path.is_file())


def find_image(cache: Path) -> Path:
    """Where the image is, or would be."""
    return cache / f"image-{digest()}"


def build_image(cache: Path, *, first_boot: Callable[[Path, str], None]) -> Path:
    """The image's folder; built when it is not there.  ``first_boot`` runs a script in it and keeps the disk."""
    image = find_image(cache)
    if image.is_dir():
        return image
    if os.geteuid() != 0:
        raise LabFailed("building the lab's image needs root: file owners, device files and chroot")
    new = cache / f"{image.name}.new"
    try:
        make_image(new, first_boot=first_boot)
    except LabFailed:  # a mirror or another apt was in the way: once more
        make_image(new, first_boot=first_boot)
    remove_old_images(cache, keep=new)
    new.rename(image)
    return image


def make_image(new: Path, *, first_boot: Callable[[Path, str], None]) -> None:
    """Everything that an image's folder holds."""
    remove(new)
    new.mkdir(parents=True)
    root = new / "root"
    began = time.monotonic()
    install_debian(root, log=new / "mmdebstrap.log")
    install_guest_files(root)
    version = next(path.name for path in (root / "lib/modules").iterdir())
    shutil.move(root / f"boot/vmlinuz-{version}", new / "vmlinuz")
    (new / "initrd.gz").write_bytes(gzip.compress(render_initrd(root, version), compresslevel=1, mtime=0))
    make_disk(root, new / "root.ext4")
    remove(root)
    first_boot(new, PROBE)
    (new / "seconds").write_text(f"{time.monotonic() - began:.0f}\n")


def remove(folder: Path) -> None:
    """Take a folder away, and nothing that is mounted in it, such as this machine's /sys in a build that was killed."""
    call("rm", "-rf", "--one-file-system", folder)


def call(*argv: str | Path) -> str:
    """Run a tool; what it printed."""
    try:
        done = subprocess.run(argv, capture_output=True, text=True, check=False)
    except FileNotFoundError as why:
        raise LabFailed(f"{argv[0]} is not installed; .ci/packages.txt has the packages that the tests need") from why
    if done.returncode:
        raise LabFailed(f"{argv[0]} failed:\n{(done.stdout + done.stderr)[-2000:]}")
    return done.stdout


def install_debian(root: Path, *, log: Path) -> None:
    sources = [str(path) for path in find_sources(SUITE)]
    hook = log.with_name("unpack-kernel")
    hook.write_text("#!/bin/sh\n" + UNPACK_KERNEL)
    hook.chmod(0o755)
    command = ["setpriv", "--pdeathsig", "TERM", "mmdebstrap"]  # tests that are killed leave no build behind
    command += ["--mode=root", "--variant=minbase", "--format=directory", f"--logfile={log}"]
    command += [f"--dpkgopt=path-exclude=/usr/share/{folder}/*" for folder in ("man", "doc", "locale")]
    command += [f"--include={','.join(PACKAGES)}", f"--customize-hook={hook}", SUITE, str(root), *sources]
    call(*command)


def install_guest_files(root: Path) -> None:
    """Our files over Debian's, and a quick boot: units that the lab has no use for are off."""
    units = root / "etc/systemd/system"
    for name in UNWANTED_UNITS:
        (units / name).symlink_to("/dev/null")
    for path in guest_files():
        target = root / path.relative_to(GUEST)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, target)
    wants = units / "multi-user.target.wants"
    for name in ("remote-fs.target", "libvirtd.service"):  # libvirtd starts on the first use of its socket
        (wants / name).unlink(missing_ok=True)
    (wants / "lab-porter.service").symlink_to("../lab-porter.service")
    (root / "etc/hostname").write_text("lab\n")
    (root / "etc/hosts").write_text("127.0.0.1 localhost lab\n")
    (root / "etc/machine-id").write_text("0123456789abcdef0123456789abcdef\n")
    (root / "etc/fstab").write_text("")
    with (root / "etc/libvirt/qemu.conf").open("a") as settings:
        settings.write('security_driver = "none"\n')


def render_initrd(root: Path, version: str) -> bytes:
    """A static busybox, the modules up to the disk, and a ten-line init."""
    paths: list[str] = []
    for module in BOOT_MODULES:
        for line in call("chroot", root, "modprobe", "-S", version, "--show-depends", module).splitlines():
            kind, _, path = line.partition(" ")
            if kind == "insmod" and path.strip() not in paths:
                paths.append(path.strip())
    entries = [(name, FOLDER, b"") for name in ("dev", "proc", "sys", "new", "m")]
    entries += render_folders("bin/busybox")
    entries += [("bin/busybox", PROGRAM, (root / "bin/busybox").read_bytes()), ("init", PROGRAM, INIT.encode())]
    for order, path in enumerate(paths, 100):
        entries.append((f"m/{order}-{Path(path).name}", PROGRAM, (root / path.lstrip("/")).read_bytes()))
    return render_cpio(entries)


def make_disk(root: Path, disk: Path) -> None:
    call("mke2fs", "-q", "-t", "ext4", "-O", "^has_journal", "-m", "0", "-d", root, disk, "1500M")


def remove_old_images(cache: Path, *, keep: Path) -> None:
    """Images of former digests; one that was used within a day stays, for other checkouts that share the cache."""
    for path in sorted(cache.glob("image-*")):
        if path != keep and time.time() - path.stat().st_mtime > 86400:
            remove(path)
