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


_NO_RIGHT = ("Permission denied", "authentication", "system bus")
"""What libvirt says of a user who may not connect: of its socket, of polkit, and of polkit without a D-Bus."""


def with_hint(message: str) -> str:
    """A message of libvirt, and what it means for a placement where we know."""
    return message + next((f"; {hint}" for said, hint in _HINTS.items() if said in message), "")


def hint_to_reach(uri: str, message: str) -> str:
    """What to do when libvirt at ``uri`` does not answer, or does not answer this user, as its message tells."""
    if any(said in message for said in _NO_RIGHT):
        return "ask as root, or as a user of group libvirt"
    if uri.endswith("/session"):
        return "start it as the same user: libvirtd -d"
    return "start it: systemctl start libvirtd, or without systemd: virtlogd -d; libvirtd -d"


def find_element(message: str) -> str | None:
    """The XML element that a message of libvirt or of its schema check names."""
    patterns = (
        r"extra content: ([\w:-]+)",
        r"[Ee]xtra element ([\w:-]+)",
        r"'([\w:-]+)' element",
        r"[Ee]lement '?<?([\w:-]+)",
        r"machine (type) '",
        r"(cachetune|memorytune) is only supported",
        r"<([\w:-]+)[ />]",
    )
    found = (re.search(pattern, message) for pattern in patterns)
    return next((match.group(1) for match in found if match), None)
