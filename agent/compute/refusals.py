"""What libvirt's messages mean for a placement, and which element of a domain XML they are about."""

from __future__ import annotations

import re

_HINTS = {
    "Cannot set scheduler parameters": "the kernel gives the guest's cgroup no real-time budget, as with cgroup version"
    " 1 and CONFIG_RT_GROUP_SCHED; with cgroup version 2, or without that option, it does",
    "cannot limit locked memory": "libvirtd may not raise that limit (CAP_SYS_RESOURCE), as in a container; real-time"
    " vCPUs and hw:locked_memory need it",
    "Resource control is not supported": "cw:cachetune and cw:memorytune (<cachetune>, <memorytune>) need a CPU with"
    " Intel RDT or AMD QoS, and resctrl mounted before libvirtd starts: mount -t resctrl resctrl /sys/fs/resctrl",
}
"""What some of libvirt's messages mean for a placement."""


def with_hint(message: str) -> str:
    """A message of libvirt, and what it means for a placement where we know."""
    return message + next((f"; {hint}" for said, hint in _HINTS.items() if said in message), "")


def find_element(message: str) -> str | None:
    """The XML element that a message of libvirt or of its schema check names."""
    patterns = (
        r"extra content: ([\w:-]+)",
        r"[Ee]xtra element ([\w:-]+)",
        r"[Ee]lement '?<?([\w:-]+)",
        r"machine (type) '",
        r"(cachetune|memorytune) is only supported",
        r"<([\w:-]+)[ />]",
    )
    found = (re.search(pattern, message) for pattern in patterns)
    return next((match.group(1) for match in found if match), None)
