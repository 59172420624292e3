"""The data-flow explorer in Python: the graph is that of the operations, its words and counts, and what it refuses."""

import json

import pytest
import traitlets

from course_lib.block_costs import PALM, BlockShape, operations, stages
from course_lib.classroom import flow_words
from course_lib.classroom.flow_explorer import SHAPE, DataFlowExplorer

SMALL = BlockShape(dim=8, heads=2, head_dim=4, hidden=16, kv_heads=2)
every_variant = pytest.mark.parametrize(("fused", "devices"), flow_words.VARIANTS)


@every_variant
@pytest.mark.parametrize("shape", [SHAPE, SMALL, PALM["8B"][1]])
def test_the_graph_is_that_of_the_operations(shape, fused, devices):
    explorer = DataFlowExplorer(shape, tokens=6, fused=fused, devices=devices)
    for block in ("serial", "parallel"):
        ops = operations(block, shape, tokens=6, fused=fused, devices=devices)
        drawn = explorer.shown[block]
        keys = ("name", "kind", "waits_for", "shape", "flops")
        assert [[node[key] for key in keys] for node in drawn["nodes"]] == [
            [op.name, op.kind, list(op.waits_for), op.shape, op.flops] for op in ops
        ]
        by_stage = [
            tuple(node["name"] for node in drawn["nodes"] if node["stage"] == step)
            for step in range(1, drawn["steps"] + 1)
        ]
        assert by_stage == stages(ops)


@every_variant
def test_every_operation_is_waiting_then_running_then_done(fused, devices):
    explorer = DataFlowExplorer(fused=fused, devices=devices)
    for step in range(explorer.last_step + 1):
        explorer.step = step
        for block in ("serial", "parallel"):
            of_block = stages(operations(block, SHAPE, tokens=128, fused=fused, devices=devices))
            states = explorer.states(block)
            for at, names in enumerate(of_block, 1):
                assert {states[name] for name in names} == {
                    "running" if at == step else "done" if at < step else "waiting"
                }


@every_variant
def test_the_table_counts_the_operations(fused, devices):
    explorer = DataFlowExplorer(SMALL, tokens=3, fused=fused, devices=devices)
    products = (4, 2) if fused else (7, 7)
    weights = f"{SMALL.weights // devices:,}"
    last = "Weights read" if devices == 1 else "Weights read by each device"
    reduces = (0, 0) if devices == 1 else (2, 1)
    assert explorer.shown["rows"] == [
        ["Matrix products", *map(str, products)],
        ["Products one after another", "4", "2"],
        ["All-reduces", *map(str, reduces)],
        [last, weights, weights],
    ]


def test_the_steps_are_ten_and_five_and_those_with_all_reduces():
    graphs = DataFlowExplorer().graphs
    steps = {key: (each["serial"]["steps"], each["parallel"]["steps"]) for key, each in graphs.items()}
    assert steps == {"unfused-1": (10, 5), "fused-1": (10, 5), "unfused-2": (12, 7), "fused-2": (12, 6)}


@every_variant
def test_no_two_operations_lie_over_each_other(fused, devices):
    for block in flow_words.BLOCKS:
        drawn = DataFlowExplorer(fused=fused, devices=devices).shown[block]
        assert [node["name"] for node in drawn["nodes"] if not node["span"]] == (
            ["add 1", "y"] if block == "serial" else ["y"]
        )
        for step in range(1, drawn["steps"] + 1):
            spans = sorted(node["span"] for node in drawn["nodes"] if node["stage"] == step and node["span"])
            ends = [0, *(end for span in spans for end in span), flow_words.WIDTH]
            assert ends == sorted(ends)


def test_it_says_everything():
    explorer = DataFlowExplorer(tokens=1, step=3)
    assert explorer.describe() == repr(explorer) == (
        "A serial and a parallel block, nothing fused, on 1 device. "
        "Step 3: the serial block runs attention; the parallel block runs attention and ‘silu(gate) * up’. "
        "Matrix products: 7 and 7; Products one after another: 4 and 2; All-reduces: 0 and 0; "
        "Weights read: 3,735,552 and 3,735,552. "
        "A step counts waiting, not time: each operation takes one, large or small; those of one step could run at once."
    )  # fmt: skip
    explorer.selected = "up"
    assert (
        "‘up’ multiplies by a matrix of 512 × 2,048: 2,097,152 operations for 1 token. "
        "In the serial block: step 7, it waits for norm 2; ‘silu(gate) * up’ waits for it. "
        "In the parallel block: step 2, it waits for norm; ‘silu(gate) * up’ waits for it." in repr(explorer)
    )
    explorer.selected = "attention"
    assert "In both blocks: step 3, it waits for query, key and value; output waits for it." in repr(explorer)
    explorer.selected = "add 1"
    assert "Only in the serial block: step 5, it waits for x and output; norm 2 and y wait for it." in repr(explorer)
    explorer.selected = "y"
    assert "step 10, it waits for add 1 and down; it ends the block." in repr(explorer)
    explorer.step = 5
    assert "After this step the parallel block is done; the serial block has 5 steps to go." in repr(explorer)
    explorer.step = 9
    assert "The parallel block has been done since step 5; the serial block has 1 step to go." in repr(explorer)
    explorer.step = 10
    assert "The parallel block has been done since step 5; now both are." in repr(explorer)
    explorer.devices, explorer.step = 2, 5
    assert "the serial block waits for all-reduce 1, and computes nothing meanwhile" in repr(explorer)
    explorer.fused, explorer.selected = True, "query, key, value, up, gate"
    assert "multiplies by 5 matrices joined to one of 512 × 2,432 on each device" in repr(explorer)


def test_step_and_selected_follow_the_variant():
    explorer = DataFlowExplorer(step=12, devices=2)
    explorer.selected = "all-reduce 2"
    explorer.devices = 1
    assert (explorer.step, explorer.selected) == (10, "")
    explorer.selected = "query"
    explorer.fused = True
    assert explorer.selected == ""
    explorer.selected = "attention"
    explorer.fused = False
    assert explorer.selected == "attention"


def test_the_browsers_state_comes_whole():
    explorer = DataFlowExplorer()
    explorer.set_state({"step": 12, "selected": "all-reduce", "devices": 2, "fused": True})
    assert (explorer.step, explorer.selected, explorer.devices, explorer.fused) == (12, "all-reduce", 2, True)
    explorer.set_state({"devices": 1, "step": 10, "selected": ""})
    assert (explorer.step, explorer.selected, explorer.devices) == (10, "", 1)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"shape": 512}, "shape must be a BlockShape, got 512"),
        ({"shape": BlockShape(dim=8, heads=1, head_dim=4, hidden=16)}, "heads must be even, got 1"),
        ({"tokens": 0}, "tokens must be at least 1, got 0"),
        ({"step": 11}, r"step must be from 0 to 10 \(the serial block's last step\), got 11"),
        ({"step": True}, "step must be a whole number from 0 to 10"),
        ({"fused": 1}, "fused must be True or False, got 1"),
        ({"devices": 3}, "devices must be from 1 to 2, got 3"),
    ],
)
def test_what_is_wrong_is_said(arguments, words):
    with pytest.raises((ValueError, TypeError), match=words):
        DataFlowExplorer(**arguments)


def test_a_trait_that_cannot_be_is_refused_and_the_state_stays():
    explorer = DataFlowExplorer(step=2)
    before = explorer.describe()
    for name, value in [("step", 11), ("step", -1), ("devices", 3), ("devices", 0), ("selected", "all-reduce")]:
        with pytest.raises(traitlets.TraitError, match=f"{name} must be"):
            setattr(explorer, name, value)
    for name, value in [("graphs", {}), ("fused", "yes")]:
        with pytest.raises(traitlets.TraitError):
            setattr(explorer, name, value)
    assert explorer.describe() == before


@every_variant
def test_without_a_kernel_there_is_a_picture(fused, devices):
    explorer = DataFlowExplorer(step=5, fused=fused, devices=devices)
    data, _ = explorer._repr_mimebundle_()
    assert data["image/png"].startswith("iVBOR")
    assert data["text/plain"] == explorer.describe()
    assert explorer.fallback() == explorer.fallback()
    json.dumps(explorer.get_state(["graphs", "step", "fused", "devices", "selected"]))
