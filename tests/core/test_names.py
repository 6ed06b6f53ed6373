"""What may be a name, and what may not."""

import pytest

from agent.core.errors import BadInput
from agent.core.names import check_name, check_property, check_text


@pytest.mark.parametrize("name", ["az01", "m1.tiny", "--weird", "ünïcode", "a b", "x" * 255, "50%?#"])
def test_names(name: str) -> None:
    check_name("flavor", name)


@pytest.mark.parametrize("name", ["", " ", " a", "a ", "a/b", "a\nb", "a\x00", "\udcff", "x" * 256])
def test_what_is_no_name(name: str) -> None:
    with pytest.raises(BadInput, match=r"flavor .* is no name; allowed: 1 to 255 printable") as why:
        check_name("flavor", name)
    assert len(str(why.value)) < 300


def test_properties_are_texts_of_one_line_with_a_key() -> None:
    check_property("trait:X/Y", "")
    check_property("taken away", None)
    with pytest.raises(BadInput, match="has no key"):
        check_property("", "v")
    with pytest.raises(BadInput, match=r"property 'a\\nb'; allowed: at most 255"):
        check_property("a\nb", "v")
    with pytest.raises(BadInput, match=r"property k 'x+'; allowed: at most 4000"):
        check_property("k", "x" * 4001)
    with pytest.raises(BadInput, match="reason"):
        check_text("reason", "x" * 256)
