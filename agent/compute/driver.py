"""One libvirt connection with our types and our errors: the only module that imports libvirt.

    with Driver("qemu:///system") as libvirt:
        for domain in libvirt.domains():
            print(domain.name, domain.pid, libvirt.vcpu_pins(domain.name))

A libvirtd that was restarted under us is connected to again, once, for every call that may safely be repeated.
libvirt-python's own signatures are wrong for the pin calls: masks are tuples of bool, one for each pCPU of the host.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from types import TracebackType
from typing import Any, NoReturn, TypeVar

import libvirt

from agent.compute.domains import Domain, Lifecycle, NoSuchDomain, Refused, RefusedXml, State
from agent.compute.process import read_pid
from agent.compute.refusals import find_element, hint_to_reach, with_hint
from agent.core.cpuset import CpuSet
from agent.core.errors import BadInput, Unreachable

T = TypeVar("T")

SYSTEM = "qemu:///system"
"""The connection that is used when none is named."""

LIVE = libvirt.VIR_DOMAIN_AFFECT_LIVE
CONFIG = libvirt.VIR_DOMAIN_AFFECT_CONFIG


_STATES = {
    libvirt.VIR_DOMAIN_RUNNING: State.RUNNING,
    libvirt.VIR_DOMAIN_BLOCKED: State.IDLE,
    libvirt.VIR_DOMAIN_PAUSED: State.PAUSED,
    libvirt.VIR_DOMAIN_SHUTDOWN: State.SHUTTING_DOWN,
    libvirt.VIR_DOMAIN_SHUTOFF: State.SHUT_OFF,
    libvirt.VIR_DOMAIN_CRASHED: State.CRASHED,
    libvirt.VIR_DOMAIN_PMSUSPENDED: State.SUSPENDED,
}

_EVENTS = {
    libvirt.VIR_DOMAIN_EVENT_DEFINED: "defined",
    libvirt.VIR_DOMAIN_EVENT_UNDEFINED: "undefined",
    libvirt.VIR_DOMAIN_EVENT_STARTED: "started",
    libvirt.VIR_DOMAIN_EVENT_SUSPENDED: "suspended",
    libvirt.VIR_DOMAIN_EVENT_RESUMED: "resumed",
    libvirt.VIR_DOMAIN_EVENT_STOPPED: "stopped",
    libvirt.VIR_DOMAIN_EVENT_SHUTDOWN: "shutdown",
    libvirt.VIR_DOMAIN_EVENT_PMSUSPENDED: "pmsuspended",
    libvirt.VIR_DOMAIN_EVENT_CRASHED: "crashed",
}

_GONE = {
    libvirt.VIR_ERR_NO_CONNECT,
    libvirt.VIR_ERR_RPC,
    libvirt.VIR_ERR_INVALID_CONN,
    libvirt.VIR_ERR_AUTH_FAILED,
}
_XML_REFUSED = {
    libvirt.VIR_ERR_XML_ERROR,
    libvirt.VIR_ERR_XML_DETAIL,
    libvirt.VIR_ERR_XML_INVALID_SCHEMA,
    libvirt.VIR_ERR_CONFIG_UNSUPPORTED,
    libvirt.VIR_ERR_INVALID_ARG,
}


class Driver:
    """An open connection to libvirt at ``uri``; Unreachable, with how to start libvirtd, when nothing answers."""

    def __init__(self, uri: str = SYSTEM) -> None:
        libvirt.registerErrorHandler(lambda _context, _error: None, None)  # libvirt prints every error on stderr
        libvirt.virEventRegisterDefaultImpl()
        self.uri = uri
        self._conn = self._open()
        self._cpus = 0
        self._live = 0 if uri.startswith("test:") else LIVE  # the test driver's calls take no flags

    def __enter__(self) -> Driver:
        return self

    def __exit__(self, kind: type[BaseException] | None, why: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Drop the connection; domains go on running."""
        try:
            self._conn.close()
        except libvirt.libvirtError:
            return  # the daemon went away first

    # ---------------------------------------------------------------- reading

    def versions(self) -> tuple[tuple[str, str], ...]:
        """libvirt's and the hypervisor's version, each with its name."""
        found = self._ask(lambda conn: (conn.getLibVersion(), conn.getType().lower(), conn.getVersion()), "version")
        library, kind, hypervisor = found
        return ("libvirt", _version(library)), (kind, _version(hypervisor))

    def capabilities(self) -> str:
        """The host's capabilities document (``virsh capabilities``)."""
        return str(self._ask(lambda conn: conn.getCapabilities(), "capabilities"))

    def domains(self, *, active_only: bool = True) -> tuple[Domain, ...]:
        """Every domain, ordered by name; the running ones alone unless told otherwise."""
        flags = libvirt.VIR_CONNECT_GET_ALL_DOMAINS_STATS_ACTIVE if active_only else 0
        return tuple(domain for domain, _ in self._handles(flags))

    def with_xml(self) -> tuple[tuple[Domain, str], ...]:
        """Every domain with the XML of its running guest, or of its configuration; one call a domain, without secrets.

        A domain that goes away meanwhile is left out.
        """
        return tuple(
            (domain, xml)
            for domain, handle in self._handles(0)
            if (xml := self._ask(lambda _conn, handle=handle: _xml_of(handle), "XML")) is not None  # type: ignore[misc]  # mypy and the default
        )

    def domain(self, name: str) -> Domain:
        """One domain by name; NoSuchDomain says which there are."""
        found = self._on(name, lambda handle: self._describe(handle), "state")
        if found is None:
            raise NoSuchDomain(f"domain {name} went away on {self.uri} while it was read")
        return found

    def exists(self, name: str) -> bool:
        """Whether a domain of that name is defined or running."""
        return self.find(name) is not None

    def find(self, name: str) -> Domain | None:
        """One domain by name; None when there is none."""
        try:
            return self._ask(lambda conn: self._describe(conn.lookupByName(_utf8(name))), "state")
        except _CallFailed as why:
            if why.code == libvirt.VIR_ERR_NO_DOMAIN:
                return None
            raise

    def xml(self, name: str, *, config: bool = False) -> str:
        """The domain's XML: of the running guest, or what the next start uses, secrets included."""
        flags = libvirt.VIR_DOMAIN_XML_INACTIVE | libvirt.VIR_DOMAIN_XML_SECURE if config else 0
        return str(self._on(name, lambda handle: handle.XMLDesc(flags), "XML"))

    def vcpu_pins(self, name: str, *, config: bool = False) -> dict[int, CpuSet]:
        """vCPU → the pCPUs that libvirt allows it."""
        flags = CONFIG if config else self._live
        maps = self._on(name, lambda handle: handle.vcpuPinInfo(flags), "vCPU pins")
        return {vcpu: _of_map(cpus) for vcpu, cpus in enumerate(maps)}

    def emulator_pin(self, name: str, *, config: bool = False) -> CpuSet:
        """The pCPUs that libvirt allows QEMU's own threads."""
        flags = CONFIG if config else self._live
        return _of_map(self._on(name, lambda handle: handle.emulatorPinInfo(flags), "emulator pin"))

    def iothread_pins(self, name: str, *, config: bool = False) -> dict[int, CpuSet]:
        """I/O thread id → the pCPUs that libvirt allows it."""
        flags = CONFIG if config else self._live
        threads = self._on(name, lambda handle: handle.ioThreadInfo(flags), "I/O threads")
        return {number: _of_map(cpus) for number, cpus in sorted(threads)}

    def numa(self, name: str, *, config: bool = False) -> tuple[int, CpuSet]:
        """The whole guest's memory mode, as libvirt numbers it, and its host cells (empty: all)."""
        flags = CONFIG if config else self._live
        found = self._on(name, lambda handle: handle.numaParameters(flags), "numatune")
        return int(found["numa_mode"]), CpuSet.parse(found["numa_nodeset"])

    def scheduler(self, name: str) -> dict[str, int | float | str]:
        """CPU shares, periods and quotas that bind the running guest, as ``virsh schedinfo`` names them."""
        found: dict[str, int | float | str] = self._on(name, lambda handle: handle.schedulerParameters(), "schedinfo")
        return dict(sorted(found.items()))

    def metadata(self, name: str, namespace: str, *, config: bool = False) -> str | None:
        """The domain's metadata element of one XML namespace; None when it has none."""

        def read(handle: Any) -> str | None:
            try:
                kind = libvirt.VIR_DOMAIN_METADATA_ELEMENT
                return str(handle.metadata(kind, namespace, CONFIG if config else 0))
            except libvirt.libvirtError as why:
                if why.get_error_code() == libvirt.VIR_ERR_NO_DOMAIN_METADATA:
                    return None
                raise

        return self._on(name, read, "metadata")

    # ---------------------------------------------------------------- changing

    def define(self, xml: str, *, name: str) -> None:
        """Make the XML the domain's persistent configuration; RefusedXml has libvirt's message and the element."""
        try:
            self._ask(lambda conn: conn.defineXMLFlags(xml, libvirt.VIR_DOMAIN_DEFINE_VALIDATE), "define")
        except _CallFailed as why:
            if why.code == libvirt.VIR_ERR_INVALID_ARG and "unsupported flags" in str(why):
                self._ask(lambda conn: conn.defineXML(xml), "define")  # test:///default has no schema check
            elif why.code in _XML_REFUSED:
                raise RefusedXml(name, str(why), find_element(str(why))) from why
            else:
                raise Refused(f"domain {name}: define: {why}") from why

    def start(self, name: str, *, paused: bool = False) -> None:
        """Start a defined domain; with ``paused`` no vCPU runs before ``resume``."""
        flags = libvirt.VIR_DOMAIN_START_PAUSED if paused else 0
        self._on(name, lambda handle: handle.createWithFlags(flags), "start", repeat=False)

    def start_transient(self, xml: str, *, name: str) -> None:
        """Start a guest that libvirt forgets when it stops, and that stops with this connection."""
        try:
            self._ask(lambda conn: conn.createXML(xml, libvirt.VIR_DOMAIN_START_AUTODESTROY), "start", repeat=False)
        except _CallFailed as why:
            raise Refused(f"domain {name}: start: {why}") from why

    def resume(self, name: str) -> None:
        """Let a paused guest run."""
        self._on(name, lambda handle: handle.resume(), "resume", repeat=False)

    def destroy(self, name: str) -> None:
        """Stop the guest at once, as if its power were cut."""
        self._on(name, lambda handle: handle.destroy(), "destroy", repeat=False)

    def undefine(self, name: str) -> None:
        """Forget the domain's configuration, with its NVRAM and managed save; disks are left alone."""
        flags = libvirt.VIR_DOMAIN_UNDEFINE_NVRAM | libvirt.VIR_DOMAIN_UNDEFINE_MANAGED_SAVE

        def forget(handle: Any) -> None:
            try:
                handle.undefineFlags(flags)
            except libvirt.libvirtError as why:
                if "unsupported flags" not in str(why):
                    raise
                handle.undefine()  # test:///default

        self._on(name, forget, "undefine")

    def pin_vcpus(self, name: str, pins: Mapping[int, CpuSet]) -> None:
        """Set the masks of a running guest's vCPUs; each goes from the old mask to the new one in one step."""
        self._pin(name, {vcpu: self._map(cpus) for vcpu, cpus in pins.items()}, "pinVcpuFlags", "vCPU pin")

    def pin_iothreads(self, name: str, pins: Mapping[int, CpuSet]) -> None:
        """Set the masks of a running guest's I/O threads."""
        self._pin(name, {thread: self._map(cpus) for thread, cpus in pins.items()}, "pinIOThread", "I/O thread pin")

    def pin_emulator(self, name: str, cpus: CpuSet) -> None:
        """Set the mask of QEMU's own threads, and of those they start later."""
        mask = self._map(cpus)
        self._on(name, lambda handle: handle.pinEmulator(mask, self._live), "emulator pin")

    def set_nodeset(self, name: str, cells: CpuSet) -> None:
        """Change the host cells of a running guest's memory and move its pages; restrictive mode alone allows it."""
        self._on(name, lambda handle: handle.setNumaParameters({"numa_nodeset": str(cells)}, LIVE), "numatune")

    def set_metadata(
        self, name: str, namespace: str, element: str | None, *, live: bool, config: bool, prefix: str = "cellwright"
    ) -> None:
        """Write one namespace's metadata element, or take it away with None; nothing else of the domain changes."""
        flags = (LIVE if live else 0) | (CONFIG if config else 0)
        kind = libvirt.VIR_DOMAIN_METADATA_ELEMENT
        self._on(
            name,
            lambda handle: handle.setMetadata(kind, element, prefix if element else None, namespace, flags),
            "metadata",
        )

    # ---------------------------------------------------------------- events

    def lifecycle(self, *, idle: Callable[[], bool], every_s: float = 1.0) -> Iterator[Lifecycle]:
        """Yield what happens to domains; ``idle`` is asked at least every ``every_s`` and ends it with True."""
        seen: list[Lifecycle] = []

        def note(_conn: Any, handle: Any, event: int, _detail: int, _opaque: Any) -> None:
            seen.append(Lifecycle(handle.name(), _EVENTS.get(event, f"event {event}")))

        kind = libvirt.VIR_DOMAIN_EVENT_ID_LIFECYCLE
        number = self._ask(lambda conn: conn.domainEventRegisterAny(None, kind, note, None), "events")
        every_ms = max(1, int(every_s * 1000))
        timer = libvirt.virEventAddTimeout(every_ms, lambda _timer, _opaque: None, None)  # so that a wait ends
        try:
            while not idle():
                libvirt.virEventRunDefaultImpl()
                if not self._alive():
                    raise Unreachable(f"libvirtd behind {self.uri} went away")
                yield from seen
                seen.clear()
        finally:
            libvirt.virEventRemoveTimeout(timer)
            with suppress(libvirt.libvirtError):  # a daemon that went away has forgotten it
                self._conn.domainEventDeregisterAny(number)

    # ---------------------------------------------------------------- inside

    def _open(self) -> Any:
        try:
            return libvirt.open(self.uri)
        except UnicodeEncodeError as why:
            raise BadInput(f"connection {self.uri!r} is no UTF-8; allowed: a URI such as {SYSTEM}") from why
        except libvirt.libvirtError as why:
            said = _text(why)
            raise Unreachable(
                f"libvirt does not answer at {self.uri}: {said}; {hint_to_reach(self.uri, said)}"
            ) from why

    def _ask(self, call: Callable[[Any], T], what: str, *, repeat: bool = True) -> T:
        """One call on the connection; a lost connection is opened again, and the call made again if that is safe."""
        try:
            return call(self._conn)
        except libvirt.libvirtError as why:
            if self._alive() and why.get_error_code() not in _GONE:
                raise _CallFailed(what, why) from why
            self._conn = self._open()
            if not repeat:
                raise Unreachable(f"libvirtd behind {self.uri} was restarted during: {what}") from why
        try:
            return call(self._conn)
        except libvirt.libvirtError as why:
            raise _CallFailed(what, why) from why

    def _on(self, name: str, call: Callable[[Any], T], what: str, *, repeat: bool = True) -> T:
        """One call on a domain, with its name in the error."""
        try:
            return self._ask(lambda conn: call(conn.lookupByName(_utf8(name))), what, repeat=repeat)
        except _CallFailed as why:
            self._explain(name, why)

    def _handles(self, flags: int) -> list[tuple[Domain, Any]]:
        """Domains with libvirt's handles, by name: two calls, however many there are; name, UUID and id come along."""
        kinds = (
            (True, libvirt.VIR_CONNECT_GET_ALL_DOMAINS_STATS_PERSISTENT),
            (False, libvirt.VIR_CONNECT_GET_ALL_DOMAINS_STATS_TRANSIENT),
        )

        def read(conn: Any) -> list[tuple[Domain, Any]]:
            return [
                (self._domain(handle, stats["state.state"], active=handle.ID() >= 0, persistent=persistent), handle)
                for persistent, kind in kinds
                for handle, stats in conn.getAllDomainStats(libvirt.VIR_DOMAIN_STATS_STATE, flags | kind)
            ]

        return sorted(self._ask(read, "list of domains"), key=lambda one: one[0].name)

    def _explain(self, name: str, why: _CallFailed) -> NoReturn:
        if why.code == libvirt.VIR_ERR_NO_DOMAIN:
            names = [one.name for one in self.domains(active_only=False)]
            there = ", ".join(names[:12]) + (" …" if names[12:] else "") or "none"
            raise NoSuchDomain(f"no domain {name!r} on {self.uri}; there are: {there}") from why
        raise Refused(f"domain {name}: {why.what}: {with_hint(str(why))}") from why

    def _alive(self) -> bool:
        try:
            return bool(self._conn.isAlive())
        except libvirt.libvirtError:
            return False

    def _describe(self, handle: Any) -> Domain | None:
        """The domain behind a handle; None when it went away since it was listed."""
        try:
            state, _reason = handle.state()
            active = bool(handle.isActive())
            persistent = bool(handle.isPersistent())
        except libvirt.libvirtError as why:
            if why.get_error_code() == libvirt.VIR_ERR_NO_DOMAIN:
                return None
            raise
        return self._domain(handle, state, active=active, persistent=persistent)

    def _domain(self, handle: Any, state: int, *, active: bool, persistent: bool) -> Domain:
        uuid, name = handle.UUIDString(), handle.name()
        return Domain(
            name=name,
            uuid=uuid,
            state=_STATES.get(state, State.UNKNOWN),
            active=active,
            persistent=persistent,
            pid=read_pid(self.uri, name, uuid) if active else None,
        )

    def _map(self, cpus: CpuSet) -> tuple[bool, ...]:
        """libvirt's form of a mask; BadInput for pCPUs that the host does not have, which libvirt drops silently."""
        if not self._cpus:
            self._cpus = self._ask(lambda conn: conn.getCPUMap()[0], "CPU map")
        outside = cpus - CpuSet.of_mask((1 << self._cpus) - 1)
        if outside or not cpus:
            found = f"pCPUs {outside} are" if outside else "an empty mask is"
            raise BadInput(f"{found} not on this host, which has 0-{self._cpus - 1}")
        return tuple(cpu in cpus for cpu in range(self._cpus))

    def _pin(self, name: str, maps: Mapping[int, tuple[bool, ...]], method: str, what: str) -> None:
        flags = self._live

        def pin_all(handle: Any) -> None:
            call = getattr(handle, method)
            for number, cpus in sorted(maps.items()):
                call(number, cpus, flags)

        self._on(name, pin_all, what)


class _CallFailed(Refused):
    """libvirt's answer to one call, before anybody knows what it means for the caller."""

    def __init__(self, what: str, why: libvirt.libvirtError) -> None:
        super().__init__(_text(why))
        self.what = what
        self.code = why.get_error_code()


def _xml_of(handle: Any) -> str | None:
    """What a handle's domain is; None when it went away."""
    try:
        return str(handle.XMLDesc(0))
    except libvirt.libvirtError as why:
        if why.get_error_code() == libvirt.VIR_ERR_NO_DOMAIN:
            return None
        raise


def _utf8(name: str) -> str:
    """A domain's name as libvirt can be asked for it; BadInput for one with bytes that are no UTF-8."""
    try:
        name.encode()
    except UnicodeEncodeError as why:
        raise BadInput(f"domain {name!r}: a name is UTF-8, and this is none") from why
    return name


def _text(why: libvirt.libvirtError) -> str:
    return " ".join(str(why).split())


def _version(number: int) -> str:
    """libvirt's numbering: 9000000 is 9.0.0."""
    return f"{number // 1_000_000}.{number // 1000 % 1000}.{number % 1000}"


def _of_map(cpus: tuple[bool, ...]) -> CpuSet:
    return CpuSet(cpu for cpu, allowed in enumerate(cpus) if allowed)
