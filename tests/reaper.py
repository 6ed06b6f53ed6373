"""Start a daemon, and take up whatever it leaves behind as soon as that ends, as systemd does: ``reaper.py WORD…``.

The first process of a container may take seconds for that, and libvirt waits as long for each guest that it stops.
"""

import contextlib
import ctypes
import os
import sys

PR_SET_CHILD_SUBREAPER = 36  # linux/prctl.h

if __name__ == "__main__" and os.fork() == 0:
    os.setsid()
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    os.posix_spawn(sys.argv[1], sys.argv[1:], os.environ)
    with contextlib.suppress(ChildProcessError):
        while True:
            os.wait()
