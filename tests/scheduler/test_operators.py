"""The operators of extra specs: every one on a table, and on numbers and words of any kind."""

import operator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.scheduler.operators import matches

TABLE = [
    # (what the host has, what the flavor wants, whether that matches, why)
    ("4", "= 4", True, "= means at least"),
    ("5", "= 4", True, "= means at least, and five is more"),
    ("3", "= 4", False, "= means at least, and three is less"),
    ("4", "== 4.0", True, "numbers are compared as numbers"),
    ("5", "== 4", False, "== means equal"),
    ("5", "!= 4", True, "!= means different"),
    ("4", "!= 4", False, "!= refuses what is equal"),
    ("4", ">= 4", True, ">= takes its bound"),
    ("3.9", ">= 4", False, ">= refuses less"),
    ("4", "<= 4", True, "<= takes its bound"),
    ("4.1", "<= 4", False, "<= refuses more"),
    ("many", ">= 4", False, "a word is no number"),
    ("4", ">= many", False, "nor on the other side"),
    (None, "!= 4", False, "what is not there matches nothing"),
    ("abc", "s== abc", True, "s== compares text"),
    ("1", "s== 1.0", False, "as text, 1 is not 1.0"),
    ("abc", "s!= abd", True, "s!= wants other text"),
    ("abc", "s< abd", True, "s< is the alphabet's order"),
    ("abc", "s< abc", False, "s< is strict"),
    ("abc", "s<= abc", True, "s<= takes its bound"),
    ("abd", "s> abc", True, "s> is the alphabet's order"),
    ("10", "s> 9", False, "as text, 10 comes before 9"),
    ("abc", "s>= abc", True, "s>= takes its bound"),
    ("a fast disk", "<in> fast", True, "<in> looks for a part"),
    ("a slow disk", "<in> fast", False, "<in> refuses what has no such part"),
    ("aes avx vmx", "<all-in> aes vmx", True, "<all-in> wants every part"),
    ("aes avx", "<all-in> aes vmx", False, "<all-in> refuses when one is missing"),
    ("12", "<or> 11 <or> 12", True, "<or> lists alternatives"),
    ("1", "<or> 11 <or> 12", False, "<or> compares whole words"),
    ("fast", "fast", True, "without an operator, equal as text"),
    ("faster", "fast", False, "without an operator, nothing but equal"),
    ("", "", True, "nothing equals nothing"),
]


@pytest.mark.parametrize(("value", "wanted", "answer", "why"), TABLE, ids=[row[3] for row in TABLE])
def test_table(value: str | None, wanted: str, answer: bool, why: str) -> None:
    assert matches(value, wanted) is answer, why


NUMBERS = {"=": operator.ge, "==": operator.eq, "!=": operator.ne, ">=": operator.ge, "<=": operator.le}
TEXTS = {
    "s==": operator.eq,
    "s!=": operator.ne,
    "s<": operator.lt,
    "s<=": operator.le,
    "s>": operator.gt,
    "s>=": operator.ge,
}
words = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=5)


@given(st.sampled_from(sorted(NUMBERS)), st.integers(-9, 9), st.integers(-9, 9))
def test_numbers(sign: str, have: int, want: int) -> None:
    assert matches(str(have), f"{sign} {want}") is NUMBERS[sign](have, want)


@given(st.sampled_from(sorted(TEXTS)), words, words)
def test_texts(sign: str, have: str, want: str) -> None:
    assert matches(have, f"{sign} {want}") is TEXTS[sign](have, want)


@given(words, st.lists(words, min_size=1, max_size=4))
def test_alternatives_and_parts(have: str, options: list[str]) -> None:
    assert matches(have, " ".join(f"<or> {option}" for option in options)) is (have in options)
    assert matches(have, f"<in> {options[0]}") is (options[0] in have)
    assert matches(have, f"<all-in> {' '.join(options)}") is all(option in have for option in options)


@given(st.none() | words | st.integers(), st.text(max_size=12))
def test_no_wish_is_an_accident(have: object, wanted: str) -> None:
    assert matches(have if have is None else str(have), wanted) in (True, False)
