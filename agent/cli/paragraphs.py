"""How ``VERB --help`` sets a module's docstring: its paragraphs stay apart, each as wide as the terminal."""

from __future__ import annotations

from argparse import HelpFormatter


class Paragraphs(HelpFormatter):
    """argparse's own formatter makes one paragraph of all."""

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        fill = super()._fill_text
        return "\n\n".join(fill(paragraph, width, indent) for paragraph in text.strip().split("\n\n"))
