"""Our way to the interpreter's JSON encoder writes what msgspec writes."""

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from agent.core.plainjson import dump

SCALARS = (
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.text(st.characters(exclude_categories=["Cs"]))
)


@given(
    st.recursive(SCALARS, lambda inner: st.lists(inner) | st.dictionaries(st.text('ab"\\\n\x7fé☃', max_size=3), inner))
)
def test_any_tree_reads_back_the_same(tree: object) -> None:
    assert msgspec.json.decode(dump(tree)) == tree


def test_a_document_is_the_same_bytes() -> None:
    tree = {"a": [1, None, True], "model": 'é "x" \\ ®', "empty": {}, "list": []}
    assert dump(tree).encode() == msgspec.json.encode(tree)
