"""Is this host fit for pinned guests?  One line a finding: what is so, why it matters, and how to change it.

Nothing is changed.  Saved hosts are judged by their files as well: --snapshot, --sysroot.  Exit codes: 0 all that is
found is advice, or nothing; 2 bad input; 4 something matters.
"""

from __future__ import annotations

import sys
from argparse import ArgumentParser, Namespace

from agent.core.errors import FINDINGS


def configure(parser: ArgumentParser) -> None:
    """The options of ``cellwright doctor``."""
    from agent.cli.hosts import add_host_options

    parser.add_argument("--format", choices=["table", "json"], default="table", help="default: table")
    add_host_options(parser)


def run(args: Namespace) -> int:
    """Judge the host's knobs and print the findings."""
    from agent.cli.hosts import add_knobs, load_host
    from agent.core.codec import encode
    from agent.verification.readiness import Readiness, Severity, check_readiness

    host = add_knobs(args, load_host(args))
    assert host.knobs is not None
    findings = check_readiness(host, host.knobs)
    if args.format == "json":
        sys.stdout.write(encode(Readiness(host=host.hostname, findings=findings)).decode() + "\n")
    else:
        from agent.picture.findings import render_findings

        sys.stdout.write(render_findings(host.hostname, findings))
    return FINDINGS if any(finding.severity is Severity.MATTERS for finding in findings) else 0
