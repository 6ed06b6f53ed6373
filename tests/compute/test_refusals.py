"""libvirt's messages, as it has said them."""

import pytest

from agent.compute.refusals import find_element, hint_to_reach, with_hint


@pytest.mark.parametrize(
    ("said", "hint"),
    [
        ("unsupported configuration: Resource control is not supported on this host", "resctrl mounted before"),
        ("Cannot set scheduler parameters for pid 7: Operation not permitted", "no real-time budget"),
        ("cannot limit locked memory to 67108864: Operation not permitted", "CAP_SYS_RESOURCE"),
        ("internal error: something else", ""),
    ],
)
def test_what_a_message_of_libvirt_means_is_said_behind_it(said: str, hint: str) -> None:
    text = with_hint(said)
    assert text.startswith(said)
    assert hint in text
    assert bool(hint) is (text != said)


@pytest.mark.parametrize(
    ("said", "element"),
    [
        ("XML document failed to validate against schema: Extra element cputune in interleave", "cputune"),
        ("Did not expect element vcpunip there: extra content: vcpunip", "vcpunip"),
        ("unsupported configuration: Emulator does not support machine type 'quatsch'", "type"),
        ("unsupported configuration: cachetune is only supported for KVM domains", "cachetune"),
        ("XML error: expected <cell/> in <numa>", "cell"),
        ("XML error: Exactly one 'cell' element per guest NUMA cell allowed", "cell"),
        ("internal error: something else", None),
    ],
)
def test_the_element_that_a_message_names(said: str, element: str | None) -> None:
    assert find_element(said) == element


@pytest.mark.parametrize(
    ("uri", "said", "hint"),
    [
        (
            "qemu:///system",
            "Failed to connect socket to '/x/libvirt-sock': No such file or directory",
            "start libvirtd",
        ),
        ("qemu:///session", "Failed to connect socket to '/x/libvirt-sock': Connection refused", "as the same user"),
        ("qemu:///system", "Failed to connect socket to '/x/libvirt-sock': Permission denied", "group libvirt"),
        ("qemu:///system", "authentication unavailable: no polkit agent available to authenticate", "group libvirt"),
        ("qemu:///system", "internal error: Unable to get system bus connection: Could not connect", "group libvirt"),
    ],
)
def test_who_cannot_connect_is_told_what_to_do(uri: str, said: str, hint: str) -> None:
    assert hint in hint_to_reach(uri, said)
