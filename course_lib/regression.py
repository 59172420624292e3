"""Linear regression in context: examples (x, y) in the prefix, one x in the target, and its y to be found.

Each text has weights w of its own, y = w . x, so nothing can be learned by heart: what a model learns is how to fit.
Its layers are linear attention alone, with no MLP, no norm and no feature map. One layer takes one step of gradient
descent on the examples; more layers take more steps, if the examples may correct each other: under the prefix mask each
sees all, under the causal mask only the earlier ones.

Source: Ding et al. 2024 (CausalLM is not optimal for in-context learning, arXiv 2308.06912), sections 3 and 4; von
Oswald et al. 2022 (arXiv 2212.07677), section 3, for the layer.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ._check import mixed_seed, room, shown, whole_number
from .kernels import prefix_linear_attention

__all__ = ["REGRESSION", "InContextRegression", "regression_batch", "relative_error", "train_regression"]

REGRESSION = {"dim": 8, "examples": 24, "batch_size": 128, "steps": 1500, "learning_rate": 2e-2, "clip": 0.1}
HELD_OUT, HELD_OUT_SEED = 2048, 10**6  # a seed that no training has


def regression_batch(size: int, seed: int, *, step: int = 0, dim: int = 8, examples: int = 24) -> tuple[Tensor, Tensor]:
    """Return tokens (size, examples + 1, dim + 1) and what is asked for (size,).

    A token is an x and its y; the last token's y is 0, and asked for. Directions are drawn at random, lengths are not:
    |x| = dim^0.5 and |w| = 1, for three layers are a polynomial of degree 27, and would make much of a long x. A batch
    is a function of its seed and step alone.
    """
    size, dim = whole_number("size", size, low=1), whole_number("dim", dim, low=1)
    examples = whole_number("examples", examples, low=1)
    largest, name = max((size, "size"), (dim, "dim"), (examples, "examples"))
    room(name, largest, 4 * size * (examples + 1) * (dim + 1))
    rng = torch.Generator().manual_seed(mixed_seed(seed, step))
    x = dim**0.5 * F.normalize(torch.randn(size, examples + 1, dim, generator=rng), dim=2)
    w = F.normalize(torch.randn(size, dim, 1, generator=rng), dim=1)
    y = x @ w
    tokens = torch.cat([x, y], dim=-1)
    tokens[:, -1, -1] = 0
    return tokens, y[:, -1, 0]


class InContextRegression(nn.Module):
    """Layers of linear attention, one head each; the answer is read from the place of the last token's y.

    forward(tokens (B, T, dim + 1), prefix_len) returns (B,). prefix_len is of the T - 1 examples, as in
    `prefix_linear_attention`: T - 1 if they all see each other, 0 for the causal mask. The last token reads the state
    that they leave, so it sees every example either way, and nobody sees it. ValueError for tokens of another shape, or
    without an example.
    """

    def __init__(self, dim: int, layers: int):
        super().__init__()
        width = whole_number("dim", dim, low=1) + 1
        self.layers = nn.ModuleList(
            nn.ModuleDict({name: nn.Linear(width, width, bias=False) for name in ("query", "key", "value")})
            for _ in range(whole_number("layers", layers, low=1))
        )

    def forward(self, tokens: Tensor, prefix_len) -> Tensor:
        width = self.layers[0]["query"].in_features
        if not isinstance(tokens, Tensor) or tokens.dim() != 3 or tokens.shape[1] < 2 or tokens.shape[2] != width:
            raise ValueError(
                f"tokens must be (batch, length, dim + 1 = {width}), at least one example and what is asked for, got "
                f"{shown(tokens)}"
            )
        x = tokens
        for layer in self.layers:
            q, k, v = (layer[name](x)[:, None] for name in ("query", "key", "value"))
            examples = (one[:, :, :-1] for one in (q, k, v))
            scale = 1 / (x.shape[1] - 1)
            read, state = prefix_linear_attention(
                *examples, prefix_len, scale=scale, return_state=True, backend="reference"
            )
            asked = scale * q[:, :, -1:] @ state.kv
            x = x + torch.cat([read, asked], dim=2)[:, 0]
        return x[:, -1, -1]


def train_regression(
    seed: int, *, prefix: bool, layers: int, steps: int | None = None, until: int | None = None
) -> tuple[InContextRegression, list[float]]:
    """Train one model, and return it and its losses; `REGRESSION` has the sizes.

    seed: of the initial weights and of the batches; any but HELD_OUT_SEED. The rate goes up and down once in all the
    steps (torch's OneCycleLR), of which the first `until` are taken: all unless given.
    """
    sizes = {name: REGRESSION[name] for name in ("dim", "examples")}
    steps = REGRESSION["steps"] if steps is None else whole_number("steps", steps, low=1)
    until = steps if until is None else whole_number("until", until, high=steps, high_name="steps")
    if whole_number("seed", seed) == HELD_OUT_SEED:
        raise ValueError(f"seed must not be {HELD_OUT_SEED}: the held-out texts are drawn from it")
    with torch.random.fork_rng([]):
        torch.manual_seed(seed)
        model = InContextRegression(sizes["dim"], layers)
    rate = REGRESSION["learning_rate"]
    optimizer = torch.optim.AdamW(model.parameters(), lr=rate, betas=(0.9, 0.99), weight_decay=0.0, fused=True)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, rate, total_steps=steps)
    losses = []
    for step in range(until):
        tokens, asked = regression_batch(REGRESSION["batch_size"], seed, step=step, **sizes)
        loss = (model(tokens, sizes["examples"] if prefix else 0) - asked).square().mean()
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), REGRESSION["clip"])
        optimizer.step()
        schedule.step()
        losses.append(loss.item())
    return model, losses


@torch.no_grad()
def relative_error(model: InContextRegression, *, prefix: bool) -> float:
    """Return the squared error on held-out texts, as a share of what always answering 0 would have."""
    tokens, asked = regression_batch(HELD_OUT, HELD_OUT_SEED, dim=REGRESSION["dim"], examples=REGRESSION["examples"])
    found = model(tokens, REGRESSION["examples"] if prefix else 0)
    return ((found - asked).square().sum() / asked.square().sum()).item()
