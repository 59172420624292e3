"""What a Transformer block costs, serial or parallel, counted and not measured: its operations, one by one.

A block is a list of operations, each with what it waits for, its floating-point operations and the bytes that it moves.
All else follows from the list: how many products, what can run side by side, how long a described machine would take.

    serial     y = x + A(N1(x)) + M(N2(x + A(N1(x))))      four products one after the other, two all-reduces
    parallel   y = x + A(N(x)) + M(N(x))      two products one after the other, one all-reduce

Sources: Chowdhery et al. 2022 (PaLM), section 2, for the two formulas; Shoeybi et al. 2019 (Megatron-LM), section 3,
for the cut over devices; Williams et al. 2009 for the roofline. The module needs no torch.
"""

from dataclasses import dataclass

from ._check import one_of, real_number, short, shown, whole_number

__all__ = [
    "PALM",
    "BlockShape",
    "Machine",
    "Operation",
    "kv_bytes",
    "operations",
    "planning_table",
    "seconds",
    "stages",
]


def _set(record, name: str, value) -> None:
    object.__setattr__(record, name, value)  # a frozen dataclass sets its own fields so


@dataclass(frozen=True, kw_only=True)
class BlockShape:
    """The sizes of a block with SwiGLU: features between layers, query heads, features a head and in the MLP."""

    dim: int
    heads: int
    head_dim: int
    hidden: int
    kv_heads: int = 1

    def __post_init__(self):
        for name in ("dim", "heads", "head_dim", "hidden", "kv_heads"):
            _set(self, name, whole_number(name, getattr(self, name), low=1))
        if self.heads % self.kv_heads:
            raise ValueError(f"heads must be a multiple of kv_heads, got {self.heads} and {self.kv_heads}")

    @property
    def weights(self) -> int:
        """Numbers in the block's matrices; the norms are not counted."""
        attention = self.dim * self.head_dim * 2 * (self.heads + self.kv_heads)
        return attention + 3 * self.dim * self.hidden


def _palm(dim: int, heads: int) -> BlockShape:
    return BlockShape(dim=dim, heads=heads, head_dim=256, hidden=4 * dim)


ACTIVATION = "silu(gate) * up"

# layers and shape. Source: PaLM, table 1; the feed-forward size is always 4 dim, a head's size 256
PALM = {"8B": (32, _palm(4096, 16)), "62B": (64, _palm(8192, 32)), "540B": (118, _palm(18432, 48))}


@dataclass(frozen=True, kw_only=True)
class Machine:
    """A device as three speeds, and how it talks to its neighbours. All are inputs: put your own machine's here.

    flops     operations a second of a large product.          memory    bytes a second.
    link      bytes a second that one device sends, while it receives as many.
    latency   seconds until an all-reduce moves its first byte; overhead   seconds that every operation costs besides.
    """

    name: str
    flops: float
    memory: float
    link: float
    latency: float = 0.0
    overhead: float = 0.0

    def __post_init__(self):
        for name in ("flops", "memory", "link", "latency", "overhead"):
            low = 0 if name in ("latency", "overhead") else 1
            _set(self, name, real_number(name, getattr(self, name), low=low))


@dataclass(frozen=True, kw_only=True)
class Operation:
    """One step of a block on one device. `kind` is norm, product, attention, elementwise or all-reduce."""

    name: str
    kind: str
    waits_for: tuple[str, ...]
    flops: int = 0
    moved: int = 0  # bytes read and written in memory; for an all-reduce, those of the tensor that is summed
    shape: str = ""  # of the matrix that a product multiplies by, in words


def operations(
    block: str,
    shape: BlockShape,
    *,
    tokens: int,
    context: int = 0,
    batch: int = 1,
    fused: bool = False,
    devices: int = 1,
    number_bytes: int = 2,
) -> tuple[Operation, ...]:
    """Return what one forward pass of a block does on one device, in an order that waits for nothing that is to come.

    block      "serial" or "parallel".
    tokens     new tokens of each of `batch` sequences, after `context` that are cached. Training and prefill have
               context = 0; decoding has tokens = 1.
    fused      products that share an input are one: query, key, value; up, gate; in the parallel block all five, and
               output and down as well.
    devices    1, or a number that divides heads and hidden: each has its share of them, and the partial sums are
               all-reduced. Key/value heads are divided as far as they go, then copied.

    A product reads its input and its matrix once and writes its output once; attention is causal and writes no scores.
    """
    one_of("block", block, ("serial", "parallel"))
    _is_a("shape", shape, BlockShape)
    _is_a("fused", fused, bool)
    sizes = {"tokens": tokens, "batch": batch, "devices": devices, "number_bytes": number_bytes}
    tokens, batch, devices, number_bytes = (whole_number(name, value, low=1) for name, value in sizes.items())
    context = whole_number("context", context)
    for name in ("heads", "hidden"):
        if getattr(shape, name) % devices:
            raise ValueError(f"devices must divide {name} = {getattr(shape, name)}, got {short(devices)}")
    q, kv = (n * shape.head_dim for n in (shape.heads // devices, -(-shape.kv_heads // devices)))
    dim, hidden = shape.dim, shape.hidden // devices
    qkv, up_gate = {"query": q, "key": kv, "value": kv}, {"up": hidden, "gate": hidden}
    pairs = batch * (tokens * context + tokens * (tokens + 1) // 2)  # of a query and a key that it sees, in each head
    attention = {"flops": 4 * pairs * q, "numbers": 2 * batch * (tokens * q + (tokens + context) * kv)}
    list_ = _List(batch * tokens, number_bytes, fused)

    def reduced(number, name):
        """Return what holds the whole sum: of one device its own product, else an all-reduce of everyone's."""
        if devices == 1:
            return name
        return list_.add(f"all-reduce{number}", "all-reduce", (name,), numbers=list_.rows * dim)

    if block == "serial":
        norm = list_.each("norm 1", "norm", ("x",), dim, read=1, flops=5)
        seen = list_.add("attention", "attention", list_.products(dim, qkv, norm), **attention)
        out = list_.product("output", (seen,), q, dim)
        middle = list_.each("add 1", "elementwise", ("x", reduced(" 1", out)), dim, read=2, flops=1)
        norm = list_.each("norm 2", "norm", (middle,), dim, read=1, flops=5)
        wide = list_.each(ACTIVATION, "elementwise", list_.products(dim, up_gate, norm), hidden, read=2, flops=5)
        down = list_.product("down", (wide,), hidden, dim)
        list_.each("y", "elementwise", (middle, reduced(" 2", down)), dim, read=2, flops=1)
        return tuple(list_.made)

    norm = list_.each("norm", "norm", ("x",), dim, read=1, flops=5)
    made_by = list_.products(dim, qkv | up_gate, norm)
    seen = list_.add("attention", "attention", made_by[:3], **attention)
    wide = list_.each(ACTIVATION, "elementwise", made_by[-2:], hidden, read=2, flops=5)
    if fused:
        parts = (list_.product("output, down", (seen, wide), q + hidden, dim),)
    else:
        parts = (list_.product("output", (seen,), q, dim), list_.product("down", (wide,), hidden, dim))
    if devices > 1 and not fused:
        parts = (list_.each("sum", "elementwise", parts, dim, read=2, flops=1),)
    parts = parts if len(parts) == 2 else (reduced("", parts[0]),)
    list_.each("y", "elementwise", ("x", *parts), dim, read=1 + len(parts), flops=len(parts))
    return tuple(list_.made)


def _is_a(name: str, value, kind: type) -> None:
    if not isinstance(value, kind):
        wanted = "True or False" if kind is bool else f"a {kind.__name__}"
        raise TypeError(f"{name} must be {wanted}, got {shown(value)}")


class _List:
    """The operations so far, and how each kind of them is counted. Each method returns the name of what it added."""

    def __init__(self, rows: int, number_bytes: int, fused: bool):
        self.made, self.rows, self.number_bytes, self.fused = [], rows, number_bytes, fused

    def add(self, name: str, kind: str, waits_for: tuple, *, flops: int = 0, numbers: int = 0, shape: str = "") -> str:
        waits_for = tuple(dict.fromkeys(waits_for))  # one fused product is waited for once
        moved = numbers * self.number_bytes
        self.made.append(Operation(name=name, kind=kind, waits_for=waits_for, flops=flops, moved=moved, shape=shape))
        return name

    def each(self, name: str, kind: str, waits_for: tuple, width: int, *, read: int, flops: int) -> str:
        """Something done to each number by itself: `read` tensors are read and one is written."""
        numbers = self.rows * width
        return self.add(name, kind, waits_for, flops=flops * numbers, numbers=(read + 1) * numbers)

    def product(self, name: str, waits_for: tuple, wide: int, out: int) -> str:
        numbers = wide * out + self.rows * (wide + out)
        flops = 2 * self.rows * wide * out
        return self.add(name, "product", waits_for, flops=flops, numbers=numbers, shape=f"{wide:,} × {out:,}")

    def products(self, wide: int, outs: dict[str, int], norm: str) -> tuple[str, ...]:
        """One product for each output, or one for them all: which of them makes each output."""
        if self.fused:
            return (self.product(", ".join(outs), (norm,), wide, sum(outs.values())),) * len(outs)
        return tuple(self.product(name, (norm,), wide, out) for name, out in outs.items())


def stages(ops) -> list[tuple[str, ...]]:
    """Return the names of the operations that could run at the same time, step by step, if nothing but waiting counted.

    >>> shape = BlockShape(dim=8, heads=2, head_dim=4, hidden=16)
    >>> len(stages(operations("serial", shape, tokens=4))), len(stages(operations("parallel", shape, tokens=4)))
    (10, 5)
    """
    if not isinstance(ops, (list, tuple)) or not ops or not all(isinstance(op, Operation) for op in ops):
        raise TypeError(f"ops must be what operations returns, a list or tuple of Operation, got {shown(ops)}")
    at = {"x": -1}
    for op in ops:
        if missing := [name for name in op.waits_for if name not in at]:
            raise ValueError(
                f"ops must hold what an operation waits for before it: {short(op.name)} lacks {short(missing[0])}"
            )
        at[op.name] = 1 + max(at[name] for name in op.waits_for)
    return [tuple(op.name for op in ops if at[op.name] == step) for step in range(max(at.values()) + 1)]


def seconds(op: Operation, machine: Machine, *, devices: int = 1) -> float:
    """Return the least time that an operation takes on a machine: its roofline, the slower of arithmetic and memory.

    An all-reduce goes around a ring: of n devices each sends 2 (n - 1)/n of the tensor. It overlaps with nothing here.
    """
    _is_a("op", op, Operation)
    _is_a("machine", machine, Machine)
    devices = whole_number("devices", devices, low=1)
    if op.kind == "all-reduce":
        return machine.latency + 2 * (devices - 1) / devices * op.moved / machine.link
    return machine.overhead + max(op.flops / machine.flops, op.moved / machine.memory)


def planning_table(
    machine: Machine, *, devices: int, tokens: int, context: int = 0, batch: int = 1, training: bool = False
) -> list[dict]:
    """Return for each of PaLM's three shapes what the roofline says of a layer, serial against parallel, both fused.

    Each row: model; serial and parallel, the seconds of one layer; all_reduce, those of a single one; and
    gain = serial/parallel - 1: how much more the parallel block gets done in the same time. `training` counts the
    backward pass too: twice the arithmetic and the bytes of the forward pass, and as many all-reduces again.
    """
    _is_a("machine", machine, Machine)
    _is_a("training", training, bool)
    rows = []
    for model, (_, shape) in PALM.items():
        times, reduce = {}, 0.0
        for block in ("serial", "parallel"):
            times[block] = 0.0
            sizes = {"tokens": tokens, "context": context, "batch": batch, "devices": devices}
            for op in operations(block, shape, fused=True, **sizes):
                spent = seconds(op, machine, devices=devices)
                if op.kind == "all-reduce":
                    reduce = spent
                times[block] += spent * ((2 if op.kind == "all-reduce" else 3) if training else 1)
        rows.append({"model": model, **times, "all_reduce": reduce, "gain": times["serial"] / times["parallel"] - 1})
    return rows


def kv_bytes(layers: int, shape: BlockShape, *, number_bytes: int = 2) -> int:
    """Return the bytes of keys and values that a cache keeps for one token, in all layers.

    Keys and values alone: `KVCache.nbytes` has some more, for what `extend_prefix` needs.

    >>> kv_bytes(32, BlockShape(dim=4096, heads=16, head_dim=256, hidden=16384))
    32768
    """
    _is_a("shape", shape, BlockShape)
    layers = whole_number("layers", layers, low=1)
    return 2 * layers * shape.kv_heads * shape.head_dim * whole_number("number_bytes", number_bytes, low=1)
