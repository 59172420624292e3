"""Counts against hooks on real blocks, published sizes, and arithmetic on paper."""

import numpy as np
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from course_lib.block_costs import PALM, BlockShape, Machine, kv_bytes, operations, planning_table, seconds, stages
from course_lib.layers import ParallelBlock, SerialBlock

SHAPE = BlockShape(dim=16, heads=4, head_dim=8, hidden=24, kv_heads=2)
VARIANTS = [(block, fused) for block in ("serial", "parallel") for fused in (False, True)]


def built(block, fused, shape=SHAPE):
    make = {"serial": SerialBlock, "parallel": ParallelBlock}[block]
    sizes = {name: getattr(shape, name) for name in ("heads", "head_dim", "hidden", "kv_heads")}
    return make(shape.dim, **sizes, fused=fused, norm="layernorm")


@pytest.mark.parametrize(("block", "fused"), VARIANTS)
def test_products_are_those_that_a_real_block_makes(block, fused):
    """Every Linear of the block is a product of the list: as many, of the same size, with the same FLOPs."""
    real, seen = built(block, fused), []
    for module in real.modules():
        if isinstance(module, torch.nn.Linear):
            module.register_forward_hook(lambda m, args, out: seen.append((m.in_features, m.out_features)))
    x = torch.randn(3, 5, SHAPE.dim)
    with FlopCounterMode(display=False) as counter:
        real(x)
    ops = operations(block, SHAPE, tokens=5, batch=3, fused=fused)
    products = [op for op in ops if op.kind == "product"]
    assert sorted(f"{wide:,} × {out:,}" for wide, out in seen) == sorted(op.shape for op in products)
    counted = counter.get_flop_counts()["Global"]
    assert sum(op.flops for op in products) == sum(n for op, n in counted.items() if op in (torch.ops.aten.mm,))
    matrices = sum(weight.numel() for weight in real.parameters() if weight.dim() == 2)
    assert matrices == SHAPE.weights


@pytest.mark.parametrize("fused", [False, True])
@pytest.mark.parametrize("devices", [1, 2])
def test_serial_and_parallel_compute_the_same_amount(fused, devices):
    """The parallel block does no less arithmetic: one norm less is all."""
    total = {
        block: sum(
            op.flops
            for op in operations(block, SHAPE, tokens=7, fused=fused, devices=devices)
            if op.kind in ("product", "attention")
        )
        for block in ("serial", "parallel")
    }
    assert total["serial"] == total["parallel"]


@pytest.mark.parametrize(
    ("block", "fused", "products", "in_turn"),
    [("serial", False, 7, 4), ("serial", True, 4, 4), ("parallel", False, 7, 2), ("parallel", True, 2, 2)],
)
def test_how_many_products_and_how_many_in_turn(block, fused, products, in_turn):
    ops = operations(block, SHAPE, tokens=7, fused=fused)
    kinds = {op.name: op.kind for op in ops}
    assert list(kinds.values()).count("product") == products
    assert sum(any(kinds[name] == "product" for name in step) for step in stages(ops)) == in_turn
    reduces = {"serial": 2, "parallel": 1}[block]
    ops = operations(block, SHAPE, tokens=7, fused=fused, devices=2)
    assert sum(op.kind == "all-reduce" for op in ops) == reduces


@pytest.mark.parametrize(("block", "fused"), VARIANTS)
@pytest.mark.parametrize("devices", [1, 2])
def test_nothing_waits_for_what_is_to_come(block, fused, devices):
    done = {"x"}
    ops = operations(block, SHAPE, tokens=2, fused=fused, devices=devices)
    for op in ops:
        assert set(op.waits_for) <= done
        done.add(op.name)
    assert len(done) == len(ops) + 1
    read = {name for op in ops for name in op.waits_for}
    assert done - read == {"y"}  # every result is used but the last
    done = {"x"}
    for step in stages(ops):
        ready = {op.name for op in ops if op.name not in done and set(op.waits_for) <= done}
        assert set(step) == ready
        done |= ready


def test_bytes_and_flops_of_a_product_and_of_attention_on_paper():
    shape = BlockShape(dim=8, heads=2, head_dim=4, hidden=16)
    by_name = {op.name: op for op in operations("serial", shape, tokens=1, context=9, batch=3, number_bytes=4)}
    assert by_name["up"].flops == 2 * 3 * 8 * 16
    assert by_name["up"].moved == 4 * (8 * 16 + 3 * 8 + 3 * 16)  # the matrix, the input, the output
    assert by_name["attention"].flops == 3 * 10 * 2 * (2 * 4 + 2 * 4)  # 10 keys, 2 heads, two products over 4
    assert by_name["attention"].moved == 4 * 3 * (2 * 8 + 2 * 10 * 4)  # queries in, outputs out; 10 keys, 10 values
    assert by_name["y"].moved == 4 * 3 * 8 * 3
    prefill = {op.name: op for op in operations("serial", shape, tokens=4)}
    assert prefill["attention"].flops == (1 + 2 + 3 + 4) * 2 * 16
    two = {op.name: op for op in operations("parallel", shape, tokens=2, context=5)}
    assert two["attention"].flops == (6 + 7) * 2 * 16
    assert two["y"].moved == 2 * 2 * 8 * (3 + 1)  # x and the outputs of both branches are read


def test_two_devices_share_the_matrices():
    whole, half = (operations("parallel", SHAPE, tokens=5, devices=n) for n in (1, 2))
    flops = [{op.name: op.flops for op in ops} for ops in (whole, half)]
    for name in ("query", "key", "attention", "output", "up", "gate", "silu(gate) * up", "down"):
        assert flops[0][name] == 2 * flops[1][name]
    assert flops[0]["norm"] == flops[1]["norm"]  # done by both
    one_key = BlockShape(dim=16, heads=4, head_dim=8, hidden=24)
    flops = [{op.name: op.flops for op in operations("serial", one_key, tokens=5, devices=n)} for n in (1, 2)]
    assert flops[0]["key"] == flops[1]["key"]  # a single key head is copied


def test_palm_has_as_many_weights_as_published():
    """PaLM, table 1: 8.63, 62.50 and 540.35 billion, the table of 256,000 tokens shared by both ends."""
    billions = {name: (layers * shape.weights + 256_000 * shape.dim) / 1e9 for name, (layers, shape) in PALM.items()}
    assert {name: round(value, 2) for name, value in billions.items()} == {"8B": 8.63, "62B": 62.5, "540B": 540.35}


def test_the_roofline_is_the_slower_of_two():
    machine = Machine(name="m", flops=100.0, memory=10.0, link=4.0, latency=0.5, overhead=0.25)
    op = operations("serial", SHAPE, tokens=1)[1]
    for flops, moved, wanted in ((1000, 10, 10.25), (10, 1000, 100.25)):
        one = type(op)(name="a", kind="product", waits_for=("x",), flops=flops, moved=moved)
        assert seconds(one, machine) == wanted
    ring = type(op)(name="r", kind="all-reduce", waits_for=("x",), moved=80)
    assert seconds(ring, machine, devices=4) == 0.5 + 2 * 3 / 4 * 80 / 4


def test_the_planning_table_adds_up():
    machine = Machine(name="m", flops=1e14, memory=1e12, link=1e11)
    for devices in (1, 8):
        for row in planning_table(machine, devices=devices, tokens=512):
            shape = PALM[row["model"]][1]
            for block in ("serial", "parallel"):
                ops = operations(block, shape, tokens=512, fused=True, devices=devices)
                assert row[block] == pytest.approx(sum(seconds(op, machine, devices=devices) for op in ops))
            saved = row["serial"] - row["parallel"] - row["all_reduce"]
            rest = [op for op in operations("serial", shape, tokens=512, fused=True) if op.name in ("norm 2", "add 1")]
            assert 0 < saved <= sum(seconds(op, machine) for op in rest) * 2
            assert row["gain"] == pytest.approx(row["serial"] / row["parallel"] - 1)
            assert (row["all_reduce"] == 0) == (devices == 1)
    forward, training = (planning_table(machine, devices=8, tokens=512, training=both) for both in (False, True))
    for one, both in zip(forward, training, strict=True):
        for block, reduces in (("serial", 2), ("parallel", 1)):
            assert both[block] == pytest.approx(3 * one[block] - reduces * one["all_reduce"])
    slow, fast = (
        planning_table(Machine(name="m", flops=1e14, memory=1e12, link=link), devices=8, tokens=512)
        for link in (1e10, 1e12)
    )
    assert all(a["gain"] > b["gain"] for a, b in zip(slow, fast, strict=True))


def test_the_bytes_of_a_cache():
    """540B with 48 key/value heads and with 1: 2 (keys, values) x 118 x 48 x 256 x 2 bytes, and a 48th of it."""
    layers, shape = PALM["540B"]
    many = BlockShape(dim=shape.dim, heads=48, head_dim=256, hidden=shape.hidden, kv_heads=48)
    assert kv_bytes(layers, many) == 5_799_936
    assert kv_bytes(layers, shape) == 120_832


def test_refusals_in_words():
    with pytest.raises(ValueError, match="block must be one of serial, parallel, got 'both'"):
        operations("both", SHAPE, tokens=1)
    with pytest.raises(ValueError, match="devices must divide heads = 4, got 3"):
        operations("serial", SHAPE, tokens=1, devices=3)
    with pytest.raises(ValueError, match="tokens must be at least 1, got 0"):
        operations("serial", SHAPE, tokens=0)
    with pytest.raises(ValueError, match="context must be at least 0, got -1"):
        operations("serial", SHAPE, tokens=1, context=-1)
    with pytest.raises(ValueError, match="heads must be a multiple of kv_heads, got 4 and 3"):
        BlockShape(dim=8, heads=4, head_dim=2, hidden=8, kv_heads=3)
    for value in (0, float("inf"), "fast", True):
        with pytest.raises((TypeError, ValueError), match=r"memory must be (finite and at least 1|a number), got"):
            Machine(name="m", flops=1.0, memory=value, link=1.0)


def test_numpy_sizes_count_like_any_other():
    """Their own products would overflow: a billion weights need more than 16 bits."""
    sizes = {"dim": 18432, "heads": 48, "head_dim": 256, "hidden": 4 * 18432 // 3}
    plain, numpy = BlockShape(**sizes), BlockShape(**{name: np.int16(size) for name, size in sizes.items()})
    assert plain == numpy
    assert plain.weights == numpy.weights > 10**9
    counts = {"tokens": 2048, "batch": 64, "devices": 2}
    assert operations("serial", plain, **counts) == operations(
        "serial", numpy, **{name: np.int16(count) for name, count in counts.items()}
    )


def test_stages_want_what_is_waited_for_first():
    ops = operations("serial", SHAPE, tokens=1)
    with pytest.raises(
        ValueError, match="ops must hold what an operation waits for before it: 'attention' lacks 'query'"
    ):
        stages([op for op in ops if op.name != "query"])
