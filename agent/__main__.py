"""``python -m agent`` is the ``cellwright`` command."""

import sys

from agent.cli.main import main

sys.exit(main())
