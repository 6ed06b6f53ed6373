"""Cellwright: places virtual machines on NUMA cells and pCPUs, pins them there, and proves that they stay there."""

__version__ = "0.1.0"
