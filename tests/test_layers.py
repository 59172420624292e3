"""Layers against plain loops and the formulas of their papers."""

import math

import numpy as np
import pytest
import torch

from course_lib.layers import MLPS, Attention, GeluMLP, ParallelBlock, SerialBlock, SwiGLU
from course_lib.linear_layers import GatedAttention, JRTAttention, LinearAttention
from course_lib.masks import Visibility, prefix_mask
from course_lib.positions import rotary

DIM, HEADS, HEAD_DIM, LENGTH = 6, 4, 2, 5


def made(module, seed=0):
    """The same module in float64, with weights that are large enough for differences to show."""
    rng = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for weight in module.parameters():
            weight.copy_(torch.randn(weight.shape, generator=rng) / math.sqrt(weight.shape[-1]) + (weight.dim() == 1))
    return module.double()


def inputs(batch=2, length=LENGTH, seed=1):
    return torch.randn(batch, length, DIM, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def attention_by_loops(layer, x, mask, positions):
    """One query at a time, from the layer's weights alone."""
    group = layer.heads // layer.kv_heads
    out = torch.zeros(*x.shape[:2], layer.heads * layer.head_dim, dtype=x.dtype)
    for b in range(len(x)):
        for h in range(layer.heads):
            own, shared = (slice(n * layer.head_dim, (n + 1) * layer.head_dim) for n in (h, h // group))
            q, k, v = (
                x[b] @ layer.query.weight[own].T,
                x[b] @ layer.key.weight[shared].T,
                x[b] @ layer.value.weight[shared].T,
            )
            if layer.rotary:
                q, k = (rotary(one[None, None], positions[b])[0, 0] for one in (q, k))
            for i in range(x.shape[1]):
                keys = [j for j in range(x.shape[1]) if mask[b][i][j]]
                scores = [math.exp((q[i] @ k[j]).item() / math.sqrt(layer.head_dim)) for j in keys]
                for j, score in zip(keys, scores, strict=True):
                    out[b, i, own] += score / sum(scores) * v[j]
    return out @ layer.output.weight.T


@pytest.mark.parametrize("kv_heads", [1, 2, 4])
@pytest.mark.parametrize("turned", [True, False])
def test_attention_is_its_definition(kv_heads, turned):
    layer, x = made(Attention(DIM, HEADS, HEAD_DIM, kv_heads, rotary=turned)), inputs()
    causal, one, each = (prefix_mask(p, LENGTH).expand(2, 1, LENGTH, LENGTH) for p in (0, 3, torch.tensor([2, 5])))
    order = torch.arange(LENGTH).expand(2, LENGTH)
    for given, mask in (
        (None, causal),
        (Visibility(0), causal),
        (Visibility(3), one),
        (prefix_mask(3, LENGTH), one),
        (Visibility([2, 5]), each),
        (each, each),
    ):
        wanted = attention_by_loops(layer, x, mask[:, 0].tolist(), order)
        torch.testing.assert_close(layer(x, given), wanted)
    shifted = torch.tensor([[3, 1, 4, 1, 5], [0, 1, 2, 3, 4]])
    wanted = attention_by_loops(layer, x, one[:, 0].tolist(), shifted)
    torch.testing.assert_close(layer(x, Visibility(3), positions=shifted), wanted)


def test_key_value_heads_are_as_many_as_asked_for():
    layer = Attention(DIM, HEADS, HEAD_DIM, 2)
    keys, values = layer.keys_values(inputs().float())
    assert keys.shape == values.shape == (2, 2, LENGTH, HEAD_DIM)
    assert {name: tuple(weight.shape) for name, weight in layer.named_parameters()} == {
        "query.weight": (8, 6),
        "key.weight": (4, 6),
        "value.weight": (4, 6),
        "output.weight": (6, 8),
    }


@pytest.mark.parametrize("kv_heads", [1, 4])
def test_a_query_that_sees_nothing_gets_zeros_and_gives_no_nan(kv_heads):
    layer, x = made(Attention(DIM, HEADS, HEAD_DIM, kv_heads)), inputs().requires_grad_()
    out = layer(x, Visibility(2, lengths=[0, 3]))
    assert torch.equal(out[0], torch.zeros_like(out[0]))
    out.square().sum().backward()
    assert torch.equal(x.grad[0], torch.zeros_like(x.grad[0]))
    assert x.grad.isfinite().all()
    assert all(weight.grad.isfinite().all() for weight in layer.parameters())


@pytest.mark.parametrize("shape", [(0, 3), (2, 0), (2, 1)])
def test_empty_and_single_inputs(shape):
    block = SerialBlock(DIM, heads=HEADS, head_dim=HEAD_DIM, hidden=8, kv_heads=2)
    x = torch.randn(*shape, DIM, requires_grad=True)
    for mask in (None, Visibility(0)):
        out = block(x, mask)
        assert out.shape == x.shape
        out.sum().backward()


@pytest.mark.parametrize("kv_heads", [1, 2, 4])
def test_the_weights_are_those_that_attention_uses(kv_heads):
    layer, x = made(Attention(DIM, HEADS, HEAD_DIM, kv_heads)), inputs()
    for given in (None, Visibility([2, 4], lengths=[3, 5])):
        weights = layer.weights(x, given)
        mask = Visibility(0) if given is None else given
        mask = mask.mask(LENGTH).expand(2, 1, LENGTH, LENGTH)
        assert weights.shape == (2, HEADS, LENGTH, LENGTH)
        assert not weights.masked_select(~mask.expand_as(weights)).any()
        torch.testing.assert_close(weights.sum(-1), torch.ones_like(weights[..., 0]))
        _, values = layer.keys_values(x)
        read = weights @ values.repeat_interleave(HEADS // kv_heads, dim=1)
        torch.testing.assert_close(layer.output(read.transpose(1, 2).flatten(2)), layer(x, given))


def test_values_may_have_a_width_of_their_own():
    layer, x = made(Attention(DIM, HEADS, HEAD_DIM, 2, value_dim=5)), inputs()
    assert (layer.value.weight.shape, layer.output.weight.shape) == ((2 * 5, DIM), (DIM, HEADS * 5))
    values = (x @ layer.value.weight.T).view(2, LENGTH, 2, 5).transpose(1, 2).repeat_interleave(2, dim=1)
    read = layer.weights(x, Visibility(3)) @ values
    torch.testing.assert_close(layer(x, Visibility(3)), read.transpose(1, 2).flatten(2) @ layer.output.weight.T)


class Held:
    """The simplest cache there is: it keeps what it is given."""

    def __init__(self):
        self.rows = None

    def write(self, *new):
        self.rows = (
            new if self.rows is None else tuple(torch.cat(pair, dim=2) for pair in zip(self.rows, new, strict=True))
        )
        return self.rows


@pytest.mark.parametrize("kv_heads", [1, 4])
def test_attention_through_a_cache_is_attention(kv_heads):
    layer, x = made(Attention(DIM, HEADS, HEAD_DIM, kv_heads)), inputs()
    mask, cache = prefix_mask(3, LENGTH), Held()
    whole, outs = layer(x, mask), []
    for rows in (slice(0, 3), slice(3, 4), slice(4, 5)):
        held = mask[rows, : rows.stop]
        outs.append(layer(x[:, rows], held, positions=torch.arange(LENGTH)[rows], cache=cache))
    torch.testing.assert_close(torch.cat(outs, dim=1), whole)
    again = layer(x[:, 1:3], mask[1:3], positions=torch.arange(1, 3), cache=layer.keys_values(x))
    torch.testing.assert_close(again, whole[:, 1:3])  # some rows again, over keys and values that are there


def test_the_mlps_are_their_formulas():
    x = inputs()
    swiglu, gelu = made(SwiGLU(DIM, 7)), made(GeluMLP(DIM, 7))
    gate, up, down = (one.weight for one in (swiglu.gate, swiglu.up, swiglu.down))
    torch.testing.assert_close(swiglu(x), ((x @ gate.T) / (1 + torch.exp(-x @ gate.T)) * (x @ up.T)) @ down.T)
    h = x @ gelu.up.weight.T
    torch.testing.assert_close(gelu(x), (h * (1 + torch.erf(h / math.sqrt(2))) / 2) @ gelu.down.weight.T)


@pytest.mark.parametrize("norm", ["rmsnorm", "layernorm"])
@pytest.mark.parametrize("mlp", MLPS)
def test_the_block_norms_first_and_adds(norm, mlp):
    block, x = made(SerialBlock(DIM, heads=2, head_dim=4, hidden=7, norm=norm, mlp=mlp)), inputs()

    def normed(x, weight):
        centred = x - x.mean(-1, keepdim=True) if norm == "layernorm" else x
        eps = 1e-5 if norm == "layernorm" else torch.finfo(x.dtype).eps
        return centred / (centred.square().mean(-1, keepdim=True) + eps).sqrt() * weight

    middle = x + block.attention(normed(x, block.attention_norm.weight), Visibility(2))
    wanted = middle + block.mlp(normed(middle, block.mlp_norm.weight))
    torch.testing.assert_close(block(x, Visibility(2)), wanted)
    assert not [name for name, _ in block.named_parameters() if "bias" in name]
    weights = block.attention_weights(x, Visibility(2))
    torch.testing.assert_close(weights, block.attention.weights(normed(x, block.attention_norm.weight), Visibility(2)))
    keys, _ = block.keys_values(x)
    torch.testing.assert_close(keys, block.attention.keys_values(normed(x, block.attention_norm.weight))[0])


def test_dropout_works_in_training_only():
    block, x = SerialBlock(DIM, heads=2, head_dim=4, hidden=7, dropout=0.5), inputs().float()
    assert not torch.equal(block(x), block(x))
    block.eval()
    assert torch.equal(block(x), block(x))


def test_gradients_are_the_slopes():
    block, x = made(SerialBlock(DIM, heads=2, head_dim=2, hidden=3, kv_heads=1)), inputs(1, 3).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: block(x, Visibility(2)), (x,))


def test_refusals_in_words():
    layer, x = Attention(DIM, HEADS, HEAD_DIM), inputs().float()
    with pytest.raises(TypeError, match="numbers would be added to the scores"):
        layer(x, torch.ones(LENGTH, LENGTH))
    with pytest.raises(ValueError, match=r"mask must be \(5, 5\) or \(2, 1, 5, 5\), got \(5, 4\)"):
        layer(x, torch.ones(LENGTH, LENGTH - 1, dtype=torch.bool))
    for wrong in (torch.ones(2, LENGTH, LENGTH, dtype=torch.bool), Visibility([1, 2, 3])):
        with pytest.raises(ValueError, match=r"mask must be \(5, 5\) or \(2, 1, 5, 5\), got"):
            layer(x, wrong)
    with pytest.raises(ValueError, match=r"total_len = 5, got 6"):
        layer(x, Visibility(6))
    for half in ({"mask": Visibility(0)}, {"positions": torch.arange(LENGTH)}):
        with pytest.raises(ValueError, match="mask and positions must be given"):
            layer(x, **half, cache=Held())
    with pytest.raises(ValueError, match="heads must be a multiple of kv_heads, got 4 and 3"):
        Attention(DIM, 4, 2, 3)
    with pytest.raises(ValueError, match="head_dim must be even for rotary positions, got 3"):
        Attention(DIM, 4, 3)
    assert Attention(DIM, 4, 3, rotary=False)(x).shape == x.shape
    with pytest.raises(ValueError, match="norm must be one of rmsnorm, layernorm, got 'batchnorm'"):
        SerialBlock(DIM, heads=2, head_dim=2, hidden=3, norm="batchnorm")
    with pytest.raises(ValueError, match="mlp must be one of swiglu, gelu, got 'relu'"):
        SerialBlock(DIM, heads=2, head_dim=2, hidden=3, mlp="relu")


@pytest.mark.parametrize(
    ("make", "error", "words"),
    [
        (lambda: Attention(math.nan, 2, 4), TypeError, "dim must be a whole number, got nan"),
        (lambda: Attention(8, 2, 4, rotary=""), TypeError, "rotary must be True or False, got ''"),
        (lambda: Attention(8, 2, 4, fused=1), TypeError, "fused must be True or False, got 1"),
        (lambda: LinearAttention(8, 2, 4, output_norm=1), TypeError, "output_norm must be True or False, got 1"),
        (lambda: GatedAttention(8, 2, 4, normalize=0), TypeError, "normalize must be True or False, got 0"),
        (lambda: SwiGLU(8, 0), ValueError, "hidden must be at least 1, got 0"),
        (lambda: GeluMLP(-1, 8), ValueError, "dim must be at least 1, got -1"),
        (lambda: GeluMLP(8, 8, fused=None), TypeError, "fused must be True or False, got None"),
    ],
)
def test_sizes_and_choices_of_a_layer_are_refused_in_words(make, error, words):
    with pytest.raises(error, match=words):
        make()


@pytest.mark.parametrize("block", [SerialBlock, ParallelBlock])
@pytest.mark.parametrize(
    ("changes", "error", "words"),
    [
        ({"dim": math.nan}, TypeError, "dim must be a whole number, got nan"),
        ({"dim": -1}, ValueError, "dim must be at least 1, got -1"),
        ({"hidden": 2.0}, TypeError, "hidden must be a whole number, got 2.0"),
        ({"dropout": math.nan}, ValueError, "dropout must be at least 0 and below 1, got nan"),
        ({"rotary": ""}, TypeError, "rotary must be True or False, got ''"),
        ({"fused": "no"}, TypeError, "fused must be True or False, got 'no'"),
        ({"attention_choices": 3}, TypeError, "attention_choices must be a dict, got 3"),
        (
            {"attention_choices": {"feature_map": "identity"}},
            ValueError,
            r"attention_choices must be of value_dim with attention = 'softmax', got \['feature_map'\]",
        ),
    ],
)
def test_sizes_and_choices_of_a_block_are_refused_in_words(block, changes, error, words):
    with pytest.raises(error, match=words):
        block(**{"dim": 8, "heads": 2, "head_dim": 4, "hidden": 8, **changes})


def test_a_small_number_of_numpys_does_not_overflow():
    assert Attention(64, np.int8(16), np.int8(16)).query.weight.shape == (256, 64)


@pytest.mark.parametrize("shape", [(2, 8), (2, 3, 7), (1, 2, 3, 8)])
@pytest.mark.parametrize("kind", [Attention, LinearAttention, JRTAttention, GatedAttention])
def test_what_a_layer_reads_is_named_by_its_shape(kind, shape):
    layer, x = kind(8, 2, 4), torch.zeros(shape)
    for call in (layer, layer.keys_values):
        with pytest.raises(ValueError, match=r"x must be a tensor \(batch, length, dim = 8\), got Tensor of shape \("):
            call(x)


@pytest.mark.parametrize("fused", [True, False])
@pytest.mark.parametrize("kind", [SerialBlock, ParallelBlock])
def test_a_block_names_what_it_cannot_read_before_its_norm_does(kind, fused):
    block = kind(8, heads=2, head_dim=4, hidden=8, fused=fused)
    for call in (block, block.keys_values, block.attention_weights):
        for x in (None, [1.0], torch.zeros(2, 3, 7), torch.zeros(3, 8)):
            with pytest.raises(ValueError, match=r"x must be a tensor \(batch, length, dim = 8\), got "):
                call(x)
        for x in (torch.zeros(2, 3, 8, dtype=torch.int64), torch.zeros(2, 3, 8).to_sparse()):
            with pytest.raises(TypeError, match="x must be a dense tensor of floats, got Tensor of shape"):
                call(x)
        with pytest.raises(TypeError, match="positions must be a tensor of integers, got"):
            call(torch.zeros(2, 3, 8), positions=[0, 1, 2])


def test_causal_without_a_mask_is_the_causal_mask():
    layer, x = made(Attention(DIM, HEADS, HEAD_DIM)), inputs()
    torch.testing.assert_close(layer(x), layer(x, torch.ones(LENGTH, LENGTH, dtype=torch.bool).tril()))


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: SwiGLU(2**40, 4), r"dim \* hidden = 4398046511104 is too large: it asks for 16 TiB of memory"),
        (lambda: GeluMLP(4, 2**40), r"dim \* hidden = "),
        (lambda: Attention(2**40, 2, 4), r"dim \* heads \* head_dim = "),
        (lambda: GatedAttention(8, 2**40, 4), r"dim \* heads \* head_dim = "),
        (lambda: LinearAttention(8, 2, 2, value_dim=2**60), r"dim \* heads \* value_dim = "),
        (lambda: SerialBlock(2**42, heads=2, head_dim=4, hidden=8), "dim = "),
        (lambda: SerialBlock(8, heads=2, head_dim=4, hidden=2**60), r"dim \* hidden = "),
        (lambda: ParallelBlock(8, heads=2, head_dim=4, hidden=2**60), r"dim \* hidden = "),
        (lambda: ParallelBlock(8, heads=2**50, head_dim=4, hidden=4), r"dim \* heads \* head_dim = "),
    ],
)
def test_weights_that_no_memory_holds_are_refused_before_they_are_made(make, words):
    with pytest.raises(ValueError, match=words):
        make()
