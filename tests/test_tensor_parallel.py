"""Parts that add up to the block, and processes that hold one part each and get what the whole block gets."""

import copy
import json
import math
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from torch import distributed as dist
from torch import multiprocessing as mp

from course_lib import parallel_measure, processes
from course_lib.layers import BLOCKS, ParallelBlock, SerialBlock, SwiGLU
from course_lib.masks import Visibility, prefix_mask
from course_lib.parallel_measure import main, measure_blocks
from course_lib.processes import launch
from course_lib.tensor_parallel import TensorParallel, shard

DIM, HEADS, HEAD_DIM, HIDDEN, LENGTH, WORLD = 6, 4, 2, 12, 5, 2
EACH = torch.tensor([2, 5])
MASKS = {"causal": None, "prefix": Visibility(3), "each": Visibility(EACH), "tensor": prefix_mask(EACH, LENGTH)}
KINDS = {
    f"{name}, kv_heads={kv_heads}, {'fused' if fused else 'unfused'}": (name, {"kv_heads": kv_heads, "fused": fused})
    for name in BLOCKS
    for kv_heads in (1, 2, HEADS)
    for fused in (True, False)
} | {
    "two norms": ("parallel", {"kv_heads": 2, "fused": False, "shared_norm": False}),
    "two norms, multi-query, gelu": ("parallel", {"kv_heads": 1, "fused": False, "shared_norm": False, "mlp": "gelu"}),
    "serial, gelu, layernorm": ("serial", {"fused": True, "mlp": "gelu", "norm": "layernorm", "rotary": False}),
}


def made(kind):
    """The same block each time, in float64, with weights that are large enough for differences to show."""
    name, settings = KINDS[kind]
    block = BLOCKS[name](DIM, heads=HEADS, head_dim=HEAD_DIM, hidden=HIDDEN, **settings).double()
    rng = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for weight in block.parameters():
            noise = torch.randn(weight.shape, generator=rng, dtype=weight.dtype)
            weight.copy_(noise / math.sqrt(weight.shape[-1]) + (weight.dim() == 1))
    return block


def inputs(seed=1):
    return torch.randn(2, LENGTH, DIM, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def whole_gradients(block):
    """The block's gradients as the weights of a block, so that they can be cut like weights."""
    held = copy.deepcopy(block)
    for weight, whole in zip(held.parameters(), block.parameters(), strict=True):
        weight.data = whole.grad
    return held


@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize(
    ("kind", "world"),
    [(kind, world) for kind in KINDS for world in (1, 2, 4) if (KINDS[kind][1].get("kv_heads"), world) != (2, 4)],
)
def test_what_the_parts_add_is_what_the_block_adds(kind, world):
    block, x = made(kind), inputs()
    parts = [shard(block, rank, world) for rank in range(world)]
    assert {type(part) for part in parts} == {type(block)}
    assert {part.settings["fused"] for part in parts} == {block.settings["fused"]}
    for mask in MASKS.values():
        if isinstance(block, ParallelBlock):
            added = sum(part.branches(x, mask) for part in parts)
        else:
            middle = x + sum(part.attention(part.attention_norm(x), mask) for part in parts)
            added = middle + sum(part.mlp(part.mlp_norm(middle)) for part in parts) - x
        torch.testing.assert_close(x + added, block(x, mask))


def test_a_part_has_its_heads_and_its_hidden_features_and_a_copy_of_them():
    block = made("parallel, kv_heads=1, unfused")
    part = shard(block, 1, WORLD)
    assert {name: tuple(weight.shape) for name, weight in part.named_parameters()} == {
        "norm.weight": (6,),
        "attention.query.weight": (4, 6),
        "attention.key.weight": (2, 6),
        "attention.value.weight": (2, 6),
        "attention.output.weight": (6, 4),
        "mlp.up.weight": (6, 6),
        "mlp.gate.weight": (6, 6),
        "mlp.down.weight": (6, 6),
    }
    assert torch.equal(part.attention.query.weight, block.attention.query.weight[4:])
    assert torch.equal(part.attention.key.weight, block.attention.key.weight)
    assert torch.equal(part.mlp.down.weight, block.mlp.down.weight[:, 6:])
    for weight in part.parameters():
        assert weight.requires_grad
        assert weight.untyped_storage().nbytes() == weight.nbytes
    whole = {weight.data_ptr() for weight in block.parameters()}
    assert not whole & {weight.data_ptr() for weight in part.parameters()}
    assert not shard(block.eval(), 0, WORLD).training


@pytest.mark.parametrize("kind", ["parallel, kv_heads=1, fused", "parallel, kv_heads=1, unfused"])
def test_a_part_is_frozen_where_the_block_is(kind):
    block = made(kind)
    frozen = "out_proj.weight" if block.fused else "mlp.gate.weight"
    block.get_parameter(frozen).requires_grad_(False)
    part = shard(block, 1, WORLD)
    assert [name for name, weight in part.named_parameters() if not weight.requires_grad] == [frozen]


def test_refusals_in_words():
    block = SerialBlock(DIM, heads=6, head_dim=2, hidden=12, kv_heads=3)
    for rank, world, words in (
        (0, 4, "heads must be a multiple of world = 4, got 6"),
        (0, 2, "kv_heads must be 1 or a multiple of world = 2, got 3"),
        (3, 3, "rank must be from 0 to world - 1 = 2, got 3"),
        (0, 0, "world must be at least 1, got 0"),
    ):
        with pytest.raises(ValueError, match=words):
            shard(block, rank, world)
    with pytest.raises(ValueError, match="hidden must be a multiple of world = 2, got 7"):
        shard(ParallelBlock(DIM, heads=2, head_dim=2, hidden=7), 0, 2)
    with pytest.raises(ValueError, match=r"dropout must be 0, .* got 0\.1"):
        shard(SerialBlock(DIM, heads=2, head_dim=2, hidden=8, dropout=0.1), 0, 2)
    with pytest.raises(TypeError, match="block must be a SerialBlock or a ParallelBlock, got SwiGLU"):
        shard(SwiGLU(DIM, 8), 0, 2)
    with pytest.raises(RuntimeError, match="there is no process group"):
        TensorParallel(block)
    with pytest.raises(ValueError, match="world must be from 1 to 256, got 0"):
        launch(compare_all, world=0)
    with pytest.raises(ValueError, match="world must be from 1 to 256, got 1000000000"):
        launch(compare_all, world=10**9)
    for wrong, error in ((float("nan"), ValueError), (0, ValueError), (10**30, ValueError), ("x", TypeError)):
        with pytest.raises(error, match="timeout must be "):
            launch(compare_all, timeout=wrong)
    for work in (lambda: 1, 3):
        with pytest.raises(TypeError, match="work must be a function that a new process can import, with"):
            launch(work)


def test_a_torch_without_gloo_is_said_so(monkeypatch):
    monkeypatch.setattr(dist, "is_available", lambda: False)
    with pytest.raises(RuntimeError, match=r"without torch\.distributed or its gloo"):
        launch(compare_all)
    with pytest.raises(RuntimeError, match="there is no process group"):
        TensorParallel(made("two norms"))


def compare_all() -> dict:
    """In one process of two: every kind of block under every mask against the whole block, and what else needs a group.

    Returns the largest difference of each kind, that of process 1 and of every gradient included, and what was counted.
    """
    found, rank = {}, dist.get_rank()
    for kind in KINDS:
        block = made(kind)
        layer, largest = TensorParallel(block), 0.0
        # each mask's gradients are added to those before, as over several backward passes
        for case, mask in MASKS.items():
            mine, alone = inputs().requires_grad_(), inputs().requires_grad_()
            where = {"positions": torch.tensor([3, 1, 4, 1, 5])} if case == "prefix" else {}
            layer.forget()
            out, wanted = layer(mine, mask, **where), block(alone, mask, **where)
            for one in (out, wanted):
                one.backward(inputs(2))
            gradients = shard(whole_gradients(block), rank, WORLD)
            pairs = [(out, wanted), (mine.grad, alone.grad)]
            for weight, gradient in zip(layer.parameters(), gradients.parameters(), strict=True):
                pairs.append((weight.grad, gradient.data))
            largest = max(largest, *((a - b).abs().max().item() for a, b in pairs))
        everyone = [None] * WORLD
        dist.all_gather_object(everyone, largest)
        counted = {name: [one.calls, one.sent] for name, one in layer.reductions.items()}  # N = 2: each sends it once
        found[kind] = {"largest": max(everyone), **counted}
        assert all(one.seconds > 0 and one.sent == one.received for one in layer.reductions.values() if one.calls)
    empty = torch.zeros(1, 0, DIM, dtype=torch.float64, requires_grad=True)
    layer(empty).sum().backward()
    found["empty"] = list(empty.grad.shape)
    found["called"] = called_with_others()
    found["frozen"] = frozen_in_part()
    torch.manual_seed(rank)
    try:
        TensorParallel(SerialBlock(DIM, heads=2, head_dim=2, hidden=4))
    except ValueError as error:
        found["differ"] = str(error)
    found["measured"] = measure_blocks(dim=32, heads=4, head_dim=8, hidden=64, lengths=(8, 16), repeats=2)
    return found


def called_with_others():
    """Return what every process says of arguments that are not the same in all of them, or wrong in one."""
    rank = dist.get_rank()
    layer, x, words = TensorParallel(made("serial, kv_heads=2, unfused")), inputs(), {}
    for name, *arguments in (
        ("values of x", inputs(rank)),
        ("shape of x", x[:, : LENGTH - rank]),
        ("batch", x[: 2 - rank]),
        ("requires_grad of x", inputs().requires_grad_(bool(rank))),
        ("mask", x, Visibility(2 + rank)),
        ("mask tensor", x, prefix_mask(2 + rank, LENGTH)),
        ("own", None if rank else x),
    ):
        try:
            layer(*arguments)
            words[name] = "nothing"
        except (ValueError, RuntimeError) as error:
            words[name] = f"{type(error).__name__}: {error}"
    try:
        layer(x, positions=torch.arange(LENGTH) + rank)
    except ValueError as error:
        words["positions"] = f"{type(error).__name__}: {error}"
    everyone = [None] * WORLD
    dist.all_gather_object(everyone, words)
    return everyone


def frozen_in_part():
    """Return what is said of a block that one process froze; and see that what is thawed later has its whole gradient.

    Multi-query: each process holds key and value in whole, and a hook adds up their gradient.
    """
    block = made("serial, kv_heads=1, unfused")
    block.attention.key.weight.requires_grad_(False)
    layer, x = TensorParallel(block), inputs()
    assert not layer.block.attention.key.weight.requires_grad
    for one in (layer, block):
        one(x).sum().backward()
    assert layer.block.attention.key.weight.grad is None
    for one in (layer, block):
        one.requires_grad_()
        one(x).sum().backward()
    torch.testing.assert_close(layer.block.attention.key.weight.grad, block.attention.key.weight.grad)
    block.requires_grad_(dist.get_rank() == 0)
    with pytest.raises(ValueError, match="block must have the same weights frozen in every process"):
        TensorParallel(block)
    return True


def check_called(everyone):
    first, second = everyone
    for name in first.keys() - {"own"}:
        assert first[name] == second[name], name
        wanted = {"batch": "shape of x", "mask tensor": "mask"}.get(name, name)
        assert re.match(rf"ValueError: (.*; )?{wanted}( \(by their hash\))? must be the same in every", first[name]), (
            name
        )
    assert second["own"].startswith("ValueError: x must be a tensor (batch, length, dim = 6), got None")
    assert first["own"].startswith("RuntimeError: process 1 of 2 refused its inputs: x must be a tensor")


def check_measured(rows):
    cases = [(length, name, training) for length in (8, 16) for name in BLOCKS for training in (False, True)]
    assert [(row["length"], row["block"], row["training"]) for row in rows] == cases
    for row in rows:
        per_layer = {"serial": 2, "parallel": 1}[row["block"]]
        assert (row["forward"], row["backward"], row["weights"]) == (per_layer, per_layer * row["training"], 0)
        assert row["sent"] == 4 * row["length"] * 32 * per_layer * (1 + row["training"])
        assert 0 < row["reduce_ms"] < row["ms"]
        assert 0 < row["share"] < 1
        assert row["whole_ms"] > 0
        assert 0 <= row["difference"] < 1e-5


def test_two_processes_get_what_one_gets_and_every_gradient_of_it():
    found = launch(compare_all, timeout=200)
    check_measured(found.pop("measured"))
    check_called(found.pop("called"))
    assert found.pop("frozen")
    assert found.pop("empty") == [1, 0, DIM]
    assert found.pop("differ").startswith("block must have the same weights in every process")
    assert found.keys() == KINDS.keys()
    size = 8 * 2 * LENGTH * DIM
    key_and_value = 8 * 2 * HEAD_DIM * DIM
    for kind, one in found.items():
        assert one["largest"] < 1e-12, kind
        per_layer = 2 if "serial" in kind else 1
        assert one["forward"] == one["backward"] == [per_layer, per_layer * size], kind
        weights = [0, 0]  # those that each process holds in whole and uses for its own part
        if KINDS[kind][1].get("kv_heads") == 1:
            weights = [1 if KINDS[kind][1]["fused"] else 2, key_and_value]
        if "two norms" in kind:
            weights = [weights[0] + 2, weights[1] + 2 * 8 * DIM]
        assert one["weights"] == weights, kind


def fail(folder):
    """Process 1 fails, process 0 waits for a sum that never comes."""
    Path(folder, str(dist.get_rank())).write_text(str(os.getpid()))
    if dist.get_rank():
        while not Path(folder, "0").exists():
            time.sleep(0.01)
        raise ArithmeticError("no sum today")
    dist.all_reduce(torch.ones(1))


def die(folder):
    """Process 1 ends without a word."""
    Path(folder, str(dist.get_rank())).write_text(str(os.getpid()))
    if dist.get_rank():
        os._exit(3)
    time.sleep(600)


def unprintable(folder):
    """What process 1 fails with has half a character in it, which no file in UTF-8 holds."""
    Path(folder, str(dist.get_rank())).write_text(str(os.getpid()))
    if dist.get_rank():
        raise ValueError("\ud800")


def leave(folder):
    """Process 0 says goodbye before it has a result, as if all were well."""
    Path(folder, str(dist.get_rank())).write_text(str(os.getpid()))
    if not dist.get_rank():
        sys.exit(0)


def vanish(folder):
    Path(folder, str(dist.get_rank())).write_text(str(os.getpid()))
    if not dist.get_rank():
        os._exit(0)


class LastWordsError(Exception):
    def __str__(self):
        os._exit(3)


def killed_while_it_tells(folder):
    """Process 1 ends while its traceback is made into text."""
    Path(folder, str(dist.get_rank())).write_text(str(os.getpid()))
    if dist.get_rank():
        raise LastWordsError
    time.sleep(600)


def wait(folder):
    Path(folder, str(dist.get_rank())).write_text(str(os.getpid()))
    time.sleep(600)


@pytest.mark.parametrize(
    ("work", "error", "words"),
    [
        (fail, RuntimeError, r"(?s)^process 1 of 2 failed:.*ArithmeticError: no sum today"),
        (die, RuntimeError, r"^process 1 terminated with exit code 3"),
        (unprintable, RuntimeError, r"(?s)^process 1 of 2 failed:.*ValueError: \\ud800"),
        (leave, RuntimeError, r"(?s)^process 0 of 2 failed:.*SystemExit: 0"),
        (vanish, RuntimeError, r"^process 0 of 2 ended before work returned"),
        (killed_while_it_tells, RuntimeError, r"^process 1 terminated with exit code 3"),
        (wait, TimeoutError, r"2 processes did not finish within timeout = 3"),
    ],
)
def test_a_failure_is_reported_and_nothing_is_left_running(tmp_path, work, error, words):
    with pytest.raises(error, match=words):
        launch(work, folder=str(tmp_path), timeout=3 if work is wait else 60)
    for file in tmp_path.iterdir():
        with pytest.raises(ProcessLookupError):
            os.kill(int(file.read_text()), 0)
    assert mp.active_children() == []


def test_torchrun_starts_it_by_hand(tmp_path):
    """From elsewhere, as with an installed course, by the name of the module."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    command += ["-m", "course_lib.parallel_measure", "--rendezvous", str(tmp_path / "meet"), "--json"]
    command += ["--dim", "16", "--heads", "2", "--head-dim", "8", "--hidden", "32", "--kv-heads", "1", "--no-fused"]
    command += ["--lengths", "4", "--repeats", "1"]
    paths = {"PYTHONPATH": str(Path(parallel_measure.__file__).parents[1])}
    done = subprocess.run(command, capture_output=True, text=True, timeout=200, cwd=tmp_path, env=os.environ | paths)
    assert done.returncode == 0, done.stderr
    rows = json.loads(done.stdout)
    assert [row["weights"] for row in rows] == [0, 2, 0, 2]


def test_the_command_line_asks_for_a_meeting_place_under_torchrun(monkeypatch, capsys):
    monkeypatch.setenv("RANK", "0")
    with pytest.raises(SystemExit):
        main([])
    assert "--rendezvous must be given" in capsys.readouterr().err


def test_the_command_line_starts_processes_itself(monkeypatch, capsys):
    row = {"block": "serial", "length": 8, "training": True, "ms": 2.0, "share": 0.25, "whole_ms": 3.0}
    row |= {"forward": 2, "backward": 2, "weights": 1, "difference": 2e-7}
    asked = []
    monkeypatch.setattr(processes, "launch", lambda work, **settings: asked.append(settings) or [row])
    monkeypatch.delenv("RANK", raising=False)
    assert main(["--lengths", "8", "9", "--world", "1", "--no-fused"]) == 0
    assert {"world": 1, "timeout": 60.0, "lengths": [8, 9], "fused": False, "kv_heads": None}.items() <= asked[
        0
    ].items()
    assert "25% of it in 2 + 2 all-reduces (+ 1 for weights)" in capsys.readouterr().out
