"""The corpus, and a short coverage-guided run from it; tests/fuzz/fuzz.py runs for as long as one likes."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.fuzz.targets import targets

CORPUS = Path(__file__).parent / "corpus"
ROOT = Path(__file__).parents[2]
TARGETS = targets()
RUNS = 20_000


@pytest.mark.parametrize("name", TARGETS)
def test_corpus(name: str) -> None:
    seeds = sorted((CORPUS / name).iterdir())
    assert seeds, f"put an input of {name} into {CORPUS / name}"
    for seed in seeds:
        TARGETS[name](seed.read_bytes())


@pytest.mark.parametrize("name", TARGETS)
def test_numbers_that_int_does_not_take(name: str) -> None:
    """Each number of the corpus in turn; a guided run hardly ever makes one of five thousand digits."""
    for seed in sorted((CORPUS / name).iterdir()):
        data = seed.read_bytes()
        for found in list(re.finditer(rb"\d+", data))[:20]:
            for odd in (b"9" * 5000, b"\x1f7", "²".encode(), b"-7"):
                TARGETS[name](data[: found.start()] + odd + data[found.end() :])


def test_every_folder_of_the_corpus_has_a_parser() -> None:
    assert {folder.name for folder in CORPUS.iterdir()} == set(TARGETS)


def test_a_short_guided_run_finds_nothing(tmp_path: Path) -> None:
    corpus = tmp_path / "corpus"
    corpus.mkdir()
    for number, name in enumerate(TARGETS):
        for seed in sorted((CORPUS / name).iterdir()):
            (corpus / f"{name}-{seed.name}").write_bytes(bytes([number]) + seed.read_bytes())
    command = [sys.executable, "-m", "tests.fuzz.fuzz", f"-runs={RUNS}", "-seed=1", "-rss_limit_mb=2048"]
    command += ["-timeout=120", f"-artifact_prefix={tmp_path}/", str(corpus)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    assert f"Done {RUNS} runs" in done.stderr
