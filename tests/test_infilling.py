"""Filling blanks against reading everything anew for each word, from the layout that the model is trained on."""

import dataclasses

import pytest
import torch

from course_lib.infilling import infill
from course_lib.model import Config, PrefixLM
from course_lib.vocabulary import UnknownWordsError, Vocabulary

WORDS = Vocabulary(["a", "b", "c", "d", "e", "f", "."], sentinels=0)
SMALL = Config(vocab_size=len(WORDS), dim=16, layers=2, heads=2, max_len=48, positions="glm")


pytestmark = pytest.mark.usefixtures("one_thread")


def made(seed=0, **changes):
    torch.manual_seed(seed)
    model = PrefixLM(dataclasses.replace(SMALL, **changes))
    with torch.no_grad():
        for weight in model.parameters():
            if weight.dim() == 2:
                weight.normal_(std=0.5)
    return model.double()


def naively(model, pieces, order, max_tokens, mask=WORDS.MASK):
    """Greedy, with no cache: the whole of Part A and Part B, again and again."""
    tokens, places = [WORDS.BOS, *WORDS.encode(pieces[0])], []
    for piece in pieces[1:]:
        places.append(len(tokens))
        tokens += [mask, *WORDS.encode(piece)]
    tokens.append(WORDS.EOS)
    context = len(tokens)
    positions, blocks, answers = list(range(context)), [0] * context, {}
    for blank in order:
        answers[blank], token, within = [], WORDS.START, 1
        while token != WORDS.END and len(answers[blank]) < max_tokens:
            tokens, positions, blocks = [*tokens, token], [*positions, places[blank]], [*blocks, within]
            at = {"positions": torch.tensor(positions), "block_positions": torch.tensor(blocks)}
            with torch.no_grad():
                logits = model(torch.tensor([tokens]), context, **at)[0][0, -1].tolist()
            token = max([WORDS.END, *range(WORDS.first_word, len(WORDS))], key=logits.__getitem__)
            within += 1
            if token != WORDS.END:
                answers[blank].append(token)
        if token != WORDS.END:  # the last word of a full blank is read by the later ones
            tokens, positions, blocks = [*tokens, token], [*positions, places[blank]], [*blocks, within]
    return [answers[blank] for blank in range(len(places))]


@pytest.mark.parametrize("kind", ["glm", "glm_rotary"])
@pytest.mark.parametrize("order", [[0, 1, 2], [2, 0, 1]])
def test_it_writes_what_reading_everything_anew_writes(kind, order):
    closed = 0
    for seed in range(6):
        model = made(seed, positions=kind)
        with torch.no_grad():  # END is likely enough to close some blanks
            model.embedding.weight[WORDS.END] += 0.4
        filling = infill(model, WORDS, "a ___ b c ___. ___", order=order, max_tokens=4)
        steps = list(filling)
        assert filling.answers == naively(model, ["a", "b c", ".", ""], order, 4)
        long = infill(model, WORDS, "a ___ b", mask_id=WORDS.GMASK)
        list(long)
        assert long.answers == naively(model, ["a", "b"], [0], 16, WORDS.GMASK)
        assert list(dict.fromkeys(step.blank for step in steps)) == order
        closed += sum(filling.closed)
    assert closed > 0


def test_the_text_grows_word_by_word():
    filling = infill(made(), WORDS, "a ___ b ____ c.", max_tokens=2)
    assert filling.text == "a ___ b ___ c."
    step = next(filling)
    assert step.blank == 0
    assert step.probs.sum() == pytest.approx(1)
    assert filling.text == (f"a {WORDS.token(step.id)} b ___ c." if step.id != WORDS.END else "a b ___ c.")
    assert filling.fill() == filling.text
    assert "___" not in filling.text
    assert all(len(answer) <= 2 for answer in filling.answers)


@pytest.mark.parametrize("attention", ["linear", "jrt", "gated"])
def test_a_model_without_a_softmax_fills_blanks_from_its_states(attention):
    answers = []
    for seed in range(4):
        model = made(seed, attention=attention, normalize=None, positions="glm_rotary")
        filling = infill(model, WORDS, "a b ___ c ___ d.", order=[1, 0], max_tokens=3)
        filling.fill()
        answers += filling.answers
        assert filling.answers == naively(model, ["a b", "c", "d."], [1, 0], 3)
    assert any(answers)


@pytest.mark.parametrize("temperature", [0.0, 3.0])
def test_no_special_token_but_end_is_ever_written(temperature):
    model = made(dim=32)
    with torch.no_grad():  # of all tokens the special ones are likeliest, END behind them
        model.embedding.weight[WORDS.first_word :] *= 0.1
    steps = list(infill(model, WORDS, "a ___ b ___.", temperature=temperature, seed=0))
    written = {step.id for step in steps}
    assert written <= {WORDS.END, *range(WORDS.first_word, len(WORDS))}
    assert all(
        step.probs[: WORDS.END].sum() == 0 == step.probs[WORDS.END + 1 : WORDS.first_word].sum() for step in steps
    )


def test_the_model_is_left_as_it_was_and_a_seed_repeats():
    model = made().train()
    drawn = [[step.id for step in infill(model, WORDS, "a ___ b", temperature=1.0, seed=seed)] for seed in (3, 3, 4)]
    assert model.training
    assert drawn[0] == drawn[1] != drawn[2]


@pytest.mark.parametrize(
    ("text", "options", "error", "says"),
    [
        ("a b", {}, ValueError, "at least one blank, ___, got 'a b'"),
        ("a__b", {}, ValueError, "at least one blank"),
        ("", {}, ValueError, "at least one blank"),
        ("the b___n [MASK] __", {}, ValueError, "a blank is three underscores or more, with no letter, digit or und"),
        (None, {}, TypeError, "text must be a str, got None"),
        (["a ___"], {}, TypeError, "text must be a str, got .*list"),
        ("a ___ b ___ ____ c", {}, ValueError, "blanks 1 and 2 touch; write one ___ for both"),
        ("a ___ zebra", {}, UnknownWordsError, "zebra"),
        ("a ___ b", {"order": [1]}, ValueError, r"order must name each of the 1 blanks once, 0\.\.0, got \[1\]"),
        ("a ___ b ___", {"order": [0]}, ValueError, "order must name each of the 2 blanks"),
        ("a ___", {"max_tokens": 0}, ValueError, "max_tokens must be at least 1, got 0"),
        (
            "a ___",
            {"max_tokens": 46},
            ValueError,
            "may take 51 tokens, more than max_len = 48: 4 of text, and 46 words",
        ),
        ("a ___", {"top_p": 0}, ValueError, "top_p must be above 0"),
        ("a ___", {"temperature": -1}, ValueError, "temperature must be finite and at least 0"),
    ],
)
def test_wrong_questions_are_answered_before_anything_is_computed(text, options, error, says):
    with pytest.raises(error, match=says):
        infill(made(), WORDS, text, **options)


def test_a_model_and_a_vocabulary_that_do_not_fit_are_refused():
    with pytest.raises(TypeError, match="model must be a PrefixLM, got 'model'"):
        infill("model", WORDS, "a ___")
    with pytest.raises(TypeError, match="vocabulary must be a Vocabulary, got None"):
        infill(made(), None, "a ___")
    for words in (["a"], [*WORDS.words, "more"]):  # some ids would be of no word, or some words without an id
        with pytest.raises(ValueError, match="vocabulary must be the model's own: it has"):
            infill(made(), Vocabulary(words, sentinels=0), "a ___")


def test_a_model_without_block_positions_cannot():
    with pytest.raises(ValueError, match="model must have block positions, but its positions are 'rotary'"):
        infill(made(positions="rotary"), WORDS, "a ___")
