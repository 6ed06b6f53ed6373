"""``killed.py CLASS.METHOD NUMBER VERB …`` is the command, killed with -9 when it is about to call METHOD so often.

With INSTEAD in the environment that command is run at this moment, and ours goes on.
"""

import os
import signal
import subprocess
import sys
from typing import Any

from agent.cli.main import main
from agent.compute import memory, move_pages
from agent.compute.daemon import worker
from agent.compute.daemon.link import Link
from agent.compute.driver import Driver
from agent.compute.journal import Journal

OWNERS: dict[str, Any] = {"Driver": Driver, "Journal": Journal, "Link": Link, "worker": worker}
OWNERS |= {"memory": memory, "move_pages": move_pages}

owner, method = sys.argv[1].split(".")
called = getattr(OWNERS[owner], method)
left = int(sys.argv[2])


def count(*args: object, **options: object) -> object:
    global left
    left -= 1
    if left == 0 and "INSTEAD" in os.environ:
        subprocess.run(os.environ["INSTEAD"], shell=True, check=True, stdout=subprocess.DEVNULL)
    elif left == 0:
        os.kill(os.getpid(), signal.SIGKILL)
    return called(*args, **options)


setattr(OWNERS[owner], method, count)
sys.exit(main(sys.argv[3:]))
