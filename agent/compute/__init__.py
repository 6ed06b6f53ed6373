"""The host side of a guest: libvirt driver, apply, reconcile, and the agent daemon."""
