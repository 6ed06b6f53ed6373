"""Coverage-guided fuzzing of all parsers in one process: ``python -m tests.fuzz.fuzz [libFuzzer options] [CORPUS]``.

The first byte chooses the parser, the rest is its input.  Run it for a night with ``-max_total_time=28800``; a crash
leaves a ``crash-…`` file, whose content belongs into tests/fuzz/corpus once the parser is mended.
"""

import sys

import atheris

with atheris.instrument_imports(include=["agent.inspection", "agent.settings", "agent.core"]):
    from tests.fuzz.targets import targets

    TARGETS = list(targets().values())


def one_input(data: bytes) -> None:
    """What libFuzzer calls."""
    if data:
        TARGETS[data[0] % len(TARGETS)](data[1:])


if __name__ == "__main__":
    atheris.Setup(sys.argv, one_input)
    atheris.Fuzz()
