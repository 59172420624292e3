"""The probe sees exactly what moves, in functions whose sight is known by construction; and says so in words."""

import doctest
import functools
import random
import warnings
from types import SimpleNamespace

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from course_lib import Config, PrefixLM, Visibility, _probing, probe
from course_lib.kernels import prefix_softmax_attention
from course_lib.masks import additive_mask, causal_mask, create_prefix_mask, prefix_mask
from course_lib.probe import Report, compare, visible_inputs


def attention(mask, *, scale=1.0):
    """A function of vectors (..., T, dim): attention to itself under a mask."""
    return lambda x: F.scaled_dot_product_attention(x, x, x, attn_mask=mask, scale=scale)


class Block(nn.Module):
    """A pre-norm transformer block under a fixed mask, with dropout."""

    def __init__(self, dim, heads, mask):
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.qkv, self.out = nn.Linear(dim, 3 * dim), nn.Linear(dim, dim)
        self.mlp = nn.Sequential(nn.Linear(dim, 4 * dim), nn.ReLU(), nn.Linear(4 * dim, dim), nn.Dropout(0.5))
        self.heads, self.mask = heads, mask

    def forward(self, x):
        batch, length, _ = x.shape
        q, k, v = (y.view(batch, length, self.heads, -1).transpose(1, 2) for y in self.qkv(self.norm1(x)).chunk(3, -1))
        y = F.scaled_dot_product_attention(q, k, v, attn_mask=self.mask).transpose(1, 2).reshape(x.shape)
        x = x + self.out(y)
        return x + self.mlp(self.norm2(x))


class Gpt(nn.Module):
    """Token ids (B, T) -> (logits (B, T, vocabulary), loss), as many a small GPT returns them."""

    def __init__(self, vocab_size, dim, heads, mask, layers=2):
        super().__init__()
        self.tokens, self.places = nn.Embedding(vocab_size, dim), nn.Embedding(len(mask), dim)
        self.blocks = nn.Sequential(*(Block(dim, heads, mask) for _ in range(layers)))
        self.head = nn.Linear(dim, vocab_size)

    def forward(self, ids):
        _, length = ids.shape  # a batch, and nothing but a batch
        return self.head(self.blocks(self.tokens(ids) + self.places(torch.arange(length)))), None


# What is seen is what is there


@pytest.mark.parametrize("seed", range(10))
def test_any_mask_of_one_layer_is_found(seed):
    draw = random.Random(seed)
    length = draw.randint(1, 9)
    mask = torch.tensor([[draw.random() < 0.5 or i == j for j in range(length)] for i in range(length)])
    assert torch.equal(visible_inputs(attention(mask), length, seed=seed), mask)


@pytest.mark.parametrize("length", [1, 2, 7, 31])
def test_our_own_attention_keeps_its_promise(length):
    for prefix in {0, 1, length // 2, length}:
        for backend in ("reference", "sdpa"):

            def attend(x, prefix=prefix, backend=backend):
                return prefix_softmax_attention(*[x[:, None]] * 3, prefix, backend=backend)[:, 0]

            report = compare(visible_inputs(attend, length), prefix_mask(prefix, length))
            assert report.ok, report


def test_packed_and_padded_sight_is_found_too():
    mask = Visibility([[2, 1]], [6], [[3, 4]]).mask(8)[0, 0]
    eye = torch.eye(8, dtype=torch.bool)
    assert torch.equal(visible_inputs(lambda x: x + attention(mask)(x), 8), mask | eye)


@pytest.mark.parametrize(
    ("fn", "sight"),
    [
        (lambda x: x.cumsum(-2), lambda i, j: j <= i),
        (lambda x: x.flip(-2), lambda i, j: j == 7 - i),
        (lambda x: x.roll(1, -2), lambda i, j: j == (i - 1) % 8),
        (lambda x: x * 0, lambda i, j: False),
        (lambda x: torch.zeros(x.shape[:-1]), lambda i, j: False),
        (lambda x: x.mean(-2, keepdim=True).expand_as(x), lambda i, j: True),
        (lambda x: x[..., 0] > 0, lambda i, j: i == j),
        (lambda x: x.cummax(-2).indices, lambda i, j: j <= i),
    ],
)
def test_functions_whose_sight_is_plain(fn, sight):
    wanted = torch.tensor([[sight(i, j) for j in range(8)] for i in range(8)])
    seen = visible_inputs(fn, 8, trials=40)
    if fn(torch.randn(8, 8)).dtype == torch.int64:  # the place of a maximum need not move, though it looks at all
        assert not (seen & ~wanted).any()
    else:
        assert torch.equal(seen, wanted)


def test_no_tokens_and_one():
    assert visible_inputs(lambda x: 1 / 0, 0).shape == (0, 0)
    assert visible_inputs(lambda x: x, 1).tolist() == [[True]]


def test_an_infinity_that_stays_is_no_move():
    def forbids_a_word(x):
        return F.pad(x.cumsum(-2), (0, 1), value=-torch.inf)

    assert torch.equal(visible_inputs(forbids_a_word, 5), causal_mask(5))
    assert torch.equal(visible_inputs(forbids_a_word, 5, batched=False, tolerance=1e-9), causal_mask(5))


@pytest.mark.parametrize("shape", [(), (3,), (2, 3), (0,)])
def test_outputs_of_any_width(shape):
    def causal(x):
        return x.cumsum(-2).sum(-1)[(..., *[None] * len(shape))].expand(*x.shape[:-1], *shape)

    wanted = causal_mask(5) if 0 not in shape else torch.zeros(5, 5, dtype=torch.bool)
    assert torch.equal(visible_inputs(causal, 5), wanted)


# Neither blind


@pytest.mark.parametrize("seed", range(10))
def test_one_relu_between_each_input_and_output_hides_nothing(seed):
    weights = torch.randn(6, 6, 8, generator=torch.Generator().manual_seed(seed))
    seen = visible_inputs(lambda x: torch.einsum("ijd,...jd->...ij", weights, x).relu().sum(-1), 6, seed=seed)
    assert seen.all()


def test_saturated_units_hide_nothing():
    weights = 10 * torch.randn(6, 6, 8, generator=torch.Generator().manual_seed(0))
    assert visible_inputs(lambda x: torch.einsum("ijd,...jd->...ij", weights, x).tanh().sum(-1), 6).all()
    assert visible_inputs(attention(prefix_mask(6, 6), scale=10.0), 6).all()


def test_units_that_answer_only_near_zero_hide_nothing():
    def bumps(x):
        return (-100 * x.square().sum(-1)).exp().sum(-1, keepdim=True).expand(x.shape[:-1])

    assert visible_inputs(bumps, 6).all()


def test_a_faint_sight_is_seen():
    assert visible_inputs(lambda x: x + 1e-6 * x.sum(-2, keepdim=True), 6).all()
    faint = functools.partial(lambda x: x + 1e-12 * x.sum(-2, keepdim=True))
    assert torch.equal(visible_inputs(faint, 6), torch.eye(6, dtype=torch.bool))  # lost in float32
    assert visible_inputs(faint, 6, dtype=torch.float64).all()


def test_every_trial_gives_every_token_another_id():
    assert torch.equal(visible_inputs(lambda ids: ids.cumsum(-1), 12, vocab_size=2, trials=1), causal_mask(12))


def test_more_trials_find_what_few_cannot():
    table = torch.zeros(50)
    table[7] = 1.0  # only one id of fifty makes a difference
    look = lambda ids: table[ids].cumsum(-1)  # noqa: E731
    few, many = (visible_inputs(look, 4, vocab_size=50, trials=trials) for trials in (1, 600))
    assert torch.equal(many, causal_mask(4))
    assert not torch.equal(few, many)


# Nor seeing ghosts


@pytest.mark.parametrize("length", [3, 8, 17, 33])
@pytest.mark.parametrize("added", [False, True])
def test_float_noise_is_not_taken_for_sight(length, added):
    torch.manual_seed(length)
    mask = prefix_mask(length // 2, length)
    given = additive_mask(mask, torch.float32).clamp(min=torch.finfo(torch.float32).min) if added else mask
    for model, options in (
        (Block(24, 3, given), {"dim": 24}),
        (Gpt(40, 24, 3, given), {"vocab_size": 40}),
    ):
        report = compare(visible_inputs(model, length, trials=4, **options), mask)
        assert report.ok, report
        model.eval()

        def one(x, model=model):
            out = model(x[None])
            return out[0][0] if isinstance(out, tuple) else out[0]

        report = compare(visible_inputs(one, length, batched=False, trials=4, **options), mask)
        assert report.ok, report


def test_a_tolerance_calls_small_changes_none():
    def noisy(x):
        return x + 1e-4 * x.mean(-2, keepdim=True).tanh()

    assert visible_inputs(noisy, 5).all()
    assert torch.equal(visible_inputs(noisy, 5, tolerance=1e-3), torch.eye(5, dtype=torch.bool))


def test_an_overflow_is_no_sight():
    def careless(x):
        weights = (x @ x.mT).exp() * torch.ones(x.shape[-2], x.shape[-2]).tril()  # inf * 0 is NaN
        return weights / weights.sum(-1, keepdim=True) @ x

    assert not compare(visible_inputs(careless, 5, dim=8), causal_mask(5)).leaks


# Bugs that masks have had


def test_pytorch_means_the_opposite_by_true():
    """nn.Transformer's bool masks are True where attention is forbidden; ours, and SDPA's, where it is allowed."""
    torch.manual_seed(0)
    layer = nn.TransformerEncoderLayer(16, 2, 32, batch_first=True).eval()
    mask = prefix_mask(3, 7)
    right = compare(visible_inputs(lambda x: layer(x, src_mask=~mask), 7, dim=16), mask)
    assert right.ok, right
    with pytest.raises(ValueError, match="output 6 of fn is NaN"):  # the last token may see all, so it is shown nothing
        visible_inputs(lambda x: layer(x, src_mask=mask), 7, dim=16)
    mask[6] = True
    mask[6, 3] = False
    wrong = compare(visible_inputs(lambda x: layer(x, src_mask=mask), 7, dim=16), mask)
    assert (wrong.first_leak, wrong.first_blind) == ((0, 3), (0, 1))


class Encoder(nn.Module):
    """A model of token ids from torch's own layers, with a prefix mask inside."""

    def __init__(self, prefix_len, layers=2):
        super().__init__()
        self.prefix_len = prefix_len
        self.embed = nn.Embedding(30, 16)
        layer = nn.TransformerEncoderLayer(16, 4, 32, dropout=0.1, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, layers, enable_nested_tensor=False)
        self.head = nn.Linear(16, 30)

    def forward(self, ids):
        return self.head(self.encoder(self.embed(ids), mask=~prefix_mask(self.prefix_len, ids.shape[1])))


@pytest.mark.parametrize("model", [Encoder(5), Gpt(30, 16, 2, prefix_mask(5, 12))], ids=["torch's layers", "GPT-like"])
def test_the_recipe_audits_a_model(model):
    from course_lib import masks, probe

    model.eval()
    logits = lambda ids: model(ids)  # noqa: E731 - as the recipe has it
    seen = probe.visible_inputs(logits, 12, vocab_size=30)
    report = probe.compare(seen, masks.prefix_mask(5, 12))
    assert str(report).startswith("The mask is kept: each of the 12 outputs")
    shorter = probe.compare(seen, masks.prefix_mask(4, 12))
    assert shorter.leaks == tuple((i, 4) for i in range(4))
    assert not shorter.blind


@pytest.mark.parametrize(
    ("wrong", "leak", "blind"),
    [
        # The prefix sees the targets, and the targets do not see the prefix.
        (lambda q, k: (q < 3) | ((k >= 3) & (q >= k)), (0, 3), (3, 0)),
        (lambda q, k: (q >= 0) & (k >= 0), (0, 3), None),  # all ones
        (lambda q, k: k <= q, None, (0, 1)),  # the prefix left causal
        (lambda q, k: (q <= k) | (k < 3), (0, 3), (4, 3)),  # transposed
        (lambda q, k: (k <= q) | (k <= 3), (0, 3), None),  # one too many
    ],
)
def test_wrong_prefix_masks_are_named(wrong, leak, blind):
    index = torch.arange(7)
    report = compare(visible_inputs(attention(wrong(index[:, None], index)), 7), prefix_mask(3, 7))
    assert (report.first_leak, report.first_blind) == (leak, blind)
    assert not report.ok


def test_a_product_with_ones_and_zeros_before_the_softmax_leaks():
    def product(x):
        return ((x @ x.mT) * create_prefix_mask(3, x.shape[-2])).softmax(-1) @ x

    report = compare(visible_inputs(product, 7), prefix_mask(3, 7))
    assert report.first_leak == (0, 3)
    assert not report.blind


# It leaves no trace


def test_a_module_is_put_in_eval_mode_and_back():
    model = Gpt(20, 16, 2, prefix_mask(2, 6))
    model.train()
    model.blocks[0].norm1.eval()
    before = {name: module.training for name, module in model.named_modules()}
    modes = []
    model.head.register_forward_hook(lambda module, *_: modes.append(module.training))
    assert compare(visible_inputs(model, 6, vocab_size=20), prefix_mask(2, 6)).ok
    assert compare(visible_inputs(model.forward, 6, vocab_size=20), prefix_mask(2, 6)).ok  # a method of one, too
    assert modes
    assert not any(modes)
    assert {name: module.training for name, module in model.named_modules()} == before
    with pytest.raises(ValueError, match="could not be called"):
        visible_inputs(model, 6, dim=3)
    assert {name: module.training for name, module in model.named_modules()} == before


def test_the_random_state_and_the_gradients_stay():
    model = Block(8, 2, causal_mask(4))
    model.train()(torch.randn(1, 4, 8)).sum().backward()
    gradients = [p.grad.clone() for p in model.parameters()]
    state = torch.get_rng_state()

    def draws_numbers(x):  # but gives the same answer whatever they are
        return model.eval()(x) + 0 * torch.rand(1)

    visible_inputs(model, 4)
    visible_inputs(draws_numbers, 4)
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(p.grad, gradient) for p, gradient in zip(model.parameters(), gradients, strict=True))


def test_the_result_depends_on_the_seed_alone():
    table = torch.zeros(9)
    table[3] = 1.0
    look = lambda ids: table[ids].cumsum(-1)  # noqa: E731
    torch.manual_seed(1)
    once = visible_inputs(look, 8, vocab_size=9, trials=2, seed=5)
    torch.manual_seed(2)
    assert torch.equal(visible_inputs(look, 8, vocab_size=9, trials=2, seed=5), once)
    assert any(not torch.equal(visible_inputs(look, 8, vocab_size=9, trials=2, seed=seed), once) for seed in range(5))


def test_functions_that_write_into_their_input_or_reuse_their_output():
    buffer = torch.zeros(5, 8)

    def in_place(x):
        return x.cumsum_(-2)

    def reuses(x):
        return torch.cumsum(x, 0, out=buffer)

    assert torch.equal(visible_inputs(in_place, 5), causal_mask(5))
    assert torch.equal(visible_inputs(reuses, 5, batched=False), causal_mask(5))


def test_a_trial_costs_a_call_for_each_token_and_one_more():
    calls = []

    def one(x):
        calls.append(tuple(x.shape))
        return x.cumsum(0)

    visible_inputs(one, 6, batched=False, trials=1)
    few = len(calls)
    visible_inputs(one, 6, batched=False, trials=4)
    assert len(calls) - few - few == 3 * (6 + 1)
    assert set(calls) == {(6, 8)}


def test_a_batch_takes_few_calls_and_long_inputs_come_in_parts(monkeypatch):
    shapes = []

    def many(x):
        shapes.append(tuple(x.shape))
        return x.cumsum(1)

    assert torch.equal(visible_inputs(many, 6, batched=True, trials=1), causal_mask(6))
    assert shapes.count((6, 6, 8)) == 2
    shapes.clear()
    monkeypatch.setattr(_probing, "BUDGET", 4 * 8 * 6 * 6)
    assert torch.equal(visible_inputs(many, 6, batched=True, trials=1), causal_mask(6))
    assert shapes.count((4, 6, 8)) == 3  # the base, tokens 0 to 3, tokens 4 and 5
    assert max(shape[0] for shape in shapes) == 4


def test_a_model_that_takes_one_example_at_a_time():
    def fussy(x):
        assert x.shape[:2] == (1, 6), "one example, please"
        return x.cumsum(1)

    assert torch.equal(visible_inputs(fussy, 6), causal_mask(6))


def test_the_try_of_the_other_shape_warns_of_nothing():
    def picky(x):
        if x.dim() == 3:
            warnings.warn("three dimensions are deprecated", DeprecationWarning, stacklevel=1)
            raise ValueError("two dimensions, please")
        return x.cumsum(0)

    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        assert torch.equal(visible_inputs(picky, 5), causal_mask(5))
    assert not told


# What cannot be probed is refused in words


class Counter:
    """A function that remembers how often it was called, and from some call on shows it."""

    def __init__(self, silent=0):
        self.calls, self.silent = 0, silent

    def __call__(self, x):
        self.calls += 1
        return x.cumsum(-2) + max(0, self.calls - self.silent)


@pytest.mark.parametrize(
    ("fn", "words"),
    [
        (lambda x: F.dropout(x, 0.1), r"answers the same input differently, by up to .* It is random, as dropout"),
        (lambda x: x + torch.rand(()), r"It is random"),
        (Counter(), r"or it remembers earlier calls"),
        (lambda x: x - x.mean(0, keepdim=True) if x.dim() == 3 else None, r"the examples of a batch see each other"),
        (lambda x: x.cumsum(0) if x.dim() == 3 else None, r"example 1 moved when only example 0 did"),
        (lambda x: x.flip(0).cumsum(0).flip(0) if x.dim() == 3 else None, r"example 0 moved when only example 1 did"),
        (lambda x: x.cumsum(0), r"answers \(5, 8\) and \(1, 5, 8\) differently: pass batched=False"),
        (lambda x: F.pad(x.cumsum(0), (0, 1), value=-torch.inf), r"answers \(5, 8\) and \(1, 5, 8\) differently"),
        (nn.GRU(8, 3), r"answers \(5, 8\) and \(1, 5, 8\) differently"),
        (nn.TransformerEncoderLayer(8, 2, 8), r"answers \(5, 8\) and \(1, 5, 8\) differently"),
        (nn.Linear(7, 7), r"could not be called with a tensor of \(1, 5, 8\): RuntimeError: .*; of \(5, 8\): Runtime"),
        (lambda x: x.sum(), r"fn answers \(1, 5, 8\) with \(\), not one output per input$"),
        (lambda x: x[..., :-1, :], r"fn answers \(1, 5, 8\) with \(1, 4, 8\), not one output per input$"),
        (lambda x: {"out": x}, r"^fn returned an object of type dict; .*, for example lambda x: model\(x\)\['out'\]$"),
        (lambda x: {"n": 1, "out": x, "logits": x}, r"lambda x: model\(x\)\['logits'\]$"),
        (lambda x: SimpleNamespace(logits=x), r"type SimpleNamespace; return a tensor, .* model\(x\)\.logits$"),
        (lambda x: {}, r"^fn returned an object of type dict; return a tensor$"),
        (lambda x: None, r"^fn returned None; return a tensor$"),
        (lambda x: nn.Linear(8, 7).double()(x), r"dim, vocab_size, dtype and device say what it takes"),
        (lambda x: x.masked_fill(torch.arange(5)[:, None] == 2, float("nan")), r"output 2 of fn is NaN"),
        (
            lambda x: x if x.dim() == 3 else x.masked_fill(torch.arange(5)[:, None] == 3, torch.nan),
            r"output 3 of fn is",
        ),
        (lambda x: (x @ x.mT).masked_fill(~causal_mask(5).tril(-1), -torch.inf).softmax(-1), r"output 0 of fn is NaN"),
    ],
)
def test_functions_that_cannot_be_probed(fn, words):
    torch.manual_seed(0)
    with pytest.raises(ValueError, match=words):
        visible_inputs(fn, 5)


LAYER = nn.TransformerEncoderLayer(16, 2, 32, dropout=0.0, batch_first=True)


@pytest.mark.parametrize(
    ("fn", "got"),
    [
        (lambda x: LAYER(x, src_mask=~prefix_mask(3, 7))[:, 1:], r"\(1, 6, 16\)"),  # of one example: all but a feature
        (lambda x: LAYER(x, src_mask=~prefix_mask(3, 7))[:, -1], r"\(1, 16\)"),  # the last one alone
        (lambda x: LAYER(x, src_mask=~prefix_mask(3, 7)).mean(1), r"\(1, 16\)"),  # pooled
        (lambda x: torch.cat([x[:, :1], x], 1), r"\(1, 8, 16\)"),  # a start token
    ],
)
def test_outputs_that_are_not_one_per_input_are_not_read_another_way(fn, got):
    """Of one example, each of them returns one row per input: its second dimension holds the features."""
    told = rf"^fn answers \(1, 7, 16\) with {got}, not one output per input"
    with pytest.raises(ValueError, match=rf"{told}; if it takes one example, length first, pass batched=False$"):
        visible_inputs(fn, 7, dim=16)
    with pytest.raises(ValueError, match=rf"{told}$"):
        visible_inputs(fn, 7, dim=16, batched=True)
    assert visible_inputs(fn, 7, dim=16, batched=False).shape == (7, 7)


def test_a_wrong_shape_of_one_example_is_not_read_as_a_batch():
    pooled = lambda x: x.mean(0, keepdim=True)  # noqa: E731 - of a batch of one: the example itself
    with pytest.raises(ValueError, match=r"\(7, 8\) with \(1, 8\).*takes a batch, batch first, pass batched=True$"):
        visible_inputs(pooled, 7)
    last = lambda ids: F.one_hot(ids, 9).cumsum(1)[:, -1] if ids.dim() == 2 else ids.unbind(1)  # noqa: E731
    with pytest.raises(ValueError, match=r"\(1, 7\) with \(1, 9\).*; with \(7,\) it raises IndexError: "):
        visible_inputs(last, 7, vocab_size=9)


def test_the_tensor_in_what_a_model_of_ids_answers_is_pointed_out():
    model = Gpt(30, 16, 2, causal_mask(5))
    with pytest.raises(ValueError, match=r"lambda ids: model\(ids\)\['logits'\]"):  # the other shape is an IndexError
        visible_inputs(lambda ids: {"loss": None, "logits": model(ids)[0]}, 5, vocab_size=30)


def test_rare_randomness_is_found_between_trials():
    with pytest.raises(ValueError, match="remembers earlier calls"):
        visible_inputs(Counter(silent=8), 5, batched=False)


def test_a_recurrent_net_of_one_example_sees_the_past():
    assert torch.equal(visible_inputs(nn.GRU(8, 3), 5, batched=False), causal_mask(5))


def test_dropout_that_the_probe_cannot_reach_is_reported():
    model = Gpt(20, 16, 2, prefix_mask(2, 6)).train()
    with pytest.raises(ValueError, match=r"call \.eval\(\) on the model"):
        visible_inputs(lambda ids: model(ids), 6, vocab_size=20)


def test_an_error_of_the_function_stays_readable():
    def broken(x):
        raise KeyError("weights")

    with pytest.raises(ValueError, match=r"KeyError: 'weights'") as caught:
        visible_inputs(broken, 5, batched=True)
    assert isinstance(caught.value.__cause__, KeyError)


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"length": -1}, ValueError, "length must be at least 0, got -1"),
        ({"length": 2.0}, TypeError, "length must be a whole number"),
        ({"trials": 0}, ValueError, "trials must be at least 1, got 0"),
        ({"seed": None}, TypeError, "seed must be a whole number"),
        ({"dim": 0}, ValueError, "dim must be at least 1, got 0"),
        ({"vocab_size": 1}, ValueError, "vocab_size must be at least 2, got 1"),
        ({"dim": 4, "vocab_size": 9}, ValueError, "not both: got 4 and 9"),
        ({"batched": 1}, TypeError, "batched must be True, False or None, got 1"),
        ({"tolerance": -1e-3}, ValueError, r"tolerance must be at least 0 and at most 1e\+18, got -0.001"),
        ({"tolerance": float("nan")}, ValueError, r"tolerance must be at least 0 and at most 1e\+18, got nan"),
        ({"tolerance": "0"}, TypeError, "tolerance must be a number, got '0'"),
        ({"dtype": torch.int64}, TypeError, "dtype must be a floating-point torch.dtype, got torch.int64"),
        ({"fn": 3}, TypeError, "fn must be a function or an nn.Module, got 3"),
    ],
)
def test_options_that_make_no_sense_are_refused(options, error, words):
    with pytest.raises(error, match=words):
        visible_inputs(**{"fn": lambda x: x, "length": 4, **options})


# The report


def test_the_report_of_a_kept_mask():
    report = compare(prefix_mask(3, 7), prefix_mask(3, 7))
    assert report == Report((), (), 7)
    assert report.ok
    assert report.first_leak is None
    assert report.first_blind is None
    assert str(report) == "The mask is kept: each of the 7 outputs is moved by all that it may see, and no more."
    assert compare(torch.zeros(0, 0).bool(), torch.zeros(0, 0).bool()).ok


def test_the_report_names_the_first_leak_and_the_first_blind_pair():
    seen, claimed = prefix_mask(0, 4), prefix_mask(0, 4)
    seen[0, 2] = seen[1, 3] = True
    seen[3, 1] = False
    report = compare(seen, claimed)
    assert (report.leaks, report.blind, report.ok) == (((0, 2), (1, 3)), ((3, 1),), False)
    assert (report.first_leak, report.first_blind) == ((0, 2), (3, 1))
    assert str(report) == (
        "LEAK: output 0 is moved by input 2, which the mask hides from it (the first of 2 such pairs). It is told what "
        "comes later: trained so, it copies the answer and never learns to predict it.\n"
        "BLIND: output 3 is not moved by input 1, which the mask shows it. What that input says is lost to it."
    )
    assert repr(report) == str(report)


def test_a_leak_from_the_past_means_something_else():
    claimed = prefix_mask(0, 3)
    claimed[2, 0] = False
    assert "padding or another document" in str(compare(prefix_mask(0, 3), claimed))


@pytest.mark.parametrize(
    ("claimed", "leak", "ahead"),
    [
        (Visibility(6, [4]), (0, 4), False),  # padding, in the prefix
        (Visibility(2, [4]), (1, 3), True),
        (Visibility(1, document_lens=[3, 4]), (2, 3), False),  # the next document
        (Visibility(1, document_lens=[3, 4]), (2, 8), False),  # what is left of the row
        (Visibility(1, document_lens=[3, 4]), (3, 6), True),
        (Visibility(0), (0, 8), True),
        (causal_mask(9).triu(-2), (0, 8), True),  # a sliding window: far ahead, and of the same text
    ],
)
def test_a_leak_from_further_on_is_the_answer_only_in_the_same_text(claimed, leak, ahead):
    seen = claimed.mask(9).reshape(9, 9).clone() if isinstance(claimed, Visibility) else claimed.clone()
    assert not seen[leak]
    seen[leak] = True
    report = compare(seen, claimed)
    assert (report.leaks, report.ahead) == ((leak,), ahead)
    assert ("copies the answer" in str(report), "padding or another document" in str(report)) == (ahead, not ahead)


@pytest.mark.parametrize("options", [{}, {"device": "meta"}, {"vocab_size": 8}])
def test_the_meta_device_has_nothing_to_move(options):
    fn = nn.Embedding(8, 8, device="meta") if "vocab_size" in options else nn.Linear(8, 8, device="meta")
    for one in (fn, nn.Linear(8, 8)) if "device" in options else (fn,):
        with pytest.raises(ValueError, match="fn and device must be where tensors hold numbers, got the meta device"):
            visible_inputs(one, 5, **options)


@pytest.mark.parametrize(
    ("seen", "claimed", "error", "words"),
    [
        (
            prefix_mask(1, 3),
            create_prefix_mask(1, 3),
            TypeError,
            r"bool tensor \(T, T\), or a Visibility, got .*float32",
        ),
        ([[True]], prefix_mask(1, 1), TypeError, r"seen must be a bool tensor"),
        (prefix_mask(1, 3), prefix_mask([1, 2], 3), ValueError, r"claimed must be \(T, T\), got shape \(2, 1, 3, 3\)"),
        (
            prefix_mask(1, 3),
            Visibility([1, 2]),
            ValueError,
            r"got shape \(2, 1, 3, 3\); of a batch, compare one by one",
        ),
        (prefix_mask(1, 3), Visibility(4), ValueError, r"prefix_len must be from 0 to the length of seen = 3, got 4"),
        (prefix_mask(1, 3), prefix_mask(1, 4), ValueError, r"shape of seen, \(3, 3\), got \(4, 4\)"),
        (prefix_mask(1, 3)[:2], prefix_mask(1, 3), ValueError, r"seen must be \(T, T\), got shape \(2, 3\)"),
    ],
)
def test_only_masks_of_one_size_are_compared(seen, claimed, error, words):
    with pytest.raises(error, match=words):
        compare(seen, claimed)


@pytest.mark.parametrize("claimed", [Visibility(3), prefix_mask([3], 7), prefix_mask(3, 7)[None]])
def test_a_mask_of_one_example_is_taken_in_each_of_its_forms(claimed):
    assert compare(prefix_mask(3, 7), claimed).ok
    assert compare(prefix_mask(4, 7), claimed).leaks == ((0, 3), (1, 3), (2, 3))
    assert compare(torch.ones(1, 1, 1, 1, dtype=torch.bool), Visibility(1)).ok


@pytest.mark.parametrize(
    "given", [{"lengths": [5]}, {"document_lens": [3, 2]}, {"lengths": [5], "document_lens": [3, 2]}]
)
@pytest.mark.parametrize("prefix", [0, 2])
def test_outputs_of_padding_need_not_count(given, prefix):
    torch.manual_seed(0)
    model = PrefixLM(Config(vocab_size=30, dim=16, layers=2, heads=2))
    lengths, documents = given.get("lengths"), given.get("document_lens")

    def logits(ids):
        return model(ids, prefix, lengths=lengths and lengths * len(ids), document_lens=documents)

    seen = visible_inputs(logits, 7, vocab_size=30)
    claimed = Visibility(prefix, **given)
    assert (5, 5) in compare(seen, claimed).leaks  # its own input moves the output of padding
    report = compare(seen, claimed, rows=range(5))
    assert str(report).startswith("The mask is kept: each of the 5 outputs compared is moved by")
    seen[2, 6], seen[1, 0] = True, False  # rows hide no other output's errors, nor any input
    report = compare(seen, claimed, rows=torch.tensor([4, 2, 1, 2]))
    assert (report.leaks, report.blind, report.rows) == (((2, 6),), ((1, 0),), (1, 2, 4))


@pytest.mark.parametrize(
    ("rows", "error", "words"),
    [
        ([], ValueError, "rows must name at least one output"),
        ([0, 3], ValueError, r"rows\[1\] must be from 0 to 2, got 3"),
        ([-1], ValueError, r"rows\[0\] must be from 0 to 2, got -1"),
        (torch.tensor([True, False, True]), TypeError, "rows must be one-dimensional and hold integers"),
        (2, TypeError, "rows must be a list or tensor of whole numbers, got 2"),
    ],
)
def test_rows_that_are_none_are_refused(rows, error, words):
    with pytest.raises(error, match=words):
        compare(prefix_mask(1, 3), prefix_mask(1, 3), rows=rows)


def test_the_examples_in_the_docstrings():
    result = doctest.testmod(probe)
    assert result.attempted > 3
    assert result.failed == 0
