"""The machine's apt sources, as Debian's installers, container images and administrators write them."""

from pathlib import Path

import pytest

from tests.lab.sources import NoSource, find_sources

FILES = {
    "sources.list": "# deb http://mirror.test/debian bookworm main\ndeb-src http://mirror.test/debian bookworm main\n",
    "sources.list.d/lines.list": "deb [arch=amd64 signed-by=/k.gpg] http://mirror.test/debian bookworm main\n",
    "sources.list.d/vendor.list": "deb http://vendor.test/apt stable main\n",
    "sources.list.d/debian.sources": "Types: deb deb-src\n# why\nURIs: http://mirror.test/\nSuites:\n bookworm\n x\n",
    "sources.list.d/fixes.sources": "Types: deb\nSuites: y\n\nTypes: deb\nSuites: bookworm-security\n",
    "sources.list.d/off.sources": "Types: deb\nSuites: bookworm\nEnabled: no\n",
    "sources.list.d/kept.sources.bak": "Types: deb\nSuites: bookworm\n",
}


@pytest.mark.parametrize(
    ("present", "found"),
    [
        pytest.param(
            ["sources.list.d/debian.sources"], ["debian.sources"], id="one deb822 file as in container images"
        ),
        pytest.param(["sources.list.d/lines.list"], ["lines.list"], id="a line with options"),
        pytest.param(
            list(FILES), ["lines.list", "debian.sources", "fixes.sources"], id="vendors, off and backups stay"
        ),
    ],
)
def test_the_files_that_serve_the_suite(tmp_path: Path, present: list[str], found: list[str]) -> None:
    (tmp_path / "sources.list.d").mkdir()
    for name in present:
        (tmp_path / name).write_text(FILES[name])
    assert [path.name for path in find_sources("bookworm", apt=tmp_path)] == found


@pytest.mark.parametrize(
    ("name", "said"),
    [("sources.list", "they serve nothing"), ("sources.list.d/vendor.list", "they serve stable")],
)
def test_none_is_told_with_what_there_is(tmp_path: Path, name: str, said: str) -> None:
    (tmp_path / "sources.list.d").mkdir()
    (tmp_path / name).write_text(FILES[name])
    with pytest.raises(NoSource, match=f"serves Debian bookworm.*{said}"):
        find_sources("bookworm", apt=tmp_path)
