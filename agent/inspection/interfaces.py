"""Network interfaces of this host and their SR-IOV functions, asked from the kernel through pyroute2 (rtnetlink(7))."""

from __future__ import annotations

from typing import NamedTuple

from pyroute2 import IPRoute

VF_INFO = 1
"""RTEXT_FILTER_VF of linux/rtnetlink.h: tell of virtual functions too."""


class Interface(NamedTuple):
    """An interface; ``parent`` is its device on its bus (a PCI address, ``virtio1``), None for virtual interfaces."""

    name: str
    parent: str | None
    state: str
    mtu: int
    virtual_functions: int


def read_interfaces() -> tuple[Interface, ...]:
    """Every interface of this network namespace, by name."""
    with IPRoute() as kernel:
        links = list(kernel.get_links(ext_mask=VF_INFO))
    found = []
    for link in links:
        told = dict(link["attrs"])
        found.append(
            Interface(
                name=str(told["IFLA_IFNAME"]),
                parent=told.get("IFLA_PARENT_DEV_NAME"),
                state=str(told.get("IFLA_OPERSTATE", "unknown")).lower(),
                mtu=int(told.get("IFLA_MTU", 0)),
                virtual_functions=int(told.get("IFLA_NUM_VF", 0)),
            )
        )
    return tuple(sorted(found))
