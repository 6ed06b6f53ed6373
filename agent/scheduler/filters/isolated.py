"""IsolatedHosts: images of the isolated list go to the isolated hosts, and other images elsewhere.

With ``restrict_isolated_hosts_to_isolated_images`` off, isolated hosts also take other images.
"""

from __future__ import annotations

import numpy as np

from agent.scheduler.aggregates import Mask
from agent.scheduler.filters import Filter
from agent.scheduler.table import HostTable
from agent.scheduler.wanted import Wanted
from agent.settings.scheduling import SchedulingSettings


def _isolated(table: HostTable, wanted: Wanted, settings: SchedulingSettings) -> Mask | None:
    if not settings.isolated_hosts and not settings.isolated_images:
        return None
    isolated = np.zeros(table.size, dtype=np.bool_)
    isolated[[table.row_of[name] for name in settings.isolated_hosts if name in table.row_of]] = True
    restrict = settings.restrict_isolated_hosts_to_isolated_images
    if wanted.request.image.name in settings.isolated_images:
        return isolated
    return ~isolated if restrict else None


FILTERS = (Filter("IsolatedHosts", _isolated, lambda w, s: f"a host for image {w.request.image.name}", True),)
