"""``reading.py VERB …`` is the command; beside its own lines it prints one whenever it has read this host's guests."""

import json
import sys
from typing import Any

from agent.cli.main import main
from agent.compute import watch

observe_host = watch.observe_host


def observe_and_tell(*args: Any, **options: Any) -> Any:
    found = observe_host(*args, **options)
    sys.stdout.write(json.dumps({"change": "read"}) + "\n")
    sys.stdout.flush()
    return found


watch.observe_host = observe_and_tell
sys.exit(main(sys.argv[1:]))
