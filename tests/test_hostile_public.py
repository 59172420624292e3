"""Every function that a reader of the library may call, each of its arguments in turn a hostile value."""

import inspect
import re
from fractions import Fraction

import numpy as np
import pytest
import torch
from hostile_values import LONGEST, VALUES

from course_lib import (
    arms,
    blank_arms,
    blank_spans,
    block_costs,
    cache,
    costs,
    data,
    generation,
    glm,
    gpu_record,
    infilling,
    kernels,
    linear_costs,
    loss,
    masks,
    objectives,
    positions,
    probe,
    race,
    real_text,
    recall,
    regression,
    sequence_costs,
    span_corruption,
    stories,
    story_check,
    training,
    training_record,
    vocabulary,
)
from course_lib.model import Config, PrefixLM
from course_lib.vocabulary import Vocabulary

pytestmark = pytest.mark.usefixtures("in_time")

V = Vocabulary(["the", "bat", "fox"])
IDS = [V.first_word + i % 3 for i in range(12)]
OUTLINE = "Mara, bat, fox, storm, forest, feast."
X = torch.ones(1, 2, 4, 8)
TOKENS = torch.tensor([IDS])
SHAPE = block_costs.BlockShape(dim=4, heads=2, head_dim=2, hidden=8)
MACHINE = block_costs.Machine(name="m", flops=1e12, memory=1e11, link=1e10)
OPS = block_costs.operations("serial", SHAPE, tokens=2)
RACE = race.Race({"a": [1.0, 2.0], "b": [2.0, 2.0]}, "m", "d")
EXAMPLE, BLANKED = objectives.causal_lm(IDS), glm.blank_infilling(IDS, [(1, 3)], mask_id=4, start_id=6, end_id=7)
BATCH = objectives.prefix_lm_batch(TOKENS, 3)


def model(**more):
    torch.manual_seed(0)
    return PrefixLM(Config(vocab_size=len(V), dim=8, layers=1, heads=2, max_len=32, **more))


MODEL, BLANK_MODEL = model(), model(positions="glm")
CALLS = {
    masks.create_prefix_mask: {"prefix_len": 2, "total_len": 5},
    masks.prefix_mask: {"prefix_len": 2, "total_len": 5},
    masks.causal_mask: {"total_len": 5},
    masks.bidirectional_mask: {"total_len": 5},
    masks.padding_mask: {"lengths": [2, 3], "total_len": 5},
    masks.additive_mask: {"mask": masks.causal_mask(3), "dtype": torch.float32},
    masks.packed_prefix_mask: {"prefix_lens": [1, 1], "document_lens": [2, 3]},
    masks.prefix_block_mask: {"prefix_len": 2, "total_len": 5},
    masks.Visibility: {"prefix_len": [1, 1], "lengths": [4, 5], "document_lens": None},
    masks.Visibility([1, 1], document_lens=[2, 2]).mask: {"total_len": 5},
    masks.Visibility([[1], [1]], document_lens=[[2], [2]]).mask: {"total_len": 5},
    positions.rotary: {"x": X, "positions": torch.arange(4)},
    positions.rotary_2d: {"x": X, "places": torch.zeros(1, 4, 2, dtype=torch.int64)},
    positions.LearnedPositions: {"max_len": 4, "dim": 2},
    positions.document_positions: {"document_lens": [2, 2], "total_len": 5},
    objectives.causal_lm: {"ids": IDS},
    objectives.prefix_lm: {"ids": IDS, "prefix_len": 2, "start_id": 0},
    objectives.prefix_lm_batch: {"tokens": TOKENS, "prefix_len": [3], "lengths": [9]},
    objectives.masked_lm: {"ids": IDS, "vocabulary": V},
    objectives.t5_span_corruption: {"ids": IDS, "vocabulary": V},
    objectives.fill_in_the_middle: {"ids": IDS, "vocabulary": V, "form": "psm", "cuts": (2, 3)},
    objectives.ul2: {"ids": IDS, "vocabulary": V, "mode": "R"},
    objectives.collate: {"examples": [EXAMPLE, EXAMPLE], "pad_id": 0},
    span_corruption.noise_spans: {"length": 20},
    span_corruption.corrupt_spans: {"ids": IDS, "spans": [(1, 3)], "vocabulary": V},
    glm.blank_infilling: {"tokens": IDS, "spans": [(1, 3)], "mask_id": 4, "start_id": 6, "end_id": 7, "order": [0]},
    glm.collate_blanks: {"examples": [BLANKED, BLANKED], "pad_id": 0},
    blank_spans.sample_spans: {"length": 40},
    blank_spans.sample_document_span: {"length": 40},
    blank_spans.sample_sentences: {"sentences": [(0, 4), (4, 9), (9, 12)]},
    blank_arms.lay_out: {"ids": IDS, "spans": [(1, 3)], "order": [0], "arm": "GLM", "vocabulary": V},
    costs.allowed_pairs: {"prefix_len": 2, "total_len": 5},
    costs.added_pairs: {"prefix_len": 2},
    costs.tiles: {"prefix_len": 2, "total_len": 5, "block_size": 2},
    costs.attention_flops: {"prefix_len": 2, "total_len": 5, "heads": 2, "head_dim": 4, "block_size": 2},
    costs.loss_tokens: {"kind": "prefix", "prefix_len": 2, "total_len": 5},
    costs.loss_positions: {"kind": "prefix", "prefix_len": 2, "total_len": 5},
    block_costs.BlockShape: {"dim": 4, "heads": 2, "head_dim": 2, "hidden": 8},
    block_costs.Machine: {"name": "m", "flops": 1e12, "memory": 1e11, "link": 1e10},
    block_costs.operations: {"block": "serial", "shape": SHAPE, "tokens": 2},
    block_costs.stages: {"ops": OPS},
    block_costs.seconds: {"op": OPS[0], "machine": MACHINE},
    block_costs.planning_table: {"machine": MACHINE, "devices": 2, "tokens": 2},
    block_costs.kv_bytes: {"layers": 2, "shape": SHAPE},
    linear_costs.chunks: {"prefix_len": 2, "total_len": 5, "chunk": 2},
    linear_costs.linear_cost: {"form": "chunked", "prefix_len": 2, "total_len": 5, "key_dim": 2, "value_dim": 2},
    linear_costs.state_bytes: {"heads": 2, "key_dim": 2, "value_dim": 2},
    sequence_costs.shard_lengths: {"total_len": 5, "processes": 2},
    sequence_costs.reduced_bytes: {"size": 5, "processes": 2},
    sequence_costs.sequence_bytes: {
        "method": "ring", "prefix_len": 2, "lengths": [3, 3], "heads": 2, "key_dim": 2, "value_dim": 2,
    },
    race.race: {"contenders": {"a": int, "b": int}, "repeats": 3, "warmup": 1, "max_seconds": 0.001,
                "timer": lambda function, calls: 1.0},
    race.Race: {"times": {"a": [1.0]}, "machine": "m", "date": "d"},
    race.Race.load: {"path": "/nowhere"},
    race.Spread.of: {"values": [1.0]},
    RACE.seconds: {"name": "a"},
    RACE.ratio: {"name": "a", "to": "b"},
    RACE.verdict: {"name": "a", "to": "b"},
    gpu_record.load: {"path": "/nowhere"},
    Vocabulary: {"words": ["the"]},
    Vocabulary.from_texts: {"texts": ["the bat"]},
    Vocabulary.load: {"path": "/nowhere"},
    V.encode: {"text": "the"},
    V.decode: {"ids": IDS},
    V.token: {"id": 3},
    V.sentinel: {"n": 3},
    V.is_special: {"id": 3},
    vocabulary.split_words: {"text": "the"},
    vocabulary.join_words: {"words": ["the"]},
    stories.Outline: {"hero": "Mara", "thing": "bat", "friend": "fox", "place": "forest"},
    stories.read_outline: {"text": OUTLINE},
    stories.tell: {"outline": OUTLINE},
    stories.storyteller: {"seed": 3},
    story_check.follows: {"outline": OUTLINE, "story": "Mara"},
    data.encode_story: {"vocabulary": data.story_vocabulary(), "outline": OUTLINE, "story": "Mara."},
    data.story_batch: {"vocabulary": data.story_vocabulary(), "batch_size": 2, "seed": 1},
    data.text_windows: {"ids": IDS, "window_len": 3},
    data.text_batch: {"ids": IDS, "batch_size": 2, "window_len": 3, "seed": 1},
    real_text.read_text: {"path": __file__, "min_words": 1},
    real_text.python_docs: {"split": "held_out"},
    arms.corpus: {"text": "the bat " * 700},
    cache.stale_rows: {"old_len": 2, "new_len": 3, "total_len": 5, "layers": 2},
    probe.visible_inputs: {"fn": lambda rows: rows, "length": 3, "trials": 1},
    probe.compare: {"seen": masks.causal_mask(3), "claimed": masks.causal_mask(3)},
    generation.next_token_probs: {"logits": torch.zeros(1, 4)},
    training_record.Record.from_json: {"text": "{}"},
    kernels.prefix_softmax_attention: {"q": X, "k": X, "v": X, "prefix_len": 2},
    kernels.prefix_linear_attention: {"q": X, "k": X, "v": X, "prefix_len": 2},
    blank_arms.blank_arm_run: {"seed": 0, "arm": "GLM"},
    blank_arms.glm_run: {"seed": 0},
    training.Run: {"model": MODEL, "batch_of": lambda step: BATCH, "steps": 3},
    Config: {"vocab_size": 5},
    kernels.gated_prefix_linear_attention: {"q": X, "k": X, "v": X, "prefix_len": 2, "log_decay": torch.zeros(1, 2, 4)},
    kernels.jrt_linear_attention: {"q": X, "k": X, "v": X, "k_enc": X[:, :, :2], "v_enc": X[:, :, :2]},
    cache.KVCache: {"model": MODEL, "batch_size": 1},
    arms.as_arm: {"example": BATCH, "arm": arms.ARMS[1]},
    arms.storyteller_run: {"seed": 0, "arm": arms.ARMS[1]},
    arms.text_run: {"seed": 0, "arm": arms.ARMS[1]},
    infilling.infill: {"model": BLANK_MODEL, "vocabulary": V, "text": "the ___ bat", "order": [0], "max_tokens": 2},
    loss.default_loss_mask: {"seen": masks.Visibility(2), "total_len": 5},
    loss.masked_loss: {"logits": torch.zeros(1, 4, 3), "targets": torch.zeros(1, 4, dtype=torch.int64),
                       "loss_mask": torch.ones(1, 4, dtype=torch.bool)},
    training.learning_rate_at: {"step": 1, "steps": 9, "peak": 1.0, "warmup": 2, "cooldown": 2},
    training.target_loss: {"model": MODEL, "examples": BATCH},
    PrefixLM: {"config": MODEL.config},
    MODEL.forward: {"tokens": TOKENS, "prefix_len": 2},
    MODEL.generate: {"prompt": IDS, "max_new_tokens": 1},
    recall.recall_batch: {"size": 2, "seed": 1},
    recall.recall_run: {"seed": 0, "arm": "softmax, causal, question last"},
    regression.regression_batch: {"size": 2, "seed": 1},
}  # fmt: skip
MORE = {"terabytes": 2**40, "largest": 2**62, "fraction": Fraction(1, 3), "numpy": np.int64(3), "half": np.float32(0.5)}
FUNCTIONS = {"fn", "clock", "timer", "batch_of", "evaluate"}
# So much work may be asked for; what takes long is no hang.
WORK = {"trials", "repeats", "warmup", "batch_size", "max_new_tokens"}


def arguments() -> list:
    return [(call, name) for call in CALLS for name, one in inspect.signature(call).parameters.items()
            if one.kind is not one.VAR_KEYWORD]  # fmt: skip


def name_of(value):
    return getattr(value, "__qualname__", str(value))


def refusal(call, given: dict) -> str | None:
    """What was said against these arguments, if anything was."""
    try:
        call(**given)
    except OSError as error:
        return f"path: {error.strerror}" if error.filename else str(error)
    except (TypeError, ValueError) as error:
        return str(error)
    return None


@pytest.mark.parametrize(("call", "name"), arguments(), ids=name_of)
def test_a_public_function_answers_or_refuses_by_an_argument_of_its_own(call, name):
    own = "|".join([*inspect.signature(call).parameters, "^outline"])
    for which, value in (VALUES | MORE).items():
        if name in WORK and which in ("terabytes", "largest"):
            continue
        if name in FUNCTIONS and which == "function":
            continue  # what a function of one's own raises is its own
        said = refusal(call, {**CALLS[call], name: value})
        if said is not None:
            assert len(said) <= (2000 if said.startswith("outline ") else LONGEST), (which, said[:LONGEST])
            assert re.search(rf"\b({own})\b", said), (which, said)
