"""CpuSet against Python's own sets, and its text forms."""

import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.core.cpulist import BadCpuList, format_ids
from agent.core.cpuset import CpuSet

cpu_numbers = st.sets(st.integers(0, 1100))

READS = [
    ("", ""),
    (" \n", ""),
    ("0", "0"),
    ("0-3,8", "0-3,8"),
    ("8,0-3", "0-3,8"),
    ("0-1,2-3", "0-3"),
    ("4-12,^8,15", "4-7,9-12,15"),
    ("^8,4-12", "4-7,9-12"),
    ("0-10,^2-4", "0-1,5-10"),
    ("0-7:2", "0,2,4,6"),
    ("0-15:2/8", "0-1,8-9"),
    ("1, 3", "1,3"),
    ("1023", "1023"),
]


@pytest.mark.parametrize(("text", "kernel_list"), READS)
def test_reads_and_prints(text: str, kernel_list: str) -> None:
    assert str(CpuSet.parse(text)) == kernel_list


REFUSED = [
    ("5-3", 0, "backwards"),
    ("1-", 2, "missing"),
    ("-1", 0, "missing"),
    ("a", 0, "'a'"),
    ("^", 1, "missing"),
    ("1,,2", 2, "missing"),
    ("0-3:0", 4, "stride"),
    ("3:2", 2, "stride"),
    ("0,+1", 2, "'+1'"),
    ("0,1_0", 2, "'1_0'"),
    ("１", 0, "'１'"),
    ("99999", 0, "too large"),
]


@pytest.mark.parametrize(("text", "position", "word"), REFUSED)
def test_refuses_with_text_and_position(text: str, position: int, word: str) -> None:
    with pytest.raises(BadCpuList) as caught:
        CpuSet.parse(text)
    assert caught.value.position == position
    assert repr(text) in str(caught.value)
    assert word in str(caught.value)


@pytest.mark.parametrize(
    ("mask", "kernel_list"),
    [("0xff", "0-7"), ("f", "0-3"), ("00000001,00000000", "32"), ("ffffffff,00000003\n", "0-1,32-63"), ("0", "")],
)
def test_reads_masks(mask: str, kernel_list: str) -> None:
    assert str(CpuSet.from_mask(mask)) == kernel_list


@pytest.mark.parametrize(
    "mask", ["", "0xg", "ff,,ff", "123456789,00000000", "-1", "0000000g", "0000 00f", "0000000f,0000_00f", "+000000f"]
)
def test_refuses_what_is_no_mask(mask: str) -> None:
    with pytest.raises(BadCpuList):
        CpuSet.from_mask(mask)


@given(cpu_numbers)
def test_text_round_trip(cpus: set[int]) -> None:
    assert set(CpuSet.parse(str(CpuSet(cpus)))) == cpus


@given(cpu_numbers, cpu_numbers)
def test_algebra_is_that_of_sets(a: set[int], b: set[int]) -> None:
    x, y = CpuSet(a), CpuSet(b)
    assert (set(x & y), set(x | y), set(x - y), set(x ^ y)) == (a & b, a | b, a - b, a ^ b)
    assert (x & b, x | b, x - b, x ^ b) == (a & b, a | b, a - b, a ^ b)
    assert (x <= y, x < y, x == y, x.isdisjoint(y)) == (a <= b, a < b, a == b, a.isdisjoint(b))
    assert list(x) == sorted(a)
    assert len(x) == len(a)


@given(cpu_numbers)
def test_hash_and_pickle_agree_with_equality(cpus: set[int]) -> None:
    x = CpuSet(cpus)
    assert hash(x) == hash(frozenset(cpus))
    assert pickle.loads(pickle.dumps(x)) == x


@given(st.sets(st.integers(0, 80)))
def test_other_ids_have_the_same_text(ids: set[int]) -> None:
    assert format_ids(ids) == str(CpuSet(ids))
    assert format_ids({number << 20 for number in ids}) == ",".join(str(number << 20) for number in sorted(ids))


def test_is_immutable() -> None:
    x = CpuSet([1])
    with pytest.raises(AttributeError):
        x.mask = 5
    assert x == {1}
