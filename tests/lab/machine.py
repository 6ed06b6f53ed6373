"""A booted lab: run commands in it, put files in, bring files out.

    with start(TOPOLOGIES["2n"], cache=folder) as machine:
        machine.run("cellwright", "topology", "--format", "json").stdout

The first start of a topology boots it (about 14 s), lets libvirtd come up and saves the running machine; every start
restores it from there (about 1 s).  The way in is one virtio port with JSON lines; see guest/usr/local/sbin/lab-porter.
Images and saved machines are made one at a time, held by a lock on the cache; what runs has a disk of its own.
"""

import contextlib
import fcntl
import hashlib
import io
import json
import os
import socket
import subprocess
import tarfile
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from tests.lab.archive import render_cpu_order
from tests.lab.image import LabFailed, build_image, find_image, remove
from tests.lab.payload import APART, TARGET, list_modules
from tests.lab.topologies import TOPOLOGIES, LabTopology
from tests.lab.waiting import LIMIT_S

QEMU = "qemu-system-x86_64"
KERNEL_LINE = (
    "console=ttyS0 panic=-1 quiet loglevel=3 mitigations=off apparmor=0 audit=0 tsc=unstable clearcpuid=rep_good"
    " systemd.getty_auto=no systemd.show_status=no"
)
"""Time is the HPET's, whose rate is known: a kernel that measures its TSC's while the computer is busy may be wrong by
ten, and every time limit inside with it.
"""
CONNECT = (
    "udevadm settle; nic=$(basename /sys/bus/pci/devices/0000:00:06.0/virtio*/net/*)"
    " && ip address replace 10.0.2.15/24 dev $nic && ip link set $nic up"
)
"""No route leads further than 10.0.2.0/24, so that nothing but the computer that runs the tests can be reached."""
SETTLE = "systemctl is-system-running --wait; virsh list"
BARE_SETTLE = "modprobe virtio_net"
BOOTS_S = (150, 300, 600)
"""How long each attempt to boot may take; once in some hundred, a kernel under emulation hangs on its way."""
STARTS = 3
"""How often a saved machine is started that does not answer, anew from a boot of its own from the second time on."""
INSIDE = f"/{TARGET}"
PAYLOAD_DISK = "/dev/vdb"
PAYLOAD_LIMIT = 256 << 20  # the disk's size, whatever is on it: a saved machine remembers it


@dataclass(frozen=True)
class Done:
    """A command that ended.  Status 124: it ran into its time limit and was killed."""

    argv: tuple[str, ...]
    status: int
    stdout: str
    stderr: str

    def __str__(self) -> str:
        return f"{' '.join(self.argv)}: status {self.status}\n{self.stdout}{self.stderr}"

    def json(self) -> Any:
        return json.loads(self.stdout)


class Line:
    """JSON lines, and bytes behind them, over a connected socket."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.buffer = bytearray()

    def send(self, message: Mapping[str, object]) -> None:
        self.sock.settimeout(LIMIT_S)
        self.sock.sendall(json.dumps(message).encode() + b"\n")

    def take(self, *, limit_s: float, size: int | None = None) -> bytes:
        """The next ``size`` bytes, or the next line."""
        end_at = time.monotonic() + limit_s
        while True:
            end = size if size is not None else self.buffer.find(b"\n") + 1
            if (size is not None or end) and len(self.buffer) >= end:
                part = bytes(self.buffer[:end])
                del self.buffer[:end]
                return part
            self.sock.settimeout(max(0.01, end_at - time.monotonic()))
            some = self.sock.recv(1 << 20)
            if not some:
                raise ConnectionError("QEMU closed the connection")
            self.buffer += some

    def receive(self, *, limit_s: float) -> dict[str, Any]:
        answer: dict[str, Any] = json.loads(self.take(limit_s=limit_s))
        return answer


class Machine:
    """One running QEMU with the lab in it; ``restored`` are arguments of its first start alone."""

    def __init__(self, name: str, folder: Path, argv: list[str], *, restored: Sequence[str] = ()) -> None:
        self.name = name
        self.logs = {"qemu": folder / "qemu.log", "console": folder / "console"}
        self.lost = ""
        self.imported = False
        self._argv = argv
        self._switch_on(restored)

    def _switch_on(self, more: Sequence[str] = ()) -> None:
        ours, theirs = zip(*(socket.socketpair() for _ in ("porter", "monitor")), strict=True)
        fds = [end.fileno() for end in theirs]
        argv = [
            *("setpriv", "--pdeathsig", "TERM"),  # tests that are killed leave no machine behind
            *self._argv,
            *more,
            *("-chardev", f"file,id=console,path={self.logs['console']}", "-serial", "chardev:console"),
            *("-chardev", f"socket,id=porter,fd={fds[0]}", "-device", "virtio-serial-pci,bus=pcie.0,addr=7"),
            *("-device", "virtserialport,chardev=porter,name=lab"),
            *("-chardev", f"socket,id=monitor,fd={fds[1]}", "-mon", "chardev=monitor,mode=control"),
        ]
        with self.logs["qemu"].open("w") as log:
            self.process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log, pass_fds=fds)
        for end in theirs:
            end.close()
        self.porter, self.monitor = (Line(end) for end in ours)
        try:
            self.monitor.receive(limit_s=LIMIT_S)  # QMP's greeting
            self.command("qmp_capabilities")
        except OSError as why:
            self.stop()
            raise LabFailed(self.describe(f"QEMU: {why}")) from why

    def ask(self, request: Mapping[str, object], *, limit_s: float) -> tuple[dict[str, Any], bytes]:
        """One request to the porter; its reply and the bytes behind it.  Who is lost is not asked again."""
        if self.lost:
            raise LabFailed(self.lost)
        try:
            self.porter.send(request)
            reply = self.porter.receive(limit_s=limit_s)
            content = self.porter.take(limit_s=limit_s, size=reply["size"])
        except OSError as why:
            self.lost = self.describe(f"no answer to {str(request)[:200]} within {limit_s:.0f} s: {why}")
            raise LabFailed(self.lost) from why
        if "error" in reply:
            raise LabFailed(f"{request['do']}: {reply['error']}")
        return reply, content

    def wait_until_ready(self) -> None:
        """Until the porter stands at the door; who hangs before that is switched off and on."""
        for attempt, limit_s in enumerate(BOOTS_S):
            if attempt:
                self.stop()
                self._switch_on()
            try:
                assert self.porter.receive(limit_s=limit_s)["ready"]
            except OSError as why:
                self.lost = self.describe(f"did not come up within {limit_s} s: {why}")
            else:
                self.lost = ""
                return
        raise LabFailed(self.lost)

    def run(
        self,
        *argv: str,
        stdin: str = "",
        timeout_s: float = LIMIT_S,
        env: Mapping[str, str] = MappingProxyType({}),
        status: int | None = 0,
    ) -> Done:
        """Run a command as root; an exit status other than ``status`` is an AssertionError, unless that is None.

        ``cellwright`` and Python scripts (``….py``) begin with the agent imported; ``shell`` starts the real command.
        """
        request = {"do": "run", "argv": argv, "stdin": stdin, "timeout_s": timeout_s, "env": dict(env)}
        if self.imported and (argv[0] == "cellwright" or argv[0].endswith(".py")):
            request["script"] = f"{INSIDE}/agent/__main__.py" if argv[0] == "cellwright" else argv[0]
        reply, _ = self.ask(request, limit_s=timeout_s + 60)
        done = Done(argv, reply["status"], reply["stdout"], reply["stderr"])
        assert status is None or done.status == status, str(done)
        return done

    def shell(self, script: str, *, status: int | None = 0) -> Done:
        """Run a script with ``sh -c``."""
        return self.run("sh", "-c", script, status=status)

    def read(self, path: str) -> str:
        """What a file holds, kernel files too."""
        return self.fetch([path])[path].decode()

    def fetch(self, paths: list[str]) -> dict[str, bytes]:
        """What each of these files holds."""
        _, packed = self.ask({"do": "pack", "paths": paths}, limit_s=LIMIT_S)
        with tarfile.open(fileobj=io.BytesIO(packed)) as tar:
            return {f"/{member.name}": tar.extractfile(member).read() for member in tar}  # type: ignore[union-attr]

    def write(self, path: str, text: str) -> None:
        """Put a small file there: the port takes about 1 MB/s."""
        self.run("sh", "-c", 'mkdir -p "$(dirname "$1")" && cat >"$1"', "sh", path, stdin=text)

    def import_agent(self) -> None:
        """Let the porter import what commands import, once for all of them: under emulation that takes seconds."""
        folders = [INSIDE, f"{INSIDE}/site-packages"]
        self.ask({"do": "import", "folders": folders, "modules": list_modules()}, limit_s=LIMIT_S)
        self.imported = True

    def add_scheduler(self) -> None:
        """Add the packages that ``cellwright scheduler`` needs."""
        into = ("-C", f"{INSIDE}/site-packages", "--strip-components", "1")
        self.run("tar", "-x", "--seek", *into, "-f", PAYLOAD_DISK, APART)

    def connect(self) -> None:
        """Up with the network on which 10.0.2.2 is the computer that runs the tests; its loopback answers."""
        self.shell(CONNECT)

    def set_clock(self) -> None:
        """The time of the computer that runs the tests."""
        self.ask({"do": "clock", "epoch_s": time.time()}, limit_s=LIMIT_S)

    def reboot(self) -> None:
        """Shut down, and boot again from the same disk; ``connect`` is asked for again."""
        with contextlib.suppress(LabFailed):  # who hangs on the way is switched off: all it wrote is on the disk
            self.power_off()
        self.stop()
        self._switch_on()
        self.wait_until_ready()
        self.set_clock()
        if self.imported:
            self.import_agent()

    def power_off(self) -> None:
        """Shut down; the machine is not asked again before it is switched on."""
        self.shell("sync; systemctl --no-block poweroff", status=None)
        try:
            self.process.wait(LIMIT_S)
        except subprocess.TimeoutExpired as why:
            raise LabFailed(self.describe(f"did not shut down within {LIMIT_S} s")) from why

    def command(self, name: str, **arguments: object) -> Any:
        """One command to QEMU's monitor; what it returned."""
        self.monitor.send({"execute": name, "arguments": arguments})
        while True:  # events come in between
            reply = self.monitor.receive(limit_s=LIMIT_S)
            if "error" in reply:
                raise LabFailed(self.describe(f"{name}: {reply['error']['desc']}"))
            if "return" in reply:
                return reply["return"]

    def save(self, path: Path) -> None:
        """Write the running machine to a file; it stands still afterwards."""
        self.command("migrate-set-parameters", **{"max-bandwidth": 10 << 30})
        self.command("migrate", uri=f"exec:cat > {path}")
        while (status := self.command("query-migrate")["status"]) != "completed":
            if status in ("failed", "cancelled"):
                raise LabFailed(self.describe(f"the machine could not be saved: {status}"))
            time.sleep(0.1)

    def describe(self, what: str) -> str:
        """``what`` went wrong, with what QEMU and the console said last."""
        texts = {name: path.read_text(errors="replace")[-3000:] for name, path in self.logs.items()}
        return "\n".join([f"lab {self.name}: {what}", *(f"--- {name}\n{text}" for name, text in texts.items() if text)])

    def stop(self) -> None:
        """End QEMU; nothing of the machine stays."""
        self.process.terminate()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        for line in (self.porter, self.monitor):
            line.sock.close()


def prepare(cache: Path) -> None:
    """Build the image, unless it is there."""
    with lock(cache):
        build_image(cache, first_boot=run_first_boot)


@contextlib.contextmanager
def start(topology: LabTopology, *, cache: Path, payload: bytes) -> Iterator[Machine]:
    """The topology's machine, booted, with the right time and a tar unpacked over its root; stopped at the end.

    What the tar has below ``APART`` stays in it: see ``Machine.add_scheduler``.
    """
    prepare(cache)
    image = find_image(cache)
    with contextlib.ExitStack() as stack:
        for left in reversed(range(STARTS)):
            try:
                machine = stack.enter_context(restored(topology, image, payload))
            except LabFailed:
                if not left:
                    raise
                with lock(cache):
                    remove(find_state(topology, image))
            else:
                yield machine
                return


@contextlib.contextmanager
def restored(topology: LabTopology, image: Path, payload: bytes) -> Iterator[Machine]:
    """The saved machine of this topology with a disk of its own, the right time, and the payload in place."""
    with lock(image.parent):
        state = save_state(topology, image)
    with tempfile.TemporaryDirectory(prefix="lab-disk-") as folder:
        disk = add_disk(Path(folder) / "disk.qcow2", state / "disk.qcow2", form="qcow2")
        incoming = ("-incoming", f"exec:cat {state}/memory")
        with running(topology, image, disk, restored=incoming, payload=payload) as machine:
            machine.set_clock()
            machine.run("tar", "-x", "--seek", "-C", "/", "-f", PAYLOAD_DISK, "--exclude", APART)
            if not topology.bare:
                machine.import_agent()
            yield machine


def add_disk(disk: Path, base: Path, *, form: str) -> str:
    """A disk that begins as ``base`` and leaves it as it is, as QEMU is told of it."""
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", "-b", str(base), "-F", form, str(disk)], check=True)
    return f"file={disk},format=qcow2"


@contextlib.contextmanager
def lock(cache: Path) -> Iterator[None]:
    """Held while an image or a saved machine is made, or taken away."""
    cache.mkdir(parents=True, exist_ok=True)
    with (cache / "lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


@contextlib.contextmanager
def running(
    topology: LabTopology, image: Path, disk: str, *, restored: Sequence[str] = (), payload: bytes = b""
) -> Iterator[Machine]:
    """QEMU with this disk, until the block ends; ``payload`` is what the second disk begins with."""
    with tempfile.TemporaryDirectory(prefix="lab-") as folder:
        second = Path(folder) / "payload"
        second.write_bytes(payload)
        os.truncate(second, PAYLOAD_LIMIT)
        drives = (f"if=none,id=root,cache=unsafe,{disk}", f"if=none,id=payload,readonly=on,format=raw,file={second}")
        argv = [*render_qemu(topology, image), *(word for drive in drives for word in ("-drive", drive))]
        machine = Machine(topology.name, Path(folder), argv, restored=restored)
        try:
            yield machine
        except OSError as why:
            raise LabFailed(machine.describe(f"QEMU: {why}")) from why
        finally:
            machine.stop()


def render_qemu(topology: LabTopology, image: Path) -> list[str]:
    """QEMU's arguments for this topology, the disk and the ways in left out."""
    initrd = image / "initrd.gz"
    if topology.cpu_order:
        initrd = image / f"initrd-{topology.name}.gz"
        content = render_cpu_order(topology.cpu_order) + (image / "initrd.gz").read_bytes()
        if not initrd.exists() or initrd.read_bytes() != content:  # whoever restores it may be reading
            initrd.write_bytes(content)
    target = "bare.target" if topology.bare else "multi-user.target"
    return [
        *(QEMU, "-name", "lab", "-accel", "tcg,thread=multi", *topology.render_qemu()),
        *("-nodefaults", "-no-user-config", "-display", "none", "-no-reboot"),
        *("-device", "virtio-blk-pci,drive=root,bus=pcie.0,addr=4"),
        *("-device", "virtio-blk-pci,drive=payload,bus=pcie.0,addr=5"),
        *("-kernel", str(image / "vmlinuz"), "-initrd", str(initrd)),
        *("-append", f"{KERNEL_LINE} systemd.unit={target} {topology.kernel}".rstrip()),
    ]


def run_first_boot(image: Path, script: str) -> None:
    """Boot an image under way, run the script, and shut down: the disk keeps what it wrote."""
    with running(TOPOLOGIES["2n"], image, f"file={image}/root.ext4,format=raw") as machine:
        machine.wait_until_ready()
        done = machine.shell(script, status=None)
        if done.status:
            raise LabFailed(str(done))
        machine.power_off()


def find_state(topology: LabTopology, image: Path) -> Path:
    """Where the topology's booted machine is, or would be."""
    qemu = subprocess.run([QEMU, "--version"], capture_output=True, text=True, check=True).stdout
    what = "\0".join([*render_qemu(topology, image), SETTLE, BARE_SETTLE, qemu]).replace(str(image), "")
    return image / f"{topology.name}-{hashlib.sha256(what.encode()).hexdigest()[:8]}"


def save_state(topology: LabTopology, image: Path) -> Path:
    """The folder with the topology's booted machine: ``memory`` and ``disk.qcow2``; made when it is not there."""
    state = find_state(topology, image)
    if state.is_dir():
        return state
    new = state.with_name(f"{state.name}.new")
    remove(new)
    new.mkdir()
    disk = add_disk(new / "disk.qcow2", Path("../root.ext4"), form="raw")
    with running(topology, image, disk) as machine:
        machine.wait_until_ready()
        machine.shell(BARE_SETTLE if topology.bare else SETTLE, status=None)
        machine.save(new / "memory")
    new.rename(state)
    return state
