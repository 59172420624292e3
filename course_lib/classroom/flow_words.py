"""What the data-flow explorer shows of the two blocks: from their operations, the places, the counts and the words.

The browser and the picture without a kernel get all of it from here; neither knows what a block is made of.
"""

from ..block_costs import ACTIVATION, BlockShape, Operation, operations, stages
from .explorer_words import series
from .number_words import plural

BLOCKS = {"serial": "y = x + A(N₁(x)) + M(N₂(x + A(N₁(x))))", "parallel": "y = x + A(N(x)) + M(N(x))"}
VARIANTS = [(fused, devices) for devices in (1, 2) for fused in (False, True)]
KINDS = {
    "norm": "norm",
    "product": "matrix product",
    "attention": "attention",
    "elementwise": "number by number",
    "all-reduce": "all-reduce",
}
NOTE = "A step counts waiting, not time: each operation takes one, large or small; those of one step could run at once."

# Where an operation stands, in columns to the right of the residual stream: attention's are 0 to 3, the MLP's follow.
WIDTH = 5.3
_ATTENTION = {"query": (0, 1), "key": (1, 2), "value": (2, 3), "attention": (0, 3), "output": (0, 3)}
_MLP = {"up": (3.3, 4.3), "gate": (4.3, 5.3), ACTIVATION: (3.3, 5.3), "down": (3.3, 5.3)}


def variant(fused: bool, devices: int) -> str:
    return f"{'fused' if fused else 'unfused'}-{devices}"


def graph(ops: tuple[Operation, ...]) -> dict:
    """Return a block as nodes, each with its stage (from 1 on) and its span in columns; none for the residual stream's.

    A norm is as wide as what it feeds, and any other operation as wide as what it takes. `regions` frame what belongs
    to A and to M in the formula: the first and last stage, and the span.
    """
    spans, found = {"x": None}, _stage_of(ops)

    def union(names):
        known = _ATTENTION | _MLP | {name: span for name, span in spans.items() if span}
        ends = [known[name] if name in known else union(name.split(", ")) for name in names]
        return min(left for left, _ in ends), max(right for _, right in ends)

    for op in ops:
        if op.kind == "norm":
            spans[op.name] = union(_waiters(ops, op.name))
        elif op.kind == "elementwise" and any(name in spans and spans[name] is None for name in op.waits_for):
            spans[op.name] = None
        else:
            spans[op.name] = union([op.name] if op.kind != "all-reduce" and op.name != "sum" else op.waits_for)
    nodes = [
        {"name": op.name, "kind": op.kind, "waits_for": list(op.waits_for), "stage": found[op.name],
         "shape": op.shape, "flops": op.flops, "span": list(spans[op.name] or ()),
         "label": ", ".join([op.name, *([KINDS[op.kind]] * (op.kind != op.name)), f"step {found[op.name]}"])}
        for op in ops
    ]  # fmt: skip
    regions = []
    for letter, members in (("A", _ATTENTION), ("M", _MLP)):
        rows = [node["stage"] for node in nodes if set(node["name"].split(", ")) & set(members)]
        regions.append({"letter": letter, "first": min(rows), "last": max(rows), "span": list(union(members))})
    return {"nodes": nodes, "regions": regions, "steps": max(found.values()), "width": WIDTH}


def counts(ops: tuple[Operation, ...], tokens: int) -> dict[str, int]:
    """Count what the table shows. A product does two operations for each weight and token, and so tells its weights."""
    products = [op for op in ops if op.kind == "product"]
    return {
        "Matrix products": len(products),
        "Products one after another": len({_stage_of(ops)[op.name] for op in products}),
        "All-reduces": sum(op.kind == "all-reduce" for op in ops),
        "Weights read": sum(op.flops for op in products) // (2 * tokens),
    }


def everything(shape: BlockShape, tokens: int) -> dict[str, dict]:
    """Return for each variant the two graphs, the table's rows, a sentence for each step and one for each operation."""
    result = {}
    for fused, devices in VARIANTS:
        both = {block: operations(block, shape, tokens=tokens, fused=fused, devices=devices) for block in BLOCKS}
        graphs = {block: {"formula": BLOCKS[block], **graph(ops)} for block, ops in both.items()}
        tables = [counts(ops, tokens) for ops in both.values()]
        names = dict.fromkeys(op.name for ops in both.values() for op in ops)
        result[variant(fused, devices)] = {
            **graphs,
            "note": NOTE,
            "rows": [
                [name + (" by each device" if devices > 1 and name == "Weights read" else ""),
                 *(f"{table[name]:,}" for table in tables)]
                for name in tables[0]
            ],
            "said": [step_words(both, step) for step in range(max(each["steps"] for each in graphs.values()) + 1)],
            "told": {name: operation_words(both, name, tokens, devices) for name in names},
        }  # fmt: skip
    return result


def step_words(both: dict[str, tuple[Operation, ...]], step: int) -> str:
    """Return what runs in a step of each block; step 0 is before the first."""
    steps = {block: stages(ops) for block, ops in both.items()}
    serial, parallel = len(steps["serial"]), len(steps["parallel"])
    if not step:
        return f"Nothing has run yet. The serial block will take {serial} steps, the parallel block {parallel}."
    kinds = {op.name: op.kind for ops in both.values() for op in ops}
    parts = []
    for block, of_block in steps.items():
        if step > len(of_block):
            continue
        now = of_block[step - 1]
        if kinds[now[0]] == "all-reduce":
            doing = f"waits for {now[0]}, and computes nothing meanwhile"
        else:
            doing = f"runs {named(now)}"
        parts.append(f"the {block} block {doing}{', its last' if step == len(of_block) else ''}")
    words = f"Step {step}: {'; '.join(parts)}."
    if step >= parallel:
        rest = serial - step
        when = f"The parallel block has been done since step {parallel}"
        when = "After this step the parallel block is done" if step == parallel else when
        words += f" {when}; the serial block has {plural(rest, 'step')} to go." if rest else f" {when}; now both are."
    return words


_DOES = {
    "norm": "brings the numbers of each token to a common size",
    "attention": "mixes the values that each token may see; it has no weights of its own",
    "elementwise": "adds what it waits for, number by number",
    ACTIVATION: "multiplies up by silu(gate), number by number",
    "all-reduce": "sums what the devices hold, and gives each the sum; nothing else runs while it does",
}


def operation_words(both: dict[str, tuple[Operation, ...]], name: str, tokens: int, devices: int) -> str:
    """Return what an operation is, what it waits for and who waits for it, in each block that has it."""
    has = {block: op for block, ops in both.items() for op in ops if op.name == name}
    op, shared = next(iter(has.values())), "" if devices == 1 else " on each device"
    if op.kind == "product":
        fused = len(name.split(", "))
        by = "a matrix of" if fused == 1 else f"{fused} matrices joined to one of"
        what = f"‘{name}’ multiplies by {by} {op.shape}{shared}: {op.flops:,} operations for {plural(tokens, 'token')}."
    else:
        what = f"‘{name}’ {_DOES.get(name, _DOES[op.kind])}."
    said = {}
    for block, op in has.items():
        after = _waiters(both[block], name)
        then = f"{named(after)} {'wait' if len(after) > 1 else 'waits'} for it" if after else "it ends the block"
        said.setdefault(f"step {_stage_of(both[block])[name]}, it waits for {named(op.waits_for)}; {then}", block)
    if len(said) == 1 < len(has):
        return f"{what} In both blocks: {next(iter(said))}."
    where = "In" if len(has) > 1 else "Only in"
    return " ".join([what, *(f"{where} the {block} block: {words}." for words, block in said.items())])


def named(names) -> str:
    """Return operations as a sentence lists them; a name that has a comma or a sign itself stands in quotes.

    >>> named(["up", "gate"]), named(["query, key, value"])
    ('up and gate', '‘query, key, value’')
    """
    return series([f"‘{name}’" if "," in name or "*" in name else name for name in names])


def _waiters(ops, name: str) -> list[str]:
    return [op.name for op in ops if name in op.waits_for]


def _stage_of(ops) -> dict[str, int]:
    return {name: step for step, names in enumerate(stages(ops), 1) for name in names}
