"""Which names a guest of ours may have."""

import pytest

from agent.core.errors import BadInput
from agent.domain.names import LONGEST_NAME_BYTES, check_name


@pytest.mark.parametrize("name", ["db-1", "büro 7", "a" * LONGEST_NAME_BYTES, "instance-00000a1f", "x.y_z:1"])
def test_ordinary_names_pass(name: str) -> None:
    assert check_name(name) == name


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("", "empty"),
        ("  ", "empty"),
        (" a", "white space"),
        (".", "folder"),
        ("..", "folder"),
        ("a/b", "a path separator (/) at position 1"),
        ("a\\b", "a path separator"),
        ("it's", "a quote (') at position 2"),
        ('"x"', "a quote"),
        ("<b>", "an angle bracket (<) at position 0"),
        ("a&b", "an ampersand"),
        ("a\nb", "a control character"),
        ("a\x00b", "a control character"),
        ("a\u202eb", "a control character"),
        ("a" * 252, "252 bytes; allowed: 251"),
        ("ü" * 126, "252 bytes"),
    ],
)
def test_names_that_would_hurt_are_refused_with_the_reason(name: str, why: str) -> None:
    with pytest.raises(BadInput, match="guest name") as caught:
        check_name(name)
    assert why in str(caught.value)
    assert "\n" not in str(caught.value)
