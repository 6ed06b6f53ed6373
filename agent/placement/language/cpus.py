"""Which vCPUs own a pCPU, how siblings are used, where the emulator runs, and which vCPUs run in real time.

Rules and conflicts as in Nova (``nova/virt/hardware.py`` of 34.0.0): a flavor's ``dedicated`` beats an image's
``shared`` and a flavor's ``prefer`` any image's thread policy; every other difference is forbidden.
"""

from __future__ import annotations

import re

import msgspec

from agent.core.cpuset import EMPTY, CpuSet
from agent.core.errors import BadRequest
from agent.core.policy import CpuPolicy, EmulatorPolicy, ThreadPolicy
from agent.placement.language.specs import Specs, one_of, vcpu_mask, words, yes_or_no

WITHDRAWN = {
    "avoid": "prefer, isolate, require; avoid became isolate",
    "separate": "prefer, isolate, require; separate became isolate",
}
_RESOURCE = re.compile(r"resources(?:[1-9][0-9]*)?:([VP]CPU)")
_THREADS_TRAIT = re.compile(r"trait(?:[1-9][0-9]*)?:HW_CPU_HYPERTHREADING")


class CpuWishes(msgspec.Struct, frozen=True):
    """The answers of this module: what GuestTopology calls by the same names; ``asked`` is False for a bare guest."""

    policy: CpuPolicy
    asked: bool
    dedicated: CpuSet
    thread_policy: ThreadPolicy | None
    idle_siblings: bool
    emulator_policy: EmulatorPolicy | None
    realtime: CpuSet


def parse_cpus(specs: Specs) -> CpuWishes:
    """All that the request says about its vCPUs; BadRequest for what Nova forbids."""
    emulator = one_of(
        EmulatorPolicy, "hw:emulator_threads_policy", specs.flavor.get("hw:emulator_threads_policy") or None
    )
    policy, asked = _cpu_policy(specs, emulator)
    threads, idle_siblings = _thread_policy(specs)
    mask = _dedicated_mask(specs)
    realtime = _realtime(specs, emulator)
    if policy is CpuPolicy.SHARED:
        _check_floating(specs, threads, emulator, realtime)
    if policy is CpuPolicy.MIXED:
        if bool(mask) == bool(realtime):
            raise BadRequest(
                "hw:cpu_policy",
                "mixed",
                "both masks are given" if mask else "which vCPUs are dedicated is not said",
                allowed="one of hw:cpu_dedicated_mask, or hw:cpu_realtime=yes with hw:cpu_realtime_mask",
            )
    elif mask:
        raise BadRequest("hw:cpu_dedicated_mask", mask, f"goes with hw:cpu_policy=mixed only, here it is {policy}")
    dedicated = EMPTY
    if policy is CpuPolicy.DEDICATED:
        dedicated = CpuSet(range(specs.vcpus))
    elif policy is CpuPolicy.MIXED:
        dedicated = mask or realtime
    return CpuWishes(policy, asked, dedicated, threads, idle_siblings, emulator, realtime)


def _cpu_policy(specs: Specs, emulator: EmulatorPolicy | None) -> tuple[CpuPolicy, bool]:
    flavor_text, image_text = specs.pair("cpu_policy")
    flavor = one_of(CpuPolicy, "hw:cpu_policy", flavor_text)
    image = one_of(CpuPolicy, "hw_cpu_policy", image_text)
    if (flavor is CpuPolicy.MIXED and image is CpuPolicy.DEDICATED) or (
        flavor is CpuPolicy.SHARED and image in (CpuPolicy.MIXED, CpuPolicy.DEDICATED)
    ):
        raise BadRequest(
            "hw_cpu_policy", image, f"the flavor says hw:cpu_policy={flavor}, and the image may not differ"
        )
    counted = _counted_cpus(specs)
    policy = flavor or image
    if not counted:
        return policy or CpuPolicy.SHARED, policy is not None
    if policy:
        raise BadRequest("hw:cpu_policy", policy, "resources:VCPU or resources:PCPU is given too; use one or the other")
    if len(counted) > 1:
        raise BadRequest("resources:PCPU", counted["PCPU"], "resources:VCPU is given too; use one or the other")
    if "VCPU" in counted:
        return CpuPolicy.SHARED, True
    wanted = specs.vcpus + (emulator is EmulatorPolicy.ISOLATE)
    if counted["PCPU"] != wanted:
        kept = ", one of them for hw:emulator_threads_policy=isolate" if wanted > specs.vcpus else ""
        raise BadRequest(
            "resources:PCPU", counted["PCPU"], "does not match the flavor's vcpus", allowed=f"{wanted}{kept}"
        )
    return CpuPolicy.DEDICATED, True


def _counted_cpus(specs: Specs) -> dict[str, int]:
    counted: dict[str, int] = {}
    for key, text in specs.flavor.items():
        found = _RESOURCE.fullmatch(key)
        if found:
            if not (text.isascii() and text.isdigit()) or len(text) > 9:
                raise BadRequest(key, text, "is no count", allowed="a whole number")
            if int(text):
                counted[found[1]] = counted.get(found[1], 0) + int(text)
    return counted


def _thread_policy(specs: Specs) -> tuple[ThreadPolicy | None, bool]:
    """The thread policy, and whether it may be met by idle siblings where the host has SMT and split sets.

    Only the operator's own ``hw:cpu_thread_policy=isolate`` may: it costs pCPUs that the flavor does not count, so an
    image, which any user uploads, asks for a cell without SMT instead, as it does with Nova.
    """
    flavor_text, image_text = specs.pair("cpu_thread_policy")
    flavor = _known_thread_policy("hw:cpu_thread_policy", flavor_text)
    image = _known_thread_policy("hw_cpu_thread_policy", image_text)
    trait = _threads_trait(specs)
    policy = flavor or image
    if image and flavor not in (None, ThreadPolicy.PREFER, image):
        raise BadRequest(
            "hw_cpu_thread_policy",
            image,
            f"the flavor says hw:cpu_thread_policy={flavor}, and the image may not differ",
        )
    if trait and policy:
        raise BadRequest(
            "trait:HW_CPU_HYPERTHREADING", trait, f"a thread policy is given too ({policy}); use one or the other"
        )
    if trait:
        return ThreadPolicy.REQUIRE if trait == "required" else ThreadPolicy.ISOLATE, False
    return policy, flavor is ThreadPolicy.ISOLATE


def _known_thread_policy(key: str, text: str | None) -> ThreadPolicy | None:
    if text in WITHDRAWN:
        raise BadRequest(key, text, "was withdrawn", allowed=WITHDRAWN[text])
    return one_of(ThreadPolicy, key, text)


def _threads_trait(specs: Specs) -> str | None:
    for key in sorted(specs.flavor):
        if _THREADS_TRAIT.fullmatch(key):
            if specs.flavor[key] not in ("required", "forbidden"):
                raise BadRequest(key, specs.flavor[key], "is no trait wish", allowed="required, forbidden")
            return specs.flavor[key]
    text = specs.image.get("trait:HW_CPU_HYPERTHREADING")
    if text not in (None, "required"):
        raise BadRequest("trait:HW_CPU_HYPERTHREADING", text, "is no trait wish of an image", allowed="required")
    return text


def _dedicated_mask(specs: Specs) -> CpuSet:
    text = specs.flavor.get("hw:cpu_dedicated_mask")
    if not text:
        return EMPTY
    mask = vcpu_mask("hw:cpu_dedicated_mask", text, specs.vcpus)
    everything = CpuSet(range(specs.vcpus))
    if not mask <= everything:
        raise BadRequest("hw:cpu_dedicated_mask", text, words(mask, specs.vcpus))
    if not mask or mask == everything:
        raise BadRequest("hw:cpu_dedicated_mask", text, "names all vCPUs or none", allowed="some of the vCPUs, not all")
    return mask


def _realtime(specs: Specs, emulator: EmulatorPolicy | None) -> CpuSet:
    flavor_mask, image_mask = specs.pair("cpu_realtime_mask")
    key, text = ("hw_cpu_realtime_mask", image_mask) if image_mask else ("hw:cpu_realtime_mask", flavor_mask)
    everything = CpuSet(range(specs.vcpus))
    mask = vcpu_mask(key, text, specs.vcpus) if text else everything
    if not yes_or_no("hw:cpu_realtime", specs.flavor.get("hw:cpu_realtime") or None):
        return EMPTY
    if not mask:
        raise BadRequest(key, text, "leaves no vCPU to run in real time", allowed="some of the vCPUs")
    if not mask <= everything:
        raise BadRequest(key, text, words(mask, specs.vcpus))
    if mask == everything and emulator is None:
        raise BadRequest(
            key if text else "hw:cpu_realtime",
            text or "yes",
            "all vCPUs in real time leave nothing for the emulator's threads",
            allowed="a hw:cpu_realtime_mask that leaves one out, or hw:emulator_threads_policy",
        )
    return mask


def _check_floating(
    specs: Specs, threads: ThreadPolicy | None, emulator: EmulatorPolicy | None, realtime: CpuSet
) -> None:
    """What only guests with pCPUs of their own may ask for."""
    needs = "goes with hw:cpu_policy dedicated or mixed only"
    if threads:
        named = next((k for k in ("hw:cpu_thread_policy",) if specs.flavor.get(k)), "hw_cpu_thread_policy")
        if not specs.flavor.get("hw:cpu_thread_policy") and not specs.image.get("hw_cpu_thread_policy"):
            named = "trait:HW_CPU_HYPERTHREADING"
        raise BadRequest(named, threads, needs)
    if emulator is EmulatorPolicy.ISOLATE:
        raise BadRequest("hw:emulator_threads_policy", emulator, needs)
    if realtime:
        raise BadRequest("hw:cpu_realtime", specs.flavor["hw:cpu_realtime"], needs)
