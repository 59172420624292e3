"""The table of objectives says what the objectives are: each line is read back and compared with its definition."""

import re

import pytest
from hostile_values import VALUES, refused

from course_lib.classroom.objective_table import objective_table

SENTENCE = "The lantern is lost . Mara climbs the stairs ."
WORDS = SENTENCE.split()


def table(seed):
    """Read the table back: {objective: (mask, P, T, loss, reads, predicts)}."""
    lines, found = objective_table(SENTENCE, seed=seed).splitlines(), {}
    for head, reads, predicts in zip(lines[::3], lines[1::3], lines[2::3], strict=True):
        name, mask, P, T, loss = re.fullmatch(
            r"(.+): (causal|prefix|all open) mask, P = (\d+) of (\d+) rows, (\d+) carry loss", head
        ).groups()
        found[name] = (mask, int(P), int(T), int(loss), reads.split()[1:], predicts.split()[1:])
    return found


@pytest.mark.parametrize("seed", range(8))
def test_every_row_is_what_the_objective_says(seed):
    found = table(seed)
    assert len(found) == 7
    for mask, P, T, loss, reads, predicts in found.values():
        assert len(reads) == len(predicts) == T
        assert sum(word != "·" for word in predicts) == loss
        assert mask == ("causal" if P == 0 else "all open" if P == T else "prefix")
    _, _, _, _, reads, predicts = found["causal LM"]
    assert (reads, predicts) == (WORDS[:-1], WORDS[1:])
    _, P, T, _, reads, predicts = found["prefix LM"]
    assert predicts == [WORDS[i + 1] if i >= P - 1 else "·" for i in range(T)]
    _, _, _, _, reads, predicts = found["masked LM (BERT)"]
    assert all(want in ("·", WORDS[i]) for i, want in enumerate(predicts))
    _, P, _, _, reads, predicts = found["span corruption (T5)"]
    assert reads[P:] == predicts[P - 1 : -1]  # from left to right, each written token is read by the next row
    _, _, _, _, reads, predicts = found["fill-in-the-middle"]
    assert predicts == [*reads[1:], "[EOS]"]
    _, P, _, _, reads, predicts = found["GLM"]
    assert predicts[:P] == ["·"] * P
    assert reads[P] == "[S]"
    assert predicts[-1] == "[E]"
    assert reads[:P].count("[M]") == reads[P:].count("[S]") == predicts.count("[E]")


def test_another_seed_draws_otherwise_and_the_same_seed_the_same():
    assert objective_table(SENTENCE, seed=1) == objective_table(SENTENCE, seed=1) != objective_table(SENTENCE, seed=2)


def test_the_argument_that_is_wrong_is_named():
    for value in VALUES.values():
        assert refused(lambda value=value: objective_table(value), "sentence must") or len(value) < 50
        refused(lambda value=value: objective_table(SENTENCE, seed=value), "seed must")
    assert refused(lambda: objective_table(SENTENCE, seed=2**70), "seed must")


@pytest.mark.parametrize("sentence", ["", "one two", "word " * 13])
def test_a_sentence_that_does_not_fit_is_refused(sentence):
    with pytest.raises(ValueError, match="sentence must have 4 to 12 words and marks, got"):
        objective_table(sentence)
