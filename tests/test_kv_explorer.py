"""The explorer of keys and values in Python: its bytes against loops and a real attention, its words, its refusals."""

import json

import pytest
import torch
import traitlets

from course_lib.attention import AttentionHeads
from course_lib.block_costs import PALM
from course_lib.classroom.kv_explorer import CONTEXTS, SEQUENCES, KVExplorer, divisors, nearest, size, times

MODELS = {"8B": (32, 4096, 16), "62B": (64, 8192, 32), "540B": (118, 18432, 48)}  # layers, features, heads: table 1


def test_the_bytes_are_those_that_are_counted_one_by_one():
    assert list(PALM) == list(MODELS)
    for model, (layers, dim, heads) in MODELS.items():
        for kv_heads in divisors(heads):
            explorer = KVExplorer(model, kv_heads=kv_heads, context=256, sequences=2)
            token = sum(2 * 256 for _ in range(layers) for _ in range(kv_heads) for _ in ("key", "value"))
            assert (explorer.bytes_per_token, explorer.cache_bytes) == (token, token * 256 * 2)
            matrices = [heads * 256, kv_heads * 256, kv_heads * 256, heads * 256, *[4 * dim] * 3]
            assert explorer.weight_bytes == sum(2 * layers * dim * wide for wide in matrices)


@pytest.mark.parametrize("kv_heads", [1, 2, 16])
def test_a_real_attention_caches_as_many_bytes(kv_heads):
    heads = AttentionHeads(16, 256, kv_heads)
    k, v = (torch.zeros(1, 1, width, dtype=torch.bfloat16) for width in heads.widths[1:])
    of_layer = sum(kept.numel() * kept.element_size() for kept in heads.cached(k, v))
    assert 32 * of_layer == KVExplorer("8B", kv_heads=kv_heads).bytes_per_token


def test_the_divisors_and_the_nearest_of_them():
    assert divisors(48) == [1, 2, 3, 4, 6, 8, 12, 16, 24, 48]
    assert [nearest(16, n) for n in (48, 24, 12, 6, 3, 8)] == [16, 16, 8, 4, 2, 8]


def test_it_says_everything():
    explorer = KVExplorer()
    assert repr(explorer) == explorer.describe() == (
        "540B with 1 key/value head, shared by all 48 query heads (multi-query). A token takes 120,832 bytes. "
        "64 sequences of 2,048 tokens keep 15.8\u00a0GB, 0.015 times the weights (1.07\u00a0TB). "
        "With 48 key/value heads the cache would be 48 times as large."
    )  # fmt: skip
    assert repr(KVExplorer("62B", kv_heads=8, context=131072, sequences=512)) == (
        "62B with 8 key/value heads, each shared by 4 query heads (grouped-query). A token takes 524,288 bytes. "
        "512 sequences of 131,072 tokens keep 35.2\u00a0TB, 282 times the weights (125\u00a0GB). "
        "With 32 key/value heads the cache would be 4 times as large."
    )
    assert repr(KVExplorer("8B", kv_heads=16, context=256, sequences=1)) == (
        "8B with 16 key/value heads, one for each query head (multi-head). A token takes 524,288 bytes. "
        "1 sequence of 256 tokens keeps 134\u00a0MB, 0.008 times the weights (17.2\u00a0GB). "
        "With 1 key/value head the cache would be 1/16 as large."
    )


def test_sizes_are_decimal_and_rounded_half_up():
    said = {1000: "1.00 KB", 32_768: "32.8 KB", 120_832: "121 KB", 1_125_000: "1.13 MB", 999_999: "1,000 KB",
            15_838_000_000: "15.8 GB", 389_000_000_000_000: "389 TB"}  # fmt: skip
    assert {n: size(n).replace("\u00a0", " ") for n in said} == said
    said = [times(1, 8), times(1, 16), times(1, 2000), times(1, 1), times(333, 10), times(5000, 2)]
    assert said == ["0.13 times", "0.063 times", "less than 0.001 times", "1.00 times", "33.3 times", "2,500 times"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"model": "7B"}, "model must be one of 8B, 62B, 540B, got '7B'"),
        ({"model": 540}, r"model must be a str, got 540 \(int\)"),
        ({"kv_heads": 5}, r"kv_heads must divide the 48 query heads of 540B \(1, 2, 3, 4, 6, 8, .*, 48\), got 5"),
        ({"model": "8B", "kv_heads": 48}, r"kv_heads must be from 1 to 16 \(the query heads of 8B\), got 48"),
        ({"kv_heads": 0}, "kv_heads must be from 1 to 48"),
        ({"kv_heads": True}, "kv_heads must be a whole number"),
        ({"context": 2000}, "context must be a power of two from 256 to 131072, got 2000"),
        ({"context": 128}, "context must be from 256 to 131072, got 128"),
        ({"sequences": 3}, "sequences must be a power of two from 1 to 512, got 3"),
        ({"sequences": "64"}, r"sequences must be a whole number from 1 to 512, got '64' \(str\)"),
    ],
)
def test_what_is_wrong_is_said(arguments, words):
    with pytest.raises((ValueError, TypeError), match=words):
        KVExplorer(**arguments)
    if len(arguments) == 1:
        explorer = KVExplorer()
        with pytest.raises(traitlets.TraitError):
            setattr(explorer, *next(iter(arguments.items())))
        assert repr(explorer) == repr(KVExplorer())


def test_another_model_takes_the_nearest_number_of_heads_that_fits():
    explorer = KVExplorer(kv_heads=12)
    explorer.model = "62B"
    assert explorer.kv_heads == 8
    explorer.model = "540B"
    assert explorer.kv_heads == 8
    explorer.kv_heads = 48
    explorer.model = "8B"
    assert explorer.kv_heads == 16


def test_the_browsers_state_comes_whole():
    explorer = KVExplorer(kv_heads=3)
    explorer.set_state({"model": "8B", "kv_heads": 16, "context": 512, "sequences": 1})
    assert (explorer.model, explorer.kv_heads, explorer.cache_bytes) == ("8B", 16, 524288 * 512)
    explorer.set_state({"kv_heads": 48, "model": "540B"})
    assert (explorer.model, explorer.kv_heads) == ("540B", 48)
    with pytest.raises(traitlets.TraitError, match="must divide"):
        explorer.set_state({"kv_heads": 5})
    assert explorer.kv_heads == 48


def test_without_a_kernel_there_is_a_picture():
    states = [KVExplorer(), KVExplorer("8B", kv_heads=16, sequences=1), KVExplorer("62B", kv_heads=4, context=131072)]
    for explorer in states:
        data, _ = explorer._repr_mimebundle_()
        assert data["image/png"].startswith("iVBOR")
        assert data["text/plain"] == explorer.describe()
        assert explorer.fallback() == explorer.fallback()
        json.dumps(explorer.get_state(["sizes"]))


def test_the_sliders_are_powers_of_two():
    assert (CONTEXTS[0], CONTEXTS[-1], SEQUENCES[0], SEQUENCES[-1]) == (256, 131072, 1, 512)
    assert 2048 in CONTEXTS
    assert 64 in SEQUENCES
