"""The explorer of a shared sequence in Python: its bytes against sequence_costs, its words and its refusals."""

import pytest
import traitlets

from course_lib.classroom.number_words import size
from course_lib.classroom.shard_explorer import LENGTHS, PROCESSES, ShardExplorer
from course_lib.classroom.shard_words import made_of, sent, sentences, times
from course_lib.sequence_costs import sequence_bytes, shard_lengths


def test_the_bytes_are_those_of_the_busiest_process():
    for N, L, P, training in [
        (2, 1024, 0, False),
        (4, 65536, 32768, True),
        (64, 2**20, 2**17, True),
        (8, 1024, 896, 0),
    ]:
        explorer = ShardExplorer(N, total_len=L, prefix_len=P, training=bool(training))
        shape = {"heads": 8, "key_dim": 64, "value_dim": 64, "normalize": True, "training": bool(training)}
        for way in ("linear", "ring"):
            counted = sequence_bytes(way, P, shard_lengths(L, N), **shape)
            assert getattr(explorer.sent, way) == max(counted)
    assert (sent(1, 1024, 512, True).linear, sent(1, 1024, 512, True).ring) == (0, 0)


def test_only_the_bytes_of_the_ring_grow_with_the_text():
    for N in PROCESSES[1:]:
        for eighths in range(9):
            counts = [sent(N, L, eighths * L // 8, True) for L in LENGTHS]
            assert len({count.linear for count in counts}) == 1
            assert [2 * count.ring for count in counts[:-1]] == [count.ring for count in counts[1:]]
            assert all(count.linear < count.ring for count in counts)


def test_the_products_come_to_the_numbers():
    for N in PROCESSES[1:]:
        for eighths in range(9):
            for training in (False, True):
                state = (N, 65536, eighths * 8192, training)
                linear, ring = (
                    part.replace(",", "").replace("sum ", "").replace("handed on ", "").replace(" tokens", "")
                    .replace(" bytes", "").replace("×", "*") for part in made_of(*state)
                )  # fmt: skip
                assert (eval(linear), eval(ring)) == (sent(*state).linear, sent(*state).ring), state


def test_it_says_everything():
    explorer = ShardExplorer()
    assert repr(explorer) == explorer.describe() == (
        "4 processes hold 16,384 tokens each. The prefix ends with process 1. "
        "Prefix linear attention: for the prefix one state is summed over all processes; for the target process 2 "
        "hands a state on to process 3. A state takes 133,120 bytes, and a process sends at most 332,800 bytes "
        "(333\u00a0KB). Ring attention: each process hands keys and values of 16,384 tokens on 3 times: "
        "201,326,592 bytes (201\u00a0MB). "
        "That is 605 times as much. Twice the tokens would double it, and leave the states as they are."
    )  # fmt: skip
    assert repr(ShardExplorer(64, total_len=2**20, prefix_len=2**17, training=True)) == (
        "64 processes hold 16,384 tokens each. The prefix ends with process 7. "
        "Prefix linear attention: for the prefix one state is summed over all processes; for the target processes 8 to "
        "62 each hand a state on to the next. Backward their gradients go the same ways, the target's in reverse. "
        "A state takes 133,120 bytes, and a process sends at most 790,400 bytes (790\u00a0KB). "
        "Ring attention: each process hands keys and values of 16,384 tokens on 63 times; backward 63 times again, "
        "with their gradients beside them, which go once more to come home: 12,750,684,160 bytes (12.8\u00a0GB). "
        "That is 16,132 times as much. Twice the tokens would double it, and leave the states as they are."
    )
    assert ShardExplorer(1).describe() == (
        "One process holds all 65,536 tokens. It has nobody to send to: choose more processes."
    )


def test_what_is_special_is_said():
    words = [sentences(4, 1024, P, True)[:2] for P in (0, 896, 1024)]
    assert [one[0].partition(". ")[2] for one in words] == [
        "There is no prefix.", "The prefix ends within process 3.", "All of them are prefix.",
    ]  # fmt: skip
    said = [one[1].partition(": ")[2].partition(" A state")[0] for one in words]
    assert said == [
        "no prefix, no sum; for the target processes 0 to 2 each hand a state on to the next. "
        "Backward their gradients go in reverse.",
        "for the prefix one state is summed over all processes; the target is all in process 3, and nothing is "
        "handed on. Backward its gradient is summed the same way.",
        "for the prefix one state is summed over all processes; no target, nothing to hand on. "
        "Backward its gradient is summed the same way.",
    ]
    assert [times(n) for n in (1, 2, 3)] == ["once", "twice", "3 times"]
    assert size(133120) == "133\u00a0KB"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"processes": 3}, "processes must be a power of two from 1 to 64, got 3"),
        ({"processes": 128}, "processes must be from 1 to 64, got 128"),
        ({"processes": True}, "processes must be a whole number"),
        ({"total_len": 512}, "total_len must be from 1024 to 1048576, got 512"),
        ({"total_len": 1500}, "total_len must be a power of two from 1024 to 1048576, got 1500"),
        ({"prefix_len": 100}, "prefix_len must be a multiple of total_len / 8 = 8192, got 100"),
        ({"prefix_len": 131072}, r"prefix_len must be from 0 to 65536 \(total_len\), got 131072"),
        ({"training": "yes"}, r"training must be True or False, got 'yes' \(str\)"),
    ],
)
def test_what_is_wrong_is_said(arguments, words):
    with pytest.raises((ValueError, TypeError), match=words):
        ShardExplorer(**arguments)
    explorer = ShardExplorer()
    with pytest.raises(traitlets.TraitError):
        setattr(explorer, *next(iter(arguments.items())))
    assert repr(explorer) == repr(ShardExplorer())


def test_another_length_takes_the_prefix_along():
    explorer = ShardExplorer(total_len=1024, prefix_len=384)
    explorer.total_len = 4096
    assert explorer.prefix_len == 1536
    assert ShardExplorer(total_len=1024).prefix_len == 512


def test_the_browsers_state_comes_whole():
    explorer = ShardExplorer()
    explorer.set_state({"prefix_len": 2**19, "total_len": 2**20, "processes": 64, "training": True})
    assert explorer._state == (64, 2**20, 2**19, True)
    with pytest.raises(traitlets.TraitError, match="multiple of"):
        explorer.set_state({"prefix_len": 5})
    assert explorer.prefix_len == 2**19


@pytest.mark.parametrize("processes", [1, 2, 64])
def test_without_a_kernel_there_is_a_picture(processes):
    for prefix_len in (0, 8192 * 3, 65536):
        explorer = ShardExplorer(processes, prefix_len=prefix_len)
        data, _ = explorer._repr_mimebundle_()
        assert data["image/png"].startswith("iVBOR")
        assert data["text/plain"] == explorer.describe()
        assert explorer.fallback() == explorer.fallback()
