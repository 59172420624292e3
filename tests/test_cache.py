"""The cache against reading everything anew, and staleness against comparing the rows of two prefills."""

import copy
import dataclasses
import random

import pytest
import torch

from course_lib.cache import KVCache, stale_rows
from course_lib.glm import blank_infilling
from course_lib.masks import Visibility, prefix_mask
from course_lib.model import Config, PrefixLM
from course_lib.state_cache import StateCache
from course_lib.training import Run

VOCAB = 13
SMALL = Config(vocab_size=VOCAB, dim=12, layers=3, heads=2, kv_heads=1, max_len=16)
CLOSE = {"atol": 1e-5, "rtol": 0}
VARIANTS = {
    "plain": {},
    "learned": {"positions": "learned", "norm": "layernorm", "mlp": "gelu", "tied": False},
    "GLM's tables": {"positions": "glm", "norm": "layernorm"},
    "GLM's rotary": {"positions": "glm_rotary", "head_dim": 8},
    "one layer": {"layers": 1},
    "two layers": {"layers": 2, "kv_heads": 2},
    "five layers": {"layers": 5},
}


pytestmark = pytest.mark.usefixtures("one_thread")


def made(*, dtype=torch.float32, **changes):
    """A model whose weights are large enough for differences to show, and whose outputs are of size 1."""
    torch.manual_seed(0)
    model = PrefixLM(dataclasses.replace(SMALL, **changes))
    with torch.no_grad():
        for weight in model.parameters():
            if weight.dim() == 2:
                weight.normal_(std=weight.shape[-1] ** -0.5)
    return model.to(dtype).eval()


@pytest.fixture(params=VARIANTS)
def model(request):
    return made(**VARIANTS[request.param])


def some_tokens(batch, length, seed=0):
    return torch.randint(VOCAB, (batch, length), generator=torch.Generator().manual_seed(seed))


def distinct_tokens(length, seed=0):
    """One example in which no token comes twice: to see an equal one as well would change nothing."""
    return torch.randperm(VOCAB, generator=torch.Generator().manual_seed(seed))[None, :length]


def filled(model, tokens, prefix_len, lengths=None):
    cache = KVCache(model, len(tokens))
    model(tokens, prefix_len, lengths=lengths, cache=cache)
    return cache


def assert_same_cache(one, other):
    """All that two caches hold is the same, to 1e-5."""
    assert (one.lengths, one.prefix_lens) == (other.lengths, other.prefix_lens)
    layers = zip([*one.keys, *one.values], [*other.keys, *other.values], strict=True)
    for b, n in enumerate(one.lengths):
        for mine, theirs in layers:
            torch.testing.assert_close(mine[b, :, :n], theirs[b, :, :n], **CLOSE)
        assert torch.equal(one.tokens[b, :n], other.tokens[b, :n])
        assert torch.equal(one.positions[b, :n], other.positions[b, :n])
        torch.testing.assert_close(one.inputs[b, :n], other.inputs[b, :n], **CLOSE)
    torch.testing.assert_close(one.last, other.last, **CLOSE)


@pytest.mark.parametrize("prefix", [0, 1, 3, 5])
def test_every_step_of_decoding_is_the_full_forward(model, prefix):
    tokens = some_tokens(2, 12)
    full, _ = model(tokens, prefix)
    cache = KVCache(model, 2)
    logits, _ = model(tokens[:, :5], prefix, cache=cache)
    torch.testing.assert_close(logits, full[:, :5], **CLOSE)
    for t in range(5, 12):
        logits, _ = model(tokens[:, [t]], prefix, cache=cache)
        torch.testing.assert_close(logits, full[:, [t]], **CLOSE)
        torch.testing.assert_close(cache.next_logits(), full[:, t], **CLOSE)
        assert cache.lengths == [t + 1] * 2


def test_mixed_lengths_and_prefixes_step_by_step(model):
    rng = random.Random(0)
    for trial in range(3):
        batch, lengths = 4, [rng.randint(0 if trial else 1, 6) for _ in range(4)]
        prefixes = [rng.randint(0, n) for n in lengths]
        texts = some_tokens(batch, 16, seed=trial)
        cache = KVCache(model, batch)
        padded = texts[:, :6].clone()
        padded[torch.arange(6) >= torch.tensor(lengths)[:, None]] = VOCAB - 1
        logits, _ = model(padded, prefixes, lengths=lengths, cache=cache)
        held = [0] * batch
        while True:
            for b in range(batch):
                if lengths[b] > held[b]:
                    full, _ = model(texts[[b], : lengths[b]], prefixes[b])
                    torch.testing.assert_close(logits[b, : lengths[b] - held[b]], full[0, held[b] :], **CLOSE)
                    torch.testing.assert_close(
                        cache.last[b], model.hidden(texts[[b], : lengths[b]], Visibility(prefixes[b]))[0, -1], **CLOSE
                    )
            assert cache.lengths == lengths
            if max(lengths) == 16:
                break
            held, width = lengths, rng.randint(1, 3)  # pieces of several sizes, some examples getting less or nothing
            counts = [min(rng.randint(0, width), 16 - n) for n in held]
            lengths = [n + count for n, count in zip(held, counts, strict=True)]
            rows = [[*texts[b, held[b] : lengths[b]].tolist(), *[0] * (width - counts[b])] for b in range(batch)]
            logits, _ = model(torch.tensor(rows), prefixes, lengths=counts, cache=cache)


def test_positions_of_ones_own_are_kept(model):
    tokens, positions = some_tokens(2, 6), torch.tensor([0, 2, 4, 6, 8, 10])
    full, _ = model(tokens, 3, positions=positions)
    cache = KVCache(model, 2)
    model(tokens[:, :4], 3, positions=positions[:4], cache=cache)
    logits, _ = model(tokens[:, 4:], 3, positions=positions[4:].expand(2, 2), cache=cache)
    torch.testing.assert_close(logits, full[:, 4:], **CLOSE)
    cache.extend_prefix(6)
    torch.testing.assert_close(cache.next_logits(), model(tokens, 6, positions=positions)[0][:, -1], **CLOSE)


@pytest.mark.parametrize("variant", ["GLM's tables", "GLM's rotary"])
def test_blanks_are_filled_from_the_cache_as_in_one_pass(variant):
    """Part A at once, then Part B token by token, at positions and block positions of its own."""
    model = made(**VARIANTS[variant])
    example = blank_infilling([1, 2, 3, 4, 5, 6], [(2, 3), (4, 6)], mask_id=10, start_id=11, end_id=12, order=[1, 0])
    batch = {name: one[None] for name, one in example._asdict().items() if torch.is_tensor(one)}
    P, places = example.context_len, ("positions", "block_positions")
    whole = model(batch["tokens"], P, **{name: batch[name] for name in places})[0]
    cache, steps = KVCache(model, 1), []
    for start, end in [(0, P), *((i, i + 1) for i in range(P, len(example.tokens)))]:
        own = {name: batch[name][:, start:end] for name in places}
        steps.append(model(batch["tokens"][:, start:end], P, **own, cache=cache)[0])
    torch.testing.assert_close(torch.cat(steps, 1), whole, **CLOSE)
    fresh = KVCache(model, 1)
    model(batch["tokens"], 8, **{name: batch[name] for name in places}, cache=fresh)
    assert cache.extend_prefix(8) == [0, 7, 10]
    assert_same_cache(cache, fresh)


def rows_that_differ(one, other, total):
    """Compare two caches of one example row by row, and tell which rows differ in each layer."""
    pairs = zip(zip(one.keys, one.values, strict=True), zip(other.keys, other.values, strict=True), strict=True)
    return [
        [
            row
            for row in range(total)
            if any((a[0, :, row] - b[0, :, row]).abs().max() > 1e-9 for a, b in zip(*pair, strict=True))
        ]
        for pair in pairs
    ]


@pytest.mark.parametrize("total", range(1, 9))
def test_what_goes_stale_is_what_a_fresh_prefill_has_otherwise(total):
    exact, model = made(dtype=torch.float64), made()
    tokens = distinct_tokens(total, seed=total)
    prefills = [filled(exact, tokens, prefix) for prefix in range(total + 1)]
    fresh = [filled(model, tokens, prefix) for prefix in range(total + 1)]
    for old in range(total + 1):
        for new in range(total + 1):
            stale = stale_rows(old, new, total, 3)
            assert [list(rows) for rows in stale] == rows_that_differ(prefills[old], prefills[new], total), (old, new)
            cache = filled(model, tokens, old)
            assert cache.extend_prefix(new) == [len(rows) for rows in stale]
            assert_same_cache(cache, fresh[new])
            logits, _ = model(tokens, new)
            torch.testing.assert_close(cache.next_logits(), logits[:, -1], **CLOSE)
            for i, rows in enumerate(stale):  # and what was right is not touched
                for kept, before in ((cache.keys, fresh[old].keys), (cache.values, fresh[old].values)):
                    assert torch.equal(kept[i][0, :, len(rows) :], before[i][0, :, len(rows) :])


def test_staleness_by_hand():
    # The prefix of 3 becomes 6. Rows 0..4 saw up to 2, 2, 2, 3, 4, and now see up to 5; row 5 saw up to 5 before.
    assert stale_rows(3, 6, 8, 4) == [range(0), range(5), range(8), range(8)]
    assert stale_rows(6, 3, 8, 4) == stale_rows(3, 6, 8, 4)
    assert stale_rows(0, 1, 8, 3) == stale_rows(1, 0, 8, 3) == stale_rows(5, 5, 8, 3) == [range(0)] * 3
    assert stale_rows(0, 2, 8, 3) == [range(0), range(1), range(8)]
    assert stale_rows(2, 8, 8, 2) == [range(0), range(7)]
    assert stale_rows(2, 8, 8, 1) == [range(0)]
    assert stale_rows(0, 0, 0, 2) == [range(0)] * 2


@pytest.mark.parametrize("layers", [1, 2, 3, 5])
def test_staleness_spreads_along_the_mask(layers):
    """A row is stale if it sees other rows than before, or one that is stale in the layer below."""
    for total in range(1, 8):
        for old in range(total + 1):
            for new in range(total + 1):
                before, after = prefix_mask(old, total), prefix_mask(new, total)
                changed = {i for i in range(total) if not torch.equal(before[i], after[i])}
                stale, layer = [], set()
                for _ in range(layers):
                    stale.append(sorted(layer))
                    layer = changed | {i for i in range(total) for j in layer if after[i, j]}
                assert [list(rows) for rows in stale_rows(old, new, total, layers)] == stale


def test_extending_a_batch_of_mixed_lengths(model):
    rng = random.Random(0)
    layers = model.config.layers
    for trial in range(12):
        lengths = [rng.randint(0 if trial else 1, 9) for _ in range(4)]
        old, new = ([rng.randint(0, n) for n in lengths] for _ in range(2))
        tokens = some_tokens(4, 9, seed=trial)
        cache = filled(model, tokens, old, lengths)
        counts = cache.extend_prefix(torch.tensor(new))
        stale = [stale_rows(*lens, layers) for lens in zip(old, new, lengths, strict=True)]
        assert counts == [sum(len(rows[i]) for rows in stale) for i in range(layers)]
        assert_same_cache(cache, filled(model, tokens, new, lengths))
        for _ in range(2):  # there and back again
            cache.extend_prefix(old)
            cache.extend_prefix(new)
        assert_same_cache(cache, filled(model, tokens, new, lengths))


def test_decoding_goes_on_after_the_prefix_has_grown(model):
    tokens = some_tokens(2, 14)
    cache = filled(model, tokens[:, :8], [2, 5])
    cache.extend_prefix([6, 8])
    full, _ = model(tokens, [6, 8])
    for t in range(8, 11):
        logits, _ = model(tokens[:, [t]], [6, 8], cache=cache)
        torch.testing.assert_close(logits, full[:, [t]], **CLOSE)
    cache.extend_prefix(11)  # a second turn: all that was said is prefix now
    full, _ = model(tokens, 11)
    torch.testing.assert_close(cache.next_logits(), full[:, 10], **CLOSE)
    logits, _ = model(tokens[:, 11:], 11, cache=cache)
    torch.testing.assert_close(logits, full[:, 11:], **CLOSE)


def test_no_valid_row_is_encoded_in_vain(monkeypatch):
    model, encoded = made(layers=4), {}
    for i, block in enumerate(model.blocks):
        own = block.attention.keys_values

        def counting(x, *args, i=i, own=own):
            encoded[i] = encoded.get(i, 0) + x.shape[0] * x.shape[1]
            return own(x, *args)

        monkeypatch.setattr(block.attention, "keys_values", counting)
    cache = filled(model, some_tokens(2, 8), 3)
    for new, wanted in ((3, {}), ([3, 6], {1: 5, 2: 8, 3: 8}), ([8, 1], {1: 14, 2: 16, 3: 16})):
        encoded.clear()
        counts = cache.extend_prefix(new)
        assert encoded == wanted
        if new != [8, 1]:  # there the two examples have 7 and 5 rows, which are laid side by side as 2 * 7
            assert counts == [wanted.get(i, 0) for i in range(4)]
        else:
            assert counts == [0, 12, 16, 16]


def test_memory_is_what_the_description_says():
    model = made(layers=5, heads=6, kv_heads=2, head_dim=4)
    cache = KVCache(model, 3, capacity=10)
    numbers = 2 * 5 * 2 * 4 + 12
    assert cache.nbytes == 3 * 10 * (4 * numbers + 2 * 8) + 3 * 12 * 4  # and the answer to the last token
    wide = made(layers=5, heads=6, kv_heads=2, head_dim=4, value_dim=10)
    assert KVCache(wide, 3, capacity=10).nbytes - cache.nbytes == 3 * 10 * 4 * 5 * 2 * (10 - 4)
    assert KVCache(model, 3).capacity == SMALL.max_len
    assert made(dtype=torch.bfloat16).config == SMALL
    assert KVCache(made(dtype=torch.bfloat16), 1).keys[0].dtype == torch.bfloat16


def test_a_call_that_is_cut_short_counts_for_nothing(monkeypatch):
    model, tokens = made(), some_tokens(2, 8)
    cache = filled(model, tokens[:, :5], 3)
    before = filled(model, tokens[:, :5], 3)

    def interrupted(*args, **kwargs):
        raise KeyboardInterrupt

    for place in (model.blocks[0].mlp, model.blocks[2].mlp):
        with monkeypatch.context() as patch:
            patch.setattr(place, "forward", interrupted)
            with pytest.raises(KeyboardInterrupt):
                model(tokens[:, 5:], 3, cache=cache)
            with pytest.raises(KeyboardInterrupt):
                cache.extend_prefix(5)
        assert_same_cache(cache, before)
    full, _ = model(tokens, 3)
    torch.testing.assert_close(model(tokens[:, 5:], 3, cache=cache)[0], full[:, 5:], **CLOSE)


def test_a_cache_takes_no_gradients():
    model, tokens = made(), some_tokens(1, 4)
    logits, _ = model(tokens, 2, cache=KVCache(model, 1))
    assert not logits.requires_grad
    assert model(tokens, 2)[0].requires_grad


@pytest.mark.parametrize("attention", ["softmax", "linear"])
def test_a_cache_ends_at_max_len(attention):
    model, tokens = made(attention=attention, max_len=8), some_tokens(1, 5)
    cache = (KVCache if attention == "softmax" else StateCache)(model, 1)
    model(tokens, 2, cache=cache)
    with pytest.raises(ValueError, match="the cache has room for 8 tokens an example, got 10 with the new ones"):
        model(tokens, 2, cache=cache)
    assert cache.lengths == [5]
    model(tokens[:, :3], 2, cache=cache)
    assert cache.lengths == [8]


def test_a_cache_is_of_one_model():
    """Another model of the same sizes would fit in without a word, and go on from what it never read."""
    cache, other, tokens = KVCache(made(), 1), made(), some_tokens(1, 3)
    with pytest.raises(ValueError, match="cache must be one that was made for this model"):
        other(tokens, 1, cache=cache)
    with pytest.raises(TypeError, match="cache must be a KVCache or a StateCache, got <object"):
        other(tokens, 1, cache=object())


@pytest.mark.parametrize("attention", ["softmax", "linear", "jrt", "gated"])
@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy])
def test_a_copy_goes_on_by_itself(attention, copied):
    """Two continuations of one prompt, and neither hears of the other."""
    model, tokens = made(attention=attention, normalize=None), some_tokens(2, 9)
    kind = KVCache if attention == "softmax" else StateCache
    empty = copied(kind(model, 2))
    cache = kind(model, 2)
    model.hidden(tokens[:, :5], Visibility(3), cache=cache)  # with gradients on
    other = copied(cache)
    assert other.model is model
    assert other.nbytes == cache.nbytes
    texts = tokens, torch.cat([tokens[:, :5], tokens[:, 5:].flip(1)], 1)
    for t in range(5, 9):
        for one, text in zip((cache, other), texts, strict=True):
            logits, _ = model(text[:, [t]], 3, cache=one)
            torch.testing.assert_close(logits, model(text[:, : t + 1], 3)[0][:, [t]], **CLOSE)
    if attention == "softmax":
        other.extend_prefix(7)
        torch.testing.assert_close(other.next_logits(), model(texts[1], 7)[0][:, -1], **CLOSE)
    torch.testing.assert_close(cache.next_logits(), model(tokens, 3)[0][:, -1], **CLOSE)
    assert empty.lengths == [0, 0]
    model(tokens, 3, cache=empty)
    loaded(model)
    with pytest.raises(ValueError, match="weights have changed"):
        other.next_logits()


def trained(model):
    tokens = some_tokens(1, 5)
    Run(model, lambda step: {"tokens": tokens, "prefix_len": 2, "targets": tokens}, steps=1).train()


def loaded(model):
    model.load_state_dict({name: weight + 1 for name, weight in model.state_dict().items()})


def replaced(model):
    model.blocks[1] = copy.deepcopy(model.blocks[1])


def stepped(model, **how):
    model(some_tokens(1, 5), 2, targets=some_tokens(1, 5))[1].backward()
    torch.optim.AdamW(model.parameters(), lr=1e-4, weight_decay=0, **how).step()


def fused(model):
    stepped(model, fused=True)


def fused_in_part(model):
    """One layer of three is trained."""
    model.requires_grad_(False)
    model.blocks[2].requires_grad_(True)
    fused(model)


def behind_torchs_back(model):
    model.blocks[1].mlp.down.weight.data.add_(0.1)


CHANGES = [trained, loaded, replaced, PrefixLM.double, stepped, fused, fused_in_part, behind_torchs_back]


@pytest.mark.parametrize("attention", ["softmax", "linear"])
@pytest.mark.parametrize("change", CHANGES)
def test_a_cache_is_of_the_weights_that_filled_it(attention, change):
    model, tokens = made(attention=attention), some_tokens(1, 5)
    cache = (KVCache if attention == "softmax" else StateCache)(model, 1)
    model(tokens, 2, cache=cache)
    model(tokens[:, :1], 2, cache=cache)  # the same weights go on
    change(model)
    calls = [cache.next_logits, lambda: model(tokens[:, :1], 2, cache=cache)]
    for call in [*calls, lambda: cache.extend_prefix(3)] if attention == "softmax" else calls:
        with pytest.raises(ValueError, match="weights have changed since this cache was filled: make a new one"):
            call()
    assert cache.lengths == [6]


def test_weights_without_versions_fill_a_cache_too():
    with torch.inference_mode():
        model, tokens = made(), some_tokens(1, 5)
        cache = KVCache(model, 1)
        model(tokens[:, :4], 2, cache=cache)
        torch.testing.assert_close(model(tokens[:, 4:], 2, cache=cache)[0], model(tokens, 2)[0][:, 4:], **CLOSE)


def test_weights_that_are_not_finite_or_lie_crosswise_have_not_changed():
    model, tokens = made(), some_tokens(1, 5)
    model.norm.weight.data[0] = torch.nan
    down = model.blocks[0].mlp.down
    down.weight = torch.nn.Parameter(down.weight.detach().mT.contiguous().mT)
    cache = filled(model, tokens, 2)
    model(tokens[:, :1], 2, cache=cache)
    assert cache.lengths == [6]


def test_refusals_in_words():
    model, tokens = made(), some_tokens(2, 5)
    cache = KVCache(model, 2, capacity=7)
    with pytest.raises(ValueError, match="the cache is empty"):
        cache.extend_prefix(0)
    with pytest.raises(ValueError, match="example 0 of the cache holds no token"):
        cache.next_logits()
    with pytest.raises(ValueError, match=r"prefix_len of example 1 must be from 0 to the tokens .* = 4, got 5"):
        model(tokens, 5, lengths=[5, 4], cache=cache)
    with pytest.raises(ValueError, match="document_lens cannot go with it"):
        model(tokens, 1, document_lens=[2, 3], cache=cache)
    with pytest.raises(ValueError, match="must be of the 2 examples that the cache was made for, got 1"):
        model(tokens[:1], 1, cache=cache)
    with pytest.raises(ValueError, match="tokens must be from 0"):
        model(tokens + VOCAB, 1, cache=cache)
    assert (cache.lengths, cache.prefix_lens) == ([0, 0], None)
    model(tokens, [3, 2], cache=cache)
    with pytest.raises(ValueError, match=r"filled with prefix lengths \[3, 2\], got \[3, 3\].*cache.extend_prefix"):
        model(tokens[:, :1], 3, cache=cache)
    with pytest.raises(ValueError, match="room for 7 tokens an example, got 10"):
        model(tokens, [3, 2], cache=cache)
    with pytest.raises(ValueError, match=r"lengths\[0\] must be from 0 to the tokens given = 1, got 2"):
        model(tokens[:, :1], [3, 2], lengths=[2, 1], cache=cache)
    for wrong, words in ((6, "= 5, got 6"), (-1, "got -1"), ([1, 6], "example 1 .* = 5, got 6")):
        with pytest.raises(ValueError, match=f"new_len.*{words}"):
            cache.extend_prefix(wrong)
    with pytest.raises(ValueError, match="new_len must have one entry for each of the 2 examples, got 3"):
        cache.extend_prefix([1, 2, 3])
    for wrong in (True, 2.0, None):
        with pytest.raises(TypeError, match="new_len"):
            cache.extend_prefix(wrong)
    assert (cache.lengths, cache.prefix_lens) == ([5, 5], [3, 2])
    with pytest.raises(ValueError, match="batch_size must be at least 1, got 0"):
        KVCache(model, 0)
    for capacity in (0, 17):
        with pytest.raises(ValueError, match=f"capacity must be from 1 to max_len = 16, got {capacity}"):
            KVCache(model, 2, capacity=capacity)
    for wrong in ((9, 0, 8), (0, 9, 8), (-1, 0, 8)):
        with pytest.raises(ValueError, match="must be from 0 to total_len = 8"):
            stale_rows(*wrong, 3)
    with pytest.raises(ValueError, match="layers must be at least 1"):
        stale_rows(1, 2, 3, 0)


def test_dropout_and_a_cache_do_not_go_together():
    model = made(dropout=0.1)
    tokens, cache = some_tokens(1, 4), KVCache(model, 1)
    model(tokens, 2, cache=cache)
    model.train()
    with pytest.raises(ValueError, match=r"call model.eval\(\) first"):
        model(tokens, 2, cache=cache)
    with pytest.raises(ValueError, match=r"call model.eval\(\) first"):
        cache.extend_prefix(3)
