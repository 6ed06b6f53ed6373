"""How verbs print a placement or a misfit: for people, or as the document."""

from __future__ import annotations

import sys
from argparse import ArgumentParser

from agent.core.codec import encode
from agent.core.errors import DOES_NOT_FIT
from agent.core.placement import Misfit, Placement


def add_answer_format(parser: ArgumentParser) -> None:
    """Add ``--format``."""
    parser.add_argument(
        "--format", choices=("table", "json"), default="table", help="json: the Placement document (default: table)"
    )


def print_answer(answer: Placement | Misfit, form: str, *, verb: str = "fits on") -> int:
    """The answer on stdout; what it means as an exit code.  ``verb`` says in a table what became of the placement."""
    if form == "json":
        sys.stdout.write(encode(answer).decode() + "\n")
    else:
        from agent.picture.answer import render_answer

        sys.stdout.write(render_answer(answer, verb=verb))
    return 0 if answer.fits else DOES_NOT_FIT
