"""The exercises of lesson 05: write the parallel block, mend one that is serial, fuse products, count a cache."""

import torch

from course_lib.block_costs import BlockShape, kv_bytes

from .engine import Untouched, Wrong, exercise
from .watch import Watch

NOTEBOOK = "05_palm_parallel"


# --- One block, its parts given as functions ---


def parallel_block(x, norm, attention, mlp):
    """Both branches read the same normed copy; what they say is added to x, and x itself stays as it is."""
    h = norm(x)
    return x + attention(h) + mlp(h)


def suspect_block(x, norm, attention, mlp):
    y = x
    y += attention(norm(x))
    y += mlp(norm(x))
    return y


def _parts():
    """Return x, and three functions that each leave their own mark: none is linear, so no two wrong orders agree."""
    rng = torch.Generator().manual_seed(5)
    x, a, m = (torch.randn(shape, dtype=torch.float64, generator=rng) for shape in ((4, 6), (6, 6), (6, 6)))

    def norm(x):
        return (x - x.mean(-1, keepdim=True)) / x.std(-1, keepdim=True)

    def attention(x):
        return torch.tanh(x.cumsum(0) @ a)

    def mlp(x):
        return torch.relu(x @ m)

    return x, norm, attention, mlp


def _judge_block(block) -> None:
    x, norm, attention, mlp = _parts()
    given = x.clone()
    y = block(given, norm, attention, mlp)
    if not isinstance(y, torch.Tensor) or y.shape != x.shape:
        raise Wrong("shape", "Return a tensor of the shape of x.")
    h, seen = norm(x), attention(norm(x))
    candidates = {
        "serial": (
            x + seen + mlp(norm(x + seen)),
            "this is the serial block: the MLP reads what attention has added. Let it read the norm of x itself",
        ),
        "no_residual": (seen + mlp(h), "x itself is missing: the branches only add to it"),
        "no_norm": (x + attention(x) + mlp(x), "the branches read x as it is; let both read norm(x)"),
        "one_norm": (x + seen + mlp(x), "attention reads the norm of x, the MLP reads x as it is"),
        "mlp_of_attention": (x + mlp(seen), "the MLP reads attention alone: that is a chain, not two branches"),
        "serial_raw": (x + seen + mlp(x + seen), "the MLP reads what attention has added, and no norm"),
        "twice": (2 * x + seen + mlp(h), "x is added twice: once is enough for both branches"),
        "normed_residual": (h + seen + mlp(h), "what is added to must be x, not its norm: the residual stream stays"),
        "serial_in_norm": (
            x + seen + mlp(norm(seen)),
            "the MLP reads the norm of attention's output. It must not wait for attention at all",
        ),
    }
    for slug, (wrong, why) in candidates.items():
        if torch.allclose(y, wrong):
            raise Wrong(slug, f"Your y is a known one: {why}.")
    if not torch.allclose(y, x + seen + mlp(h)):
        raise Wrong("values", "y is not x + attention(norm(x)) + mlp(norm(x)).")
    if not torch.equal(given, x):
        raise Wrong(
            "changes_input",
            "y is right, but the caller's x is not what it was: `+=` writes into the tensor that it is given. Make a "
            "new one with `+`.",
        )


@exercise(
    "parallel_block",
    notebook=NOTEBOOK,
    heading="Two formulas",
    title="the parallel block, in one line",
    objective="palm_parallel.write",
    minutes=2,
    difficulty=1,
    hint="The formula, letter by letter: x, plus attention of the normed x, plus the MLP of the normed x.",
    solution=parallel_block,
)
def _judge_parallel_block(block):
    _judge_block(block)
    return "Neither branch waits for the other, and one norm serves both."


@exercise(
    "really_serial",
    notebook=NOTEBOOK,
    heading="Two formulas",
    title="a parallel block that is really serial",
    objective="palm_parallel.write",
    minutes=2,
    difficulty=2,
    hint="After `y = x`, are there two tensors, or two names for one?",
    solution=parallel_block,
)
def _judge_really_serial(block):
    x, norm, attention, mlp = _parts()
    given = x.clone()
    if block(given, norm, attention, mlp) is given and torch.equal(given, suspect_block(x, norm, attention, mlp)):
        raise Untouched(
            "Its output is that of the *serial* block: the MLP has read what attention added. Which line let it?"
        )
    _judge_block(block)
    return (
        "In the suspect, `y = x` gave one tensor a second name. After `y += ...` x had changed too, and the second "
        "norm(x) read what attention had added. It looked parallel and was serial, and nothing would have told you but "
        "the numbers."
    )


# --- Fuse ---


def fused(x, matrices):
    """Join the rows, multiply once, and cut the output where one matrix ends and the next begins."""
    whole = torch.cat(matrices)
    return list((x @ whole.T).split([len(one) for one in matrices], dim=-1))


@exercise(
    "fused",
    notebook=NOTEBOOK,
    heading="Five products, or one",
    title="five products as one, and back",
    objective="palm_parallel.fuse",
    minutes=4,
    difficulty=2,
    hint="`torch.cat` joins the rows of the matrices; `split` with a list of widths cuts the output's last axis again.",
    solution=fused,
)
def _judge_fused(function):
    rng = torch.Generator().manual_seed(7)
    for batch, widths in (((3,), (4, 2, 2, 5, 5)), ((2, 3), (6, 1, 1, 4, 4)), ((2, 3), (3,))):
        x = torch.randn(*batch, 6, dtype=torch.float64, generator=rng)
        matrices = [torch.randn(width, 6, dtype=torch.float64, generator=rng) for width in widths]
        with Watch() as watch:
            outputs = function(x, matrices)
        if isinstance(outputs, torch.Tensor):
            raise Wrong("not_split", "You return one tensor: cut it into as many outputs as there were matrices.")
        if not isinstance(outputs, list | tuple) or len(outputs) != len(matrices):
            raise Wrong("count", f"Return a list of {len(matrices)} outputs, one for each matrix.")
        if any(one is ... for one in outputs):
            raise Untouched
        right = [x @ one.T for one in matrices]
        shapes = [tuple(one.shape) if isinstance(one, torch.Tensor) else one for one in outputs]
        if shapes != [tuple(one.shape) for one in right]:
            raise Wrong(
                "widths",
                f"For matrices of {' , '.join(str(width) for width in widths)} rows the outputs have the shapes "
                f"{', '.join(map(str, shapes))}. Each must be as wide as its matrix has rows.",
            )
        off = [i for i, (one, wanted) in enumerate(zip(outputs, right, strict=True)) if not torch.allclose(one, wanted)]
        if off:
            raise Wrong(
                "values", f"Output {off[0]} is not x times the transpose of matrix {off[0]}. Is the order kept?"
            )
        if watch.products > 1:
            raise Wrong(
                "many_products",
                f"The outputs are right, but you made {watch.products} products for {len(matrices)} matrices. Join the "
                "matrices first, and multiply once.",
            )
    return (
        "One product, and x is read once. It works because a row of a matrix makes one feature and asks no other row."
    )


def fused_out(seen, wide, output, down):
    """Side by side: a sum of two products is one product over both inputs."""
    return torch.cat([seen, wide], dim=-1) @ torch.cat([output, down], dim=1).T


@exercise(
    "fused_out",
    notebook=NOTEBOOK,
    heading="Five products, or one",
    title="the sum of two products as one",
    objective="palm_parallel.fuse",
    minutes=3,
    difficulty=3,
    hint="Now the outputs are added, not kept apart: join along the input features, `seen` and `wide` side by side.",
    solution=fused_out,
    extra=True,
)
def _judge_fused_out(function):
    rng = torch.Generator().manual_seed(8)
    for a, m, dim in ((4, 10, 6), (8, 8, 8)):
        seen, wide, output, down = (
            torch.randn(shape, dtype=torch.float64, generator=rng) for shape in ((3, a), (3, m), (dim, a), (dim, m))
        )
        with Watch() as watch:
            y = function(seen, wide, output, down)
        if not isinstance(y, torch.Tensor) or tuple(y.shape) != (3, dim):
            raise Wrong("shape", f"Return one tensor of shape (3, {dim}): what the two products add up to.")
        if torch.allclose(y, torch.cat([wide, seen], -1) @ torch.cat([output, down], 1).T):
            raise Wrong("order", "Inputs and matrices are joined in different orders: seen belongs to output.")
        if not torch.allclose(y, seen @ output.T + wide @ down.T):
            raise Wrong("values", "y is not seen @ output.T + wide @ down.T.")
        if watch.products > 1:
            raise Wrong("many_products", f"The sum is right, but you made {watch.products} products. One is enough.")
    return "The addition happens inside the product: each output feature sums over both inputs."


# --- A cache ---


def cache_bytes(layers, kv_heads, head_dim, number_bytes):
    """Keys and values, in every layer."""
    return 2 * layers * kv_heads * head_dim * number_bytes


@exercise(
    "cache_bytes",
    notebook=NOTEBOOK,
    heading="PaLM's other choices",
    title="bytes a token in the cache",
    objective="palm_parallel.choices",
    minutes=2,
    difficulty=1,
    hint="For one head in one layer: a key and a value, `head_dim` numbers each.",
    solution=cache_bytes,
)
def _judge_cache_bytes(function):
    for layers, kv_heads, head_dim, number_bytes in (
        (3, 5, 7, 4),
        (118, 48, 256, 2),
        (118, 1, 256, 2),
        (32, 1, 256, 4),
    ):
        shape = BlockShape(dim=1, heads=kv_heads, head_dim=head_dim, hidden=1, kv_heads=kv_heads)
        right, got = (
            kv_bytes(layers, shape, number_bytes=number_bytes),
            function(layers, kv_heads, head_dim, number_bytes),
        )
        if isinstance(got, bool) or not isinstance(got, int | float):
            raise Wrong("form", "Return a number of bytes.")
        told = f"For {layers} layers, {kv_heads} key/value heads of {head_dim} and {number_bytes} bytes a number"
        slips = {
            "one_of_two": (right / 2, "keys *and* values are kept"),
            "one_layer": (right / layers, "every layer keeps its own"),
            "one_head": (right / kv_heads, "every key/value head keeps its own"),
            "numbers": (right / number_bytes, "these are numbers, not bytes"),
        }
        if got != right:
            for slug, (slip, why) in slips.items():
                if got == slip:
                    raise Wrong(slug, f"{told}, {got:,.0f} is not it: {why}.")
            raise Wrong("values", f"{told} it is {right:,} bytes a token; you have {got:,.0f}.")
    many, one = cache_bytes(118, 48, 256, 2), cache_bytes(118, 1, 256, 2)
    return f"PaLM 540B: {many:,} bytes a token with 48 key/value heads, {one:,} with one."
