"""The sections of a domain that pinning touches, one writer an element, in libvirt's order.

A writer takes the root and the placement and puts its element where libvirt has it.  It replaces what it owns, keeps
what it does not know, and leaves an element that says the same already as it is.
"""

from collections.abc import Callable

from agent.core.placement import Placement
from agent.domain.document import Element
from agent.domain.sections.cpu import write_cpu
from agent.domain.sections.cputune import write_cputune
from agent.domain.sections.devices import write_devices
from agent.domain.sections.features import write_features
from agent.domain.sections.memory_backing import write_memory_backing
from agent.domain.sections.numatune import write_numatune
from agent.domain.sections.vcpu import write_iothreads, write_vcpu

Writer = Callable[[Element, Placement], None]

SECTIONS: dict[str, Writer] = {
    "memoryBacking": write_memory_backing,
    "vcpu": write_vcpu,
    "iothreads": write_iothreads,
    "cputune": write_cputune,
    "numatune": write_numatune,
    "features": write_features,
    "cpu": write_cpu,
    "devices": write_devices,
}
"""The element's name and its writer.  ``write_iothreads`` owns ``<iothreadids>`` too."""

OWNED = (*SECTIONS, "iothreadids")
"""The children of ``<domain>`` that a writer may change."""

__all__ = ["OWNED", "SECTIONS", "Writer"]
