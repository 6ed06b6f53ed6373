"""Kernel files to HostTopology: the only code that opens /proc and /sys."""
