"""Predictions: a guess is taken as it is or refused in words, locked once seen, and drawn over the picture."""

import io
import math
from pathlib import Path

import pytest
from matplotlib.figure import Figure
from PIL import Image

from course_lib.classroom.banks import load_banks
from course_lib.classroom.grading import RefusedError
from course_lib.classroom.guesses import compare, validate
from course_lib.classroom.predict import NO_GUESS, Prediction, predict
from course_lib.classroom.progress import progress

SAMPLE = load_banks(Path(__file__).parent / "banks").predictions
GUESS, TYPED, PICK, CURVE = (SAMPLE[f"sample.{name}"] for name in ("guess", "typed", "pick", "curve"))
ALT = "A line with the guess drawn over it."


pytestmark = pytest.mark.usefixtures("own_progress")


class Drawn:
    """A picture that remembers which guesses it was drawn with."""

    def __init__(self):
        self.values = []

    def __call__(self, value):
        self.values.append(value)
        figure = Figure(figsize=(2, 1), facecolor=(0, 0, 0, 0))
        figure.add_subplot().plot([0, 1], [0, value if isinstance(value, int) else 0])
        return figure


def send(guess, value, number=1):
    guess._receive(guess, {"type": "guess", "value": value, "number": number}, [])
    return guess.reply


@pytest.mark.parametrize(
    ("entry", "value", "kept"),
    [
        (GUESS, 31, 31),
        (GUESS, 31.0, 31),
        (GUESS, "31 ones", 31),
        (GUESS, 0, 0),
        (GUESS, 49, 49),
        (TYPED, "1,000.5", 1000.5),
        (PICK, "that", "that"),
        (CURVE, [0, 0.5, 4], [0, 0.5, 4]),
    ],
)
def test_a_guess_is_kept_as_it_is(entry, value, kept):
    guess = Prediction(entry)
    assert guess.value is None
    assert send(guess, value) == {"number": 1, "note": ""}
    assert guess.value == guess.guess == kept
    assert Prediction(entry).value == kept  # after a restart


@pytest.mark.parametrize(
    ("entry", "value", "why"),
    [
        (GUESS, 50, "Between 0 and 49"),
        (GUESS, -1, "Between 0 and 49"),
        (GUESS, 3.5, "In steps of 1"),
        (GUESS, True, "finite number"),
        (GUESS, None, "finite number"),
        (GUESS, [3], "finite number"),
        (GUESS, math.nan, "finite number"),
        (GUESS, math.inf, "finite number"),
        (GUESS, 10**400, "Between"),
        (GUESS, "many", "not a number"),
        (GUESS, "9" * 10**6, "too long"),
        (TYPED, "0.3", "In steps of 0.5"),
        (TYPED, "", "Type a number"),
        (PICK, None, "Choose one"),
        (PICK, "<b>this</b>", "Choose one"),
        (PICK, 0, "Choose one"),
        (PICK, ["this"], "Choose one"),
        (CURVE, [1, 2], "each of the 3"),
        (CURVE, [1, 2, 9], "Between 0 and 4"),
        (CURVE, [1, 2, "x"], "not a number"),
        (CURVE, [1] * 10**5, "each of the 3"),
        (CURVE, {"0": 1}, "each of the 3"),
    ],
)
def test_what_is_no_guess_is_refused_in_words(entry, value, why):
    with pytest.raises(RefusedError, match=why):
        validate(entry, value)
    guess = Prediction(entry)
    assert why in send(guess, value, 7)["note"]
    assert guess.reply["number"] == 7
    assert guess.value is None
    assert progress.snapshot()["predictions"] == {}


@pytest.mark.parametrize("message", [None, 5, [], {}, {"type": "reveal"}, {"type": ["guess"]}])
def test_nonsense_messages_change_nothing(message):
    guess = Prediction(GUESS)
    guess._receive(guess, message, [])
    assert guess.value is None


def test_a_guess_can_change_until_it_is_seen_beside_the_truth():
    guess, drawn = Prediction(GUESS), Drawn()
    send(guess, 40)
    send(guess, 30)
    assert (guess.value, guess.locked) == (30, False)
    shown = guess.reveal(drawn, alt=ALT, truth=31)
    assert shown.line == "Your guess: 30 ones. It is 31 ones: your guess is 1 too small."
    assert guess.locked
    assert "stays as it is" in send(guess, 31)["note"]
    assert guess.value == 30
    again = Prediction(GUESS)
    assert (again.value, again.locked) == (30, True)
    assert "stays as it is" in send(again, 31)["note"]


def test_a_guess_seen_in_another_notebook_stays_and_is_told():
    guess = Prediction(GUESS)
    type(progress)().record_prediction(GUESS["id"], 12, revealed=True)
    assert "stays as it is" in send(guess, 31)["note"]
    assert (guess.value, guess.locked) == (12, True)


def test_run_all_shows_the_picture_and_a_later_guess_is_drawn_over_it():
    guess, drawn = Prediction(GUESS), Drawn()
    shown = guess.reveal(drawn, alt=ALT, truth=31)
    first = shown.picture
    assert (drawn.values, shown.line) == ([None], NO_GUESS)
    send(guess, 31)
    assert drawn.values[-1] == 31
    assert shown.picture != first
    assert shown.line == "Your guess: 31 ones. Exactly right."
    assert guess.locked
    progress.reset("forget")
    assert (guess.value, guess.locked, shown.line) == (None, False, NO_GUESS)
    assert shown.picture == first


def test_the_picture_is_an_opaque_png_and_without_a_kernel_the_same_for_everyone():
    guess = Prediction(GUESS)
    before = guess.reveal(Drawn(), alt=ALT).fallback()
    image = Image.open(io.BytesIO(before["image/png"])).convert("RGBA")
    assert image.getextrema()[3] == (255, 255)
    send(guess, 12)
    shown = Prediction(GUESS).reveal(Drawn(), alt=ALT)
    assert shown.fallback() == before
    assert shown.picture != before["image/png"]
    assert repr(shown) == ALT


def test_a_picture_that_fails_later_is_said_and_the_old_one_stays():
    def draw(value):
        if value is not None:
            raise RuntimeError("no <ink>")
        return Drawn()(None)

    guess = Prediction(GUESS)
    shown = guess.reveal(draw, alt=ALT)
    old = shown.picture
    send(guess, 3)
    assert "could not be drawn: RuntimeError: no <ink>" in shown.line
    assert shown.picture == old
    assert guess.value == 3


def test_a_picture_of_pyplot_is_not_left_open():
    from matplotlib import pyplot

    def draw(value):
        return pyplot.figure()

    Prediction(GUESS).reveal(draw, alt=ALT)
    assert pyplot.get_fignums() == []


@pytest.mark.parametrize(
    ("arguments", "error", "said"),
    [
        ({"draw": 5}, TypeError, "draw = 5"),
        ({"alt": "short"}, ValueError, "at least 20 characters"),
        ({"alt": None}, ValueError, "at least 20 characters"),
        ({"truth": "many"}, ValueError, "must be a number"),
        ({"truth": math.nan}, ValueError, "must be a number"),
    ],
)
def test_a_reveal_wants_sense(arguments, error, said):
    with pytest.raises(error, match=said):
        Prediction(GUESS).reveal(**{"draw": Drawn(), "alt": ALT, **arguments})


@pytest.mark.parametrize(
    ("entry", "value", "truth", "said"),
    [
        (GUESS, 40, None, "Your guess: 40 ones."),
        (GUESS, 40, 31, "Your guess: 40 ones. It is 31 ones: your guess is 9 too large."),
        (TYPED, 1000.5, 1024, "Your guess: 1,000.5. It is 1,024: your guess is 23.5 too small."),
        (PICK, "this", None, "Your guess: this."),
        (PICK, "this", "this", "Your guess: this. That is right."),
        (PICK, "this", "that", "Your guess: this. It is: that"),
        (CURVE, [1, 2, 3], None, "Your guess: 1, 2, 3."),
        (CURVE, [1, 2, 3], [1.0, 2.0, 3.0], "Your guess is exactly right everywhere."),
        (
            CURVE,
            [1, 2, 4],
            [1.5, 2, 2],
            "Your guess is closest at P = 1 (off by 0) and furthest at P = 2: 4, where it is 2.",
        ),
    ],
)
def test_a_guess_is_compared_in_words(entry, value, truth, said):
    assert compare(entry, value, truth) == said


@pytest.mark.parametrize(("truth", "entry"), [("other", PICK), ([1, 2], CURVE), (3, CURVE), ([1, 2, math.inf], CURVE)])
def test_the_truth_is_of_the_guess_kind(truth, entry):
    with pytest.raises(ValueError, match="truth = "):
        Prediction(entry).reveal(Drawn(), alt=ALT, truth=truth)


@pytest.mark.parametrize("stale", [99, "x", [1], None])
def test_a_kept_guess_that_no_longer_fits_is_none(stale):
    progress.record_prediction(GUESS["id"], stale, revealed=True)
    guess = Prediction(GUESS)
    assert (guess.value, guess.locked) == (None, False)
    assert send(guess, 5)["note"] == ""
    assert guess.value == Prediction(GUESS).value == 5


@pytest.mark.parametrize(
    ("name", "error"), [("prefix_mask.cuont", ValueError), ("prefix_mask.first_row", ValueError), (7, TypeError)]
)
def test_an_unknown_prediction_is_an_error_that_lists_what_there_is(name, error):
    with pytest.raises(error, match=r"prefix_mask\.count"):
        predict(name)


def test_every_real_prediction_can_be_shown_without_a_kernel():
    for name in load_banks().predictions:
        guess = predict(name)
        assert "Take a guess" in guess.fallback()["text/html"]
        assert repr(guess).startswith("Prediction: ")
