"""The host as a HostTopology, for everybody who wants more than its JSON."""

from __future__ import annotations

from agent.core.codec import convert
from agent.core.topology import HostTopology
from agent.inspection.document import read_document
from agent.inspection.files import Root


def read_host(root: Root | str = "/") -> HostTopology:
    """Read this host, or the saved /proc and /sys in a folder; BadInput names the file that cannot be used."""
    files = Root(root) if isinstance(root, str) else root
    return convert(read_document(files), HostTopology, source=files.prefix)
