"""``cellwright VERB``: find the verb's module, give it its arguments, turn errors into one line and an exit code.

A verb is a module of this package with ``configure(parser)``, which adds its options to an ArgumentParser, and
``run(args) -> int``, which answers the exit code.  Nothing but the chosen verb's module is imported.
``agent.cli.quick`` answers the plainest uses of the verbs that people wait for.
"""

from __future__ import annotations

import gc
import posix
import sys
from io import TextIOWrapper

from agent import __version__
from agent.core.errors import CellwrightError

CLUSTER = "a cluster, through its scheduler"

GROUPS: dict[str, dict[str, str]] = {
    "a host": {
        "topology": "what a host is made of: cells, cores, memory, page pools",
        "doctor": "is this host fit for pinned guests, and what to change",
        "snapshot": "pack the kernel files of a host, to read it elsewhere",
    },
    "a decision": {
        "place": "where a guest goes on a host, or why it does not fit",
        "explain": "why a guest does not fit, cell by cell, and the smallest change that would help",
        "capacity": "how many more guests of a flavor fit on a host, and what runs out first",
        "render": "print the domain XML of a placement",
    },
    "a guest of this host": {
        "create": "place a new guest on this host, start it, and check its threads",
        "pin": "place an existing domain and pin it there, running or configured",
        "unpin": "take our pins away from a domain",
        "adopt": "read a foreign guest's pins in as claims",
        "migrate-cells": "re-pin a running guest to other cells and move its memory",
        "undo": "take back what a verb changed, or list the journal",
    },
    "proof": {
        "verify": "compare running guests with their placement: threads, pages, neighbours",
        "pages": "on which cells the memory of processes is, as numastat -p has it",
        "watch": "print drift of running guests as it appears, with its cause",
        "repair": "put back what drifted, naming the cause",
    },
    "daemons": {
        "agent": "run this host's agent: report, carry out, prove, keep",
        "scheduler": "run the central scheduler",
        "standalone": "scheduler and agent of one host in one process",
        "config": "check the configuration files and print what is in force",
    },
    CLUSTER: {
        "host": "hosts of the scheduler",
        "aggregate": "host aggregates and their metadata",
        "zone": "availability zones",
        "flavor": "flavors and their extra specs",
        "group": "server groups",
        "instance": "guests that the scheduler places",
        "quota": "the most that a project may use",
        "token": "who may read, and who may change things",
    },
}
"""What the verbs are about, as --help groups them: verb → one line."""

VERBS = {verb: line for verbs in GROUPS.values() for verb, line in verbs.items()}
"""Every verb; its module is ``agent.cli.VERB`` with ``-`` as ``_``."""

EXIT_CODES = """exit codes: 0 yes, 1 error, 2 bad usage or bad input, 3 does not fit, 4 findings, 5 peer unreachable"""

SCHEDULER_PACKAGES = (
    "numpy", "sqlalchemy", "alembic", "psycopg", "litestar", "uvicorn", "prometheus_client", "packaging",
)  # fmt: skip
"""Packages that come with the extra ``scheduler``; the others come with ``host``."""


def main(argv: list[str] | None = None) -> int:
    """Run one verb; the answer is the process's exit code."""
    words = sys.argv[1:] if argv is None else argv
    if argv is None:
        _open_streams()
    verb, rest = split_verb(words)
    try:
        if verb in VERBS:
            return run_verb(verb, rest, ends_process=argv is None)
        if verb in ("-V", "--version"):
            print(f"cellwright {__version__}", flush=True)
            return 0
        if verb in ("-h", "--help", "help"):
            print(usage(), flush=True)
            return 0
        if not verb:
            print(usage(), file=sys.stderr)
            return 2
        return complain(no_such_verb(verb), 2)
    except CellwrightError as why:
        return complain(str(why), why.exit_code)
    except BrokenPipeError:
        return 0
    except ModuleNotFoundError as why:
        package = (why.name or "").partition(".")[0]
        if package == "agent":
            raise  # a fault of ours, and no missing package
        extra = "scheduler" if package in SCHEDULER_PACKAGES else "host"
        return complain(f"{verb} needs {package}, which is not installed: pip install 'cellwright[{extra}]'", 1)
    except OSError as why:
        return complain(f"{why.filename or 'output'}: {why.strerror}", 1)
    except KeyboardInterrupt:
        return 130
    finally:
        if argv is None:
            _leave_streams()


def split_verb(words: list[str]) -> tuple[str, list[str]]:
    """The verb, and what it is given: ``--format json topology`` and ``help topology`` are understood too."""
    if words and words[0] == "help" and len(words) > 1:
        return words[1], [*words[2:], "--help"]
    if words and words[0].startswith("-") and words[0] not in ("-h", "--help", "-V", "--version"):
        at = next((number for number, word in enumerate(words) if word in VERBS), 0)
        return words[at], words[:at] + words[at + 1 :]
    return (words[0], words[1:]) if words else ("", [])


def no_such_verb(word: str) -> str:
    """What is said of a word that is no verb: the verbs most like it, else all of them."""
    from difflib import get_close_matches

    near = get_close_matches(word, VERBS)
    return f"{word!r} is no verb; " + (f"do you mean {' or '.join(near)}?" if near else f"verbs: {', '.join(VERBS)}")


def _open_streams() -> None:
    """Streams that were closed (``>&-``) lead to /dev/null; a terminal that has no × shows a ? there.

    Where UTF-8 is written, a file's name that is none goes out as it came in.
    """
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open("/dev/null", mode))  # noqa: PTH123, SIM115  # as early as this, and for good
    out = sys.stdout
    if isinstance(out, TextIOWrapper) and (
        out.errors == "strict" or (out.errors == "surrogateescape" and out.encoding != "utf-8")
    ):
        out.reconfigure(errors="replace")


def _leave_streams() -> None:
    """What cannot be written goes to /dev/null: the interpreter tries once more at its end, and would end with 120."""
    for number, stream in ((1, sys.stdout), (2, sys.stderr)):
        try:
            stream.flush()
        except OSError:
            posix.dup2(posix.open("/dev/null", posix.O_WRONLY), number)


def run_verb(verb: str, argv: list[str], *, ends_process: bool) -> int:
    """Parse ``argv`` with the verb's own options and run it.

    A quick answer that ``ends_process`` leaves without taking the interpreter apart, which takes 2 ms of 15.
    """
    if verb in ("pages", "topology"):
        if ends_process:
            gc.disable()  # nothing is collected before the end
        from agent.cli.quick import QUICK

        answer = QUICK[verb](argv)
        if answer is not None:
            sys.stdout.flush()
            if ends_process:
                posix._exit(answer)
            return answer
    gc.enable()  # the command of `make install` starts without it, too
    from agent.cli.packages import find_packages

    find_packages()
    name = "agent.cli." + verb.replace("-", "_")
    __import__(name)  # importlib's import_module does the same and takes longer to import than to run
    module = sys.modules[name]
    from contextlib import suppress

    from agent.cli.paragraphs import Paragraphs, VerbParser

    parser = VerbParser(prog=f"cellwright {verb}", description=module.__doc__, formatter_class=Paragraphs)
    module.configure(parser)
    # names may stand between options, but argparse can't have that where a verb has actions with options of their own,
    # nor with a -- before names that begin with a -
    parse = parser.parse_args if verb in GROUPS[CLUSTER] or "--" in argv else parser.parse_intermixed_args
    code: int = module.run(parse(argv))
    with suppress(BrokenPipeError):  # the answer stands, whether or not somebody reads it to its end
        sys.stdout.flush()
    return code


def usage() -> str:
    """What ``cellwright --help`` prints."""
    width = max(map(len, VERBS))
    groups = (
        "\n".join([f"{about}:", *(f"  {verb:<{width}}  {line}" for verb, line in verbs.items())])
        for about, verbs in GROUPS.items()
    )
    return "\n\n".join(["usage: cellwright VERB [options]; VERB --help tells which", *groups, EXIT_CODES])


def complain(message: str, code: int) -> int:
    """One line on stderr; the answer is ``code``, also where stderr cannot be written.

    What is no printable character, in a document say, is shown escaped: a terminal would do as it says.
    """
    from contextlib import suppress

    line = " ".join(message.split())
    if not line.isprintable():
        line = "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in line)
    with suppress(OSError):
        print(f"cellwright: {line}", file=sys.stderr)
    return code
