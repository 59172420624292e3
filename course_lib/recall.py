"""Recall with a small memory: a list of facts, key -> value, and questions about some of them.

A fact is one token, whose vector is its key's plus its value's, so that nothing has to be found out but which fact is
asked for. The prefix holds facts and questions; the target is the questions again, each to be answered with its
value.

    question last     fact fact fact ... question question | question question
    question first    question question fact fact fact ... | question question
    read twice        facts, questions, facts, questions   | question question

A causal model that reads the questions first can keep what will be asked. If they come last it must keep everything,
and a state of fixed size cannot; unless it may look ahead, or read twice. Softmax attention keeps every key.

Source: Arora et al. 2024 (Just Read Twice, arXiv 2407.05483), section 3, for the orders and what they do.
"""

import torch
from torch import nn
from torch.nn import functional as F

from ._check import check_flag, mixed_seed, one_of, room, whole_number
from .arms import changed, new_run
from .model import PrefixLM
from .objectives import Example
from .training import Run

__all__ = ["ARMS", "ORDERS", "RECALL", "VOCAB_SIZE", "recall_batch", "recall_run"]

FACTS, KEYS, VALUES, QUESTIONS = 32, 48, 16, 2
ORDERS = ("question last", "question first", "read twice")
# name -> attention, whether the prefix is read both ways, order
ARMS = {
    "causal, question last": ("linear", False, "question last"),
    "causal, question first": ("linear", False, "question first"),
    "causal, read twice": ("linear", False, "read twice"),
    "prefix, question last": ("linear", True, "question last"),
    "softmax, causal, question last": ("softmax", False, "question last"),
}
RECALL = {
    "dim": 64, "layers": 2, "heads": 4, "head_dim": 4, "value_dim": 16, "hidden": 256,
    "positions": "learned", "norm": "layernorm", "mlp": "gelu", "max_len": 128, "tied": False,
    "batch_size": 64, "steps": 800, "learning_rate": 3e-3,
}  # fmt: skip
HELD_OUT, HELD_OUT_SEED = 512, 10**6  # a seed that no training run has
# ids: first each value alone, the answers, so that a head with one row for each can name them; questions; facts
FIRST_QUESTION, FIRST_FACT = VALUES, VALUES + KEYS
VOCAB_SIZE = VALUES + KEYS + KEYS * VALUES


def recall_batch(size: int, seed: int, *, step: int = 0, order: str = ORDERS[0], prefix: bool = True) -> Example:
    """Return `size` examples of FACTS facts with keys that differ, and QUESTIONS questions about some of them.

    prefix_len is the whole prefix, or 0 for a causal reading. Loss falls on the questions of the target alone, whose
    targets are the values. A batch is a function of its seed and step alone.
    """
    size, prefix = whole_number("size", size, low=1), check_flag("prefix", prefix)
    room("size", size, 8 * size * KEYS)
    one_of("order", order, ORDERS)
    rng = torch.Generator().manual_seed(mixed_seed(seed, step))
    keys = torch.rand(size, KEYS, generator=rng).argsort(1)[:, :FACTS]
    values = torch.randint(VALUES, (size, FACTS), generator=rng)
    asked = torch.rand(size, FACTS, generator=rng).argsort(1)[:, :QUESTIONS]
    facts, questions = FIRST_FACT + keys * VALUES + values, FIRST_QUESTION + keys.gather(1, asked)
    answers = values.gather(1, asked)
    parts = {
        "question last": (facts, questions),
        "question first": (questions, facts),
        "read twice": (facts, questions, facts, questions),
    }[order]
    inputs = torch.cat([*parts, questions], dim=1)
    length = inputs.shape[1] - QUESTIONS
    targets = torch.cat([inputs[:, :length], answers], dim=1)
    loss_mask = (torch.arange(inputs.shape[1]) >= length).expand(size, -1)
    return Example(inputs, targets, loss_mask, torch.full((size,), length if prefix else 0))


def recall_run(seed: int, arm: str, *, steps: int | None = None, device=None, **sizes) -> Run:
    """Return a run, not begun, of one of ARMS. Evaluated is "recalled": the share of held-out questions answered right.

    seed: of the initial weights and of the batches; any but HELD_OUT_SEED. device: where the model trains, the CPU
    unless given. sizes: in place of those of RECALL; its names, and those of `Config` but vocab_size.
    """
    one_of("arm", arm, ARMS)
    if whole_number("seed", seed) == HELD_OUT_SEED:
        raise ValueError(f"seed must not be {HELD_OUT_SEED}: the held-out questions are drawn from it")
    attention, prefix, order = ARMS[arm]
    how = {"order": order, "prefix": prefix}

    def recalled(model) -> dict[str, float]:
        held_out = recall_batch(HELD_OUT, HELD_OUT_SEED, **how).to(model.embedding.weight.device)
        logits, _ = model(held_out.inputs, held_out.prefix_len)
        right = logits[:, -QUESTIONS:].argmax(-1) == held_out.targets[:, -QUESTIONS:]
        return {"recalled": right.float().mean().item()}

    sizes = changed(RECALL, {"attention": attention} | sizes, "sizes")
    return new_run(
        seed,
        sizes,
        VOCAB_SIZE,
        lambda step: recall_batch(sizes["batch_size"], seed, step=step, **how),
        steps=steps,
        evaluate=recalled,
        objective=f"recall: {arm}",
        device=device,
        rebuilt=_rebuilt,
    )


def _rebuilt(model: PrefixLM) -> None:
    """Give a model vectors of facts, a head for values alone, and torch's own first weights."""
    model.embedding = _FactEmbedding(model.config.dim)
    model.head = nn.Linear(model.config.dim, VALUES, bias=False)  # nothing but a value is ever an answer
    for module in model.modules():
        if isinstance(module, nn.Linear):
            module.reset_parameters()  # the model's own beginning, 0.02, is for wide layers


class _FactEmbedding(nn.Module):
    """The vectors of all ids: a question's is its key's plus a mark, a fact's its key's plus its value's plus one."""

    def __init__(self, dim: int):
        super().__init__()
        self.keys, self.values, self.answers, self.marks = (
            nn.Parameter(torch.randn(count, dim)) for count in (KEYS, VALUES, VALUES, 2)
        )

    @property
    def weight(self) -> torch.Tensor:
        """(VOCAB_SIZE, dim)."""
        facts = (self.keys[:, None] + self.values + self.marks[0]).flatten(0, 1)
        return torch.cat([self.answers, self.keys + self.marks[1], facts])

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        return F.embedding(ids, self.weight)
