"""The blank explorer in Python: its row against GLM's definition, its words, and what it refuses."""

import json
import warnings

import pytest
import torch
import traitlets

from course_lib.classroom import blank_words
from course_lib.classroom.blank_explorer import BlankExplorer


def row_by_hand(words, blanks, order):
    """Lay out a row by the definition, in words: (input, target or None, position, block position) of each column."""
    part_a, place = [], {}
    for i, word in enumerate(words):
        inside = [k for k, (start, end) in enumerate(blanks) if start <= i < end]
        if not inside:
            part_a.append(word)
        elif inside[0] not in place:
            place[inside[0]] = len(part_a)
            part_a.append("[MASK]")
    columns = [(word, None, p, 0) for p, word in enumerate(part_a)]
    for k in order:
        hidden = words[slice(*blanks[k])]
        for b, (read, write) in enumerate(zip(["[START]", *hidden], [*hidden, "[END]"], strict=True), 1):
            columns.append((read, write, place[k], b))
    return columns, len(part_a)


@pytest.mark.parametrize("order", [[0, 1, 2], [2, 0, 1], [1, 2, 0]])
def test_its_row_is_that_of_the_definition(order):
    words, blanks = list("abcdefg"), [[0, 2], [3, 4], [5, 7]]
    explorer = BlankExplorer(words, blanks, order)
    columns, A = row_by_hand(words, blanks, order)
    layout, names = explorer.layout, [*words, *blank_words.SPECIAL]
    found = list(zip(layout.tokens, layout.targets, layout.positions, layout.block_positions, strict=True))
    assert layout.context_len == A == 5
    for c, (read, write, position, block) in enumerate(columns):
        token, target, *numbers = map(int, found[c])
        assert (names[token], numbers) == (read, [position, block])
        assert bool(layout.loss_mask[c]) == (write is not None)
        assert write is None or names[target] == write
    T = len(columns)
    sees = [[j < A or (i >= A and j <= i) for j in range(T)] for i in range(T)]
    assert explorer.mask.tolist() == sees


def test_it_says_everything():
    explorer = BlankExplorer("x1 x2 x3 x4 x5 x6", [(4, 6), (2, 3)], order=[1, 0])
    assert explorer.blanks == [[2, 3], [4, 6]]
    explorer.selected = 6
    assert explorer.describe() == repr(explorer) == (
        "2 blanks hide 3 of 6 tokens (50\u00a0%): blank 1 is ‘x3’ (token 2); blank 2 is ‘x5’ and ‘x6’ (tokens 4 and 5)."
        " Part A is the text with one [MASK] for each blank, 5 columns: this is the context, and the prefix of length "
        "P = 5. Part B writes the blanks in the order 2, 1, each after a [START]: 5 columns. In all that is T = 10 "
        "columns, and 5 of them carry loss, all of Part B: they must predict 3 hidden tokens and 2 × [END]. Its mask "
        "is prefix_mask(5, 10): every column sees all of Part A, and a column of Part B also sees Part B up to itself. "
        "Column 6 reads ‘x5’, the first token of blank 2. It stands at position 4, where the [MASK] of blank 2 stands, "
        "with block position 2, and must predict ‘x6’. It sees all of Part A, and Part B up to itself: columns 5 and 6."
    )  # fmt: skip


def test_the_words_of_each_column_are_true():
    words, blanks, order = list("abcdefgh"), [[1, 4], [5, 6], [7, 8]], [2, 0, 1]
    explorer = BlankExplorer(words, blanks, order)
    columns, A = row_by_hand(words, blanks, order)
    for c, (read, write, position, block) in enumerate(columns):
        explorer.selected = c
        said = blank_words.column_words(explorer)[0]
        assert said.startswith(f"Column {c} reads {read if read.startswith('[') else f'‘{read}’'}")
        assert f"position {position}," in said and f"block position {block}" in said  # noqa: PT018
        if write is None:
            assert "predicts nothing" in said and "nothing of Part B" in said  # noqa: PT018
        else:
            assert f"must predict {write if write.startswith('[') else f'‘{write}’'}" in said
            assert "only itself" in said if c == A else f"{c}." in said


def test_no_blank_and_nothing_but_a_blank():
    empty = BlankExplorer("a b", [])
    assert (empty.order, empty.layout.context_len, empty.layout.loss_mask.any().item()) == ([], 2, False)
    assert "no blank: Part B is empty" in empty.describe()
    empty.selected = 1
    assert empty.describe().endswith("predicts nothing. It sees all of Part A.")
    whole = BlankExplorer("a b", [(0, 2)])
    assert "1 blank hides 2 of 2 tokens (100\u00a0%)" in whole.describe()
    assert "1 column: this is the context" in whole.describe()
    many = BlankExplorer(list("abcdefghi"), [(i, i + 1) for i in range(0, 9, 2)])
    assert "; and 2 more." in many.describe()


def test_the_defaults():
    assert [len(BlankExplorer().blanks), BlankExplorer().blanks[0]] == [2, [1, 3]]
    assert [BlankExplorer(text).blanks for text in ("a", "a b", "a b c d")] == [[], [[1, 2]], [[1, 3]]]


def test_setting_blanks_puts_the_order_back_where_it_no_longer_fits():
    explorer = BlankExplorer(list("abcdefg"), [(0, 1), (2, 3)], order=[1, 0])
    explorer.blanks = [[5, 6], [1, 3]]
    assert (explorer.blanks, explorer.order) == ([[1, 3], [5, 6]], [1, 0])
    explorer.selected = 9
    explorer.blanks = [(0, 1), (2, 3), (4, 5)]
    assert (explorer.order, explorer.selected) == ([0, 1, 2], 9)
    explorer.blanks = []
    assert (explorer.order, explorer.selected) == ([], None)


def test_a_new_text_keeps_the_blanks_that_it_holds():
    explorer = BlankExplorer(list("abcdefg"), [(1, 3), (5, 7)], order=[1, 0])
    explorer.text = "one two three four five six"
    assert (explorer.tokens[5], explorer.blanks, explorer.order) == ("six", [[1, 3], [5, 6]], [1, 0])
    explorer.tokens = ["x", "y z"]
    assert (explorer.text, explorer.blanks, explorer.order) == ("x y z", [[1, 2]], [0])


def test_the_browsers_state_comes_whole():
    explorer = BlankExplorer()
    explorer.set_state({"text": "灯笼", "tokens": ["灯笼"], "blanks": [[0, 1]], "order": [0], "selected": 2})
    assert (explorer.tokens, explorer.blanks, explorer.selected) == (["灯笼"], [[0, 1]], 2)
    long = "灯笼" * 15  # 30 tokens without a dictionary, and fewer in the browser
    explorer.set_state({"text": long, "tokens": ["灯笼"] * 15, "blanks": [[3, 5]], "order": [0], "selected": None})
    assert (explorer.text, len(explorer.layout.tokens)) == (long, 17)
    explorer.set_state({"order": [0, 1], "blanks": [[0, 1], [3, 4]], "tokens": list("abcd"), "text": "a b c d"})
    assert (explorer.tokens, explorer.order) == (list("abcd"), [0, 1])


WRONG = [
    ("blanks", [(3, 2)], r"blanks must be \(start, end\) with 0 <= start < end <= 4, .* got \(3, 2\) as blanks\[0\]"),
    ("blanks", [(0, 1), (2, 5)], r"end <= 4, the number of tokens; got \(2, 5\) as blanks\[1\]"),
    ("blanks", [(0, 2), (1, 3)], r"one token apart, but \(0, 2\) and \(1, 3\) overlap"),
    ("blanks", [(2, 3), (0, 2)], r"one token apart, but \(0, 2\) and \(2, 3\) touch"),
    ("blanks", [(True, 2)], r"pairs of whole numbers, .* got \(True, 2\)"),
    ("blanks", [3], r"pairs of whole numbers, .* got 3 as blanks\[0\]"),
    ("blanks", [(1, 2, 3)], r"got \(1, 2, 3\) as blanks\[0\]"),
    ("order", [0], r"order must name each of the 2 blanks once, from 0 to 1, got \[0\]"),
    ("order", [0, 2], r"got \[0, 2\]"),
    ("order", [0, 1.0], "order must be a list of indexes into blanks"),
]


@pytest.mark.parametrize(("name", "value", "words"), WRONG)
def test_what_is_wrong_is_said(name, value, words):
    good = {"blanks": [(0, 1), (2, 3)], "order": None}
    with pytest.raises((ValueError, TypeError), match=words) as refused:
        BlankExplorer("a b c d", **{**good, name: value})
    assert not isinstance(refused.value, traitlets.TraitError)
    explorer = BlankExplorer("a b c d", **good)
    before = explorer.describe()
    with pytest.raises(traitlets.TraitError, match=words):
        setattr(explorer, name, value)
    assert explorer.describe() == before


def test_other_wrong_values_are_refused():
    for text, words in [("", "from 1 to 24 tokens, got 0"), ("a " * 25, "got 25"), (3, "text_or_tokens must be a str")]:
        with pytest.raises((ValueError, TypeError), match=words):
            BlankExplorer(text)
    with pytest.raises(TypeError, match="blanks must be a list of"):
        BlankExplorer("a b", 1)
    explorer = BlankExplorer("a b c d", [])
    wrong = [
        ("tokens", [], "tokens must have from 1 to 24 tokens, got 0"),
        ("tokens", ["a"] * 25, "got 25"),
        ("text", " ", "text must have"),
        ("selected", 4, r"selected must be from 0 to 3 \(the last column\), got 4"),
        ("order", [0], r"order must be \[\], for no blank"),
    ]
    for name, value, words in wrong:
        with pytest.raises(traitlets.TraitError, match=words):
            setattr(explorer, name, value)
    assert (explorer.tokens, explorer.selected) == (list("abcd"), None)


def test_without_a_kernel_there_is_a_picture():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        every_other = [(i, i + 1) for i in range(0, 24, 2)]
        for explorer in (BlankExplorer(), BlankExplorer("$x_ 灯 مارا"), BlankExplorer(["w"] * 24, every_other),
                         BlankExplorer("a", [])):  # fmt: skip
            data, _ = explorer._repr_mimebundle_()
            assert data["image/png"].startswith("iVBOR")
            assert data["image/png"] == explorer._repr_mimebundle_()[0]["image/png"]
            assert data["text/plain"] == explorer.describe()
            json.dumps(explorer.get_state(["tokens", "blanks", "order"]))
    assert torch.equal(BlankExplorer("a", []).mask, torch.ones(1, 1, dtype=torch.bool))
