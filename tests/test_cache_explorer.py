"""The cache explorer in Python: its counts against plain loops and a real cache, its words, and what it refuses."""

import json
import random

import pytest
import torch
import traitlets

from course_lib.cache import KVCache, stale_rows
from course_lib.classroom import cache_words
from course_lib.classroom.cache_explorer import CacheExplorer
from course_lib.classroom.explorer_pictures import cell_states
from course_lib.model import Config, PrefixLM


def seen(P: int, total: int) -> list[int]:
    """How many rows each row sees, by the definition."""
    return [sum(j <= i or (i < P and j < P) for j in range(total)) for i in range(total)]


def counts(explorer) -> tuple[str, list[int], tuple[int, int]]:
    state = explorer.state
    return cache_words.action(state), cache_words.written(state), cache_words.products(state)


def test_it_starts_empty_and_fills_up_step_by_step():
    explorer = CacheExplorer("a b c", "d e", 2, layers=2)
    assert (explorer.held, counts(explorer)) == (0, ("empty", [0, 0], (0, 0)))
    explorer.step = 1
    both = 2 * sum(seen(2, 3))
    assert (explorer.held, counts(explorer)) == (3, ("prefill", [3, 3], (both, both)))
    explorer.step = 2
    assert (explorer.held, counts(explorer)) == (4, ("decode", [1, 1], (2 * 4, 2 * sum(seen(2, 4)))))
    explorer.step = 3
    assert (explorer.held, counts(explorer)) == (5, ("decode", [1, 1], (2 * 5, 2 * sum(seen(2, 5)))))
    assert cache_words.so_far(explorer.state) == (both + 8 + 10, 2 * sum(sum(seen(2, n)) for n in (3, 4, 5)))


@pytest.mark.parametrize("layers", [1, 2, 3, 4])
def test_the_stale_rows_are_those_of_the_cache(layers):
    for prompt in range(1, 9):
        for before in range(prompt + 1):
            explorer = CacheExplorer([str(i) for i in range(prompt)], [], before, layers=layers, step=1)
            for now in range(prompt + 1):
                explorer.prefix_len = now
                expected = stale_rows(before, now, prompt, layers)
                assert explorer.stale == expected
                if now != before:
                    marked = [
                        [i for i, kind in enumerate(one) if kind == "stale"] for one in cell_states(explorer.state)
                    ]
                    assert marked == [list(rows) for rows in expected]


def test_re_encoding_counts_as_a_real_cache_does():
    torch.manual_seed(0)
    model = PrefixLM(Config(vocab_size=5, dim=8, layers=3, heads=2, max_len=16)).eval()
    cache = KVCache(model, 1)
    model(torch.randint(5, (1, 5)), 4, cache=cache)
    model(torch.randint(5, (1, 3)), 4, cache=cache)
    explorer = CacheExplorer("a b c d e", "f g h", 4, step=4)
    assert explorer.held == cache.lengths[0]
    for new_len in (7, 7, 2, 8, 0, 1):
        explorer.prefix_len = new_len
        assert explorer.re_encode() == cache.extend_prefix(new_len)
        assert explorer.stale == [range(0)] * 3
        assert explorer.cached_prefix_len == new_len


def test_the_products_of_re_encoding_are_those_of_the_queries_that_are_asked_again():
    explorer = CacheExplorer("a b c d", "e", 2, layers=3, step=2)
    explorer.prefix_len = 4
    explorer.re_encode()
    rows = seen(4, 5)
    # layer 1 asks again for rows 0..2, layer 2 for all, and layer 3 for the last token's answer alone
    assert counts(explorer) == ("mended", [0, 3, 5], (sum(rows[:3]) + sum(rows) + rows[4], 3 * sum(rows)))


def test_a_moved_boundary_has_to_be_mended_before_the_next_step():
    explorer = CacheExplorer(step=2, prefix_len=3)
    explorer.prefix_len = 5
    with pytest.raises(traitlets.TraitError, match=r"filled for P = 3, and prefix_len is 5; call re_encode\(\)"):
        explorer.step = 3
    assert (explorer.step, explorer.prefix_len) == (2, 5)
    explorer.re_encode()
    explorer.step = 3
    assert counts(explorer)[0] == "decode"
    assert explorer.cached_prefix_len == 5


def test_going_back_undoes_what_came_after():
    explorer = CacheExplorer(step=2, prefix_len=3)
    explorer.prefix_len = 6
    explorer.re_encode()
    explorer.step = 4
    explorer.prefix_len = 1
    explorer.step = 3
    assert (explorer.prefix_len, explorer.cached_prefix_len) == (6, 6)
    explorer.step = 1
    assert (explorer.prefix_len, explorer.cached_prefix_len, explorer.re_encoded) == (3, 3, [])
    explorer.step = 0
    explorer.prefix_len = 5
    explorer.step = 1
    assert (explorer.cached_prefix_len, counts(explorer)[0]) == (5, "prefill")


@pytest.mark.parametrize("layers", [1, 2, 3, 4])
def test_a_prefix_chat_writes_every_cached_row_again_but_those_of_layer_1(layers):
    for turns, message, answer in [(1, 2, 3), (2, 1, 0), (3, 2, 3), (5, 1, 4)]:
        once = again = cached = old = 0
        for _ in range(turns):
            total = cached + message
            stale = stale_rows(old, total, total, layers) if cached else []
            again += sum(row < cached for rows in stale for row in rows)
            once += layers * (message + answer)
            cached, old = total + answer, total
        assert cache_words.chat_rows(turns, message, answer, layers) == (once, again)


def test_it_says_everything():
    explorer = CacheExplorer("Mara sees a bat", "and runs", 2, layers=3, step=2)
    assert explorer.describe() == repr(explorer) == (
        "Decoding, new token 1 of 2: ‘and’ wrote 3 rows, one in each layer; the other 12 are kept. "
        "‘and’ (row 4) reads 5 rows in each layer: 0 to 4. "
        "This takes 15 query–key products; without a cache all 5 tokens would be computed anew, with 48: 33 are saved. "
        "In a chat of 4 turns of 4 + 2 tokens, 72 rows are written; a causal chat writes each once. A prefix chat, "
        "whose prefix grows with every turn, writes 72 more, in place of those that went stale."
    )  # fmt: skip
    explorer.prefix_len = 3
    assert (
        "The boundary moved from P = 2 to P = 3 with 5 tokens cached: 7 of 15 rows are stale, 0 in layer 1, "
        "2 in layer 2 and 5 in layer 3." in explorer.describe()
    )
    assert "In layer 2 rows 0 and 1 are stale: in layer 1 they see more than before." in explorer.describe()
    explorer.prefix_len, explorer.layers = 1, 2
    assert "In layer 2 row 0 is stale: in layer 1 it sees less than before." in explorer.describe()
    assert "layer 3" not in explorer.describe()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"prompt": ""}, "prompt must have at least one token, got none"),
        ({"prompt": "a b", "prefix_len": 3}, r"prefix_len must be from 0 to 2 \(the prompt's tokens\), got 3"),
        ({"prompt": "a " * 20}, r"at most 24 tokens, got 20 \+ 6"),
        ({"prompt": 3}, "prompt must be a str, or a list of str, got 3"),
        ({"new": ["a", 1]}, r"^new: tokens\[1\] must be a str, got 1"),
        ({"prompt": ["a"] * 500}, r"^prompt: tokens must be at most"),
        ({"new": "a" * 10**6}, r"^new: text"),
        ({"layers": 7}, "layers must be from 1 to 6, got 7"),
        ({"layers": True}, "layers must be a whole number from 1 to 6, got True"),
        ({"step": 8}, r"step must be from 0 to 7 \(the prefill and the new tokens\), got 8"),
        ({"turns": 0}, "turns must be from 1 to 10, got 0"),
    ],
)
def test_what_is_wrong_is_said(arguments, words):
    with pytest.raises((ValueError, TypeError), match=words):
        CacheExplorer(**arguments)


def test_a_trait_that_cannot_be_is_refused_and_the_state_stays():
    explorer = CacheExplorer(step=2)
    before = explorer.describe()
    wrong = {"prefix_len": (7, -1), "layers": (0,), "step": (9,), "reader": (11,), "turns": (11,), "prefill_len": (6,),
             "re_encoded": ([[9, 1]], [[3, 5]], ["x"])}  # fmt: skip
    for name, value in [(name, value) for name, values in wrong.items() for value in values]:
        said = "a prefix length|a step in re_encoded|pairs" if name == "re_encoded" else f"{name} must be"
        said = "prompt's tokens" if name == "prefill_len" else said
        with pytest.raises(traitlets.TraitError, match=said):
            setattr(explorer, name, value)
    with pytest.raises(traitlets.TraitError):
        explorer.tokens = []
    assert explorer.describe() == before
    with pytest.raises(ValueError, match="the cache is empty"):
        CacheExplorer().re_encode()


def test_the_browsers_state_comes_whole():
    explorer = CacheExplorer(step=1, prefix_len=2)
    explorer.set_state({"step": 4, "prefix_len": 6, "re_encoded": [[3, 6]]})
    assert (explorer.step, explorer.prefix_len, explorer.cached_prefix_len, explorer.held) == (4, 6, 6, 8)
    explorer.set_state({"step": 2, "prefix_len": 2, "re_encoded": []})
    assert (explorer.step, explorer.prefix_len, explorer.cached_prefix_len) == (2, 2, 2)


def test_a_browsers_state_that_does_not_fit_leaves_the_one_before():
    lot = random.Random(0)
    explorer, taken = CacheExplorer(step=3, prefix_len=2), 0
    for _ in range(1000):
        state = {"step": lot.randint(0, 5), "prefix_len": lot.randint(0, 8), "prefill_len": lot.randint(0, 5)}
        state["re_encoded"] = [[lot.randint(1, 5), lot.randint(0, 8)] for _ in range(lot.randint(0, 2))]
        state = dict(lot.sample(list(state.items()), lot.randint(1, 4)))
        before = explorer.get_state(["step", "prefix_len", "prefill_len", "re_encoded"])
        try:
            explorer.set_state(state)
            taken += 1
        except traitlets.TraitError:
            assert explorer.get_state(list(before)) == before
        assert explorer.describe()
    assert 100 < taken < 900


def test_without_a_kernel_there_is_a_picture():
    for explorer in (CacheExplorer(), CacheExplorer("ü", "", 0, layers=1, step=1), CacheExplorer(step=5, layers=6)):
        data, _ = explorer._repr_mimebundle_()
        assert data["image/png"].startswith("iVBOR")
        assert data["text/plain"] == explorer.describe()
        json.dumps(explorer.get_state(["tokens", "re_encoded"]))
