"""How ``VERB --help`` sets a module's docstring: its paragraphs stay apart, each as wide as the terminal."""

from __future__ import annotations

import sys
from argparse import ArgumentParser, HelpFormatter
from typing import Any


class Paragraphs(HelpFormatter):
    """argparse's own formatter makes one paragraph of all."""

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        fill = super()._fill_text
        return "\n\n".join(fill(paragraph, width, indent) for paragraph in text.strip().split("\n\n"))


class VerbParser(ArgumentParser):
    """argparse's own parser takes it for done when its help could not be written."""

    def print_help(self, file: Any = None) -> None:
        """Write the help, to stdout unless a file is given; OSError where that fails."""
        out = file or sys.stdout
        out.write(self.format_help())
        out.flush()
