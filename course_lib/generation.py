"""Generating: a prompt that is checked, a choice of the next token from the logits, and the loop around the model."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor, nn

from ._check import real_number, shown, whole_number, whole_numbers
from .cache import KVCache
from .masks import Visibility
from .state_cache import StateCache

if TYPE_CHECKING:
    from .model import PrefixLM


class Step(NamedTuple):
    """One token more for each of B examples.

    ids     (B,), the tokens. An example that has stopped goes on giving the stop id.
    logits  (B, V), what the model said.
    probs   (B, V), what was drawn from: after temperature, top-k and top-p. `step.probs.topk(5)` are the likeliest.
    done    (B,), True from the stop id on.
    """

    ids: Tensor
    logits: Tensor
    probs: Tensor
    done: Tensor


def check_sampling(temperature, top_k, top_p, vocab_size: int) -> tuple[float, int | None, float | None]:
    """Return the three as plain numbers: temperature at least 0, top_k from 1 to V, top_p above 0 and at most 1."""
    return (
        real_number("temperature", temperature, low=0),  # 0: always the likeliest token
        None if top_k is None else whole_number("top_k", top_k, low=1, high=vocab_size, high_name="vocab_size"),
        None if top_p is None else real_number("top_p", top_p, low=0, above=True, high=1),
    )


def next_token_probs(
    logits: Tensor, *, temperature: float = 1.0, top_k: int | None = None, top_p: float | None = None
) -> Tensor:
    """Return the distribution from which the next token is drawn, (B, V) for logits (B, V), float32 or wider.

    temperature  divides the logits; 0 puts everything on the likeliest token (of equals, the one with the lowest id).
    top_k        keeps the k likeliest tokens.
    top_p        of those, keeps the fewest that together have at least this probability, but at least one.

    What is kept is scaled to add up to 1. A logit of -inf bans its token; ValueError for NaN, inf, and a row of nothing
    but -inf. Sources: Fan et al. 2018, section 5.4 (top-k); Holtzman et al. 2020, section 3.1 (top-p).
    """
    if not isinstance(logits, Tensor) or logits.dim() != 2 or not logits.is_floating_point():
        raise ValueError(f"logits must be floats (batch, vocab_size), got {shown(logits)}")
    if logits.is_meta or logits.layout != torch.strided:
        raise ValueError(f"logits must be a dense tensor that holds values, got {shown(logits)}")
    temperature, top_k, top_p = check_sampling(temperature, top_k, top_p, logits.shape[1])
    logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
    largest = logits.amax(1, keepdim=True)
    if not largest.isfinite().all():  # NaN and inf are the largest of their row; so is -inf, if there is nothing else
        raise ValueError(
            "logits must be finite, or -inf for a token that is banned, but not in all of a row; "
            "got NaN, inf, or a row of -inf: did the training diverge?"
        )
    if temperature == 0:
        return torch.zeros_like(logits).scatter_(1, logits.argmax(1, keepdim=True), 1)
    below = logits - largest  # the largest is 0, and stays so however small the temperature is
    probs, ids = (below / temperature).masked_fill(below == 0, 0).softmax(1).sort(dim=1, descending=True, stable=True)
    if top_k is not None:
        probs[:, top_k:] = 0
        probs = probs / probs.sum(1, keepdim=True)
    if top_p is not None and top_p < 1:
        probs = probs.masked_fill(probs.cumsum(1) - probs >= top_p, 0)  # those before it are enough already
        probs = probs / probs.sum(1, keepdim=True)
    return torch.zeros_like(probs).scatter_(1, ids, probs)


def read_prompt(prompt, *, lengths=None, prefix_len=None, device=None) -> tuple[Tensor, Visibility, int]:
    """Return a prompt as ids (B, T), who sees whom in it, and the length of the longest example.

    prompt is a list of ids, or a tensor (T,) or (B, T), with padding on the right if `lengths` (B,) says so. Without
    prefix_len, all of it is prefix. An empty example is an error, for nothing foretells its first token.
    """
    if isinstance(prompt, (list, tuple, range)):
        if any(isinstance(one, (list, tuple)) or (isinstance(one, Tensor) and one.dim() > 0) for one in prompt[:1]):
            raise TypeError(f"prompt must be a list of ids, got one of {shown(prompt[0])}: a batch is a tensor (B, T)")
        prompt = torch.tensor(whole_numbers("prompt", prompt), dtype=torch.int64, device=device)
    if not isinstance(prompt, Tensor) or prompt.dim() not in (1, 2):
        hint = ": vocabulary.encode(text) returns the ids of a text" if isinstance(prompt, str) else ""
        raise ValueError(
            f"prompt must be a list of ids, or a tensor (length,) or (batch, length), got {shown(prompt)}{hint}"
        )
    if prompt.dim() == 1:
        prompt = prompt[None]
    batch, total = prompt.shape
    limit = {"high": total, "high_name": "the length of the prompt"}
    lengths = [total] * batch if lengths is None else whole_numbers("lengths", lengths, **limit)
    if len(lengths) != batch:
        raise ValueError(f"lengths must have one entry for each of the {batch} prompts, got {len(lengths)}")
    if batch == 0 or 0 in lengths:
        raise ValueError("prompt must not be empty: something has to foretell the first token")
    return prompt, Visibility(lengths if prefix_len is None else prefix_len, lengths), max(lengths)


@contextmanager
def evaluating(model: nn.Module):
    """Take no gradients and turn dropout off for a while; leave every part of the model in the mode it was in."""
    modes = [(part, part.training) for part in model.modules()]
    model.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        for part, mode in modes:
            part.training = mode


def generate(
    model: "PrefixLM",
    prompt,
    max_new_tokens: int,
    *,
    prefix_len=None,
    lengths=None,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
    seed: int | None = None,
    stop_id: int | None = None,
) -> Iterator[Step]:
    """Write on from a prompt; `PrefixLM.generate` says how. All is checked at once."""
    device, config = model.embedding.weight.device, model.config
    prompt, seen, longest = read_prompt(prompt, lengths=lengths, prefix_len=prefix_len, device=device)
    model.check_tokens("prompt", prompt, seen)
    room = {"high": config.max_len - longest + 1, "high_name": "what max_len leaves"}  # the last one is never read
    count = whole_number("max_new_tokens", max_new_tokens, **room)
    check_sampling(temperature, top_k, top_p, config.vocab_size)
    if stop_id is not None:
        stop_id = whole_number("stop_id", stop_id, high=config.vocab_size - 1)
    rng = None if seed is None else torch.Generator(device).manual_seed(whole_number("seed", seed))
    if config.attention == "softmax":
        cache = KVCache(model, len(prompt), capacity=min(longest + count, config.max_len))
    else:
        cache = StateCache(model, len(prompt))
    with evaluating(model):
        cache.begin(prompt, seen, None)  # refuses a prefix that is longer than its prompt now, and not later
    choose = {"temperature": temperature, "top_k": top_k, "top_p": top_p}
    return _steps(model, prompt, seen, cache, count, choose, rng, stop_id)


def _steps(model: "PrefixLM", tokens: Tensor, seen: Visibility, cache, count: int, choose, rng, stop_id):
    done = torch.zeros(len(tokens), dtype=torch.bool, device=tokens.device)
    for _ in range(count):
        with evaluating(model):  # not while the caller has the word
            model.hidden(tokens, seen, cache=cache)  # first the whole prompt, then one token at a time
            logits = cache.next_logits()
        probs = next_token_probs(logits, **choose)
        ids = probs.argmax(1) if choose["temperature"] == 0 else torch.multinomial(probs, 1, generator=rng)[:, 0]
        if stop_id is not None:
            ids = ids.masked_fill(done, stop_id)
            done = done | (ids == stop_id)
        yield Step(ids, logits, probs, done)
        if done.all():
            return
        tokens, seen = ids[:, None], Visibility(seen.prefix_len)
