"""The mask explorer, seen from Python."""

import re
import struct

import numpy as np
import pytest
import torch
from traitlets import TraitError

from course_lib.classroom.explorer import MaskExplorer
from course_lib.classroom.explorer_checks import KINDS
from course_lib.classroom.explorer_words import percent, ranges

BUILT_IN = KINDS[:-1]


def words(count: int) -> list[str]:
    return [f"w{i}" for i in range(count)]


def may_read(kind: str, P: int, i: int, j: int) -> bool:
    """The definition of each kind, pair by pair."""
    if kind == "encoder":
        return True
    if kind == "decoder":
        return j <= i
    if i < P:  # the prefix, or the source, reads itself and nothing else
        return j < P
    return j < P or j <= i  # the target reads prefix or source, itself, and what stands before it


@pytest.mark.parametrize("kind", BUILT_IN)
def test_mask_costs_and_words_agree_with_the_definition(kind):
    for T in range(1, 10):
        for P in range(T + 1):
            explorer = MaskExplorer(words(T), P, kind=kind, tile=3, selected=T // 2)
            expected = [[may_read(kind, P, i, j) for j in range(T)] for i in range(T)]
            assert explorer.mask.dtype == torch.bool
            assert explorer.mask.tolist() == expected
            allowed, causal = sum(map(sum, expected)), T * (T + 1) // 2
            tiles = [
                [expected[i][j] for i in range(a, min(a + 3, T)) for j in range(b, min(b + 3, T))]
                for a in range(0, T, 3)
                for b in range(0, T, 3)
            ]
            visited = sum(map(any, tiles))
            costs = explorer.costs
            assert (costs.allowed, costs.total, costs.causal, costs.added) == (allowed, T * T, causal, allowed - causal)
            assert (costs.tiles.visited, costs.tiles.skipped) == (visited, len(tiles) - visited)
            said = explorer.describe()
            assert f"{allowed} of {T * T} pairs" in said
            assert f"visits {visited} of {len(tiles)} and skips {len(tiles) - visited}." in said
            keys = [j for j in range(T) if expected[T // 2][j]]
            if 0 < len(keys) < T:
                assert f"(query {T // 2}) may read {len(keys)} of {T} keys: " in said


def test_the_default_is_a_sentence_of_ours_with_a_third_as_prefix():
    explorer = MaskExplorer()
    assert explorer.text == "The lantern is lost. Mara climbs the tower to relight it."
    assert explorer.tokens[:5] == ["The", "lantern", "is", "lost", "."]
    assert (explorer.prefix_len, explorer.kind, explorer.selected, explorer.tile) == (5, "prefix", 1, 4)
    assert [MaskExplorer(words(T)).prefix_len for T in (0, 1, 2, 3, 7, 12)] == [0, 1, 1, 1, 3, 4]


def test_a_list_of_tokens_is_shown_as_it_is():
    explorer = MaskExplorer(["▁the", " lan", "tern", "\n"], 2)
    assert explorer.tokens == ["▁the", " lan", "tern", "\n"]
    assert explorer.split_by == "list"


def test_the_description_of_an_example_is_right_word_for_word():
    assert MaskExplorer("Mara finds the lost lantern at night", 3, tile=2).describe() == (
        "Prefix LM with P = 3 of T = 7: the prefix, up to ‘the’, reads itself in both directions; the target, from "
        "‘lost’ on, reads the prefix, and itself from left to right. 31 of 49 pairs are allowed (63\u00a0%), 3 more "
        "than causal. In tiles of 2 × 2, a kernel visits 11 of 16 and skips 5. The loss scores 4 tokens, the target; "
        "the last prefix token predicts the first of them. ‘finds’ (query 1) may read 3 of 7 keys: 0 to 2."
    )
    assert repr(MaskExplorer()) == MaskExplorer().describe()


def test_the_three_blocks_of_an_encoder_decoder():
    explorer = MaskExplorer(words(5), 2, kind="encoder-decoder")
    blocks = {name: block.tolist() for name, block in explorer.blocks.items()}
    assert blocks["source"] == [[True] * 2] * 2
    assert blocks["cross"] == [[True] * 2] * 3
    assert blocks["target"] == [[True, False, False], [True, True, False], [True, True, True]]
    with pytest.raises(ValueError, match="blocks needs kind 'encoder-decoder', got 'prefix'"):
        MaskExplorer().blocks  # noqa: B018


# -- the state, set from Python


def test_fewer_tokens_move_the_boundary_and_it_says_so():
    explorer = MaskExplorer(words(9), 7, selected=8)
    explorer.tokens = ["a", "b", "c"]
    assert (explorer.prefix_len, explorer.selected, explorer.text) == (3, 2, "a b c")
    assert explorer.describe().startswith(
        "The boundary moved from 7 to 3, because the text now has 3 tokens. Prefix LM"
    )
    explorer.prefix_len = 2
    assert "moved" not in explorer.describe()
    explorer.text = ""
    assert (explorer.tokens, explorer.prefix_len, explorer.selected) == ([], 0, None)
    assert explorer.describe().startswith("The boundary moved from 2 to 0, because the text now has 0 tokens.")
    explorer.text = "Light again, at last!"
    assert explorer.tokens == ["Light", "again", ",", "at", "last", "!"]
    assert (explorer.prefix_len, explorer.selected) == (0, 1)
    assert "moved" not in explorer.describe()


def test_who_observes_the_tokens_sees_a_whole_state():
    explorer, seen = MaskExplorer(words(9), 7, selected=8), []
    explorer.observe(
        lambda change: seen.append((change.name, change.new)), ["tokens", "prefix_len", "selected", "text"]
    )
    explorer.tokens = ["a", "b"]
    assert sorted(name for name, _ in seen) == ["prefix_len", "selected", "text", "tokens"]


def test_no_tokens_is_a_legal_state_of_every_kind():
    for kind in BUILT_IN:
        explorer = MaskExplorer("", kind=kind)
        assert explorer.mask.shape == (0, 0)
        assert explorer.costs.allowed == explorer.costs.loss_tokens == 0
        assert explorer.describe() == "There is no token yet: type a sentence, and its mask appears."
        assert explorer.fallback()["image/png"].startswith(b"\x89PNG")


WRONG = [
    ({"prefix_len": 14}, ValueError, "prefix_len must be from 0 to 13 (the number of tokens), got 14"),
    ({"prefix_len": -1}, ValueError, "prefix_len must be from 0 to 13 (the number of tokens), got -1"),
    ({"prefix_len": 2.0}, TypeError, "prefix_len must be a whole number from 0 to 13"),
    ({"prefix_len": True}, TypeError, "got True (bool)"),
    ({"kind": "both"}, ValueError, "kind must be one of encoder, decoder, encoder-decoder, prefix, custom, got 'both'"),
    ({"kind": "custom"}, ValueError, "needs a mask of 13 x 13 for 13 tokens, but the mask is not set"),
    ({"tile": 0}, ValueError, "tile must be from 1 to 256, got 0"),
    ({"tile": 257}, ValueError, "tile must be from 1 to 256, got 257"),
    ({"selected": 13}, ValueError, "selected must be from 0 to 12 (the last token), got 13"),
    ({"text_or_tokens": "", "selected": 0}, ValueError, "selected must be None, because there are no tokens"),
    ({"text_or_tokens": 7}, TypeError, "text_or_tokens must be a str, or a list of str, got 7 (int)"),
    ({"text_or_tokens": ["a", 7]}, TypeError, "tokens[1] must be a str, got 7 (int)"),
    ({"text_or_tokens": words(257)}, ValueError, "tokens must be at most 256, got 257"),
    ({"text_or_tokens": "a " * 257}, ValueError, "text must have at most 256 tokens, got 257"),
    ({"mask": torch.ones(3, 4)}, ValueError, "mask must be square, (T, T), got shape (3, 4)"),
    ({"mask": torch.ones(3)}, ValueError, "mask must be square"),
    ({"mask": torch.ones(257, 257)}, ValueError, "mask must be at most 256 x 256, got 257 x 257"),
    ({"mask": [[0, 1], [1, 0.5]]}, ValueError, "got 0.5 at query 1, key 1"),
    ({"mask": torch.tensor([[0.0, -torch.inf], [0.0, 0.0]])}, ValueError, "becomes one by `mask == 0`"),
    ({"mask": "dark"}, TypeError, "mask must be a (T, T) tensor, array or nested list, got 'dark'"),
    ({"mask": [[1, 1], [1]]}, (TypeError, ValueError), "mask must be"),
    ({"text_or_tokens": words(4), "mask": torch.ones(3, 3)}, ValueError, "mask is 3 x 3, but there are 4 tokens"),
]


@pytest.mark.parametrize(("arguments", "error", "says"), WRONG, ids=[str(i) for i in range(len(WRONG))])
def test_a_wrong_argument_is_refused_in_words(arguments, error, says):
    with pytest.raises(error, match=re.escape(says)):
        MaskExplorer(**arguments)


def test_a_wrong_trait_is_refused_and_nothing_changes():
    explorer = MaskExplorer()
    before = explorer.describe()
    wrong = {
        "prefix_len": 14, "kind": "custom", "selected": 13, "tokens": words(300), "tile": 0, "text": "a " * 300,
        "custom_mask": b"\2", "split_by": "hand",
    }  # fmt: skip
    for name, value in wrong.items():
        with pytest.raises(TraitError, match=f"{name}|{explorer.kind}|mask"):
            setattr(explorer, name, value)
    assert explorer.describe() == before


# -- a mask of the user's


def test_a_mask_of_your_own_is_compared_with_the_prefix_mask():
    mask = torch.ones(4, 4).tril()
    mask[0, 3], mask[2, 0], mask[3] = 1, 0, 0
    explorer = MaskExplorer(["a", "b", "c", "d"], 2, mask=mask, tile=2)
    assert explorer.kind == "custom"
    assert torch.equal(explorer.mask, mask.bool())
    assert (explorer.costs.allowed, explorer.costs.added, explorer.costs.loss_tokens) == (6, -4, None)
    assert (explorer.costs.tiles.visited, explorer.costs.tiles.full) == (4, 0)
    said = explorer.describe()
    assert "opens 1 pair, first ‘a’ (query 0) to ‘d’ (key 3)" in said
    assert "closes 6 pairs, first ‘a’ (query 0) to ‘b’ (key 1)." in said  # P = 2 lets a read b
    assert "1 query may read nothing at all, first ‘d’ (query 3)." in said


def test_a_prefix_mask_of_your_own_is_recognised():
    explorer = MaskExplorer(mask=np.tril(np.ones((6, 6))).astype(bool), prefix_len=0)
    assert explorer.tokens == ["0", "1", "2", "3", "4", "5"]
    assert "it is exactly the prefix mask of P = 0." in explorer.describe()


@pytest.mark.parametrize("make", [torch.tensor, np.array, list, lambda m: torch.tensor(m, dtype=torch.bfloat16)])
def test_a_mask_comes_as_tensor_array_or_list(make):
    rows = [[1, 0], [1, 1]]
    assert MaskExplorer(mask=make(rows)).mask.tolist() == [[True, False], [True, True]]


def test_setting_a_mask_makes_the_kind_custom_and_must_fit():
    explorer = MaskExplorer(words(3), 1)
    explorer.mask = torch.eye(3)
    assert explorer.kind == "custom"
    assert torch.equal(explorer.mask, torch.eye(3, dtype=torch.bool))
    with pytest.raises(ValueError, match="mask is 2 x 2, but there are 3 tokens"):
        explorer.mask = torch.eye(2)
    with pytest.raises(TraitError, match="kind 'custom' needs a mask of 2 x 2 for 2 tokens, but the mask is 3 x 3"):
        explorer.tokens = ["a", "b"]
    explorer.kind = "prefix"
    explorer.tokens = ["a", "b"]
    with pytest.raises(TraitError, match="needs a mask of 2 x 2"):
        explorer.kind = "custom"


# -- what the browser sends


def test_a_whole_state_from_the_browser_is_taken_as_it_is():
    explorer = MaskExplorer("灯笼丢了", 3)
    explorer.set_state({"text": "灯笼丢了", "tokens": ["灯笼", "丢", "了"], "split_by": "browser", "prefix_len": 2})
    assert (explorer.tokens, explorer.prefix_len, explorer.split_by) == (["灯笼", "丢", "了"], 2, "browser")
    explorer.set_state({"text": "a b", "tokens": ["a", "b"], "prefix_len": 2, "selected": 0, "moved_from": 3})
    assert explorer.describe().startswith("The boundary moved from 3 to 2, because the text now has 2 tokens.")


def test_a_state_that_does_not_hold_together_is_refused_whole():
    explorer = MaskExplorer(words(4), 2)
    with pytest.raises(TraitError, match="prefix_len must be from 0 to 1"):
        explorer.set_state({"tokens": ["a"], "prefix_len": 3, "selected": 0})
    assert (explorer.tokens, explorer.prefix_len) == (words(4), 2)


# -- without a kernel


def test_saved_outputs_carry_a_picture_and_the_words():
    data, metadata = MaskExplorer()._repr_mimebundle_()
    assert metadata["image/png"] == {"alt": data["text/plain"]}
    assert set(data) == {"text/plain", "image/png", "application/vnd.jupyter.widget-view+json"}
    assert data["text/plain"] == MaskExplorer().describe()


@pytest.mark.parametrize("kind", BUILT_IN)
def test_the_picture_is_of_a_fair_size_and_does_not_change_by_itself(kind):
    picture = MaskExplorer(kind=kind).fallback()["image/png"]
    width, height = struct.unpack(">II", picture[16:24])
    assert 300 < width < 1000
    assert 300 < height < 1000
    assert len(picture) < 100_000
    assert picture == MaskExplorer(kind=kind).fallback()["image/png"]


def test_ranges_and_percentages_in_words():
    assert ranges([]) == ""
    assert ranges([4]) == "4"
    assert ranges([0, 1]) == "0 and 1"
    assert ranges([0, 1, 2, 5, 7, 8]) == "0 to 2, 5, 7 and 8"
    assert ranges([0, 2, 4, 6, 7, 9]) == "0, 2, 4, and 3 more"
    assert [percent(1, 8), percent(1, 3), percent(2, 3), percent(0, 0), percent(5, 5)] == [13, 33, 67, 0, 100]
