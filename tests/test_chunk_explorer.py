"""The explorer of linear attention in Python: its counts against linear_costs, its words, its refusals, its picture."""

import pytest
import traitlets

from course_lib.classroom.chunk_explorer import FEATURES, LENGTHS, ChunkExplorer
from course_lib.classroom.chunk_words import WAYS, compared, cost_of, held, ratio, sentences, short
from course_lib.linear_costs import linear_cost

CHUNKS = {T: [2**n for n in range(T.bit_length())] for T in LENGTHS}


def test_the_costs_are_those_that_were_counted():
    for T, C, P, D in [(16, 1, 0, 16), (16, 16, 2, 256), (1024, 64, 0, 64), (4096, 512, 1536, 128)]:
        sizes = {"total_len": T, "chunk": C, "prefix_len": P, "features": D}
        dims = {"key_dim": D, "value_dim": D, "chunk": C}
        assert ChunkExplorer(**sizes).cost == linear_cost("chunked", P, T, **dims)
        assert ChunkExplorer("quadratic", **sizes).cost == linear_cost("quadratic", P, T, **dims)
        assert ChunkExplorer("reordered", **sizes).cost == linear_cost("chunked", T, T, **dims)


def test_what_is_said_of_the_ends_is_true_of_every_chunk():
    for T in LENGTHS[:7]:
        for P in range(0, T, T // 8):
            for D in FEATURES:
                costs = [cost_of("chunks", T, C, P, D) for C in CHUNKS[T]]
                assert min(costs, key=lambda cost: cost.flops) is costs[0]  # C = 1
                assert costs[-1].steps == (2 if P else 1)
                assert cost_of("chunks", T, T, 0, D).pairs == cost_of("quadratic", T, T, 0, D).flops
                if P == 0 and D <= T:
                    even = cost_of("chunks", T, D, P, D)
                    assert even.pairs == even.state + even.read


def test_what_is_held():
    assert held("quadratic", 1024, 64, 0, 64) == (1024**2, "the square, 1,024 × 1,024")
    assert held("reordered", 1024, 512, 0, 64) == (64**2, "the state 64 × 64")
    assert held("chunks", 1024, 512, 0, 64) == (512**2, "state 64 × 64, tile 512 × 512")
    assert held("chunks", 1024, 1024, 768, 64)[0] == 256**2  # no tile is longer than the target
    assert held("chunks", 1024, 512, 1024, 64) == (64**2, "the state 64 × 64")
    assert ChunkExplorer(chunk=16).held == 64**2


def test_it_says_everything():
    explorer = ChunkExplorer()
    assert repr(explorer) == explorer.describe() == (
        "16 tiles on the diagonal, of 64 × 64 pairs; what lies before is read from a state of 64 × 64. "
        "33,554,432 operations (33.6\u00a0million): state 8,388,608, read 8,388,608, pairs 16,777,216; "
        "16 steps in turn; at most 4,096 numbers held at once (state 64 × 64, tile 64 × 64). "
        "C = 1: token by token, 1,024 steps in turn, the fewest operations, 17.0\u00a0million. "
        "C = T: the quadratic form, with a state beside it; 1 step in turn, 285\u00a0million. "
        "In between, C = 64: 16 steps in turn, 33.6\u00a0million, 1.97 times the fewest; 50\u00a0% of it for pairs."
    )  # fmt: skip
    assert repr(ChunkExplorer("quadratic", prefix_len=256)) == (
        "Q times Kᵀ gives 1,024 × 1,024 pairs, those too that the mask hides; times V, the output. "
        "268,435,456 operations (268\u00a0million): state 0, read 0, pairs 268,435,456; 1 step in turn; "
        "at most 1,048,576 numbers held at once (the square, 1,024 × 1,024). "
        "One step, and 16 times the operations of the reordered products (T / D), "
        "9.14 times the operations of chunks of 64 after a prefix of 256. "
        "Twice the tokens take four times the operations."
    )
    assert ChunkExplorer("reordered").describe().endswith(
        "One step, and 1/16 of the operations of the quadratic form (D / T). "
        "But no mask fits in: the state holds all tokens, those to come too."
    )  # fmt: skip


def test_what_is_special_is_said():
    drawn, _, trade = sentences("chunks", 1024, 256, 1024, 64)
    assert drawn == (
        "The prefix is everything: one state of 64 × 64, one reading of it, no mask, and no chunk is left."
    )
    assert trade == "These are the reordered products: one step, whatever C is."
    drawn, _, trade = sentences("chunks", 1024, 512, 256, 64)
    assert drawn == (
        "A prefix of 256 tokens: one state, one reading, no mask. Then 2 tiles on the diagonal, of 512 × 512 pairs, "
        "the last one smaller; what lies before is read from a state of 64 × 64."
    )
    assert "C = T: the target as one tile, with a state beside it; 2 steps in turn" in trade
    assert sentences("chunks", 64, 64, 0, 16)[0] == (
        "One tile on the diagonal, of 64 × 64 pairs; nothing lies before it."
    )
    assert "In between, C = 16: 4 steps in turn" in sentences("chunks", 64, 64, 0, 16)[2]
    assert "In between" not in sentences("chunks", 16, 1, 0, 256)[2]  # no chunk is as long as that


def test_numbers_in_words():
    said = {999: "999", 16384: "16.4 thousand", 4_398_046_511_104: "4.40 trillion", 1_125_000: "1.13 million"}
    assert {n: short(n).replace("\u00a0", " ") for n in said} == said
    assert [ratio(4096, 1), ratio(2, 32), ratio(5, 4)] == ["4,096", "1/16", "1.25"]
    assert [compared(3, 3), compared(1, 4), compared(3, 4), compared(4, 1)] == [
        "as many operations as",
        "1/4 of the operations of",
        "0.75 times the operations of",
        "4 times the operations of",
    ]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"way": "recurrent"}, "way must be one of quadratic, reordered, chunks, got 'recurrent'"),
        ({"way": 3}, r"way must be a str, got 3 \(int\)"),
        ({"total_len": 1000}, "total_len must be a power of two from 16 to 65536, got 1000"),
        ({"total_len": 8}, "total_len must be from 16 to 65536, got 8"),
        ({"chunk": 48}, "chunk must be a power of two from 1 to 1024, got 48"),
        ({"chunk": 2048}, r"chunk must be from 1 to 1024 \(total_len\), got 2048"),
        ({"chunk": 0}, "chunk must be from 1 to 1024"),
        ({"chunk": True}, "chunk must be a whole number"),
        ({"prefix_len": 100}, "prefix_len must be a multiple of total_len / 8 = 128, got 100"),
        ({"prefix_len": 1152}, r"prefix_len must be from 0 to 1024 \(total_len\), got 1152"),
        ({"features": 48}, "features must be one of 16, 32, 64, 128, 256, got 48"),
        ({"features": "64"}, r"features must be a whole number from 16 to 256, got '64' \(str\)"),
    ],
)
def test_what_is_wrong_is_said(arguments, words):
    with pytest.raises((ValueError, TypeError), match=words):
        ChunkExplorer(**arguments)
    explorer = ChunkExplorer()
    with pytest.raises(traitlets.TraitError):
        setattr(explorer, *next(iter(arguments.items())))
    assert repr(explorer) == repr(ChunkExplorer())


def test_a_chunk_that_is_not_given_fits():
    assert (ChunkExplorer().chunk, ChunkExplorer(total_len=16).chunk) == (64, 16)


def test_another_length_takes_chunk_and_prefix_along():
    explorer = ChunkExplorer(chunk=512, prefix_len=384)
    explorer.total_len = 4096
    assert (explorer.chunk, explorer.prefix_len) == (512, 1536)
    explorer.total_len = 16
    assert (explorer.chunk, explorer.prefix_len) == (16, 6)


def test_the_browsers_state_comes_whole():
    explorer = ChunkExplorer()
    explorer.set_state({"prefix_len": 32768, "chunk": 8192, "total_len": 65536, "way": "quadratic"})
    assert (explorer.total_len, explorer.chunk, explorer.prefix_len, explorer.way) == (
        65536,
        8192,
        32768 + 0,
        "quadratic",
    )
    with pytest.raises(traitlets.TraitError, match="multiple of"):
        explorer.set_state({"prefix_len": 5})
    assert explorer.prefix_len == 32768


@pytest.mark.parametrize("way", WAYS)
def test_without_a_kernel_there_is_a_picture(way):
    for sizes in ({}, {"total_len": 16, "chunk": 1, "prefix_len": 16}, {"total_len": 65536, "prefix_len": 8192}):
        explorer = ChunkExplorer(way, **sizes)
        data, _ = explorer._repr_mimebundle_()
        assert data["image/png"].startswith("iVBOR")
        assert data["text/plain"] == explorer.describe()
        assert explorer.fallback() == explorer.fallback()
