"""The state explorer in Python: S and what is recalled against plain loops, its words, its refusals."""

import json
from math import exp, sqrt

import pytest
import torch
import traitlets

from course_lib.classroom.state_explorer import FEATURES, MOST_FACTS, StateExplorer, draw_world
from course_lib.classroom.state_words import NOUNS, number

SETTINGS = [
    {},
    {"facts": 32, "features": 2, "prefix_len": 5, "seed": 3},
    {"facts": 20, "features": 16, "feature_map": "elu+1", "prefix_len": 20},
    {"facts": 9, "features": 64, "feature_map": "elu+1", "normalize": True, "prefix_len": 1, "seed": 7},
    {"facts": 1, "features": 4},
]


def by_hand(explorer):
    """Count S, and the fact's values that are read, one number at a time."""
    keys = []
    for row in explorer.world["draws"][: explorer.facts]:
        cut = row[: explorer.features]
        norm = sqrt(sum(x * x for x in cut))
        unit = [x / norm for x in cut]
        keys.append(unit if explorer.feature_map == "identity" else [x + 1 if x > 0 else exp(x) for x in unit])
    P = explorer.prefix_len
    stored = 0 if explorer.step == 0 else explorer.step if P == 0 else P + explorer.step - 1
    S, z = [[0.0] * 8 for _ in range(explorer.features)], [0.0] * explorer.features
    for fact in range(stored):
        for i in range(explorer.features):
            S[i][explorer.world["values"][fact]] += keys[fact][i]
            z[i] += keys[fact][i]
    reads = []
    for key in keys:
        below = sum(x * y for x, y in zip(key, z, strict=True)) if explorer.normalize and stored else 1
        reads.append([sum(x * row[j] for x, row in zip(key, S, strict=True)) / below for j in range(8)])
    return S, reads, stored


@pytest.mark.parametrize("settings", SETTINGS)
def test_the_state_and_what_is_recalled_are_those_of_plain_loops(settings):
    explorer = StateExplorer(**settings)
    for step in range(explorer.last_step + 1):
        explorer.step = step
        S, reads, stored = by_hand(explorer)
        assert explorer.state.dtype == torch.float64
        assert explorer.state.shape == (explorer.features, 8)
        assert torch.allclose(explorer.state, torch.tensor(S, dtype=torch.float64), rtol=0, atol=1e-9)
        for fact, read in enumerate(reads):
            assert explorer.read(fact).tolist() == pytest.approx(read, abs=1e-9)
        values = explorer.world["values"]
        assert explorer.recalled == [reads[fact].index(max(reads[fact])) == values[fact] for fact in range(stored)]
    assert stored == explorer.facts


def test_a_prefix_is_one_product_and_the_last_state_has_no_order():
    explorer = StateExplorer(10, prefix_len=6, step=1)
    values = torch.eye(8, dtype=torch.float64)[explorer.world["values"][:6]]
    assert torch.allclose(explorer.state, explorer.mapped_keys[:6].T @ values, rtol=0, atol=1e-12)
    assert len(explorer.recalled) == 6
    last = [StateExplorer(10, prefix_len=P, step=11 - max(P, 1)).state for P in (0, 1, 6, 10)]
    assert all(torch.equal(last[0], other) for other in last)


def test_what_is_normalised_sums_to_one_and_has_the_same_largest():
    plain, normal = (StateExplorer(12, feature_map="elu+1", normalize=on, step=9) for on in (False, True))
    assert plain.recalled == normal.recalled
    assert all(float(normal.read(fact).sum()) == pytest.approx(1) for fact in range(12))


def test_the_world_is_fixed_by_its_seed():
    world = draw_world(0)
    assert world == draw_world(0) == StateExplorer().world
    assert world["draws"] != draw_world(1)["draws"]
    assert (len(world["draws"]), {len(row) for row in world["draws"]}) == (MOST_FACTS, {FEATURES[-1]})
    for half in (world["values"][:16], world["values"][16:]):
        assert sorted(half) == sorted([*range(8), *range(8)])
    assert len(set(NOUNS)) == 32
    assert all(noun.isascii() and len(noun) <= 7 for noun in NOUNS)
    json.dumps(world)
    explorer = StateExplorer()
    explorer.seed = 1
    assert explorer.world == draw_world(1)


def test_more_features_recall_more_and_a_full_state_forgets():
    right = [sum(StateExplorer(32, features=features, step=32).recalled) for features in FEATURES]
    assert right == sorted(right)
    assert right[-1] >= 31
    assert right[0] <= 12
    assert all(StateExplorer(32, features=8, step=8).recalled)
    assert not all(StateExplorer(32, features=8, step=32).recalled[:8])
    positive = StateExplorer(32, features=32, feature_map="elu+1", step=32)
    assert sum(positive.recalled) < sum(StateExplorer(32, features=32, step=32).recalled) / 2


def test_it_says_everything():
    assert repr(StateExplorer()) == (
        "12 facts, 8 features, feature map identity. Step 0 of 12: S is empty, all 64 numbers are 0. "
        "Asked for lantern, v̂ is 0: nothing is stored yet. Recall 0 of 0. "
        "S holds 8 × 8 = 64 numbers; 0 facts so far. A cache would hold 0 × (8 + 8) = 0."
    )
    explorer = StateExplorer(step=12)
    explorer.selected = 3
    assert repr(explorer) == explorer.describe() == (
        "12 facts, 8 features, feature map identity. Step 12 of 12: inkpot → 2 arrives: φ(k)ᵀv is added to S, which "
        "changes column 2. Asked for bell, v̂ is largest at 4 (0.82), but 8 was stored (0.73): wrong. "
        "Recall 9 of 12; wrong: bell, candle, feather. "
        "S holds 8 × 8 = 64 numbers; 12 facts so far. A cache would hold 12 × (8 + 8) = 192."
    )  # fmt: skip
    explorer = StateExplorer(32, features=64, feature_map="elu+1", normalize=True, prefix_len=6, step=1)
    said = repr(explorer)
    assert said.startswith(
        "32 facts, 64 features, feature map elu+1, a prefix of 6 facts, normalised. Step 1 of 27: the "
    )
    assert (
        "the prefix, 6 facts, arrives at once: one product KᵀV is added to S. A query made in the prefix sees " in said
    )
    assert "S and z hold 64 × 8 + 64 = 576 numbers; 6 facts so far. A cache would hold 6 × (64 + 8) = 432." in said
    explorer.selected = 20
    assert "from other facts alone: ribbon is not stored yet." in repr(explorer)
    explorer = StateExplorer(features=2, step=1)
    explorer.selected = next(fact for fact in range(1, 12) if explorer.read(fact).min() < 0)
    assert f"v̂ is nowhere above 0: {NOUNS[explorer.selected]} is not stored yet." in repr(explorer)
    assert [number(x) for x in (-0.004, -1.5, 2)] == ["0.00", "−1.50", "2.00"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"facts": 0}, "facts must be from 1 to 32, got 0"),
        ({"facts": 12.5}, r"facts must be a whole number from 1 to 32, got 12.5 \(float\)"),
        ({"features": 12}, "features must be one of 2, 4, 8, 16, 32, 64, got 12"),
        ({"features": 128}, "features must be from 2 to 64, got 128"),
        ({"feature_map": "relu"}, r"feature_map must be one of identity, elu\+1, got 'relu'"),
        ({"feature_map": 1}, r"feature_map must be a str, got 1 \(int\)"),
        ({"normalize": 1}, r"normalize must be True or False, got 1 \(int\)"),
        (
            {"normalize": True},
            r"normalize needs feature_map 'elu\+1': .* φ\(q\)·z may be 0 or negative",
        ),
        ({"prefix_len": 13}, r"prefix_len must be from 0 to 12 \(the facts\), got 13"),
        ({"prefix_len": True}, "prefix_len must be a whole number"),
        ({"step": 13}, r"step must be from 0 to 12 \(the last step\), got 13"),
        ({"step": 9, "prefix_len": 5}, r"step must be from 0 to 8 \(the last step\), got 9"),
        ({"seed": -1}, "seed must be from 0 to 2147483647, got -1"),
    ],
)
def test_what_is_wrong_is_said(arguments, words):
    with pytest.raises((ValueError, TypeError), match=words):
        StateExplorer(**arguments)
    if len(arguments) == 1:
        explorer = StateExplorer()
        with pytest.raises(traitlets.TraitError):
            setattr(explorer, *next(iter(arguments.items())))
        assert repr(explorer) == repr(StateExplorer())


def test_a_trait_that_is_wrong_changes_nothing():
    explorer = StateExplorer()
    for name, value in [("normalize", True), ("step", 13), ("selected", 12), ("prefix_len", 13), ("features", 3)]:
        with pytest.raises(traitlets.TraitError):
            setattr(explorer, name, value)
    assert repr(explorer) == repr(StateExplorer())
    with pytest.raises(ValueError, match="fact must be from 0 to 11"):
        explorer.read(12)


def test_as_many_facts_stay_stored_as_can():
    explorer = StateExplorer(12, step=7)
    explorer.selected = 9
    explorer.prefix_len = 4
    assert (explorer.step, explorer.stored, explorer.last_step) == (4, 7, 9)
    explorer.prefix_len = 10  # a prefix comes whole
    assert (explorer.step, explorer.stored) == (1, 10)
    explorer.facts = 6
    assert (explorer.prefix_len, explorer.step, explorer.stored, explorer.selected) == (6, 1, 6, 5)
    explorer.prefix_len = 0
    assert (explorer.step, explorer.stored) == (6, 6)
    explorer.step = 0
    explorer.prefix_len = 3
    assert explorer.stored == 0


def test_without_elu_nothing_is_normalised():
    explorer = StateExplorer(feature_map="elu+1", normalize=True)
    explorer.feature_map = "identity"
    assert not explorer.normalize


def test_the_browsers_state_comes_whole():
    explorer = StateExplorer(12, step=7)
    explorer.set_state(
        {"step": 2, "prefix_len": 8, "facts": 9, "selected": 8, "normalize": True, "feature_map": "elu+1"}
    )
    assert (explorer.step, explorer.prefix_len, explorer.facts, explorer.selected) == (2, 8, 9, 8)
    assert explorer.normalize
    with pytest.raises(traitlets.TraitError, match="the last step"):
        explorer.set_state({"step": 3})


def test_without_a_kernel_there_is_a_picture():
    states = [
        StateExplorer(),
        StateExplorer(1, features=2),
        StateExplorer(32, features=64, prefix_len=6, step=27),
        StateExplorer(5, feature_map="elu+1", normalize=True, step=5),
    ]
    for explorer in states:
        data, _ = explorer._repr_mimebundle_()
        assert data["image/png"].startswith("iVBOR")
        assert data["text/plain"] == explorer.describe()
        assert explorer.fallback() == explorer.fallback()
