"""The prefix language model: what it sees, what it is scored on, how it learns and writes."""

import dataclasses
import itertools
import math
from itertools import islice

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from course_lib import probe
from course_lib.cache import KVCache
from course_lib.glm import blank_infilling, collate_blanks
from course_lib.layers import ATTENTIONS, BLOCKS
from course_lib.masks import Visibility, prefix_mask
from course_lib.model import Config, PrefixLM

VOCAB = 11
SMALL = Config(vocab_size=VOCAB, dim=16, layers=3, heads=4, kv_heads=2, max_len=24)
VARIANTS = {
    "plain": {},
    "learned": {"positions": "learned", "tied": False},
    "older": {"norm": "layernorm", "mlp": "gelu", "kv_heads": 4},
    "multi-query": {"kv_heads": 1, "head_dim": 6, "hidden": 40},
    "GLM's tables": {"positions": "glm"},
    "GLM's rotary": {"positions": "glm_rotary"},
}


pytestmark = pytest.mark.usefixtures("one_thread")


def made(config=SMALL, *, seed=0, dtype=torch.float64, **changes):
    """A model whose weights are large enough for differences to show."""
    torch.manual_seed(seed)
    model = PrefixLM(dataclasses.replace(config, **changes))
    with torch.no_grad():
        for weight in model.parameters():
            if weight.dim() == 2:
                weight.normal_(std=0.5)
    return model.to(dtype).eval()


def some_tokens(batch, length, seed=0, vocab=VOCAB):
    return torch.randint(vocab, (batch, length), generator=torch.Generator().manual_seed(seed))


@pytest.fixture(params=VARIANTS)
def model(request):
    return made(**VARIANTS[request.param])


def test_it_sees_what_the_mask_says(model):
    for prefix in (0, 1, 3, 7):
        seen = probe.visible_inputs(lambda ids, p=prefix: model(ids, p), 7, vocab_size=VOCAB)
        report = probe.compare(seen, prefix_mask(prefix, 7))
        assert report.ok, report


def test_it_sees_what_padding_and_packing_leave(model):
    own = torch.eye(7, dtype=torch.bool)  # a token always moves its own output, past the attention
    for seen in (Visibility(4, lengths=[5]), Visibility([2, 1], document_lens=[3, 3])):
        given = {"lengths": seen.lengths, "document_lens": seen.document_lens}
        moved = probe.visible_inputs(lambda ids, p=seen.prefix_len, g=given: model(ids, p, **g), 7, vocab_size=VOCAB)
        report = probe.compare(moved, seen.mask(7).view(7, 7) | own)
        assert report.ok, report


def test_no_prefix_one_and_all(model):
    tokens = some_tokens(2, 6)
    causal, one, whole = (model(tokens, p)[0] for p in (0, 1, 6))
    assert torch.equal(causal, one)
    for t in range(1, 7):
        torch.testing.assert_close(model(tokens[:, :t], 0)[0], causal[:, :t])  # what comes later never matters
    assert not torch.isclose(whole, causal).all(-1)[:, :-1].any()
    assert model(tokens[:, :0], 0)[0].shape == (2, 0, VOCAB)
    assert model(tokens[:0], 3)[0].shape == (0, 6, VOCAB)


@pytest.mark.parametrize("prefix", [2, 4, 7])
def test_one_layer_tells_target_rows_nothing_of_the_mask(prefix):
    rng = torch.Generator().manual_seed(0)
    tokens = torch.stack([torch.randperm(VOCAB, generator=rng)[:9] for _ in range(3)])  # of equal ones, one says it all
    for dtype in (torch.float32, torch.float64):
        model = made(layers=1, dtype=dtype)
        causal, prefixed = model(tokens, 0)[0], model(tokens, prefix)[0]
        assert torch.equal(causal[:, prefix - 1 :], prefixed[:, prefix - 1 :])  # bit for bit: they read raw embeddings
        assert not (causal == prefixed).all(-1)[:, : prefix - 1].any()
    model = made(layers=2)
    assert not torch.isclose(model(tokens, 0)[0], model(tokens, prefix)[0]).all(-1).any()


def test_each_example_has_its_own_prefix(model):
    tokens = some_tokens(4, 6)
    together, _ = model(tokens, [0, 2, 5, 6])
    for b, prefix in enumerate([0, 2, 5, 6]):
        torch.testing.assert_close(together[[b]], model(tokens[[b]], prefix)[0])
    torch.testing.assert_close(together, model(tokens, torch.tensor([0, 2, 5, 6]))[0])


def test_padding_is_as_if_it_were_not_there(model):
    tokens, targets, lengths, prefixes = some_tokens(3, 8), some_tokens(3, 8, seed=1), [8, 3, 5], [2, 3, 0]
    logits, loss = model(tokens, prefixes, targets=targets, lengths=lengths)
    losses, rows = [], []
    for b, (n, p) in enumerate(zip(lengths, prefixes, strict=True)):
        alone, own = model(tokens[[b], :n], p, targets=targets[[b], :n])
        torch.testing.assert_close(logits[[b], :n], alone)
        rows.append(n - max(p - 1, 0))
        losses.append(own * rows[-1])
    torch.testing.assert_close(loss, sum(losses) / sum(rows))


def test_what_stands_in_the_padding_never_matters(model):
    tokens, targets, lengths = some_tokens(2, 8), some_tokens(2, 8, seed=1), [3, 6]
    padding = torch.arange(8) >= torch.tensor(lengths)[:, None]
    outcomes = []
    for filler in (0, VOCAB - 1):
        model.zero_grad()
        given = tokens.masked_fill(padding, filler), [2, 6]
        logits, loss = model(*given, targets=targets.masked_fill(padding, filler), lengths=lengths)
        loss.backward()
        outcomes.append((logits[~padding], loss, *(weight.grad.clone() for weight in model.parameters())))
    for one, other in zip(*outcomes, strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize("rows", [True, False])
def test_packed_documents_are_as_if_alone(model, rows):
    documents, prefixes = [[3, 4, 1], [5, 0, 2]], [[2, 0, 1], [5, 0, 1]]
    if not rows:
        documents, prefixes = documents[:1], prefixes[:1]
    tokens, targets = some_tokens(len(documents), 9), some_tokens(len(documents), 9, seed=1)
    given = (prefixes, documents) if rows else (prefixes[0], documents[0])
    logits, loss = model(tokens, given[0], targets=targets, document_lens=given[1])
    total, count = 0, 0
    for b, (lens, starts) in enumerate(zip(documents, prefixes, strict=True)):
        begin = 0
        for n, p in zip(lens, starts, strict=True):
            part = slice(begin, begin + n)
            alone, own = model(tokens[[b], part], p, targets=targets[[b], part])
            torch.testing.assert_close(logits[[b], part], alone)
            total, count, begin = total + own * (n - max(p - 1, 0)), count + n - max(p - 1, 0), begin + n
    torch.testing.assert_close(loss, total / count)


def test_targets_are_scored_where_they_stand(model):
    # A text of 7 tokens with a prefix of 3: rows 2..5 foretell tokens 3..6.
    text = some_tokens(1, 7)
    logits, loss = model(text[:, :-1], 3, targets=text[:, 1:])
    said = logits.log_softmax(-1)[0]
    wanted = -(said[2, text[0, 3]] + said[3, text[0, 4]] + said[4, text[0, 5]] + said[5, text[0, 6]]) / 4
    torch.testing.assert_close(loss, wanted)
    _, whole = model(text[:, :-1], 6, targets=text[:, 1:])  # all of it prefix: the last row alone
    torch.testing.assert_close(whole, -model(text[:, :-1], 6)[0].log_softmax(-1)[0, 5, text[0, 6]])
    _, causal = model(text[:, :-1], 0, targets=text[:, 1:])
    torch.testing.assert_close(causal, F.cross_entropy(model(text[:, :-1], 0)[0][0], text[0, 1:]))


def test_a_loss_mask_of_ones_own(model):
    tokens, targets = some_tokens(2, 5), some_tokens(2, 5, seed=1)
    mask = torch.tensor([[True, False, True, False, False], [False, False, False, False, True]])
    logits, loss = model(tokens, 2, targets=targets, loss_mask=mask)
    torch.testing.assert_close(loss, F.cross_entropy(logits[mask], targets[mask]))
    _, loss = model(tokens, 2, targets=targets, loss_mask=torch.zeros(5, dtype=torch.bool))
    loss.backward()
    assert loss.item() == 0
    assert all(weight.grad is not None and not weight.grad.any() for weight in model.parameters())


def test_positions_are_ids():
    tokens = some_tokens(2, 6)
    for name, same in (("rotary", True), ("learned", False)):
        model = made(positions=name)
        logits, _ = model(tokens, 3)
        assert torch.equal(model(tokens, 3, positions=torch.arange(6))[0], logits)
        shifted, _ = model(tokens, 3, positions=torch.arange(6).expand(2, 6) + 7)
        assert torch.allclose(shifted, logits) == same  # rotary knows distances alone
        assert not torch.allclose(model(tokens, 3, positions=torch.arange(6).flip(0))[0], logits)


@pytest.mark.parametrize("dtype", [torch.int32, torch.int16, torch.int8, torch.uint8])
@pytest.mark.parametrize("positions", ["rotary", "learned", "glm", "glm_rotary"])
def test_ids_of_any_integer_type_are_the_same_ids(dtype, positions):
    torch.manual_seed(0)
    model = PrefixLM(Config(vocab_size=20, dim=16, layers=2, heads=4, positions=positions)).eval()
    ids, places = torch.arange(6)[None], torch.arange(6).flip(0)
    wanted = model(ids, 3, positions=places, targets=ids)
    found = model(ids.to(dtype), 3, positions=places.to(dtype), targets=ids.to(dtype))
    assert all(map(torch.equal, found, wanted))
    texts = [[step.ids.tolist() for step in model.generate(one, 3, temperature=0)] for one in (ids, ids.to(dtype))]
    assert texts[0] == texts[1]


def test_word_order_matters_through_positions_alone():
    model, tokens = made(), some_tokens(1, 6)
    same_place = torch.zeros(6, dtype=torch.int64)
    swapped = tokens[:, [1, 0, 2, 3, 4, 5]]
    assert not torch.allclose(model(tokens, 6)[0][:, 5], model(swapped, 6)[0][:, 5])
    torch.testing.assert_close(
        model(tokens, 6, positions=same_place)[0][:, 5], model(swapped, 6, positions=same_place)[0][:, 5]
    )


def test_glm_adds_a_vector_for_each_kind_of_position():
    model = made(positions="glm")
    tokens, positions, blocks = some_tokens(1, 4), torch.tensor([0, 1, 1, 1]), torch.tensor([0, 0, 1, 2])
    table, block_table = (one.table.weight for one in model.learned_positions)
    places = torch.stack([positions, blocks], -1)[None]
    assert torch.equal(
        model.embed(tokens, places), model.embedding.weight[tokens] + table[positions] + block_table[blocks]
    )
    everywhere_0 = model(tokens, 2, positions=positions, block_positions=torch.zeros(4, dtype=torch.int64))[0]
    assert torch.equal(model(tokens, 2, positions=positions)[0], everywhere_0)


@pytest.mark.parametrize("kind", ["glm", "glm_rotary"])
def test_a_block_position_moves_the_rows_that_see_its_token_and_no_others(kind):
    model, tokens = made(positions=kind), some_tokens(1, 6)
    example = {"positions": torch.tensor([0, 1, 2, 1, 1, 1]), "block_positions": torch.tensor([0, 0, 0, 1, 2, 3])}
    before = model(tokens, 3, **example)[0]
    example["block_positions"] = torch.tensor([0, 0, 0, 1, 5, 3])
    moved = (model(tokens, 3, **example)[0] != before).any(-1)[0]
    assert moved.tolist() == [False] * 4 + [True] * 2
    weights = model.attention_weights(tokens, 3, **example)
    assert not torch.equal(weights[1], model.attention_weights(tokens, 3, positions=example["positions"])[1])


def test_blanks_are_learnt_by_heart():
    """Four texts with two blanks each: a batch with padding, contexts of different lengths, and one objective."""
    generator = torch.Generator().manual_seed(0)
    texts = [torch.randint(VOCAB - 3, (n,), generator=generator) for n in (6, 7, 8, 8)]
    examples = [
        blank_infilling(text, [(0, 2), (4, 5)], mask_id=VOCAB - 3, start_id=VOCAB - 2, end_id=VOCAB - 1, order=[1, 0])
        for text in texts
    ]
    torch.manual_seed(0)
    model = PrefixLM(dataclasses.replace(SMALL, positions="glm"))
    batch = collate_blanks(examples, pad_id=0).arguments()
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
    for _ in range(120):
        loss = model(**batch)[1]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    predicted = model(**{name: one for name, one in batch.items() if name not in ("targets", "loss_mask")})[0].argmax(
        -1
    )
    assert torch.equal(predicted[batch["loss_mask"]], batch["targets"][batch["loss_mask"]])


def train(model, steps, rate=0.01):
    tokens = some_tokens(4, 10, seed=5)
    optimizer = torch.optim.AdamW(model.parameters(), lr=rate)
    losses = []
    for _ in range(steps):
        _, loss = model(tokens[:, :-1], [0, 2, 5, 9], targets=tokens[:, 1:])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


@pytest.mark.parametrize("variant", VARIANTS)
def test_it_overfits_a_batch(variant):
    torch.manual_seed(0)
    model = PrefixLM(dataclasses.replace(SMALL, **VARIANTS[variant]))
    losses = train(model, 80)
    assert losses[0] == pytest.approx(math.log(VOCAB), abs=0.15)  # at first it knows nothing
    assert losses[-1] < 0.05
    text = some_tokens(4, 10, seed=5)
    for b, prefix in enumerate([0, 2, 5, 9]):  # and writes what it was shown
        begin = max(prefix, 1)
        steps = model.generate(text[b, :begin], 10 - begin, prefix_len=prefix, temperature=0)
        written = [step.ids.item() for step in steps]
        assert prefix == 0 or written == text[b, begin:].tolist()


def test_training_is_repeatable_bit_for_bit():
    runs = []
    for _ in range(2):
        torch.manual_seed(3)
        model = PrefixLM(dataclasses.replace(SMALL, dropout=0.1))
        runs.append((train(model, 5), [weight.clone() for weight in model.parameters()]))
    assert runs[0][0] == runs[1][0]
    assert all(torch.equal(*pair) for pair in zip(runs[0][1], runs[1][1], strict=True))


def test_attention_weights_are_those_of_the_layers(model):
    tokens = some_tokens(2, 6)
    given = {"lengths": [6, 4]}
    weights = model.attention_weights(tokens, [3, 2], **given)
    assert [tuple(layer.shape) for layer in weights] == [(2, 4, 6, 6)] * 3
    hidden_pairs = ~Visibility([3, 2], **given).mask(6).expand(2, 4, 6, 6)
    caught = []
    hooks = [
        block.attention.register_forward_hook(lambda _, args, out: caught.append((args[0], out)))
        for block in model.blocks
    ]
    model(tokens, [3, 2], **given)
    for layer, block, (x, out) in zip(weights, model.blocks, caught, strict=True):
        assert not layer[hidden_pairs].any()
        torch.testing.assert_close(layer.sum(-1), torch.ones(2, 4, 6, dtype=layer.dtype))
        _, values = block.attention.keys_values(x)
        read = layer @ values.repeat_interleave(4 // block.attention.kv_heads, dim=1)
        torch.testing.assert_close(block.attention.output(read.transpose(1, 2).flatten(2)), out)
    for hook in hooks:
        hook.remove()


def test_sizes_are_what_the_config_says():
    model = PrefixLM(Config(vocab_size=50, dim=48, layers=2, heads=4, kv_heads=2))
    assert (model.config.head_dim, model.config.hidden) == (12, 128)
    attention, mlp = 48 * 48 * 2 + 48 * 24 * 2, 3 * 48 * 128
    assert sum(weight.numel() for weight in model.parameters()) == 50 * 48 + 2 * (attention + mlp + 2 * 48) + 48
    untied = PrefixLM(Config(vocab_size=50, dim=48, layers=2, heads=4, kv_heads=2, tied=False))
    assert sum(w.numel() for w in untied.parameters()) - sum(w.numel() for w in model.parameters()) == 50 * 48
    assert Config(vocab_size=2, dim=64, mlp="gelu").hidden == 256


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"attention": "hard"}, "attention must be one of softmax, linear, jrt, gated, got 'hard'"),
        ({"block": "sideways"}, "block must be one of serial, parallel, got 'sideways'"),
        ({"positions": "alibi"}, "positions must be one of rotary, learned, glm, glm_rotary, got 'alibi'"),
        ({"positions": "glm_rotary", "head_dim": 6}, "head_dim must be a multiple of 4 for glm_rotary, got 6"),
        ({"norm": "batch"}, "norm must be one of rmsnorm, layernorm, got 'batch'"),
        ({"mlp": "relu"}, "mlp must be one of swiglu, gelu, got 'relu'"),
        ({"layers": 0}, "layers must be at least 1, got 0"),
        ({"hidden": 0}, "hidden must be at least 1, got 0"),
        ({"heads": 3, "head_dim": None}, "dim must be a multiple of heads if head_dim is not given, got 16 and 3"),
        ({"dropout": 1.0}, "dropout must be at least 0 and below 1, got 1.0"),
        ({"dropout": math.nan}, "dropout must be at least 0"),
        ({"kv_heads": 3}, "heads must be a multiple of kv_heads, got 4 and 3"),
        ({"head_dim": 3}, "head_dim must be even for rotary positions, got 3"),
        ({"attention": "gated", "normalize": True}, "normalize must be False with a gate"),
        ({"attention": "linear", "feature_map": "identity", "normalize": True}, "normalize must be False with feature"),
        ({"attention": "jrt", "block": "parallel"}, "one of softmax, linear with block = 'parallel', got 'jrt'"),
    ],
)
def test_configs_that_there_are_not(changes, words):
    with pytest.raises(ValueError, match=words):
        dataclasses.replace(SMALL, **{"normalize": None, **changes})
    with pytest.raises(TypeError, match="vocab_size must be a whole number"):
        Config(vocab_size=2.0)
    with pytest.raises(TypeError, match="tied must be True or False"):
        Config(vocab_size=2, tied="yes")
    with pytest.raises(TypeError, match="config must be a Config, got None"):
        PrefixLM(None)


def test_every_config_that_there_is_makes_a_model():
    """Of all choices together, those that are refused are refused by the config, before there is any weight."""
    choices = itertools.product(ATTENTIONS, BLOCKS, ("taylor_exp", "identity"), (None, True))
    sizes = itertools.product(("rotary", "glm", "glm_rotary"), ((1, 8), (3, 8), (1, 6), (1, 3)))
    names = ("attention", "block", "feature_map", "normalize", "positions", "kv_heads", "head_dim")
    count = 0
    for choice, (positions, heads) in itertools.product(choices, sizes):
        named = dict(zip(names, (*choice, positions, *heads), strict=True))
        try:
            config = Config(vocab_size=5, dim=8, layers=1, heads=4, **named)
        except ValueError:
            continue
        with torch.device("meta"):
            PrefixLM(config)
        count += 1
    assert count > 50


@pytest.mark.parametrize("size", [np.int8, np.int16, np.int64])
def test_sizes_are_kept_as_ints_of_python(size):
    """A byte of NumPy's would overflow in the first product of two sizes."""
    names = ("vocab_size", "dim", "layers", "heads", "kv_heads", "head_dim", "value_dim", "hidden", "max_len")
    given = {name: size({"max_len": 100, "layers": 1}.get(name, 16)) for name in names}
    config = Config(**given, dropout=np.float64(0.1))
    assert {type(value) for value in dataclasses.astuple(config)} == {int, str, bool, float}
    model = PrefixLM(config).eval()
    assert model.blocks[0].attention.query.weight.shape == (256, 16)
    assert len(list(model.generate([1] * 90, size(11)))) == 11
    cache = KVCache(model, 1, capacity=size(20))
    model(torch.ones(1, 3, dtype=torch.int64), 2, cache=cache)
    cache.extend_prefix(size(3))
    assert [type(one) for one in cache.prefix_lens] == [int]


@pytest.mark.parametrize(
    ("args", "kwargs", "words"),
    [
        ((torch.full((1, 3), VOCAB), 0), {}, "tokens must be from 0 to vocab_size - 1 = 10, got 11"),
        ((torch.full((1, 3), -1), 0), {}, "tokens must be from 0 to vocab_size - 1 = 10, got -1"),
        ((torch.zeros(3, dtype=torch.int64), 0), {}, r"tokens must be \(batch, length\), got shape \(3,\)"),
        ((some_tokens(1, 25), 0), {}, "tokens must be at most max_len = 24 long, got 25"),
        ((some_tokens(2, 3), 4), {}, "prefix_len must be from 0 to the length of tokens = 3, got 4"),
        ((some_tokens(2, 3), [4, 0]), {}, r"prefix_len\[0\] must be from 0 to the length of tokens = 3, got 4"),
        ((some_tokens(2, 3), -1), {}, "prefix_len must be at least 0, got -1"),
        ((some_tokens(2, 3), [1, 2, 3]), {}, "tell of 3 examples, but tokens are of 2"),
        ((some_tokens(2, 3), [1]), {}, "tell of 1 examples, but tokens are of 2"),
        (
            (some_tokens(2, 3), 1),
            {"lengths": [3, 4]},
            r"lengths\[1\] must be from 0 to the length of tokens = 3, got 4",
        ),
        (
            (some_tokens(1, 3), 1),
            {"document_lens": [2, 2]},
            "document_lens add up to 4, more than the length of tokens = 3",
        ),
        (
            (some_tokens(1, 3), 1),
            {"positions": torch.tensor([0, 1, 24])},
            "positions must be from 0 to max_len - 1 = 23",
        ),
        ((some_tokens(2, 3), 1), {"positions": torch.arange(4)}, r"positions must be \(3,\) or \(2, 3\), got \(4,\)"),
        ((some_tokens(1, 3), 1), {"block_positions": torch.arange(3)}, "block_positions must be None"),
        ((some_tokens(1, 3), 1), {"loss_mask": torch.ones(3).bool()}, "loss_mask is of no use without targets"),
        ((some_tokens(1, 3), 1), {"targets": some_tokens(1, 2)}, r"targets must be a tensor of shape \(1, 3\), got"),
        ((some_tokens(1, 3), 1), {"targets": some_tokens(1, 3) + VOCAB}, "targets must be from 0 to vocab_size - 1"),
    ],
)
def test_calls_that_make_no_sense(args, kwargs, words):
    for config in (SMALL, dataclasses.replace(SMALL, attention="linear")):  # where no mask is made, in the same words
        with pytest.raises(ValueError, match=words):
            PrefixLM(config)(*args, **kwargs)


def test_block_positions_need_positions_and_a_table():
    model, tokens = made(positions="glm"), some_tokens(1, 3)
    for given, words in (
        ({"block_positions": torch.arange(3)}, "block_positions need positions beside them, got None"),
        (
            {"positions": torch.arange(3), "block_positions": torch.tensor([0, 1, 24])},
            "block_positions must be from 0 to max_len - 1 = 23, got 24",
        ),
        (
            {"positions": torch.arange(3), "block_positions": torch.arange(4)},
            r"block_positions must be \(3,\) or \(1, 3\), got \(4,\)",
        ),
    ):
        with pytest.raises(ValueError, match=words):
            model(tokens, 1, **given)


def test_calls_of_the_wrong_type():
    for tokens in ([[1, 2]], torch.zeros(1, 2), torch.zeros(1, 2, dtype=torch.bool)):
        with pytest.raises(TypeError, match="tokens must be a tensor of integers"):
            PrefixLM(SMALL)(tokens, 0)
    with pytest.raises(TypeError, match="prefix_len must be a whole number"):
        PrefixLM(SMALL)(some_tokens(1, 2), 1.0)
    model = PrefixLM(SMALL)
    with pytest.raises(ValueError, match="targets and cache exclude each other"):
        model(some_tokens(1, 2), 1, targets=some_tokens(1, 2), cache=KVCache(model, 1))
    with pytest.raises(TypeError, match=r"seen must be a Visibility, got 1 \(int\)"):
        model.hidden(some_tokens(1, 2), 1)


def written_naively(model, prompt, prefix, count):
    """Greedy, without a cache: read everything anew for each token."""
    tokens = list(prompt)
    for _ in range(count):
        tokens.append(model(torch.tensor([tokens]), prefix)[0][0, -1].argmax().item())
    return tokens[len(prompt) :]


def test_writing_with_the_cache_is_reading_everything_anew(model):
    prompt = some_tokens(1, 7)[0].tolist()
    for prefix in (0, 4, 7):
        written = [step.ids.item() for step in model.generate(prompt, 12, prefix_len=prefix, temperature=0)]
        assert written == written_naively(model, prompt, prefix, 12)
    assert [step.ids.item() for step in model.generate(prompt, 3, temperature=0)] == written_naively(
        model, prompt, 7, 3
    )
    assert len({tuple(written_naively(model, prompt, p, 12)) for p in (0, 4, 7)}) > 1


def test_a_batch_of_mixed_lengths_writes_as_each_alone(model):
    prompts, lengths, prefixes = some_tokens(3, 8), [8, 2, 5], [3, 2, 0]
    together = torch.stack(
        [step.ids for step in model.generate(prompts, 10, lengths=lengths, prefix_len=prefixes, temperature=0)], dim=1
    )
    for b, (n, p) in enumerate(zip(lengths, prefixes, strict=True)):
        assert together[b].tolist() == written_naively(model, prompts[b, :n].tolist(), p, 10)


def test_it_draws_from_what_it_shows():
    model = made()
    (first,) = model.generate([1, 2, 3], 1, seed=0)
    torch.testing.assert_close(first.logits, model(torch.tensor([[1, 2, 3]]), 3)[0][:, -1])
    torch.testing.assert_close(first.probs, first.logits.softmax(-1))
    (sharp,) = model.generate([1, 2, 3], 1, temperature=0.5, top_k=3, seed=0)
    assert torch.equal(sharp.logits, first.logits)
    assert (sharp.probs > 0).sum() == 3
    many = 4000
    (drawn,) = model.generate(torch.tensor([[1, 2, 3]] * many), 1, seed=1)
    share = torch.bincount(drawn.ids, minlength=VOCAB) / many
    torch.testing.assert_close(share, first.probs[0].float(), atol=4 * (0.25 / many) ** 0.5, rtol=0)


def test_a_seed_draws_the_same_again_and_leaves_torch_alone():
    model = made()
    random_state = torch.get_rng_state()
    runs = [[s.ids.item() for s in model.generate([1, 2], 20, temperature=3.0, seed=seed)] for seed in (5, 5, 6)]
    assert runs[0] == runs[1] != runs[2]
    assert torch.equal(torch.get_rng_state(), random_state)
    torch.manual_seed(0)
    unseeded = [[s.ids.item() for s in model.generate([1, 2], 20, temperature=3.0)] for _ in range(2)]
    assert unseeded[0] != unseeded[1]


def test_top_k_1_is_greedy():
    model = made()
    greedy = [s.ids.item() for s in model.generate([1, 2], 12, temperature=0)]
    for narrow in ({"top_k": 1}, {"top_p": 1e-6}):
        assert [s.ids.item() for s in model.generate([1, 2], 12, seed=0, **narrow)] == greedy


def test_a_stop_id_ends_each_example_and_then_the_stream():
    model = made()
    prompts = some_tokens(4, 3)
    free = torch.stack([s.ids for s in model.generate(prompts, 20, seed=2)], dim=1)
    stop = free[0, 4].item()
    steps = list(model.generate(prompts, 20, seed=2, stop_id=stop))
    wanted = []
    for row in free.tolist():
        end = row.index(stop) if stop in row else len(row)
        wanted.append(row[: end + 1] + [stop] * (20 - end - 1))
    longest = max((row.index(stop) + 1 if stop in row else 20) for row in wanted)
    assert len(steps) == longest
    assert torch.stack([s.ids for s in steps], dim=1).tolist() == [row[:longest] for row in wanted]
    for i, step in enumerate(steps):
        assert step.done.tolist() == [stop in row[: i + 1] for row in wanted]


def test_tokens_come_one_by_one(monkeypatch):
    model, read = made(), []
    hidden = model.hidden
    monkeypatch.setattr(
        model, "hidden", lambda tokens, *a, **k: read.append(tokens.shape[1]) or hidden(tokens, *a, **k)
    )
    stream = model.generate([1, 2, 3, 4], 10, seed=0)
    assert read == []
    assert len(list(islice(stream, 3))) == 3
    assert read == [4, 1, 1]  # the prompt once, then each new token; the last one is not read


def test_it_writes_up_to_max_len_and_says_so():
    model = made()
    prompt = [1] * 20
    assert len(list(model.generate(prompt, 5, seed=0))) == 5  # 24 are read, and the 25th is written
    with pytest.raises(ValueError, match="max_new_tokens must be from 0 to what max_len leaves = 5, got 6"):
        model.generate(prompt, 6)
    with pytest.raises(ValueError, match="prompt must be at most max_len = 24 long, got 25"):
        model.generate([1] * 25, 1)
    assert len(list(model.generate([1] * 24, 1))) == 1
    assert list(model.generate(prompt, 0)) == []
    padded = torch.ones(2, 24, dtype=torch.int64)
    assert len(list(model.generate(padded, 10, lengths=[15, 3], seed=0))) == 10


def test_dropout_is_off_while_it_writes_and_only_then():
    torch.manual_seed(0)
    model = PrefixLM(dataclasses.replace(SMALL, dropout=0.5)).train()
    stream = model.generate([1, 2, 3], 8, temperature=0)
    written = []
    for step in stream:
        assert model.training
        written.append(step.ids.item())
    assert written == written_naively(model.eval(), [1, 2, 3], 3, 8)


@pytest.mark.parametrize(
    ("kwargs", "words"),
    [
        ({"prompt": []}, "prompt must not be empty"),
        ({"prompt": [1, 99]}, "prompt must be from 0 to vocab_size - 1 = 10, got 99"),
        ({"prefix_len": 4}, "prefix_len of example 0 must be from 0 to the tokens that the example has = 3, got 4"),
        ({"prefix_len": [1, 1]}, "all that is given per example must tell of equally many examples"),
        ({"temperature": -1}, "temperature must be finite and at least 0"),
        ({"top_p": 0}, "top_p must be above 0 and at most 1, got 0"),
        ({"top_p": 1.5}, "top_p must be above 0 and at most 1, got 1.5"),
        ({"top_k": 0}, "top_k must be from 1 to vocab_size = 11, got 0"),
        ({"stop_id": 11}, "stop_id must be from 0 to 10, got 11"),
        ({"max_new_tokens": -1}, "max_new_tokens must be from 0 to"),
        ({"seed": -1}, "seed must be at least 0"),
        (
            {"prompt": some_tokens(2, 5), "lengths": [2, 5], "prefix_len": 3},
            "prefix_len of example 0 must be from 0 to the tokens that the example has = 2, got 3",
        ),
    ],
)
def test_wrong_wishes_are_refused_before_the_first_token(kwargs, words):
    with pytest.raises(ValueError, match=words):
        made().generate(**{"prompt": [1, 2, 3], "max_new_tokens": 2, **kwargs})


@pytest.mark.parametrize(
    ("sizes", "words"),
    [
        ({"vocab_size": 2**50}, r"vocab_size \* dim = "),
        ({"hidden": 2**50}, r"dim \* hidden = "),
        ({"head_dim": 2**50}, r"dim \* heads \* head_dim = "),
        ({"value_dim": 2**50}, r"dim \* heads \* value_dim = "),
        ({"max_len": 2**50, "positions": "learned"}, r"max_len \* dim = "),
    ],
)
def test_a_config_of_a_model_that_no_memory_holds_is_refused(sizes, words):
    with pytest.raises(ValueError, match=f"{words}.* is too large: it asks for .* TiB of memory"):
        Config(**{"vocab_size": 20, "dim": 16, **sizes})
    assert Config(vocab_size=20, max_len=2**50).max_len == 2**50  # rotary positions need no table
