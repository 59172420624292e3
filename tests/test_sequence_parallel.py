"""Processes that share a sequence get the rows and the gradients of one that has it all, and send what was counted."""

import os
import time
from functools import cache, partial
from itertools import product
from pathlib import Path

import pytest
import torch
from torch import distributed as dist
from torch import multiprocessing as mp

from course_lib.kernels import LinearState, prefix_linear_attention, prefix_softmax_attention
from course_lib.parallel_measure import measure_sequences
from course_lib.processes import launch
from course_lib.sequence_costs import sequence_bytes
from course_lib.sequence_parallel import sequence_parallel_prefix_linear_attention

BATCH, HEADS, KEY, VALUE, LENGTH = 2, 2, 3, 4, 9
SHAPE = {"heads": HEADS, "key_dim": KEY, "value_dim": VALUE, "batch": BATCH, "number_bytes": 8}
SHARDS = {1: [(9,)], 2: [(4, 5), (9, 0), (0, 9)], 3: [(3, 2, 4), (4, 0, 5), (0, 8, 1), (5, 4, 0), (0, 0, 9)]}
PREFIXES = [*range(LENGTH + 1), [1, 8], [0, 9], [4, 5], [9, 9]]
FEW = [0, 4, 9, [1, 8]]
CHOICES = {
    "plain": {},
    "normalized": {"normalize": True, "eps": 1e-3, "scale": 0.7},
    # the following with a few prefixes only
    "scaled, from a state without z": {"scale": -2.0, "initial": ("kv",)},
    "state in and out": {"initial": ("kv", "z"), "return_state": True},
    "normalized, state in and out": {"normalize": True, "initial": ("kv", "z"), "return_state": True},
    "normalized, state in": {"normalize": True, "initial": ("kv", "z")},
    "state out": {"return_state": True},
    "state in without z, and out": {"initial": ("kv",), "return_state": True},
}


def drawn(dtype=torch.float64, length=LENGTH):
    """q, k, v, and what reaches the output, alike in every process; q and k positive, as for a normaliser."""
    rng = torch.Generator().manual_seed(0)
    q, k = (torch.rand(BATCH, HEADS, length, KEY, generator=rng, dtype=torch.float64) + 0.1 for _ in range(2))
    v, pull = (torch.randn(BATCH, HEADS, length, VALUE, generator=rng, dtype=torch.float64) for _ in range(2))
    return [x.to(dtype) for x in (q, k, v, pull)]


def drawn_state(seed, parts=("kv", "z")):
    rng = torch.Generator().manual_seed(seed)
    kv = torch.randn(BATCH, HEADS, KEY, VALUE, generator=rng, dtype=torch.float64)
    z = torch.rand(BATCH, HEADS, KEY, generator=rng, dtype=torch.float64)
    return LinearState(kv, z if "z" in parts else None)


def ran(attend, cut, pulled, prefix_len, tensors, *, initial=None, return_state=False, **choices):
    """Return what belongs to tokens (output, gradients of q, k and v), and what does not (states, their gradients).

    cut: the part of a tensor that is worked on. pulled: the numbers of what reaches the returned state.
    """
    *tensors, pull = (cut(x).clone() for x in tensors)
    start = None if initial is None else drawn_state(1, initial)
    given = [x for x in start or () if x is not None]
    for x in [*tensors, *given]:
        x.requires_grad_()
    out = attend(*tensors, prefix_len, initial_state=start, return_state=return_state, **choices)
    out, last = out if return_state else (out, ())
    last = [x for x in last if x is not None]
    loss = (out * pull).sum()
    for number in pulled:
        loss = loss + sum((x * y).sum() for x, y in zip(last, drawn_state(number), strict=False))
    loss.backward()
    used = [x.grad for x in given if x.grad is not None]
    return [out.detach(), *(x.grad for x in tensors)], [*(x.detach() for x in last), *used]


def compared(shards, prefix_len, tensors, **choices):
    """Return the largest difference from one process, which follows the definition; and what this one sent."""
    rank, traffic = dist.get_rank(), {}
    everyone = range(10, 10 + dist.get_world_size())  # each process makes something else of a returned state

    def cut(x):
        return x.split(list(shards), dim=2)[rank]

    alone, shared = partial(prefix_linear_attention, backend="reference"), sequence_parallel_prefix_linear_attention
    of_tokens, of_states = ran(alone, lambda x: x, everyone, prefix_len, tensors, **choices)
    found = ran(partial(shared, traffic=traffic), cut, everyone[rank : rank + 1], prefix_len, tensors, **choices)
    pairs = list(zip([*(cut(x) for x in of_tokens), *of_states], [*found[0], *found[1]], strict=True))
    assert all(a.shape == b.shape and a.dtype == b.dtype for a, b in pairs)
    return max((a - b).abs().max().item() for a, b in pairs if a.numel()) if any(
        a.numel() for a, _ in pairs
    ) else 0.0, traffic


def prefixes_of(name):
    return PREFIXES if name in ("plain", "normalized") else FEW


def everyones(value):
    values = [None] * dist.get_world_size()
    dist.all_gather_object(values, value)
    return values


def all_cases():
    """In a process of a group: every cut, prefix and choice, against one process, and the bytes against the counted."""
    rank, world = dist.get_rank(), dist.get_world_size()
    tensors, found = drawn(), {}
    for shards, (name, choices) in product(SHARDS[world], CHOICES.items()):
        for prefix_len in prefixes_of(name):
            largest, traffic = compared(shards, prefix_len, tensors, **choices)
            case = f"{name}, {shards}, P = {prefix_len}"
            sent = {part: tally.sent for part, tally in traffic.items()}
            assert sent["agreement"] == 24 * (world - 1)
            if not {"initial", "return_state"} & choices.keys():
                shape = SHAPE | {"normalize": "normalize" in choices}
                forward, both = (
                    sequence_bytes("linear", prefix_len, shards, **shape, training=on)[rank] for on in (False, True)
                )
                assert (sent.get("forward", 0), sent.get("backward", 0)) == (forward, both - forward), case
            assert all(tally.seconds > 0 for tally in traffic.values())
            assert all(tally.calls <= 3 for tally in traffic.values())
            found[case] = [largest, sum(sent.values()), sum(tally.received for tally in traffic.values())]
    everyone = everyones(found)
    return {case: [list(column) for column in zip(*(one[case] for one in everyone), strict=True)] for case in found}


def ring():
    """Ring attention, written out: the rows and gradients of softmax attention, and what this process sent for them."""
    rank, world, shards, prefix_len, sent = dist.get_rank(), dist.get_world_size(), (3, 2, 4), 5, [0, 0]
    places = list(torch.arange(LENGTH).split(shards))
    q, k, v, pull = (x.split(shards, dim=2)[rank] for x in drawn())

    def handed_on(tensors, owner, training):
        """Send what is another's to the next process, and take from the one before what is its neighbour's."""
        owner = (owner - 1) % world
        taken = [x.new_empty(*x.shape[:2], shards[owner], x.shape[3]) for x in tensors]
        work = [dist.isend(x.contiguous(), (rank + 1) % world) for x in tensors]
        for x in taken:
            dist.recv(x, (rank - 1) % world)
        for one in work:
            one.wait()
        sent[training] += sum(x.nbytes for x in tensors)
        return taken, owner

    def scores(keys, owner):
        seen = (places[owner] <= places[rank][:, None]) | (places[owner] < prefix_len)
        return (q @ keys.mT * KEY**-0.5).masked_fill(~seen, -torch.inf)

    held, owner, found, values = [k, v], rank, [], []
    for step in range(world):
        found.append(scores(held[0], owner))
        values.append(held[1])
        if step < world - 1:
            held, owner = handed_on(held, owner, False)
    whole = torch.cat(found, -1)
    out, norm = whole.softmax(-1) @ torch.cat(values, 2), whole.logsumexp(-1, keepdim=True)
    held, owner, grown, dq = [k, v], rank, [torch.zeros_like(k), torch.zeros_like(v)], torch.zeros_like(q)
    for step in range(world):
        weights = (scores(held[0], owner) - norm).exp()
        dscores = weights * (pull @ held[1].mT - (pull * out).sum(-1, keepdim=True)) * KEY**-0.5
        dq += dscores @ held[0]
        grown = [grown[0] + dscores.mT @ q, grown[1] + weights.mT @ pull]
        if step < world - 1:
            held, _ = handed_on(held, owner, True)
        grown, owner = handed_on(grown, owner, True)
    whole = [x.requires_grad_() for x in drawn()[:3]]
    wanted = prefix_softmax_attention(*whole, prefix_len, backend="reference")
    wanted.backward(drawn()[3])
    pairs = zip([wanted, *(x.grad for x in whole)], [out, dq, *grown], strict=True)
    off = max((a.split(shards, dim=2)[rank] - b).abs().max().item() for a, b in pairs)
    counted = [sequence_bytes("ring", prefix_len, shards, **SHAPE, training=on)[rank] for on in (False, True)]
    return everyones([off, sent[0] - counted[0], sum(sent) - counted[1]])


def everything():
    """All that needs a group of this many processes, which take longer to start than to work."""
    world = dist.get_world_size()
    more = {
        2: {"special": special_cases},
        3: {"group": in_a_part_of_the_group, "measured": measured, "ring": ring},
    }.get(world, {})
    return {"cases": all_cases(), **{name: work() for name, work in more.items()}}


@pytest.fixture(scope="module")
def of_processes():
    """What processes found, by their number."""
    return cache(lambda world: launch(everything, world=world, timeout=300))


@pytest.mark.parametrize("world", [1, 2, 3])
def test_processes_get_the_rows_and_gradients_of_one_and_send_what_was_counted(of_processes, world):
    found = of_processes(world)["cases"]
    assert len(found) == len(SHARDS[world]) * sum(len(prefixes_of(name)) for name in CHOICES)
    for case, (largest, sent, received) in found.items():
        assert max(largest) < 2e-13, case
        assert sum(sent) == sum(received), case


def special_cases():
    """In one of two processes: other dtypes, no tokens, no gradients, several calls, and what is refused."""
    rank, found, shared = dist.get_rank(), {}, sequence_parallel_prefix_linear_attention

    def cut(x):
        return x.split([250, 350], dim=2)[rank]

    for dtype, normalize in product((torch.float32, torch.bfloat16, torch.float16), (True, False)):
        tensors = drawn(dtype, 600)
        mine, _ = ran(shared, cut, (), 300, tensors, normalize=normalize)
        truth, _ = ran(
            prefix_linear_attention, lambda x: x, (), 300, [x.double() for x in tensors], normalize=normalize
        )
        assert {x.dtype for x in mine} == {dtype}
        off = max(((a - cut(b)).abs().max() / b.abs().max()).item() for a, b in zip(mine, truth, strict=True))
        found[f"{dtype} {normalize}"] = max(everyones(off))
    for shape in ((2, 2, 0), (0, 2, 3), (2, 0, 3)):
        q, v = (torch.rand(*shape, size, dtype=torch.float64, requires_grad=True) for size in (KEY, VALUE))
        out, last = shared(q, q, v, [0] * shape[0], return_state=True)
        (out.sum() + last.kv.sum()).backward()
        assert (out.shape, last.z.shape, q.grad.shape) == (v.shape, (*shape[:2], KEY), q.shape)
    q, k, v, _ = (x.split([4, 5], dim=2)[rank].clone() for x in drawn())
    traffic = {}
    with torch.no_grad():
        out = shared(q, k, v, 4, traffic=traffic)
        assert torch.equal(out, shared(q, k, v, torch.tensor([4, 4]), traffic=traffic))
    once = sequence_bytes("linear", 4, [4, 5], **SHAPE)[rank]
    assert (set(traffic), traffic["forward"].sent) == ({"agreement", "forward"}, 2 * once)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(shared(q, k, v, 4), out)
    shared(q.clone().requires_grad_(), k, v, 4, traffic=traffic).sum().backward()
    assert "backward" not in traffic  # the queries alone need nothing of the others
    later = shared(out, out, shared(q, k.requires_grad_(), v, 4), 4)  # two layers
    later.sum().backward()
    assert k.grad.abs().sum() > 0
    found["words"] = refused(q, k.detach(), v)
    return found


def refused(q, k, v):
    """Return what each process says of inputs that do not fit, or fit only here."""
    rank, state = dist.get_rank(), drawn_state(1)
    narrow, single = q[..., :2], [x.float() for x in (q, k, v)]
    other = rank == 1
    calls = {
        "heads": (q[:, : 2 - rank], k[:, : 2 - rank], v[:, : 2 - rank], 4),
        "batch": (q[: 2 - rank], k[: 2 - rank], v[: 2 - rank], 4),
        "features of q and k": (narrow, narrow, v, 4) if other else (q, k, v, 4),
        "features of v": (q, k, v[..., : 4 - rank], 4),
        "dtype": (*single, 4) if other else (q, k, v, 4),
        "prefix_len": (q, k, v, 4 + rank),
        "prefix_len each": (q, k, v, [4, 4 + rank]),
        "prefix_len of many": (*(x.repeat(40, 1, 1, 1) for x in (q, k, v)), [3] + [4] * 39 + [4 + rank] + [4] * 39),
        "scale": (q, k, v, 4, {"scale": 1.0 + rank}),
        "normalize": (q, k, v, 4, {"normalize": other}),
        "eps": (q, k, v, 4, {"eps": 1e-6 * (1 + rank)}),
        "return_state": (q, k, v, 4, {"return_state": other}),
        "parts of initial_state": (q, k, v, 4, {"initial_state": state if other else None}),
        "requires_grad of k or v": (q, k.clone().requires_grad_(other), v, 4),
        "two": (q, k, v, 4 + rank, {"normalize": other}),
        "too long": (q, k, v, 10),
        "too long for one": (q, k, v, [3, 10]),
        "own": (q, k, v[:, :, :1] if other else v, 4),
        "own prefix": (q, k, v, -1 if other else 4),
        "each own": (q, k, v, [4]),
        "traffic": (q, k, v, 4, {"traffic": []}),
        "own traffic": (q, k, v, 4, {"traffic": [] if other else None}),
        "own layout": (q.to_sparse() if other else q, k, v, 4),
    }
    words = {}
    for name, (*given, last) in calls.items():
        choices = last if isinstance(last, dict) else {}
        given = given if isinstance(last, dict) else [*given, last]
        try:
            sequence_parallel_prefix_linear_attention(*given, **choices)
            words[name] = "nothing"
        except (ValueError, TypeError, RuntimeError) as error:
            words[name] = f"{type(error).__name__}: {error}"
    return {name: [one[name] for one in everyones(words)] for name in words}


def test_other_dtypes_and_what_is_refused_by_every_process_in_words(of_processes):
    found = of_processes(2)["special"]
    words = found.pop("words")
    assert len(found) == 6
    for name, off in found.items():
        assert off < {"float32": 3e-6, "bfloat16": 2e-2, "float16": 2e-3}[name.split(".")[1].split()[0]], (name, off)
    same = "{} must be the same in every process, got {} in process 0 and {} in process 1"
    state = "ValueError: " + same
    for name, here, there in [
        ("heads", 2, 1), ("batch", 2, 1), ("features of q and k", 3, 2), ("features of v", 4, 3),
        ("dtype", "'torch.float64'", "'torch.float32'"), ("prefix_len", 4, 5), ("scale", 1.0, 2.0),
        ("normalize", False, True), ("eps", 1e-06, 2e-06), ("return_state", False, True),
        ("parts of initial_state", 0, 2), ("requires_grad of k or v", False, True),
    ]:  # fmt: skip
        assert words.pop(name) == [state.format(name, here, there)] * 2
    assert words.pop("prefix_len each") == [state.format("prefix_len", 4, "[4, 5]")] * 2
    many = f"[3, {'4, ' * 15}4 ... {'4, ' * 6}4]"
    assert words.pop("prefix_len of many") == [state.format("prefix_len", many, "another of that kind")] * 2
    both = state.format("prefix_len", 4, 5) + "; " + same.format("normalize", False, True)
    assert words.pop("two") == [both] * 2
    top = "from 0 to the tokens of all processes = 9, got 10"
    assert words.pop("too long") == [f"ValueError: prefix_len must be {top}"] * 2
    assert words.pop("too long for one") == [f"ValueError: prefix_len[1] must be {top}"] * 2
    first, second = words.pop("own")
    assert second.startswith("ValueError: v must begin with the shape (2, 2, 5) of q")
    assert first == f"RuntimeError: process 1 of 2 refused its inputs: {second.removeprefix('ValueError: ')}"
    first, second = words.pop("own prefix")
    assert second == "ValueError: prefix_len must be at least 0, got -1"
    assert first.endswith("process 1 of 2 refused its inputs: prefix_len must be at least 0, got -1")
    assert words.pop("each own") == ["ValueError: prefix_len must have one entry for each of the 2 examples, got 1"] * 2
    assert words.pop("traffic") == ["TypeError: traffic must be a dict or None, got [] (list)"] * 2
    first, second = words.pop("own traffic")
    assert second == "TypeError: traffic must be a dict or None, got [] (list)"
    assert first.endswith("process 1 of 2 refused its inputs: traffic must be a dict or None, got [] (list)")
    first, second = words.pop("own layout")
    dense = "q must be a dense tensor, got one of layout torch.sparse_coo"
    assert second == f"TypeError: {dense}"
    assert first.endswith(f"process 1 of 2 refused its inputs: {dense}")
    assert words == {}


def in_a_part_of_the_group():
    """Of three processes two share; the third is told that it is none of them."""
    pair, rank = dist.new_group([1, 2]), dist.get_rank()
    q, k, v, pull = drawn()
    if not rank:
        with pytest.raises(ValueError, match="group must be one that this process belongs to"):
            sequence_parallel_prefix_linear_attention(q, k, v, 4, group=pair)
        off = 0.0
    else:

        def cut(x):
            return x.split([6, 3], dim=2)[rank - 1]

        shared = partial(sequence_parallel_prefix_linear_attention, group=pair)
        wanted, _ = ran(prefix_linear_attention, lambda x: x, (), 4, (q, k, v, pull))
        found, _ = ran(shared, cut, (), 4, (q, k, v, pull))
        off = max((cut(a) - b).abs().max().item() for a, b in zip(wanted, found, strict=True))
    return max(everyones(off))


def measured():
    return measure_sequences(heads=2, key_dim=3, value_dim=4, lengths=(16, 48), repeats=2)


def test_a_part_of_the_processes_can_share_and_all_can_be_measured(of_processes):
    assert of_processes(3)["group"] < 1e-13
    rows = of_processes(3)["measured"]
    assert [(row["length"], row["prefix_len"], row["training"]) for row in rows] == [
        (16, 8, False), (16, 8, True), (48, 24, False), (48, 24, True),
    ]  # fmt: skip
    for row in rows:
        shards = [6, 5, 5] if row["length"] == 16 else [16, 16, 16]
        shape = {"heads": 2, "key_dim": 3, "value_dim": 4, "training": row["training"]}
        counted = sequence_bytes("linear", row["prefix_len"], shards, **shape, normalize=True)
        assert (row["sent"], row["ring"]) == (max(counted), max(sequence_bytes("ring", 0, shards, **shape)))
        assert 0 <= row["difference"] < 1e-5
        assert row["ms"] > 0
        assert row["whole_ms"] > 0


def test_a_real_ring_sends_what_is_counted_for_it(of_processes):
    for off, forward, training in of_processes(3)["ring"]:
        assert (off < 1e-12, forward, training) == (True, 0, 0)


def test_without_a_group_it_says_so():
    with pytest.raises(RuntimeError, match="there is no process group"):
        sequence_parallel_prefix_linear_attention(*drawn()[:3], 4)


def interrupted(folder, how):
    """Process 1 fails, ends or sleeps before it takes part; process 0 waits for it, in forward or in backward."""
    rank = dist.get_rank()
    Path(folder, str(rank)).write_text(str(os.getpid()))
    q, k, v, _ = (x.split([4, 5], dim=2)[rank].clone().requires_grad_() for x in drawn())
    if how != "forward":
        out = sequence_parallel_prefix_linear_attention(q, k, v, 4)
    if rank:
        while not Path(folder, "0").exists():
            time.sleep(0.01)
        if how == "sleeps":
            time.sleep(600)
        raise ArithmeticError("no rows today")
    if how == "forward":
        out = sequence_parallel_prefix_linear_attention(q, k, v, 4)
    out.sum().backward()


@pytest.mark.parametrize(
    ("how", "error", "words"),
    [
        ("forward", RuntimeError, r"(?s)^process 1 of 2 failed:.*ArithmeticError: no rows today"),
        ("backward", RuntimeError, r"(?s)^process 1 of 2 failed:.*ArithmeticError: no rows today"),
        ("sleeps", TimeoutError, r"2 processes did not finish within timeout = 6"),
    ],
)
def test_a_process_that_fails_ends_the_others(tmp_path, how, error, words):
    started = time.monotonic()
    with pytest.raises(error, match=words):
        launch(interrupted, folder=str(tmp_path), how=how, timeout=6 if how == "sleeps" else 100)
    assert time.monotonic() - started < 60
    for file in tmp_path.iterdir():
        with pytest.raises(ProcessLookupError):
            os.kill(int(file.read_text()), 0)
    assert mp.active_children() == []
