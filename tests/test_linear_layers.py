"""Linear attention in layers and in the model: against loops, by perturbing tokens, and decoded from a state."""

import dataclasses
import math
from types import SimpleNamespace

import pytest
import torch
from torch.nn import functional as F

from course_lib.cache import KVCache
from course_lib.layers import ParallelBlock, SerialBlock
from course_lib.linear_layers import FEATURE_MAPS, GatedAttention, JRTAttention, LinearAttention, LinearHeads
from course_lib.masks import Visibility, prefix_mask
from course_lib.model import Config, PrefixLM
from course_lib.positions import rotary
from course_lib.probe import compare, visible_inputs
from course_lib.state_cache import StateCache

pytestmark = pytest.mark.usefixtures("one_thread")
DIM, HEADS, HEAD_DIM, LENGTH = 6, 4, 2, 7
SMALL = Config(vocab_size=11, dim=16, layers=2, heads=4, kv_heads=2, attention="linear", max_len=24)


def made(module, seed=0):
    rng = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for weight in module.parameters():
            weight.copy_(torch.randn(weight.shape, generator=rng) / weight.shape[-1] ** 0.5 + (weight.dim() == 1))
    return module.double()


def inputs(seed=1):
    return torch.randn(2, LENGTH, DIM, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def phi_by_hand(name, x):
    if name == "identity":
        return x
    if name == "elu_plus_one":
        return torch.where(x > 0, x + 1, x.exp())
    d = len(x)
    return torch.cat([x.new_ones(1), x / d**0.25, torch.outer(x, x).flatten() / math.sqrt(2 * d)])


def by_loops(layer, x, mask, positions, streams):
    """One query at a time. streams: (key weight, value weight, mask) each; what they read is added up."""
    group, out = layer.heads // layer.kv_heads, torch.zeros(*x.shape[:2], HEADS * HEAD_DIM, dtype=x.dtype)
    scale = 1 if layer.feature_map == "taylor_exp" else HEAD_DIM**-0.5
    for b in range(len(x)):
        for h in range(layer.heads):
            own, shared = (slice(n * HEAD_DIM, (n + 1) * HEAD_DIM) for n in (h, h // group))

            def features(weight, rows, b=b):
                made_by = x[b] @ weight[rows].T
                turned = rotary(made_by[None, None], positions)[0, 0] if layer.rotary else made_by
                return [phi_by_hand(layer.feature_map, one) for one in turned]

            q = features(layer.query.weight, own)
            for i in range(x.shape[1]):
                top, bottom = 0, 1e-6
                for key, value, allowed in streams:
                    k, v = features(key, shared), x[b] @ value[shared].T
                    for j in range(x.shape[1]):
                        if allowed[b][i][j]:
                            weight = scale * (q[i] @ k[j])
                            top, bottom = top + weight * v[j], bottom + weight
                read = top / bottom if layer.normalize else top
                if layer.output_norm is not None:
                    read = F.rms_norm(read, (HEAD_DIM,), layer.output_norm.weight)
                out[b, i, own] = read
    return out @ layer.output.weight.T


CHOICES = [
    {"feature_map": "elu_plus_one"},
    {"feature_map": "elu_plus_one", "normalize": False, "output_norm": True},
    {"feature_map": "taylor_exp"},
    {"feature_map": "identity", "normalize": False},
]


@pytest.mark.parametrize("choices", CHOICES, ids=str)
@pytest.mark.parametrize(("kv_heads", "turned"), [(4, True), (2, False), (1, True)])
def test_the_layer_is_its_definition(choices, kv_heads, turned):
    layer, x = made(LinearAttention(DIM, HEADS, HEAD_DIM, kv_heads, rotary=turned, **choices)), inputs()
    for seen in (None, Visibility(3), Visibility([2, 7]), Visibility([7, 4], lengths=[5, 6])):
        allowed = (seen or Visibility(0)).mask(LENGTH).expand(2, 1, LENGTH, LENGTH)[:, 0].tolist()
        streams = [(layer.key.weight, layer.value.weight, allowed)]
        wanted = by_loops(layer, x, allowed, torch.arange(LENGTH), streams)
        real = torch.ones(2, LENGTH, dtype=torch.bool)
        if seen is not None and seen.lengths:
            real = torch.arange(LENGTH) < torch.tensor(seen.lengths)[:, None]
        torch.testing.assert_close(layer(x, seen)[real], wanted[real])


@pytest.mark.parametrize("fused", [True, False])
def test_jrt_adds_a_second_stream_over_the_prefix(fused):
    layer, x = made(JRTAttention(DIM, HEADS, HEAD_DIM, 2, fused=fused)), inputs()
    if fused:
        query, key, value = layer.qkv.weight.split(layer.widths)
        layer.query, layer.key, layer.value = (type("", (), {"weight": one})() for one in (query, key, value))
    causal = torch.ones(LENGTH, LENGTH, dtype=torch.bool).tril().expand(2, -1, -1).tolist()
    for P in (3, [2, 5], 0, LENGTH):
        prefix = torch.arange(LENGTH) < torch.as_tensor(P).reshape(-1, 1, 1)
        second = prefix.expand(2, LENGTH, LENGTH).tolist()
        streams = [
            (layer.key.weight, layer.value.weight, causal),
            (layer.encoder_key.weight, layer.encoder_value.weight, second),
        ]
        wanted = by_loops(layer, x, causal, torch.arange(LENGTH), streams)
        torch.testing.assert_close(layer(x, Visibility(P)), wanted)
    if fused:
        return
    layer.encoder_key.weight = torch.nn.Parameter(layer.key.weight.detach().clone())
    layer.encoder_value.weight = torch.nn.Parameter(layer.value.weight.detach().clone())
    plain = LinearAttention(DIM, HEADS, HEAD_DIM, 2).double()
    plain.load_state_dict({n: w for n, w in layer.state_dict().items() if "encoder" not in n})
    assert (layer(x, Visibility(3)) - plain(x, Visibility(3))).abs().max() > 1e-2  # weights 0/1/2, not 0/1


@pytest.mark.parametrize("P", [0, 3, LENGTH, [2, 5]])
def test_a_gated_state_fades_from_the_end_of_the_prefix_on(P):
    """By the recurrence, head by head."""
    layer, x = made(GatedAttention(DIM, HEADS, HEAD_DIM, output_norm=True)), inputs()
    out = torch.zeros(2, LENGTH, HEADS * HEAD_DIM, dtype=x.dtype)
    for b, prefix in enumerate(P if isinstance(P, list) else [P, P]):
        for h in range(HEADS):
            own = slice(h * HEAD_DIM, (h + 1) * HEAD_DIM)
            q, k = (
                [
                    phi_by_hand("elu_plus_one", one)
                    for one in rotary((x[b] @ w[own].T)[None, None], torch.arange(LENGTH))[0, 0]
                ]
                for w in (layer.query.weight, layer.key.weight)
            )
            v = x[b] @ layer.value.weight[own].T
            state = sum((torch.outer(k[j], v[j]) for j in range(prefix)), torch.zeros(HEAD_DIM, HEAD_DIM).double())
            for t in range(LENGTH):
                if t >= prefix:
                    left = torch.sigmoid(x[b, t] @ layer.gate.weight[h]) ** (1 / 16)
                    state = left * state + torch.outer(k[t], v[t])
                read = HEAD_DIM**-0.5 * q[t] @ state
                out[b, t, own] = F.rms_norm(read, (HEAD_DIM,), layer.output_norm.weight)
    torch.testing.assert_close(layer(x, Visibility(P)), out @ layer.output.weight.T)


@pytest.mark.parametrize("attention", ["linear", "jrt", "gated"])
@pytest.mark.parametrize("P", [0, 3, LENGTH])
def test_who_is_moved_is_who_may_look(attention, P):
    block = made(SerialBlock(DIM, heads=HEADS, head_dim=HEAD_DIM, hidden=8, attention=attention))
    seen = visible_inputs(lambda x: block(x.double(), Visibility(P)), LENGTH, dim=DIM)
    assert compare(seen, prefix_mask(P, LENGTH)).ok


def test_padding_moves_nobody_even_in_a_prefix_that_is_longer_than_the_text():
    """phi(0) is not 0: a mask before the feature map would let padding in."""
    layer, x = made(LinearAttention(DIM, HEADS, HEAD_DIM)), inputs()
    seen = Visibility(LENGTH, lengths=[4, 7])
    other = x.clone()
    other[0, 4:] = 9.0
    torch.testing.assert_close(layer(other, seen)[0, :4], layer(x, seen)[0, :4])
    torch.testing.assert_close(layer(x, seen)[0, :4], layer(x[:1, :4], Visibility(4))[0])


WEIGHED = [(LinearAttention, choices | {"output_norm": False}) for choices in CHOICES[:3]]
WEIGHED += [(kind, {"kv_heads": 2, "value_dim": 5}) for kind in (LinearAttention, GatedAttention)]


@pytest.mark.parametrize(("kind", "choices"), WEIGHED, ids=str)
def test_the_weights_are_those_that_the_layer_uses(kind, choices):
    layer, x = made(kind(DIM, HEADS, HEAD_DIM, **choices)), inputs()
    for seen in (None, Visibility([2, 4]), Visibility([3, 2], lengths=[7, 5])):
        weights = layer.weights(x, seen)
        values = layer.value(x).unflatten(-1, (layer.kv_heads, layer.value_dim)).transpose(1, 2)
        values = values.repeat_interleave(HEADS // layer.kv_heads, dim=1)
        read = (weights @ values).transpose(1, 2).flatten(2)
        torch.testing.assert_close(layer.output(read), layer(x, seen))
        mask = (seen or Visibility(0)).mask(LENGTH).expand(2, HEADS, LENGTH, LENGTH)
        assert not weights[~mask].any()


def test_two_streams_have_no_one_weight_of_a_token():
    with pytest.raises(ValueError, match="attention must not be 'jrt' for weights"):
        model_of(attention="jrt").attention_weights(torch.zeros(1, 5, dtype=torch.int64), 2)


def test_the_parallel_block_takes_linear_heads_fused_and_not():
    block, x = made(ParallelBlock(DIM, heads=HEADS, head_dim=HEAD_DIM, hidden=8, attention="linear")), inputs()
    torch.testing.assert_close(block.unfuse()(x, Visibility(3)), block(x, Visibility(3)))
    seen = visible_inputs(lambda x: block(x.double(), Visibility(3)), LENGTH, dim=DIM)
    assert compare(seen, prefix_mask(3, LENGTH)).ok


def model_of(**changes):
    torch.manual_seed(0)
    return PrefixLM(dataclasses.replace(SMALL, **changes)).double().eval()


MODELS = [
    {},
    {"attention": "jrt"},
    {"attention": "gated", "normalize": False, "output_norm": True},
    {"block": "parallel"},
    {"normalize": False, "output_norm": True},
]


@pytest.mark.parametrize("changes", MODELS, ids=str)
def test_the_model_decodes_from_states_what_it_computes_at_once(changes):
    model, tokens = model_of(**changes), torch.randint(11, (2, 12), generator=torch.Generator().manual_seed(1))
    P, lengths = [3, 2], [7, 5]
    cache = StateCache(model, 2)
    first, _ = model(tokens[:, :7], P, lengths=lengths, cache=cache)
    rows = [torch.cat([tokens[b, :n], tokens[b, 7:]]) for b, n in enumerate(lengths)]
    wholes = [model(row[None], P[b])[0][0] for b, row in enumerate(rows)]
    for b, n in enumerate(lengths):
        torch.testing.assert_close(first[b, :n], wholes[b][:n])
        torch.testing.assert_close(cache.next_logits()[b], wholes[b][n - 1])
    for t, new in ((7, 1), (8, 3), (11, 1)):  # one token, several, one
        out, _ = model(tokens[:, t : t + new], P, cache=cache)
        for b, n in enumerate(lengths):
            at = n + t - 7
            torch.testing.assert_close(out[b], wholes[b][at : at + new])
    assert cache.lengths == [12, 10]


@pytest.mark.parametrize("changes", [*MODELS, {"attention": "softmax"}], ids=str)
def test_a_call_without_new_tokens_answers_nothing_and_changes_nothing(changes):
    model, tokens = model_of(**changes), torch.randint(11, (1, 6), generator=torch.Generator().manual_seed(1))
    cache = KVCache(model, 1) if changes.get("attention") == "softmax" else StateCache(model, 1)
    model(tokens[:, :4], 3, cache=cache)
    out, _ = model(tokens[:, :0], 3, cache=cache)
    assert out.shape == (1, 0, SMALL.vocab_size)
    assert cache.lengths == [4]
    torch.testing.assert_close(model(tokens[:, 4:], 3, cache=cache)[0], model(tokens, 3)[0][:, 4:])


@pytest.mark.parametrize("autocast", [True, False])
@pytest.mark.parametrize("kind", [LinearAttention, JRTAttention, GatedAttention])
def test_smaller_types_keep_their_states_in_float32(kind, autocast):
    """2,000 tokens alike, one by one: in bfloat16 a sum would stand still at 256 times one of them."""
    layer, cache = made(kind(DIM, 1, 16, rotary=False)).float(), SimpleNamespace(state=None)
    if kind is GatedAttention:
        torch.nn.init.constant_(layer.gate.weight, 0.0)
        layer.gate.register_forward_hook(lambda gate, args, out: out + 1e4)  # it stays open
    layer = layer if autocast else layer.bfloat16()
    x = torch.ones(1, 1, DIM, dtype=torch.float32 if autocast else torch.bfloat16)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        layer(x, Visibility(1), cache=cache)
        start = cache.state.kv.double()
        _, k, v = layer.mapped(*layer.project(x), Visibility(0), None)
        for _ in range(2000):
            layer(x, Visibility(0), cache=cache)
    assert cache.state.kv.dtype == torch.float32
    torch.testing.assert_close(cache.state.kv.double(), start + 2000 * k.double().mT @ v.double(), rtol=1e-3, atol=0)


@pytest.mark.parametrize("changes", MODELS, ids=str)
def test_a_call_that_fails_leaves_the_states_as_they_were(changes):
    model, tokens = model_of(**changes), torch.randint(11, (1, 6), generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        cache = StateCache(model, 1)
        model(tokens[:, :4], 3, cache=cache)
    with pytest.raises(RuntimeError, match="inference tensor"):  # it fails at the end, where the answer is kept
        model(tokens[:, 4:], 3, cache=cache)
    with torch.inference_mode():
        torch.testing.assert_close(model(tokens[:, 4:], 3, cache=cache)[0], model(tokens, 3)[0][:, 4:])
    assert cache.lengths == [6]


def test_generating_goes_through_the_states():
    model, prompt = model_of(), torch.randint(11, (2, 6), generator=torch.Generator().manual_seed(2))
    steps = list(model.generate(prompt, 5, prefix_len=4, temperature=0))
    text = torch.cat([prompt, *(step.ids[:, None] for step in steps[:-1])], 1)
    whole, _ = model(text, 4)
    torch.testing.assert_close(torch.stack([step.logits for step in steps], 1), whole[:, 5:])


def test_a_state_does_not_grow_and_a_key_value_cache_does():
    linear, softmax = model_of(max_len=64), model_of(attention="softmax", max_len=64)
    states, sizes = StateCache(linear, 1), []
    for _ in range(5):
        linear(torch.zeros(1, 8, dtype=torch.int64), 0, cache=states)
        sizes.append(states.nbytes)
    assert len(set(sizes)) == 1
    heads, head_dim = SMALL.heads, SMALL.head_dim
    numbers = SMALL.layers * heads * head_dim * (head_dim + 1) + SMALL.dim
    assert sizes[0] == 8 * numbers
    assert KVCache(softmax, 1, capacity=40).nbytes > KVCache(softmax, 1, capacity=8).nbytes
    gated = model_of(attention="gated", normalize=False)
    states = StateCache(gated, 1)
    gated(torch.zeros(1, 8, dtype=torch.int64), 0, cache=states)
    assert states.nbytes == 8 * (SMALL.layers * heads * head_dim * head_dim + SMALL.dim)  # nothing is divided


def test_packed_documents_are_the_documents_alone():
    model, tokens = model_of(), torch.randint(11, (1, 9), generator=torch.Generator().manual_seed(3))
    packed, _ = model(tokens, [2, 3], document_lens=[4, 5])
    apart = [model(tokens[:, :4], 2)[0], model(tokens[:, 4:], 3)[0]]
    torch.testing.assert_close(packed, torch.cat(apart, 1))
    with pytest.raises(ValueError, match="document_lens must be None: JRT"):
        model_of(attention="jrt")(tokens, [2, 3], document_lens=[4, 5])


def test_training_moves_every_weight():
    for changes in MODELS:
        model, tokens = model_of(**changes).train(), torch.randint(11, (2, 9))
        _, loss = model(tokens[:, :-1], 3, targets=tokens[:, 1:])
        loss.backward()
        assert all(w.grad is not None and w.grad.abs().sum() > 0 for w in model.parameters())


def test_refusals_in_words():
    with pytest.raises(ValueError, match="feature_map must be one of elu_plus_one, taylor_exp, identity, got 'exp'"):
        LinearHeads(2, 4, feature_map="exp")
    with pytest.raises(ValueError, match="normalize must be False with feature_map = 'identity'"):
        LinearHeads(2, 4, feature_map="identity")
    layer, x = LinearAttention(DIM, HEADS, HEAD_DIM), inputs().float()
    with pytest.raises(TypeError, match="mask must be a Visibility or None for linear attention, got Tensor"):
        layer(x, prefix_mask(3, LENGTH))
    with pytest.raises(ValueError, match="total_len = 7, got 8"):
        layer(x, Visibility(3, lengths=[8, 2]))
    with pytest.raises(ValueError, match="attention must be one of softmax, linear, got 'jrt'"):
        ParallelBlock(DIM, heads=2, head_dim=2, hidden=3, attention="jrt")
    with pytest.raises(ValueError, match="a KVCache is for softmax attention, got a model of 'linear'"):
        KVCache(model_of(), 1)
    with pytest.raises(ValueError, match="a StateCache is for attention without a softmax"):
        StateCache(model_of(attention="softmax"), 1)
    with pytest.raises(ValueError, match="batch_size must be at least 1, got 0"):
        StateCache(model_of(), 0)
    cache, tokens = StateCache(model_of(), 1), torch.zeros(1, 3, dtype=torch.int64)
    cache.model(tokens, 2, cache=cache)
    with pytest.raises(ValueError, match="a state cannot be taken apart; begin with a new cache"):
        cache.model(tokens, 3, cache=cache)
    with pytest.raises(ValueError, match="normalize must be False with a gate"):
        model_of(attention="gated", normalize=True)
    with pytest.raises(ValueError, match="document_lens must be None: a gated state"):
        model_of(attention="gated", normalize=False)(torch.zeros(1, 5, dtype=torch.int64), [1, 1], document_lens=[2, 3])
    with pytest.raises(TypeError, match="normalize must be True or False, got 1"):
        model_of(normalize=1)
    assert set(FEATURE_MAPS) == {"elu_plus_one", "taylor_exp", "identity"}


@pytest.mark.parametrize("kind", [LinearAttention, JRTAttention, GatedAttention])
@pytest.mark.parametrize("mask", [Visibility(2, [3]), Visibility([2]), Visibility(0, [3, 3, 3])])
def test_a_mask_of_another_batch_is_never_broadcast(kind, mask):
    layer, x = kind(8, 2, 4), torch.randn(2, 6, 8)
    for call in (layer, layer.weights) if kind is not JRTAttention else (layer,):
        with pytest.raises(ValueError, match=r"mask must tell of each of the 2 examples, or of all alike, got [13]"):
            call(x, mask)
