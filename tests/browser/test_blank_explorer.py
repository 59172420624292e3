"""The blank explorer in a browser: Python's row and words, by mouse and by keyboard, and in JupyterLab."""

import json
from itertools import permutations, product
from pathlib import Path

import pytest

from course_lib.classroom.blank_explorer import BlankExplorer
from course_lib.classroom.explorer_checks import read_tokens
from course_lib.glm import blank_infilling

SYNCED = ("text", "tokens", "blanks", "order", "selected")
TEXTS = json.loads((Path(__file__).parents[1] / "texts.json").read_text("utf-8"))


def traits(explorer) -> dict:
    return {name: getattr(explorer, name) for name in SYNCED}


@pytest.fixture
def show(module_page):
    def draw(explorer=None, *, viewport=(900, 1200), theme="light", **context):
        explorer = BlankExplorer() if explorer is None else explorer
        page = module_page("blank_explorer", traits(explorer), viewport=viewport, theme=theme, **context)
        settle(page)
        return page

    return draw


def settle(page):
    page.evaluate("() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")


def told(page, explorer) -> BlankExplorer:
    """Bring Python up to date with what the browser told it, and return it."""
    page.wait_for_timeout(250)
    explorer.set_state(page.evaluate("() => Object.assign({}, ...model.saved)"))
    return explorer


def said(page) -> str:
    """The sentences of the page: of the row, and of the selected column."""
    settle(page)
    column = page.locator(".bx-column p:not(.mx-ghost)").text_content()
    row = page.locator(".bx-words").text_content()
    return row if column.startswith("Point at") else f"{row} {column}"


def chip(page, i):
    return page.locator(".bx-chip").nth(i)


def drag(page, start, end):
    boxes = [chip(page, i).bounding_box() for i in (start, end)]
    places = [(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2) for box in boxes]
    page.mouse.move(*places[0])
    page.mouse.down()
    page.mouse.move(*places[1], steps=10)
    page.mouse.up()
    settle(page)


def press(page, name):
    page.get_by_role("button", name=name).click(force=True)  # also one that is off: it must do nothing
    settle(page)


def table(page) -> list[list[str]]:
    """What the table shows, row by row, without the headers."""
    settle(page)
    return page.evaluate(
        """() => [...document.querySelectorAll(".bx-table tbody tr")].map((row) =>
          [...row.querySelectorAll("td")].map((cell) => (cell.querySelector("bdi") ?? cell).textContent))"""
    )


def table_of(explorer) -> list[list[str]]:
    """The same of Python's row."""
    layout, names = explorer.layout, [*explorer.tokens, "[MASK]", "[START]", "[END]"]
    scored = layout.loss_mask.tolist()
    targets = [names[i] if loss else "–nothing" for i, loss in zip(layout.targets.tolist(), scored, strict=True)]
    return [
        [names[i] for i in layout.tokens.tolist()], targets, ["yes" if loss else "–no" for loss in scored],
        [str(p) for p in layout.positions.tolist()], [str(b) for b in layout.block_positions.tolist()],
    ]  # fmt: skip


def runs(flags) -> list[list[int]]:
    """The runs of blanked tokens, found by their edges."""
    edges = [i for i in range(len(flags) + 1) if (i > 0 and flags[i - 1]) != (i < len(flags) and flags[i])]
    return [list(pair) for pair in zip(edges[::2], edges[1::2], strict=True)]


# -- the same as Python


def test_the_row_is_that_of_glm_for_every_choice_of_blanks_and_every_order(show):
    cases, expected = [], []
    for n in range(1, 7):
        for flags in product([False, True], repeat=n):
            blanks = runs(flags)
            for order in permutations(range(len(blanks))):
                cases.append([n, list(flags), list(order)])
                row = blank_infilling(
                    list(range(n)), blanks, mask_id=n, start_id=n + 1, end_id=n + 2, order=list(order)
                )
                expected.append([blanks, *(part.tolist() for part in row[:5]), row.context_len])
    assert len(cases) > 200
    found = show().evaluate(
        """(cases) => cases.map(([n, flags, order]) => {
          const blanks = module.blanksOf(flags), row = module.blankLayout(n, blanks, order);
          if (String(module.flagsOf(n, blanks)) !== String(flags)) throw new Error("flags");
          return [blanks, row.tokens, row.targets, row.lossMask, row.positions, row.blockPositions, row.contextLen];
        })""",
        cases,
    )
    for case, mine, theirs in zip(cases, found, expected, strict=True):
        assert mine == theirs, case


def test_the_sentences_are_those_of_python(show):
    states, expected = [], []
    odd = ["Mara", "灯笼", "x" * 40, "مارا", "", "."]
    texts = [["a"], list("ab"), odd, [f"w{i}" for i in range(24)]]
    for tokens in texts:
        n = len(tokens)
        choices = product([False, True], repeat=n) if n <= 6 else [[i % k == 0 for i in range(n)] for k in (1, 2, 3, 9)]
        for turn, flags in enumerate(choices):
            blanks = runs(list(flags))
            order = list(range(len(blanks)))
            explorer = BlankExplorer(
                tokens, blanks, order[turn % max(len(order), 1) :] + order[: turn % max(len(order), 1)]
            )
            for selected in [None, *range(len(explorer.layout.tokens))]:
                explorer.selected = selected
                states.append(traits(explorer))
                expected.append(explorer.describe())
    found = show().evaluate("(states) => states.map((state) => module.blankSentences(state).join(' '))", states)
    for state, mine, theirs in zip(states, found, expected, strict=True):
        assert mine == theirs, state


def test_text_is_split_as_python_does(show):
    kept = [case["text"] for case in TEXTS if not case["unspaced"]]  # for the others the browser has a dictionary
    kept += ["a'b'c d''e 1.2.3 .5", "\U0001f44d\U0001f3fdy1️⃣"]
    short = [text for text in kept if 1 <= len(read_tokens(text)[1]) <= 24]
    assert len(short) >= 5
    assert show().evaluate("(texts) => texts.map(module.tokensOf)", short) == [read_tokens(text)[1] for text in short]


def test_a_shuffle_always_gives_another_order(show):
    found = show().evaluate(
        """() => [2, 3, 4, 12].flatMap((n) => Array.from({ length: 300 }, () => {
          const order = Array.from({ length: n }, (_, i) => i), drawn = module.shuffled(order);
          return [n, drawn, [...drawn].sort((a, b) => a - b)];
        }))"""
    )
    assert all(drawn != list(range(n)) and sorted_ == list(range(n)) for n, drawn, sorted_ in found)
    assert len({tuple(drawn) for n, drawn, _ in found if n == 3}) == 5  # every other order comes up


# -- the blanks


def test_a_drag_blanks_and_unblanks_and_a_click_toggles(show):
    page, explorer = show(BlankExplorer(list("abcdefgh"), [])), BlankExplorer(list("abcdefgh"), [])
    drag(page, 1, 3)
    assert told(page, explorer).blanks == [[1, 4]]
    chip(page, 6).click()
    assert told(page, explorer).blanks == [[1, 4], [6, 7]]
    assert (table(page), said(page)) == (table_of(explorer), explorer.describe())
    chip(page, 2).click()
    assert told(page, explorer).blanks == [[1, 2], [3, 4], [6, 7]]
    drag(page, 7, 4)  # backwards: two runs grow into one
    assert told(page, explorer).blanks == [[1, 2], [3, 8]]
    drag(page, 3, 5)
    assert told(page, explorer).blanks == [[1, 2], [6, 8]]
    assert (table(page), said(page)) == (table_of(explorer), explorer.describe())


def test_a_drag_that_goes_back_leaves_the_order_as_it_was(show):
    explorer = BlankExplorer(list("abcdefg"), [(0, 1), (3, 4), (6, 7)], order=[2, 0, 1])
    page = show(explorer)
    boxes = [chip(page, i).bounding_box() for i in range(7)]
    page.mouse.move(boxes[1]["x"] + 9, boxes[1]["y"] + 9)
    page.mouse.down()
    page.mouse.move(boxes[5]["x"] + 9, boxes[5]["y"] + 9, steps=6)  # all in one
    settle(page)
    assert page.evaluate("() => model.get('blanks')") == [[0, 7]]
    page.mouse.move(boxes[1]["x"] + 9, boxes[1]["y"] + 9, steps=6)
    page.mouse.up()
    assert told(page, explorer).blanks == [[0, 2], [3, 4], [6, 7]]
    assert explorer.order == [2, 0, 1]


def test_the_keyboard_moves_extends_and_toggles(show, expect):
    explorer = BlankExplorer(list("abcdefgh"), [])
    page = show(explorer)
    page.locator("textarea").focus()
    page.keyboard.press("Tab")
    expect(chip(page, 0)).to_be_focused()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Shift+ArrowRight")
    page.keyboard.press("Shift+ArrowRight")
    assert page.locator(".is-chosen").count() == 3
    page.keyboard.press("Space")
    assert told(page, explorer).blanks == [[1, 4]]
    expect(chip(page, 3)).to_be_focused()
    expect(chip(page, 2)).to_have_attribute("aria-pressed", "true")
    expect(chip(page, 2)).to_have_attribute("aria-label", "c, token 2, in blank 1")
    page.keyboard.press("End")
    page.keyboard.press("Enter")
    assert told(page, explorer).blanks == [[1, 4], [7, 8]]
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("Shift+Home")
    page.keyboard.press("Space")  # some of them are kept yet: all are blanked
    assert told(page, explorer).blanks == [[0, 8]]
    page.keyboard.press("Space")
    assert told(page, explorer).blanks == [[7, 8]]
    assert (table(page), said(page)) == (table_of(explorer), explorer.describe())


def test_the_buttons(show, expect):
    explorer = BlankExplorer()
    page = show(explorer)
    expect(page.get_by_role("button", name="In text order")).to_have_attribute("aria-disabled", "true")
    press(page, "Shuffle Part B")
    assert told(page, explorer).order == [1, 0]
    assert (table(page), said(page)) == (table_of(explorer), explorer.describe())
    press(page, "In text order")
    assert told(page, explorer).order == [0, 1]
    chip(page, 8).click()
    expect(page.get_by_role("button", name="Shuffle Part B")).to_have_attribute("aria-disabled", "true")
    press(page, "Shuffle Part B")
    assert told(page, explorer).order == [0]
    press(page, "Clear")
    assert (told(page, explorer).blanks, explorer.order) == ([], [])
    assert (table(page), said(page)) == (table_of(explorer), explorer.describe())


# -- the text


def test_the_learners_own_sentence(show, expect):
    explorer = BlankExplorer()
    page = show(explorer)
    field = page.get_by_label("Your sentence")
    field.fill("My old lantern is lost. Mara climbs the stairs.")
    assert told(page, explorer).tokens == read_tokens(field.input_value())[1]
    assert [explorer.tokens[slice(*blank)] for blank in explorer.blanks] == [["lantern", "is"], ["stairs"]]
    assert explorer.blanks[0] == [2, 4]  # with their words
    field.fill("The lamp is lost. Mara climbs the stairs.")
    told(page, explorer)
    assert [explorer.tokens[slice(*blank)] for blank in explorer.blanks] == [["lamp", "is"], ["stairs"]]
    assert (table(page), said(page)) == (table_of(explorer), explorer.describe())


@pytest.mark.parametrize(
    ("text", "words"),
    [("", "There is no token yet"), ("a " * 25, "This text has 25 tokens: at most 24 fit"), ("b " * 300, "too long")],
)
def test_a_text_that_does_not_fit_is_refused_in_words(show, expect, text, words):
    explorer = BlankExplorer()
    page = show(explorer)
    before = table(page)
    field = page.get_by_label("Your sentence")
    field.fill(text)
    expect(page.locator(".mx-note")).to_contain_text(words)
    expect(field).to_have_attribute("aria-invalid", "true")
    assert table(page) == before
    page.wait_for_timeout(200)
    assert page.evaluate("() => model.saved") == []
    field.fill("One two.")
    expect(field).to_have_attribute("aria-invalid", "false")
    assert told(page, explorer).tokens == ["One", "two", "."]


def test_text_is_never_markup(show, expect):
    page = show(BlankExplorer(["<b>bold</b>", "<img src=x onerror=alert(1)>", "&amp;"]))
    expect(page.locator(".bx-word").first).to_have_text("<b>bold</b>")
    assert page.locator(".bx b, .bx img").count() == 0


# -- the columns


def test_pointing_at_a_column_marks_where_it_came_from_and_says_it(show, expect):
    explorer = BlankExplorer("x1 x2 x3 x4 x5 x6", [(2, 3), (4, 6)], order=[1, 0])
    page = show(explorer)
    came_from = {0: [0], 2: [2], 4: [4, 5], 5: [4, 5], 6: [4], 7: [5], 8: [2], 9: [2]}
    for c, tokens in came_from.items():
        page.locator(".bx-positions td").nth(c).hover()
        settle(page)
        assert page.evaluate("() => [...document.querySelectorAll('.bx-chip')].flatMap((chip, i) => "
                             "chip.classList.contains('is-source') ? [i] : [])") == tokens  # fmt: skip
        explorer.selected = c
        assert page.locator(".bx-column p:not(.mx-ghost)").text_content() in explorer.describe()
        assert page.locator("td.is-on").count() == 5
    page.locator(".mx-text label").hover()
    expect(page.locator(".bx-column")).to_contain_text("Point at a column")
    assert page.locator(".is-source").count() == 0


def test_the_columns_are_reached_by_keyboard(show, expect):
    explorer = BlankExplorer()
    page = show(explorer)
    page.get_by_role("button", name="In text order").focus()
    page.keyboard.press("Tab")
    expect(page.get_by_role("button", name="Column 0, ‘The’")).to_be_focused()
    page.keyboard.press("ArrowRight")
    expect(page.get_by_role("button", name="Column 1, [MASK]")).to_be_focused()
    assert told(page, explorer).selected == 1
    assert said(page) == explorer.describe()
    page.keyboard.press("End")
    assert told(page, explorer).selected == 13
    page.keyboard.press("Enter")
    assert told(page, explorer).selected is None
    page.locator(".mx-grid").focus()
    page.keyboard.press("ArrowDown")
    assert told(page, explorer).selected == 1
    expect(page.get_by_role("gridcell")).to_have_text("‘[MASK]’ (query 1) may read ‘The’ (key 0).")


def test_the_mask_draws_the_boundary_and_the_row_of_the_column(show):
    page = show()
    colour = """([i, j]) => {
      const box = document.querySelector(".mx-grid"), canvas = box.querySelector(".mx-cells");
      const [x, y, cell] = box.dataset.cells.split(" ").map(Number), dpr = canvas.width / canvas.clientWidth;
      const at = [x + (j + 0.25) * cell, y + (i + 0.25) * cell].map((each) => Math.round(each * dpr));
      return [...canvas.getContext("2d").getImageData(...at, 1, 1).data].slice(0, 3);
    }"""
    mask = BlankExplorer().mask
    for i, j in product(range(14), range(14)):
        found = page.evaluate(colour, [i, j])
        light = sum(found) > 550  # paper and its hatch
        assert light != bool(mask[i, j]), (i, j, found)


def test_what_python_sets_is_shown(show):
    explorer = BlankExplorer()
    page = show(explorer)
    for name, value in [("blanks", [(0, 2), (4, 5), (7, 9)]), ("order", [2, 0, 1]), ("selected", 12),
                        ("text", "Mara walks."), ("tokens", ["a b", "c"]), ("blanks", [])]:  # fmt: skip
        setattr(explorer, name, value)
        page.evaluate("(state) => Object.entries(state).forEach((each) => model.receive(...each))", traits(explorer))
        assert (table(page), said(page)) == (table_of(explorer), explorer.describe())
    assert page.get_by_label("Your sentence").input_value() == "a b c"
    assert page.evaluate("() => model.saved") == []
    page.evaluate("() => cleanup()")
    assert page.evaluate("() => model.listenerCount()") == 0


def test_a_change_is_spoken_once_it_has_settled(show):
    page = show()
    drag(page, 5, 6)
    page.wait_for_function("() => document.querySelector('.course-live').textContent.startsWith('3 blanks hide 5')")


# -- the layout


@pytest.mark.parametrize("width", [1280, 900, 400])
def test_nothing_jumps_when_the_state_changes(show, width):
    page = show(viewport=(width, 1200))
    tops = """() => [".bx", ".bx-buttons", ".bx-row", ".bx-column", ".bx-main", ".bx-words"].map((each) => {
      const { top, height } = document.querySelector(each).getBoundingClientRect();
      return each === ".bx-words" ? [top] : [top, height];
    })"""
    before = page.evaluate(tops)
    for act in [lambda: drag(page, 4, 6), lambda: press(page, "Shuffle Part B"), lambda: chip(page, 2).click(),
                lambda: page.locator(".bx-tokens td").nth(3).click(), lambda: press(page, "Clear"),
                lambda: drag(page, 0, 9), lambda: page.locator(".bx-tokens td").nth(3).click()]:  # fmt: skip
        act()
        settle(page)
        page.evaluate("() => scrollTo(0, 0)")
        assert page.evaluate(tops) == before


@pytest.mark.parametrize("width", [1280, 720, 400, 320])
def test_the_largest_fits_the_page_and_the_headers_stay(show, width):
    explorer = BlankExplorer(["lighthouse"] * 24, [(i, i + 1) for i in range(0, 24, 2)])
    page = show(explorer, viewport=(width, 1200))
    assert page.evaluate("() => document.documentElement.scrollWidth") <= width
    before = page.locator(".bx-loss th").bounding_box()
    page.evaluate("() => (document.querySelector('.bx-row').scrollLeft = 600)")
    assert page.locator(".bx-loss th").bounding_box() == before
    explorer.selected = 47
    page.evaluate("() => model.receive('selected', 47)")
    settle(page)
    last, box = page.locator(".bx-loss td").last.bounding_box(), page.locator(".bx-row").bounding_box()
    assert last["x"] + last["width"] <= box["x"] + box["width"] + 1


# -- in JupyterLab


def test_in_jupyterlab_python_and_the_browser_stay_in_step(lab, expect):
    page = lab.open_notebook(
        [
            "from course_lib.classroom import BlankExplorer\nexplorer = BlankExplorer()\nexplorer",
            "print(explorer.blanks, explorer.order, explorer.selected)",
            "if len(explorer.blanks) == 3:  # not yet when all cells run\n    explorer.blanks = [(0, 4)]",
        ],
        name="blanks",
    )
    titles, values = page.locator(".bx-title"), page.locator(".bx-big")
    for i in range(4):  # JupyterLab's own styles have laid one over the other before
        title = titles.nth(i).bounding_box()
        assert title["y"] + title["height"] <= values.nth(i).bounding_box()["y"] + 1
    chip(page, 5).scroll_into_view_if_needed()
    drag(page, 5, 6)
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("ArrowRight")
    expect(chip(page, 6)).to_be_focused()  # JupyterLab did not take the arrows
    page.keyboard.press("Space")
    press(page, "Shuffle Part B")
    order = page.locator(".bx-row .in-b .bx-badge").all_text_contents()
    assert sorted(order) == ["1", "2", "3"]
    assert order != ["1", "2", "3"]
    page.get_by_role("button", name="Column 2, ‘lost’").click()
    page.wait_for_timeout(400)
    lab.run_cell(page, 1)
    told_python = f"[[1, 3], [5, 6], [8, 9]] [{', '.join(str(int(k) - 1) for k in order)}] 2"
    expect(page.get_by_text(told_python)).to_be_visible()
    lab.run_cell(page, 2)
    expect(page.locator(".bx-words")).to_contain_text("1 blank hides 4 of 10 tokens")
