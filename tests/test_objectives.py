"""Each objective against examples worked by hand, and against what has to hold for any text."""

from itertools import pairwise

import pytest
import torch

from course_lib.costs import loss_tokens
from course_lib.data import Vocabulary, split_words
from course_lib.objectives import (
    Example,
    causal_lm,
    collate,
    fill_in_the_middle,
    masked_lm,
    prefix_lm,
    prefix_lm_batch,
    t5_span_corruption,
    ul2,
)
from course_lib.span_corruption import corrupt_spans, noise_spans

THANKS = "Thank you for inviting me to your party last week."  # T5's own example
WORDS = Vocabulary([*split_words(THANKS), *(f"w{i}" for i in range(300))])
PRE, SUF, MID, EOS = WORDS.PRE, WORDS.SUF, WORDS.MID, WORDS.EOS
A, B, C, D, E = range(WORDS.first_word, WORDS.first_word + 5)


def text(length: int) -> list[int]:
    """A text of different words, so that where a token went can be told."""
    return list(range(WORDS.first_word, WORDS.first_word + length))


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def listed(example: Example) -> tuple:
    return (*(one.tolist() for one in example[:3]), example.prefix_len)


def told(example: Example) -> list[int]:
    """The tokens that carry loss."""
    return example.targets[example.loss_mask].tolist()


def row(example: Example) -> list[int]:
    """The row that an example of next tokens was made of."""
    return [*example.inputs.tolist(), example.targets[-1].item()]


def well_formed(example: Example) -> bool:
    inputs, targets, loss_mask, prefix_len, lengths = example
    return (
        inputs.shape == targets.shape == loss_mask.shape
        and (inputs.dtype, targets.dtype, loss_mask.dtype) == (torch.int64, torch.int64, torch.bool)
        and 0 <= prefix_len <= len(inputs)
        and lengths is None
    )


def test_causal_lm_by_hand():
    assert listed(causal_lm([A, B, C, D, E])) == ([A, B, C, D], [B, C, D, E], [True] * 4, 0)


def test_prefix_lm_by_hand():
    assert listed(prefix_lm([A, B, C, D, E], 2)) == ([A, B, C, D], [B, C, D, E], [False, True, True, True], 2)
    assert listed(prefix_lm([A, B, C, D, E], 4)) == ([A, B, C, D], [B, C, D, E], [False, False, False, True], 4)
    assert listed(prefix_lm([A, B, C, D, E], 0)) == listed(causal_lm([A, B, C, D, E]))


def test_t5s_off_by_one_by_hand():
    # T5: loss where position >= split, open mask where position <= split, inputs shifted right behind a start token
    got = prefix_lm([A, B, C, D, E], 2, start_id=WORDS.BOS)
    assert listed(got) == ([WORDS.BOS, A, B, C, D], [A, B, C, D, E], [False, False, True, True, True], 3)


@pytest.mark.parametrize("length", [2, 3, 9])
def test_both_layouts_of_a_prefix_lm_count_the_same_tokens_from_the_last_prefix_token_on(length):
    for split in range(1, length):
        plain, shifted = prefix_lm(text(length), split), prefix_lm(text(length), split, start_id=WORDS.BOS)
        assert told(plain) == told(shifted) == text(length)[split:]
        for got in (plain, shifted):
            assert well_formed(got)
            assert got.loss_mask.tolist() == [i >= got.prefix_len - 1 for i in range(len(got.inputs))]


@pytest.mark.parametrize("length", [2, 5, 11])
def test_the_loss_counts_as_many_tokens_as_the_costs_say(length):
    assert causal_lm(text(length)).loss_mask.sum() == loss_tokens("decoder", 0, length)
    for split in range(length):
        assert prefix_lm(text(length), split).loss_mask.sum() == loss_tokens("prefix", split, length)


def chi_square(counts: list[int]) -> float:
    expected = sum(counts) / len(counts)
    return sum((count - expected) ** 2 / expected for count in counts)


@pytest.mark.parametrize("start_id", [None, WORDS.BOS])
def test_the_split_is_drawn_evenly_from_1_to_the_last_but_one(start_id):
    generator, length, draws = seeded(0), 11, 4000
    splits = [length - len(told(prefix_lm(text(length), start_id=start_id, generator=generator))) for _ in range(draws)]
    assert set(splits) == set(range(1, length))
    assert chi_square([splits.count(split) for split in range(1, length)]) < 27.9  # 9 degrees of freedom, p = 0.001


def test_a_batch_of_prefix_lms_is_each_row_for_itself():
    tokens = torch.tensor([text(7), text(7)[::-1], [A, B, C, 0, 0, 0, 0]])
    lengths, prefixes = [7, 5, 3], [3, 0, 2]
    batch = prefix_lm_batch(tokens, prefixes, lengths=lengths)
    assert batch.prefix_len.tolist() == prefixes
    assert batch.lengths.tolist() == [6, 4, 2]
    for b, (length, prefix) in enumerate(zip(lengths, prefixes, strict=True)):
        alone = prefix_lm(tokens[b, :length], prefix)
        assert batch.inputs[b, : length - 1].tolist() == alone.inputs.tolist()
        assert batch.targets[b, : length - 1].tolist() == alone.targets.tolist()
        assert batch.loss_mask[b].tolist() == alone.loss_mask.tolist() + [False] * (7 - length)


def test_a_batch_with_one_prefix_for_all_or_one_drawn_for_each():
    tokens = torch.tensor([text(9)] * 500)
    assert prefix_lm_batch(tokens, 4).prefix_len.tolist() == [4] * 500
    drawn = prefix_lm_batch(tokens, generator=seeded(1), lengths=[9] * 250 + [4] * 250)
    assert set(drawn.prefix_len[:250].tolist()) == set(range(1, 9))
    assert set(drawn.prefix_len[250:].tolist()) == {1, 2, 3}
    assert drawn.loss_mask.sum(1).tolist() == (drawn.lengths + 1 - drawn.prefix_len).tolist()


def test_masked_lm_hides_only_what_carries_loss():
    ids = [WORDS.BOS, *text(200), WORDS.EOS]
    got = masked_lm(ids, WORDS, generator=seeded(0))
    assert well_formed(got)
    assert got.targets.tolist() == ids
    assert got.prefix_len == len(ids) == 202
    changed = got.inputs != got.targets
    assert not (changed & ~got.loss_mask).any()
    assert got.loss_mask.sum() == 30
    assert not got.loss_mask[[0, -1]].any()


@pytest.mark.parametrize("length", [1, 2, 3, 4, 10, 30, 50, 70, 90, 299])
def test_masked_lm_hides_15_percent_rounded_half_up_and_at_least_one(length):
    number = int(masked_lm(text(length), WORDS, generator=seeded(0)).loss_mask.sum())
    assert number == loss_tokens("encoder", 0, length) == max((length * 3 + 10) // 20, 1)
    assert masked_lm(text(length), WORDS, rate=0.5).loss_mask.sum() == (length + 1) // 2


def test_masked_lm_hides_every_position_alike_80_10_10():
    generator, runs, length = seeded(2), 1500, 40
    where = torch.zeros(length)
    masked = kept = drawn = 0
    for _ in range(runs):
        got = masked_lm(text(length), WORDS, generator=generator)
        where += got.loss_mask
        inputs, targets = got.inputs[got.loss_mask], got.targets[got.loss_mask]
        masked += int((inputs == WORDS.MASK).sum())
        kept += int((inputs == targets).sum())
        drawn += int(((inputs != targets) & (inputs >= WORDS.first_word)).sum())
    total = 6 * runs
    assert masked + kept + drawn == total  # so no special token but MASK is ever put in
    assert masked / total == pytest.approx(0.8, abs=0.017)  # four standard deviations
    assert kept / total == pytest.approx(0.1, abs=0.013)
    assert drawn / total == pytest.approx(0.1, abs=0.013)
    assert chi_square(where.tolist()) < 72.1  # 39 degrees of freedom, p = 0.001


def test_the_spans_of_t5s_own_example():
    ids = WORDS.encode(THANKS)
    inputs, targets = corrupt_spans(ids, [(2, 4), (8, 9)], WORDS)
    assert WORDS.decode(inputs) == "Thank you [SENTINEL_0] me to your party [SENTINEL_1] week."
    assert WORDS.decode(targets) == "[SENTINEL_0] for inviting [SENTINEL_1] last [SENTINEL_2]"


def test_spans_at_both_ends_and_none_at_all():
    s0, s1, s2 = (WORDS.sentinel(n) for n in range(3))
    assert [one.tolist() for one in corrupt_spans([A, B, C], [(0, 1), (2, 3)], WORDS)] == [
        [s0, B, s1],
        [s0, A, s1, C, s2],
    ]
    assert [one.tolist() for one in corrupt_spans([A, B], [], WORDS)] == [[A, B], [s0]]
    assert [one.tolist() for one in corrupt_spans([A, B], [(0, 2)], WORDS)] == [[s0], [s0, A, B, s1]]


def restored(inputs: list[int], targets: list[int]) -> list[int]:
    """Put what the targets say in the place of each sentinel of the inputs."""
    said, last = {}, None
    for id in targets:
        if id < WORDS.first_word:
            last = id
            said[last] = []
        else:
            said[last].append(id)
    assert said[last] == []  # the closing sentinel
    return [one for id in inputs for one in (said[id] if id < WORDS.first_word else [id])]


# The counts by hand: round(0.15 L), then round(noise / 3), halves to the even number, each at least 1.
COUNTS = [(2, 1, 1), (7, 1, 1), (10, 2, 1), (20, 3, 1), (30, 4, 1), (40, 6, 2), (50, 8, 3), (100, 15, 5), (200, 30, 10)]


@pytest.mark.parametrize(("length", "noise", "spans"), COUNTS)
def test_spans_are_as_many_and_as_long_as_the_rounding_says(length, noise, spans):
    for seed in range(20):
        got = noise_spans(length, generator=seeded(seed))
        assert len(got) == spans
        assert sum(end - start for start, end in got) == noise
        edges = [0, *(edge for span in got for edge in span)]
        assert all(a < b for a, b in pairwise(edges))  # the rest and the noise are never empty
        assert edges[-1] == length  # rest, noise, rest, noise: the text ends with noise


def test_every_way_to_cut_is_as_likely():
    # 6 tokens, half of them noise in 2 spans: 1+2 or 2+1 of the rest, 1+2 or 2+1 of the noise
    generator = seeded(5)
    got = [tuple(noise_spans(6, noise_density=0.5, mean_span=1.5, generator=generator)) for _ in range(2000)]
    ways = {((1, 2), (4, 6)), ((1, 3), (5, 6)), ((2, 3), (4, 6)), ((2, 4), (5, 6))}
    assert set(got) == ways
    assert chi_square([got.count(way) for way in ways]) < 16.3  # 3 degrees of freedom, p = 0.001


@pytest.mark.parametrize("length", [2, 3, 17, 100, 250])
def test_t5_span_corruption_can_be_undone_and_counts_its_targets_alone(length):
    for seed in range(10):
        got = t5_span_corruption(text(length), WORDS, generator=seeded(seed))
        assert well_formed(got)
        inputs, targets = row(got)[: got.prefix_len], row(got)[got.prefix_len :]
        assert restored(inputs, targets) == text(length)
        assert told(got) == targets
        spans = noise_spans(length, generator=seeded(seed))
        assert [inputs, targets] == [one.tolist() for one in corrupt_spans(text(length), spans, WORDS)]


def test_fill_in_the_middle_by_hand():
    psm = fill_in_the_middle([A, B, C, D, E], WORDS, form="psm", cuts=(1, 3))
    assert row(psm) == [PRE, A, SUF, D, E, MID, B, C, EOS]
    spm = fill_in_the_middle([A, B, C, D, E], WORDS, form="spm", cuts=(1, 3))
    assert row(spm) == [PRE, SUF, D, E, MID, A, B, C, EOS]
    for got in (psm, spm):
        assert well_formed(got)
        assert got.prefix_len == 0
        assert told(got) == row(got)[1:]  # the loss is on all three parts


def test_with_nothing_before_the_middle_both_forms_are_one():
    # the reason why the paper prefers this form of SPM
    forms = [row(fill_in_the_middle([A, B, C], WORDS, form=form, cuts=(0, 2))) for form in ("psm", "spm")]
    assert forms[0] == forms[1] == [PRE, SUF, C, MID, A, B, EOS]


def test_both_cuts_are_drawn_evenly_and_sorted():
    generator, runs, cuts = seeded(3), 3200, []
    for _ in range(runs):
        got = row(fill_in_the_middle(text(3), WORDS, form="psm", generator=generator))
        cuts.append((got.index(SUF) - 1, 3 - (got.index(MID) - got.index(SUF) - 1)))
    # of the 16 ways to draw two numbers from 0..3, one gives (a, a), and two give (a, b)
    for a in range(4):
        for b in range(a, 4):
            assert cuts.count((a, b)) / runs == pytest.approx((1 if a == b else 2) / 16, abs=0.024)


def test_half_of_the_examples_put_the_suffix_first():
    generator = seeded(6)
    got = [row(fill_in_the_middle([A, B, C], WORDS, cuts=(1, 2), generator=generator)) for _ in range(1000)]
    assert got.count([PRE, SUF, C, MID, A, B, EOS]) / 1000 == pytest.approx(0.5, abs=0.06)
    assert got.count([PRE, A, SUF, C, MID, B, EOS]) / 1000 == pytest.approx(0.5, abs=0.06)


def test_the_three_denoisers_of_ul2():
    for seed in range(10):
        regular = ul2(text(100), WORDS, mode="R", generator=seeded(seed))
        assert row(regular)[0] == WORDS.NLU
        assert len(told(regular)) == 15 + 5 + 1  # the noise, a sentinel for each span, and the closing one
        sequential = ul2(text(100), WORDS, mode="S", generator=seeded(seed))
        assert row(sequential) == [WORDS.S2S, *text(100)]
        assert told(sequential) == text(100)[sequential.prefix_len - 1 :]
        assert 2 <= sequential.prefix_len <= 100
        extreme = ul2(text(100), WORDS, mode="X", generator=seeded(seed))
        assert row(extreme)[0] == WORDS.NLG
        assert len(told(extreme)) in (50 + 17 + 1, 15 + 1 + 1)  # 50 % in spans of 3, or 15 % in spans of 32
        for got in (regular, extreme):
            assert well_formed(got)
            assert restored(row(got)[1 : got.prefix_len], row(got)[got.prefix_len :]) == text(100)
            assert told(got) == row(got)[got.prefix_len :]


def test_the_mode_token_is_prefix_besides_the_split():
    generator = seeded(7)
    drawn = [ul2(text(4), WORDS, mode="S", generator=generator).prefix_len for _ in range(300)]
    assert set(drawn) == {2, 3, 4}  # the mode token, and one to three of the four tokens


def test_ul2_mixes_its_modes_and_both_extremes():
    generator = seeded(4)
    got = [ul2(text(100), WORDS, generator=generator) for _ in range(800)]
    first = [row(one)[0] for one in got]
    assert first.count(WORDS.S2S) / 800 == pytest.approx(0.5, abs=0.07)
    assert first.count(WORDS.NLU) / 800 == pytest.approx(0.25, abs=0.06)
    assert {len(told(one)) for one in got if row(one)[0] == WORDS.NLG} == {68, 17}


def test_a_seed_gives_the_same_example_and_another_seed_another():
    for objective in (masked_lm, t5_span_corruption, fill_in_the_middle, ul2):
        once, again, other = (listed(objective(text(60), WORDS, generator=seeded(seed))) for seed in (1, 1, 2))
        assert once == again != other


def test_collate_pads_where_no_loss_counts():
    batch = collate([prefix_lm([A, B, C, D], 2), causal_lm([A, B]), masked_lm([A, B], WORDS)], WORDS.PAD)
    assert batch.inputs[:2].tolist() == [[A, B, C], [A, 0, 0]]
    assert batch.targets.tolist() == [[B, C, D], [B, 0, 0], [A, B, 0]]
    assert batch.loss_mask[:2].tolist() == [[False, True, True], [True, False, False]]
    assert not batch.loss_mask[2, 2]
    assert batch.prefix_len.tolist() == [2, 0, 2]
    assert batch.lengths.tolist() == [3, 1, 2]


def test_tensors_and_lists_are_read_alike_and_never_written_to():
    ids = torch.tensor(text(20))
    before = ids.clone()
    for objective in (masked_lm, t5_span_corruption, fill_in_the_middle, ul2):
        assert listed(objective(ids, WORDS, generator=seeded(0))) == listed(
            objective(text(20), WORDS, generator=seeded(0))
        )
    assert torch.equal(ids, before)


BAD = [
    (lambda: causal_lm([A]), ValueError, "ids must be at least 2 tokens .* got 1"),
    (lambda: causal_lm("Mara"), TypeError, "ids must be"),
    (lambda: causal_lm(torch.zeros(2, 3, dtype=torch.int64)), ValueError, "one text"),
    (lambda: causal_lm(torch.zeros(3)), TypeError, "hold integers"),
    (lambda: prefix_lm([A]), ValueError, "at least 2"),
    (lambda: prefix_lm([A, B], 2), ValueError, "prefix_len must be from 0 to number of ids - 1 = 1, got 2"),
    (lambda: prefix_lm([A, B], -1), ValueError, "got -1"),
    (lambda: prefix_lm([A, B], True), TypeError, "prefix_len"),
    (lambda: prefix_lm([A, B], 1, start_id=-1), ValueError, "start_id"),
    (lambda: prefix_lm_batch([[A, B]], 1), TypeError, "tokens must be an int64 tensor"),
    (lambda: prefix_lm_batch(torch.zeros(0, 4, dtype=torch.int64), 1), ValueError, "at least 2 tokens"),
    (lambda: prefix_lm_batch(torch.zeros(2, 4, dtype=torch.int64), 4), ValueError, "example 0 has 4 tokens"),
    (lambda: prefix_lm_batch(torch.zeros(2, 4, dtype=torch.int64), 2, lengths=[4, 2]), ValueError, "example 1 has 2"),
    (lambda: prefix_lm_batch(torch.zeros(2, 4, dtype=torch.int64), [1]), ValueError, "each of the 2 examples, got 1"),
    (lambda: prefix_lm_batch(torch.zeros(2, 4, dtype=torch.int64), 1, lengths=[4, 1]), ValueError, "at least 2 tokens"),
    (lambda: prefix_lm_batch(torch.zeros(2, 4, dtype=torch.int64), 1, lengths=[5, 4]), ValueError, "lengths"),
    (lambda: masked_lm([], WORDS), ValueError, "at least 1 token "),
    (lambda: masked_lm([WORDS.BOS, WORDS.EOS], WORDS), ValueError, "special tokens only"),
    (lambda: masked_lm([A], WORDS, rate=0), ValueError, "rate must be above 0 and below 1, got 0"),
    (lambda: masked_lm([A], WORDS, rate=float("nan")), ValueError, "rate"),
    (lambda: t5_span_corruption([A], WORDS), ValueError, "at least 2"),
    (lambda: noise_spans(1), ValueError, "length must be from 2 to 1048576"),
    (lambda: noise_spans(10, mean_span=0.5), ValueError, "mean_span must be finite and at least 1"),
    (lambda: noise_spans(10, noise_density=0.9, mean_span=1), ValueError, "ask for 9 spans of 9 tokens"),
    (lambda: corrupt_spans([A, B, C], [(0, 1), (1, 2)], WORDS), ValueError, r"got \(1, 2\) as spans\[1\]"),
    (lambda: corrupt_spans([A, B, C], [(1, 1)], WORDS), ValueError, "none empty"),
    (lambda: corrupt_spans([A, B, C], [(1, 4)], WORDS), ValueError, "within 3 tokens"),
    (lambda: t5_span_corruption(text(300), Vocabulary(["a"], sentinels=8)), ValueError, "need 16 sentinels.* has 8"),
    (lambda: fill_in_the_middle([], WORDS), ValueError, "at least 1 token "),
    (lambda: fill_in_the_middle([A, B], WORDS, cuts=(2, 1)), ValueError, "two numbers in order"),
    (lambda: fill_in_the_middle([A, B], WORDS, cuts=(0, 3)), ValueError, "number of ids = 2, got 3"),
    (lambda: fill_in_the_middle([A], WORDS, form="PSM"), ValueError, "form must be one of psm, spm"),
    (lambda: ul2([A], WORDS), ValueError, "at least 2"),
    (lambda: ul2([A, B], WORDS, mode="r"), ValueError, "mode must be one of R, S, X"),
    (lambda: collate([], 0), ValueError, "at least one"),
    (lambda: collate([prefix_lm_batch(torch.tensor([[A, B]]), 1)], 0), ValueError, "one text each"),
]


@pytest.mark.parametrize(("call", "error", "words"), BAD)
def test_bad_input_is_refused_in_words(call, error, words):
    with pytest.raises(error, match=words):
        call()


def test_an_example_is_what_the_model_takes():
    from course_lib.model import Config, PrefixLM

    model = PrefixLM(Config(vocab_size=len(WORDS), dim=16, layers=1, heads=2))
    batch = prefix_lm_batch(torch.tensor([text(7), text(7)]), [3, 1], lengths=[7, 4])
    given = model(
        batch.inputs, batch.prefix_len, targets=batch.targets, loss_mask=batch.loss_mask, lengths=batch.lengths
    )
    default = model(batch.inputs, batch.prefix_len, targets=batch.targets, lengths=batch.lengths)
    assert torch.equal(given[1], default[1])  # what counts here is what counts there unless it is told otherwise
    logits = given[0].log_softmax(-1)
    scores = [-logits[b, i, batch.targets[b, i]] for b, i in batch.loss_mask.nonzero().tolist()]
    assert len(scores) == (7 - 3) + (4 - 1)
    assert given[1].item() == pytest.approx(torch.stack(scores).mean().item(), rel=1e-5)
