"""The parallel block against its formula in float64, fused against unfused, and beside the serial block."""

import copy

import pytest
import torch
from torch.nn import functional as F

from course_lib.layers import ParallelBlock, SerialBlock
from course_lib.masks import Visibility, bidirectional_mask, causal_mask, prefix_mask
from course_lib.model import Config, PrefixLM
from course_lib.positions import rotary

DIM, HEADS, HEAD_DIM, HIDDEN, LENGTH = 8, 4, 2, 10, 6
SIZES = {"heads": HEADS, "head_dim": HEAD_DIM, "hidden": HIDDEN}
MASKS = {"causal": causal_mask(LENGTH), "prefix": prefix_mask(4, LENGTH), "both ways": bidirectional_mask(LENGTH)}


def made(block, seed=0):
    rng = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for weight in block.parameters():
            weight.copy_(torch.randn(weight.shape, generator=rng) / weight.shape[-1] ** 0.5 + (weight.dim() == 1))
    return block.double()


def inputs(length=LENGTH, seed=1, dtype=torch.float64):
    return torch.randn(2, length, DIM, dtype=dtype, generator=torch.Generator().manual_seed(seed))


def normed(x, weight):
    centred = x - x.mean(-1, keepdim=True)
    return centred / (centred.square().mean(-1, keepdim=True) + 1e-5).sqrt() * weight


def attention(h, query, key, value, output, mask, kv_heads):
    """Softmax attention, head by head, from its matrices."""
    place, heads = torch.arange(h.shape[1]), []
    for n in range(HEADS):
        own, shared = (slice(i * HEAD_DIM, (i + 1) * HEAD_DIM) for i in (n, n * kv_heads // HEADS))
        q, k = (rotary((h @ w.T)[:, None], place)[:, 0] for w in (query[own], key[shared]))
        scores = (q @ k.mT / HEAD_DIM**0.5).masked_fill(~mask, float("-inf"))
        heads.append(scores.softmax(-1) @ (h @ value[shared].T))
    return torch.cat(heads, -1) @ output.T


def by_formula(block, x, mask, kv_heads):
    """x + A(N(x)) + M(N(x)), read off in_proj's rows and out_proj's columns in the order that is promised."""
    h = normed(x, block.norm.weight)
    widths = [HEADS * HEAD_DIM, kv_heads * HEAD_DIM, kv_heads * HEAD_DIM, HIDDEN, HIDDEN]
    query, key, value, up, gate = block.in_proj.weight.split(widths)
    output, down = block.out_proj.weight.split([HEADS * HEAD_DIM, HIDDEN], dim=1)
    z = h @ gate.T
    mlp = (z / (1 + torch.exp(-z)) * (h @ up.T)) @ down.T
    return x + attention(h, query, key, value, output, mask, kv_heads) + mlp


@pytest.mark.parametrize("kv_heads", [1, 2, 4])
@pytest.mark.parametrize("mask", MASKS)
def test_the_block_is_the_formula(mask, kv_heads):
    block, x = made(ParallelBlock(DIM, **SIZES, kv_heads=kv_heads)), inputs()
    wanted = by_formula(block, x, MASKS[mask], kv_heads)
    torch.testing.assert_close(block(x, MASKS[mask]), wanted)
    torch.testing.assert_close(block.unfuse()(x, MASKS[mask]), wanted)
    if mask == "causal":
        torch.testing.assert_close(block(x), wanted)
    if mask == "prefix":
        torch.testing.assert_close(block(x, Visibility(4)), wanted)


def test_multi_query_is_the_default_and_nothing_has_a_bias():
    block = ParallelBlock(DIM, **SIZES)
    assert {name: tuple(weight.shape) for name, weight in block.named_parameters()} == {
        "norm.weight": (DIM,),
        "in_proj.weight": (HEADS * HEAD_DIM + 2 * HEAD_DIM + 2 * HIDDEN, DIM),
        "out_proj.weight": (DIM, HEADS * HEAD_DIM + HIDDEN),
    }


def test_the_serial_block_has_one_norm_more_and_nothing_else():
    settings = {**SIZES, "kv_heads": 1, "norm": "layernorm"}
    parallel, serial = (ParallelBlock(DIM, **settings).unfuse(), SerialBlock(DIM, **settings))
    shapes = [sorted(tuple(w.shape) for w in block.parameters()) for block in (parallel, serial)]
    shapes[0].append((DIM,))
    assert sorted(shapes[0]) == shapes[1]


def test_the_two_formulas_differ_where_the_mlp_reads_attention():
    """With the same matrices: equal if attention adds nothing, else not."""
    parallel = made(ParallelBlock(DIM, **SIZES, fused=False))
    serial = SerialBlock(DIM, **SIZES, kv_heads=1, norm="layernorm").double()
    state = parallel.state_dict()
    norm = state.pop("norm.weight")
    serial.load_state_dict(state | {"attention_norm.weight": norm, "mlp_norm.weight": norm})
    x = inputs()
    assert (serial(x) - parallel(x)).abs().max() > 0.1
    for block in (serial, parallel):
        torch.nn.init.zeros_(block.attention.output.weight)
    torch.testing.assert_close(serial(x), parallel(x))


BLOCKS = {
    "parallel": lambda **more: ParallelBlock(DIM, **SIZES, **more),
    "parallel, gelu": lambda **more: ParallelBlock(DIM, **SIZES, mlp="gelu", kv_heads=2, **more),
    "serial": lambda **more: SerialBlock(DIM, **SIZES, kv_heads=1, **more),
    "serial, gelu": lambda **more: SerialBlock(DIM, **SIZES, mlp="gelu", **more),
}


@pytest.mark.parametrize("kind", BLOCKS)
def test_fusing_and_back_keeps_every_bit(kind):
    block = made(BLOCKS[kind](fused=False)).float().eval()
    there = block.fuse()
    back = there.unfuse()
    assert len(list(there.parameters())) < len(list(block.parameters()))
    assert not there.training
    assert list(back.state_dict()) == list(block.state_dict())
    for name, weight in block.state_dict().items():
        assert torch.equal(back.state_dict()[name], weight)
    again = back.fuse().state_dict()
    assert all(torch.equal(weight, again[name]) for name, weight in there.state_dict().items())
    with torch.no_grad():  # new weights: what happens to one block does not happen to another
        for weight in there.fuse().parameters():
            weight.zero_()
    assert all(weight.abs().sum() > 0 for weight in there.parameters())


@pytest.mark.parametrize(("dtype", "rtol"), [(torch.float32, 1e-5), (torch.float64, 1e-12)])
@pytest.mark.parametrize("kind", BLOCKS)
def test_fused_and_unfused_agree(kind, dtype, rtol):
    block = made(BLOCKS[kind](fused=False)).to(dtype)
    x, mask = inputs(dtype=dtype).requires_grad_(), prefix_mask(3, LENGTH)
    outs, grads = [], []
    for one in (block, block.fuse()):
        out = one(x, mask)
        outs.append(out)
        grads.append(torch.autograd.grad(out.square().sum(), x)[0])
    for pair in (outs, grads):
        assert (pair[0] - pair[1]).abs().max() <= rtol * pair[0].abs().max()


def test_two_norms_as_in_gpt_neox():
    block, x = made(ParallelBlock(DIM, **SIZES, fused=False, shared_norm=False)), inputs()
    assert not torch.equal(block.norm.weight, block.mlp_norm.weight)
    seen = block.attention(normed(x, block.norm.weight))
    torch.testing.assert_close(block(x), x + seen + block.mlp(normed(x, block.mlp_norm.weight)))
    with pytest.raises(ValueError, match="fused must be False if shared_norm is"):
        block.fuse()
    with pytest.raises(ValueError, match="fused must be False if shared_norm is"):
        ParallelBlock(DIM, **SIZES, shared_norm=False)


@pytest.mark.parametrize("fused", [True, False])
@pytest.mark.parametrize("kind", ["parallel", "serial"])
def test_gradients_are_the_slopes(kind, fused):
    block, x = made(BLOCKS[kind](fused=fused)), inputs(3)[:1].requires_grad_()
    names, weights = zip(*block.named_parameters(), strict=True)

    def run(x, *weights):
        return torch.func.functional_call(block, dict(zip(names, weights, strict=True)), (x, Visibility(2)))

    assert torch.autograd.gradcheck(run, (x, *weights))


class Held:
    rows = None

    def write(self, *new):
        held = new if self.rows is None else [torch.cat(two, 2) for two in zip(self.rows, new, strict=True)]
        self.rows = tuple(held)
        return self.rows


@pytest.mark.parametrize("fused", [True, False])
@pytest.mark.parametrize("kind", ["parallel", "serial"])
def test_through_a_cache_row_by_row(kind, fused):
    block, x = made(BLOCKS[kind](fused=fused)), inputs()
    mask, cache, place, outs = prefix_mask(3, LENGTH), Held(), torch.arange(LENGTH), []
    for rows in (slice(0, 3), slice(3, 4), slice(4, 6)):
        outs.append(block(x[:, rows], mask[rows, : rows.stop], positions=place[rows], cache=cache))
    torch.testing.assert_close(torch.cat(outs, 1), block(x, mask))
    keys, values = block.keys_values(x)
    torch.testing.assert_close((keys, values), cache.rows)
    again = block(x[:, 1:3], mask[1:3], positions=place[1:3], cache=(keys, values))
    torch.testing.assert_close(again, block(x, mask)[:, 1:3])


@pytest.mark.parametrize("kind", ["parallel", "serial"])
def test_attention_weights_are_the_same_fused_and_not(kind):
    block, x = made(BLOCKS[kind](fused=False)), inputs()
    weights = block.attention_weights(x, Visibility(2))
    torch.testing.assert_close(block.fuse().attention_weights(x, Visibility(2)), weights)
    torch.testing.assert_close(weights.sum(-1), torch.ones_like(weights[..., 0]))


def test_dropout_falls_on_what_is_added():
    block, x = ParallelBlock(DIM, **SIZES, dropout=0.5), inputs(dtype=torch.float32)
    added = block(x) - x
    assert (added == 0).float().mean() > 0.3
    assert torch.equal(block.eval()(x), block(x))
    torch.testing.assert_close(block(x) - x, block.branches(x))


def test_refusals_in_words():
    with pytest.raises(ValueError, match="norm must be one of rmsnorm, layernorm, got 'none'"):
        ParallelBlock(DIM, **SIZES, norm="none")
    with pytest.raises(ValueError, match="mlp must be one of swiglu, gelu, got 'relu'"):
        ParallelBlock(DIM, **SIZES, mlp="relu")
    with pytest.raises(ValueError, match="heads must be a multiple of kv_heads, got 4 and 3"):
        ParallelBlock(DIM, **SIZES, kv_heads=3)


def test_the_model_takes_either_block_and_decodes_with_it():
    torch.manual_seed(0)
    config = Config(vocab_size=11, dim=16, layers=2, heads=4, kv_heads=1, block="parallel", norm="layernorm")
    model, tokens = PrefixLM(config).double(), torch.randint(11, (2, 7))
    whole, _ = model(tokens, 3)
    steps = list(model.generate(tokens[:, :4], 3, prefix_len=3, temperature=0))
    written = torch.cat([tokens[:, :4], *(step.ids[:, None] for step in steps[:-1])], 1)
    again, _ = model(written, 3)
    torch.testing.assert_close(torch.stack([step.logits for step in steps], 1), again[:, 3:])
    moved = copy.deepcopy(model)
    with torch.no_grad():
        moved.blocks[0].out_proj.weight[:, -1] += 1
    assert not torch.equal(moved(tokens, 3)[0], whole)
    loss = F.cross_entropy(whole.flatten(0, 1), tokens.flatten())
    assert loss.isfinite()


@pytest.mark.parametrize("kind", [SerialBlock, ParallelBlock])
def test_what_is_frozen_stays_frozen_through_fuse_and_unfuse(kind):
    block = kind(8, heads=2, head_dim=4, hidden=8, fused=False)
    for name in ("attention.query", "attention.key", "attention.value", "mlp.up", "mlp.gate"):
        block.get_submodule(name).requires_grad_(False)
    frozen = {name for name, weight in block.named_parameters() if not weight.requires_grad}
    fused = block.fuse()
    assert {name for name, weight in fused.named_parameters() if not weight.requires_grad} == {
        name for name in block.joins if "out_proj" not in name
    }
    for one in (fused.unfuse(), block.unfuse()):
        assert {name for name, weight in one.named_parameters() if not weight.requires_grad} == frozen
    block.attention.key.requires_grad_()
    with pytest.raises(ValueError, match=r"requires_grad must be the same for all parts of .*key\.weight: True"):
        block.fuse()
