"""The mask explorer in a browser: the same numbers and words as Python's, by mouse, by keyboard, and in JupyterLab."""

import json
import random
from pathlib import Path

import pytest
import torch

from course_lib import costs, masks
from course_lib.classroom.explorer import MaskExplorer
from course_lib.classroom.palette import DARK, LIGHT
from course_lib.classroom.text import quote, split_text

TEXTS = json.loads((Path(__file__).parents[1] / "texts.json").read_text("utf-8"))
TRICKY = [
    "a'b'c d''e 'f g' 1.2.3 1..2 .5 5. 1,2,3",
    "👨‍👩‍👧x👍🏽y1️⃣2️⃣",
    "a\u0301\u200d\u200db\u00ad\u00adc",
    "\u0600١٢ \u06dd٣",
    "_x__y_",
    "a" + "\u0301" * 240 + " b" + "\u0302" * 239 + " 👍🏽" + "\U000e0100" * 500,
]
KINDS = costs.KINDS
LONG = " ".join(f"word{i}" for i in range(256))
SYNCED = ("text", "tokens", "split_by", "prefix_len", "kind", "selected", "tile", "show_tiles", "moved_from")


def traits(*arguments, **options) -> dict:
    """What Python would send to the browser."""
    explorer = MaskExplorer(*arguments, **options)
    return {name: getattr(explorer, name) for name in SYNCED}


@pytest.fixture
def show(module_page):
    """Return `show(*arguments, page options, **explorer options) -> page`, drawn and settled."""

    def draw(*arguments, viewport=(900, 900), theme="light", mask=None, **options):
        page = module_page("mask_explorer", traits(*arguments, **options), viewport=viewport, theme=theme)
        if mask is not None:
            page.evaluate(
                """(bytes) => { model.receive("custom_mask", new DataView(new Uint8Array(bytes).buffer)); }""",
                torch.as_tensor(mask).int().flatten().tolist(),
            )
            page.evaluate("() => model.receive('kind', 'custom')")
        settle(page)
        return page

    return draw


def settle(page):
    """Wait until what was asked for is drawn."""
    page.evaluate("() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")


def told(page) -> dict:
    """Everything that Python was told, after the last message went out."""
    page.wait_for_timeout(200)
    return page.evaluate("() => Object.assign({}, ...model.saved)")


def sentence(page) -> str:
    settle(page)
    return page.locator(".mx-words p:not(.mx-ghost)").text_content().strip()


def divider(page):
    return page.get_by_role("slider", name="Boundary between prefix and target")


def drag(page, to_token: int, *, after=True):
    """Drag the divider to the edge of a token: behind it in the direction of the text, or in front of it."""
    divider(page).scroll_into_view_if_needed()
    start, token = divider(page).bounding_box(), page.locator(".mx-token").nth(to_token).bounding_box()
    right_to_left = page.evaluate("() => getComputedStyle(document.querySelector('.mx-tokens')).direction === 'rtl'")
    x = token["x"] + token["width"] + 5 if after != right_to_left else token["x"] - 5
    page.mouse.move(start["x"] + start["width"] / 2, start["y"] + start["height"] / 2)
    page.mouse.down()
    page.mouse.move(x, token["y"] + token["height"] / 2, steps=7)
    page.mouse.up()
    settle(page)


# -- the same as Python


@pytest.fixture(scope="module")
def pure(browser):
    """The module's exports on a page without a widget."""
    from course_lib.classroom.widgets import module_source

    page = browser.new_page()
    page.evaluate(
        """async (source) => {
          window.module = await import(URL.createObjectURL(new Blob([source], { type: "text/javascript" })));
        }""",
        module_source("mask_explorer"),
    )
    yield page
    page.close()


@pytest.mark.parametrize("text", TEXTS, ids=lambda text: text["name"])
def test_a_text_is_split_as_in_python(pure, text):
    ours, theirs = split_text(text["text"]), pure.evaluate("(text) => module.splitText(text)", text["text"])
    if not text["unspaced"]:
        assert theirs == ours
        return
    assert "".join(theirs) == "".join(ours)

    def boundaries(tokens):
        return {sum(map(len, tokens[:i])) for i in range(len(tokens) + 1)}

    assert boundaries(theirs) <= boundaries(ours)
    assert len(theirs) < len(ours), "the browser has a dictionary: some graphemes make words"


@pytest.mark.parametrize("text", TRICKY)
def test_a_tricky_text_is_split_as_in_python(pure, text):
    assert pure.evaluate("(text) => module.splitText(text)", text) == split_text(text)


def test_lone_surrogates_are_replaced_as_in_python(pure):
    assert pure.evaluate("() => module.splitText('a\\ud800 b')") == split_text("a\ud800 b") == ["a", "\ufffd", "b"]


def test_masks_and_counts_are_those_of_python(pure):
    tiles = [1, 2, 3, 4, 7, 16]
    found = pure.evaluate(
        """([kinds, tiles]) => {
          const out = [];
          for (const kind of kinds) for (let T = 0; T <= 16; T++) for (let P = 0; P <= T; P++) {
            const roles = Array.from(module.cellRoles(kind, P, T), (role) => (role ? 1 : 0)).join("");
            const bits = module.maskBits(kind, P, T).join("");
            for (const tile of tiles) {
              const c = module.counts(kind, P, T, tile);
              const { skipped, partial, full } = c.tiles;
              out.push([bits, roles, c.allowed, c.total, c.causal, skipped, partial, full, c.loss]);
            }
          }
          return out;
        }""",
        [KINDS, tiles],
    )
    expected = []
    for kind in KINDS:
        for T in range(17):
            for P in range(T + 1):
                mask = {"encoder": masks.bidirectional_mask, "decoder": masks.causal_mask}.get(
                    kind, lambda T, P=P: masks.prefix_mask(P, T)
                )(T)
                seen = {"encoder": T, "decoder": 0}.get(kind, P)
                bits = "".join(str(int(bit)) for bit in mask.flatten())
                for tile in tiles:
                    t = costs.tiles(seen, T, tile)
                    allowed, loss = costs.allowed_pairs(seen, T), costs.loss_positions(kind, P, T)
                    causal = costs.allowed_pairs(0, T)
                    expected.append([bits, bits, allowed, T * T, causal, t.skipped, t.partial, t.full, loss])
    assert found == expected


def state_of(explorer) -> dict:
    """The explorer's state as the module's pure functions take it."""
    return {
        "kind": explorer.kind, "tokens": explorer.tokens, "prefixLen": explorer.prefix_len, "tile": explorer.tile,
        "selected": explorer.selected, "custom": list(explorer.custom_mask) or None, "moved": explorer.moved_from,
    }  # fmt: skip


def in_browser(pure, states):
    return pure.evaluate("(states) => states.map((state) => module.sentences(state).join(' '))", states)


def test_the_sentences_are_those_of_python(pure):
    states, expected = [], []
    words = ["Mara", "灯笼", "مارا", "👩‍👩‍👧‍👦", "", " a ", "\n", "x" * 40, "it's"]
    explorer = MaskExplorer([])
    for T in range(17):
        explorer.tokens = [words[i % len(words)] for i in range(T)]
        for kind in KINDS:
            explorer.kind = kind
            for P in range(T + 1):
                explorer.prefix_len, explorer.tile = P, 1 + (P + T) % 6
                explorer.selected = None if T == 0 or P == 5 else (3 * P) % T
                states.append(state_of(explorer))
                expected.append(explorer.describe())
    assert in_browser(pure, states) == expected


def test_the_sentences_about_a_mask_of_your_own_are_those_of_python(pure):
    dice = random.Random(7)
    explorers = [
        MaskExplorer(mask=[[int(dice.random() < density) for _ in range(T)] for _ in range(T)], prefix_len=T // 3)
        for T in (0, 1, 2, 5, 11)
        for density in (0, 0.1, 0.5, 0.9, 1)
    ]
    explorers += [
        MaskExplorer(mask=[[(i + j) % 3 < 2 for j in range(16)] for i in range(16)], selected=i) for i in range(16)
    ]
    explorers += [MaskExplorer(mask=masks.prefix_mask(P, 6), prefix_len=2, selected=5) for P in range(7)]
    assert in_browser(pure, [state_of(one) for one in explorers]) == [one.describe() for one in explorers]


def test_the_note_that_the_boundary_moved_is_that_of_python(pure):
    explorer = MaskExplorer(LONG, 200)
    states, expected = [], []
    for tokens in (["a", "b", "c"], ["a"], []):
        explorer.tokens = tokens
        states.append(state_of(explorer))
        expected.append(explorer.describe())
    assert all(said.startswith("The boundary moved from") for said in expected)
    assert in_browser(pure, states) == expected


def test_the_boundary_follows_an_edit(pure):
    def follow(before: str, boundary: int, after: str) -> int:
        return pure.evaluate("([a, p, b]) => module.followEdit(a, p, b)", [before.split(), boundary, after.split()])

    assert follow("a b c d e", 2, "a b c d e f") == 2  # written on at the end
    assert follow("a b c d e", 2, "x a b c d e") == 3  # a word more in the prefix
    assert follow("a b c d e", 2, "b c d e") == 1  # one less
    assert follow("a b c d e", 2, "a b X d e") == 2  # a word of the target replaced
    assert follow("a b c d e", 4, "a e") == 1  # the words around the boundary are gone
    assert follow("a b c d e", 3, "v w x y z") == 3  # another text: the same length of prefix
    assert follow("a b c d e", 3, "v") == 1
    assert follow("a b c d e", 3, "") == 0
    assert follow("a b", 2, "a b c") == 2
    assert follow("", 0, "a b") == 0


# -- by mouse


def test_dragging_the_divider_moves_the_boundary(show, expect):
    page = show("Mara finds the lost lantern at night", 3, tile=2)
    assert sentence(page) == MaskExplorer("Mara finds the lost lantern at night", 3, tile=2).describe()
    drag(page, 4)
    expect(divider(page)).to_have_attribute("aria-valuenow", "5")
    expect(divider(page)).to_have_attribute("aria-valuetext", "5 of 7 tokens, between ‘lantern’ and ‘at’")
    expect(page.get_by_role("slider", name="Prefix length P")).to_have_value("5")
    assert sentence(page) == MaskExplorer("Mara finds the lost lantern at night", 5, tile=2).describe()
    assert told(page) == {"prefix_len": 5}
    drag(page, 0, after=False)
    assert told(page)["prefix_len"] == 0
    drag(page, 6)
    assert told(page)["prefix_len"] == 7


def test_a_long_drag_sends_few_messages_and_the_last_state_arrives(show):
    page = show(LONG.rsplit(" ", 200)[0], 10)
    for i in (40, 3, 50, 20):
        drag(page, i)
    assert told(page)["prefix_len"] == 21
    assert page.evaluate("() => model.saved.length") < 15


@pytest.mark.parametrize(("width", "count"), [(900, 64), (400, 24)])
def test_in_a_strip_of_many_lines_the_divider_goes_to_every_gap(show, width, count):
    page = show(LONG.rsplit(" ", 256 - count)[0], 1, viewport=(width, 1200))
    for i in range(0, count, 5):
        drag(page, i)
        assert divider(page).get_attribute("aria-valuenow") == str(i + 1)


def test_a_token_is_chosen_by_a_click_and_only_previewed_by_the_pointer(show, expect):
    page = show()
    tokens = page.get_by_role("option")
    tokens.nth(8).hover()
    settle(page)
    expect(tokens.nth(8)).to_have_class("mx-token mx-target mx-scored mx-open mx-asks")
    assert page.locator(".mx-token.mx-open").count() == 9  # the token ‘tower’ reads what stands before it, and itself
    page.mouse.move(5, 5)
    settle(page)
    assert page.locator(".mx-token.mx-open").count() == 5
    assert told(page) == {}
    tokens.nth(8).click()
    expect(tokens.nth(8)).to_have_attribute("aria-selected", "true")
    assert "‘tower’ (query 8) may read 9 of 13 keys: 0 to 8." in sentence(page)
    assert told(page) == {"selected": 8}


def test_arcs_are_drawn_to_what_the_token_may_read(show):
    page = show("a b c d e f", 3, selected=0)
    count = """(colour) => {
      const canvas = document.querySelector(".mx-arcs");
      const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
      const [r, g, b] = [1, 3, 5].map((i) => parseInt(colour.slice(i, i + 2), 16));
      let seen = 0;
      for (let i = 0; i < data.length; i += 4)
        if (data[i + 3] > 200 && Math.hypot(data[i] - r, data[i + 1] - g, data[i + 2] - b) < 8) seen++;
      return seen;
    }"""
    assert page.evaluate(count, LIGHT["added"]) > 20  # to b and c, ahead
    assert page.evaluate(count, LIGHT["target"]) == 0
    page.get_by_role("option").nth(5).click()
    settle(page)
    assert page.evaluate(count, LIGHT["added"]) == 0
    assert page.evaluate(count, LIGHT["prefix"]) > 20
    assert page.evaluate(count, LIGHT["target"]) > 20


def first_cell(page) -> str:
    """The colour of the cell of query 0 and key 0, as in the palette."""
    return page.evaluate(
        """() => {
          const [x, y] = document.querySelector(".mx-grid").dataset.cells.split(" ").map(Number);
          const [r, g, b] = document.querySelector(".mx-cells").getContext("2d").getImageData(x + 8, y + 8, 1, 1).data;
          return "#" + ((r << 16) | (g << 8) | b).toString(16).padStart(6, "0");
        }"""
    )


def cell_middle(page, i, j):
    x, y, size = map(float, page.locator(".mx-grid").get_attribute("data-cells").split())
    box = page.locator(".mx-grid").bounding_box()
    return box["x"] + x + (j + 0.5) * size, box["y"] + y + (i + 0.5) * size


def test_the_grid_says_in_words_what_the_pointer_is_at(show, expect):
    page = show()
    for i, j, may in ((5, 3, "may"), (1, 4, "may"), (1, 5, "may not"), (12, 12, "may"), (0, 12, "may not")):
        page.mouse.move(*cell_middle(page, i, j))
        tokens = MaskExplorer().tokens
        words = f"{quote(tokens[i])} (query {i}) {may} read {quote(tokens[j])} (key {j})."
        expect(page.locator(".mx-cell")).to_have_text(words)
    page.mouse.click(*cell_middle(page, 7, 2))
    assert told(page) == {"selected": 7}


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("kind", KINDS)
def test_each_cell_has_the_colour_of_its_role(show, kind, theme):
    T, P = 6, 3
    page = show("a b c d e f", P, kind=kind, theme=theme)
    palette = LIGHT if theme == "light" else DARK
    colours = page.evaluate(
        """(T) => {
          const [x, y, size] = document.querySelector(".mx-grid").dataset.cells.split(" ").map(Number);
          const context = document.querySelector(".mx-cells").getContext("2d");
          return Array.from({ length: T * T }, (_, k) => {
            const at = [x + ((k % T) + 0.25) * size, y + (Math.floor(k / T) + 0.25) * size].map(Math.round);
            const [r, g, b] = context.getImageData(...at, 1, 1).data;
            return "#" + ((r << 16) | (g << 8) | b).toString(16).padStart(6, "0");
          });
        }""",
        T,
    )
    names = {palette[name]: name for name in ("prefix", "target", "added", "cross")}
    found = [names.get(colour, "closed") for colour in colours]
    mask = MaskExplorer("a b c d e f", P, kind=kind).mask
    for i in range(T):
        for j in range(T):
            if not mask[i, j]:
                expected = "closed"
            elif kind == "encoder-decoder":
                expected = "cross" if i >= P > j else "prefix" if j < P else "target"
            elif j > i:
                expected = "added"
            else:
                expected = {"encoder": "prefix", "decoder": "target"}.get(kind, "prefix" if j < P else "target")
            assert found[i * T + j] == expected, (i, j)


def test_the_picture_changes_with_the_theme(show):
    page = show("a b c", 2)
    assert first_cell(page) == LIGHT["prefix"]
    page.evaluate("() => document.body.setAttribute('data-jp-theme-light', 'false')")
    settle(page)
    assert first_cell(page) == DARK["prefix"]


def test_it_is_drawn_once_it_gets_its_place_in_the_page(show):
    page = show("a b c", 2)
    page.evaluate("() => { cleanup(); root.replaceChildren(); }")
    page.evaluate(
        """() => {
          const late = document.createElement("div");
          module.default.render({ model, el: late });  // as JupyterLab does: the element is attached later
          requestAnimationFrame(() => setTimeout(() => root.append(late), 100));
        }"""
    )
    page.wait_for_selector(".mx-token")
    settle(page)
    assert first_cell(page) == LIGHT["prefix"]
    assert "Prefix LM with P = 2 of T = 3" in sentence(page)


def test_tiles_can_be_shown_and_resized(show, expect):
    page = show()
    pixels = "() => document.querySelector('.mx-cells').toDataURL()"
    before = page.evaluate(pixels)
    page.get_by_label("show tiles").check()
    settle(page)
    assert page.evaluate(pixels) != before
    expect(page.locator(".mx-legend")).to_contain_text("skipped tile: never computed")
    page.get_by_label("of size").select_option("2 × 2")
    tiles = costs.tiles(5, 13, 2)
    expect(page.locator(".mx-meter-tiles .mx-value")).to_have_text(f"{tiles.visited} of 49")
    assert told(page) == {"show_tiles": True, "tile": 2}


def test_the_meters_show_what_python_counts(show, expect):
    page = show("Mara finds the lost lantern at night", 3, tile=2)
    expect(page.locator(".mx-meter-pairs")).to_contain_text("31 of 49")
    expect(page.locator(".mx-meter-pairs")).to_contain_text("causal 28, +3")
    expect(page.locator(".mx-meter-tiles")).to_contain_text("5 skipped, 7 partial, 4 full")
    expect(page.locator(".mx-meter-loss")).to_contain_text("4 of 7")
    assert page.locator(".mx-token.mx-scored").all_text_contents() == ["lost", "lantern", "at", "night"]


# -- by keyboard alone


def test_the_divider_by_keyboard(show, expect):
    page = show()
    page.get_by_role("radio", name="Reads, then writes").focus()
    for _ in range(2):
        page.keyboard.press("Tab")  # past the tokens, which are one stop
    expect(divider(page)).to_be_focused()
    steps = {
        "ArrowRight": 6,
        "ArrowUp": 7,
        "ArrowLeft": 6,
        "ArrowDown": 5,
        "PageUp": 9,
        "PageDown": 5,
        "Home": 0,
        "End": 13,
    }
    for key, boundary in steps.items():
        page.keyboard.press(key)
        expect(divider(page)).to_have_attribute("aria-valuenow", str(boundary))
    page.keyboard.press("ArrowRight")
    expect(divider(page)).to_have_attribute("aria-valuenow", "13")
    assert told(page)["prefix_len"] == 13
    page.keyboard.press("Tab")
    slider = page.get_by_role("slider", name="Prefix length P")
    expect(slider).to_be_focused()
    page.keyboard.press("ArrowLeft")
    expect(slider).to_have_value("12")
    expect(divider(page)).to_have_attribute("aria-valuenow", "12")


def test_a_token_and_a_kind_by_keyboard(show, expect):
    page = show()
    chosen = page.locator(".mx-token[aria-selected=true]")
    page.get_by_role("radio", name="Reads, then writes").focus()
    page.keyboard.press("Tab")
    expect(chosen).to_be_focused()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    expect(chosen).to_have_text("lost")
    page.keyboard.press("End")
    expect(page.get_by_role("option").nth(12)).to_be_focused()
    assert told(page)["selected"] == 12
    page.keyboard.press("Shift+Tab")
    page.keyboard.press("ArrowLeft")
    expect(page.get_by_role("radio", name="One reads, one writes")).to_be_checked()
    assert sentence(page) == MaskExplorer(kind="encoder-decoder", selected=12).describe()
    assert told(page)["kind"] == "encoder-decoder"


def test_the_grid_by_keyboard(show, expect):
    page = show()
    grid = page.get_by_role("grid")
    page.locator(".mx-boundary input").focus()
    page.keyboard.press("Tab")
    expect(grid).to_be_focused()
    words = page.locator(".mx-cell")
    expect(words).to_have_text("‘lantern’ (query 1) may read ‘lantern’ (key 1).")
    for key, expected in {
        "ArrowRight": "‘lantern’ (query 1) may read ‘is’ (key 2).",
        "End": "‘lantern’ (query 1) may not read ‘.’ (key 12).",
        "ArrowDown": "‘is’ (query 2) may not read ‘.’ (key 12).",
        "PageDown": "‘.’ (query 12) may read ‘.’ (key 12).",
        "Home": "‘.’ (query 12) may read ‘The’ (key 0).",
        "ArrowUp": "‘it’ (query 11) may read ‘The’ (key 0).",
        "PageUp": "‘The’ (query 0) may read ‘The’ (key 0).",
    }.items():
        page.keyboard.press(key)
        expect(words).to_have_text(expected)
        expect(page.get_by_role("gridcell")).to_have_text(expected)
    assert told(page)["selected"] == 0


def test_an_encoder_and_a_decoder_say_that_they_ignore_the_boundary(show, expect):
    page = show()
    for kind, name in (("encoder", "Reads both ways"), ("decoder", "Writes left to right")):
        page.get_by_role("radio", name=name).check()
        expect(divider(page)).to_have_attribute("aria-disabled", "true")
        expect(page.get_by_role("slider", name="Prefix length P")).to_be_disabled()
        expect(page.locator(".mx-hint")).to_contain_text("ignores the boundary")
        divider(page).focus()
        page.keyboard.press("ArrowRight")
        drag(page, 9)
        assert sentence(page) == MaskExplorer(kind=kind).describe()
    assert "prefix_len" not in told(page)


# -- the learner's own text


def test_a_new_sentence(show, expect):
    page = show()
    field = page.get_by_label("Your sentence")
    field.fill("")
    expect(page.locator(".mx-empty")).to_be_visible()
    assert "There is no token yet" in sentence(page)
    field.press_sequentially("Keepers don't sleep; 3.5 km away, a ship 🚢 waits.")
    tokens = ["Keepers", "don't", "sleep", ";", "3.5", "km", "away", ",", "a", "ship", "🚢", "waits", "."]
    assert page.locator(".mx-token").all_text_contents() == tokens
    expect(divider(page)).to_have_attribute(
        "aria-valuenow", "5"
    )  # as long as before, though it was typed letter by letter
    news = told(page)
    assert (news["tokens"], news["prefix_len"], news["split_by"]) == (tokens, 5, "browser")
    assert sentence(page) == MaskExplorer(tokens, 5).describe()


def test_a_text_that_shrinks_below_the_boundary_moves_it_and_says_so(show, expect):
    page = show("one two three four five six seven", 6)
    page.get_by_label("Your sentence").fill("one two three")
    expect(page.locator(".mx-note")).to_have_text("The boundary moved from 6 to 3, because the text now has 3 tokens.")
    expect(page.get_by_role("status")).to_contain_text("The boundary moved from 6 to 3")
    news = told(page)
    assert (news["prefix_len"], news["moved_from"]) == (3, 6)
    divider(page).focus()
    page.keyboard.press("ArrowLeft")
    expect(page.locator(".mx-note")).to_have_text("3 tokens of at most 256")
    assert told(page)["moved_from"] is None


@pytest.mark.parametrize("text", ["word " * 257, "x" * 20_001, "lamp " * 200_000], ids=["257 tokens", "20001", "10^6"])
def test_too_long_a_text_is_refused_in_words_and_nothing_is_lost(show, expect, text):
    page = show()
    before = sentence(page)
    field = page.get_by_label("Your sentence")
    field.fill(text)
    expect(page.locator(".mx-note")).to_contain_text("The picture still shows the text before.")
    expect(field).to_have_attribute("aria-invalid", "true")
    assert sentence(page) == before
    assert page.evaluate("() => document.querySelector('textarea').value.length") == len(text)
    assert told(page) == {}
    field.fill("Short again, and within the limits.")
    expect(page.locator(".mx-note")).to_have_text("8 tokens of at most 256")
    assert told(page)["tokens"] == ["Short", "again", ",", "and", "within", "the", "limits", "."]


def test_exactly_256_tokens_are_shown(show, expect):
    page = show()
    page.get_by_label("Your sentence").fill(LONG)
    expect(page.locator(".mx-token")).to_have_count(256)
    expect(page.locator(".mx-note")).to_have_text("256 tokens of at most 256")


@pytest.mark.parametrize("text", ["הפנס אבד. מארה מטפסת על המגדל!", "المصباح ضائع. تصعد مارا البرج!"])
def test_right_to_left(show, expect, text):
    page = show(text, 2)
    places = [page.locator(".mx-token").nth(i).bounding_box()["x"] for i in range(3)]
    assert places[0] > places[1] > places[2]
    drag(page, 4)
    expect(divider(page)).to_have_attribute("aria-valuenow", "5")
    page.keyboard.press("ArrowLeft")  # onwards, as the text runs
    expect(divider(page)).to_have_attribute("aria-valuenow", "6")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowUp")
    expect(divider(page)).to_have_attribute("aria-valuenow", "6")
    page.get_by_role("slider", name="Prefix length P").focus()
    page.keyboard.press("ArrowLeft")
    expect(divider(page)).to_have_attribute("aria-valuenow", "7")
    page.get_by_role("option").nth(2).click()
    page.keyboard.press("ArrowLeft")
    assert told(page)["selected"] == 3


def test_emoji_are_whole(show):
    page = show()
    page.get_by_label("Your sentence").fill("👩‍👩‍👧‍👦 love 🇫🇷🇯🇵 👍🏽")
    assert told(page)["tokens"] == ["👩‍👩‍👧‍👦", "love", "🇫🇷", "🇯🇵", "👍🏽"]


def test_markup_stays_text(show, expect):
    hostile = '<img src=x onerror="window.hacked = 1"> <b>bold</b> &amp; </textarea><script>window.hacked = 1</script>'
    page = show(hostile, 3)
    page.get_by_label("Your sentence").fill(hostile + " more")
    page.evaluate("(token) => model.receive('tokens', [token, token])", hostile)
    page.evaluate("() => model.receive('text', '<i>x</i>')")
    settle(page)
    expect(page.locator(".mx-token")).to_have_count(2)
    assert page.locator(".mx").locator("b, img, script, i").count() == 0
    assert page.evaluate("() => window.hacked") is None


def test_words_of_scripts_without_spaces_are_found_and_the_boundary_keeps_its_place(show, expect):
    text = "灯笼丢了。玛拉爬上塔楼，重新点亮它。"
    page = show(text, 9, selected=8)  # graphemes: 灯 笼 丢 了 。 玛 拉 爬 上 | 塔
    tokens = page.locator(".mx-token").all_text_contents()
    assert "".join(tokens) == text
    assert "灯笼" in tokens
    boundary = int(divider(page).get_attribute("aria-valuenow"))
    assert "".join(tokens[:boundary]) == text[:9]
    news = told(page)
    assert (news["tokens"], news["prefix_len"], news["split_by"]) == (tokens, boundary, "browser")
    assert tokens[news["selected"]] == "爬上"


# -- a mask of the user's


def test_a_mask_of_your_own(show, expect):
    mask = torch.ones(7, 7).tril()
    mask[0, 3], mask[2, 0], mask[3] = 1, 0, 0
    text = "Mara finds the lost lantern at night"
    page = show(text, 3, mask=mask)
    assert sentence(page) == MaskExplorer(text, 3, mask=mask).describe()
    page.mouse.move(*cell_middle(page, 0, 3))
    expect(page.locator(".mx-cell")).to_have_text("‘Mara’ (query 0) may read ‘lost’ (key 3).")
    divider(page).focus()
    page.keyboard.press("ArrowRight")
    assert sentence(page) == MaskExplorer(text, 4, mask=mask).describe()
    page.get_by_label("Your sentence").fill("only three words")
    expect(page.locator(".mx-note")).to_contain_text("Your own mask is for 7 tokens, and this text has 3.")
    page.get_by_role("radio", name="Reads, then writes").check()
    page.get_by_label("Your sentence").fill("only three words!")
    expect(page.get_by_role("radio", name="Your own mask")).to_be_disabled()
    assert told(page)["tokens"] == ["only", "three", "words", "!"]


# -- in step


def test_what_python_sets_is_shown_and_not_sent_back(show, expect):
    page = show()
    for name, value in {
        "prefix_len": 9,
        "kind": "encoder-decoder",
        "selected": 10,
        "tile": 8,
        "show_tiles": True,
    }.items():
        page.evaluate("([name, value]) => model.receive(name, value)", [name, value])
    expected = MaskExplorer(None, 9, kind="encoder-decoder", selected=10, tile=8)
    assert sentence(page) == expected.describe()
    expect(page.get_by_label("show tiles")).to_be_checked()
    later = MaskExplorer("A quite different sentence.", 2, kind="encoder-decoder", tile=8)
    for name in ("text", "tokens", "prefix_len", "selected"):
        page.evaluate("([name, value]) => model.receive(name, value)", [name, getattr(later, name)])
    assert sentence(page) == later.describe()
    expect(page.get_by_label("Your sentence")).to_have_value("A quite different sentence.")
    assert told(page) == {}


def test_what_python_sets_wins_over_what_was_not_sent_yet(show, expect):
    page = show()
    divider(page).focus()
    page.keyboard.press("ArrowRight")
    page.evaluate("() => model.receive('prefix_len', 11)")
    assert told(page) == {}
    expect(divider(page)).to_have_attribute("aria-valuenow", "11")


def test_two_views_of_one_model_stay_in_step(show):
    page = show()
    page.evaluate(
        """() => {
          window.second = document.createElement("div");
          document.body.append(window.second);
          window.stopSecond = module.default.render({ model, el: window.second });
        }"""
    )
    sentences = page.locator(".mx-words p:not(.mx-ghost)")
    divider(page).first.focus()
    page.keyboard.press("ArrowRight")
    settle(page)
    assert sentences.nth(0).text_content() == sentences.nth(1).text_content()
    page.get_by_label("Your sentence").nth(1).fill("Another text for both.")
    settle(page)
    assert page.get_by_label("Your sentence").nth(0).input_value() == "Another text for both."
    page.evaluate("() => { cleanup(); second.remove(); }")
    divider(page).first.focus()
    page.evaluate("() => stopSecond()")
    assert page.evaluate("() => model.listenerCount()") == 0


def test_closing_a_view_sends_what_was_not_sent_yet(show):
    page = show()
    divider(page).focus()
    page.keyboard.press("ArrowRight")
    page.evaluate("() => cleanup()")
    assert page.evaluate("() => model.saved.at(-1)") == {"prefix_len": 6}


def test_the_live_region_speaks_once_after_a_burst_and_only_what_is_new(show, expect):
    page = show()
    page.evaluate(
        """() => {
          window.spoken = [];
          const live = document.querySelector("[role=status]");
          const observer = new MutationObserver(() => window.spoken.push(live.textContent));
          observer.observe(live, { childList: true, subtree: true });
        }"""
    )
    divider(page).evaluate(
        """async (divider) => {
          for (let i = 0; i < 4; i++) {
            divider.dispatchEvent(new KeyboardEvent("keydown", { key: "ArrowRight" }));
            await new Promise((done) => setTimeout(done, 50));  // each is drawn
          }
        }"""
    )
    page.wait_for_function("() => window.spoken.length > 0")
    page.wait_for_timeout(700)
    spoken = page.evaluate("() => window.spoken")
    assert len(spoken) == 1
    assert spoken[0].startswith("Prefix LM with P = 9 of T = 13")
    assert "In tiles of" in spoken[0] or costs.tiles(5, 13, 4) == costs.tiles(9, 13, 4)


# -- the layout


@pytest.mark.parametrize("width", [900, 400])
@pytest.mark.parametrize(
    "text", [None, "Mara", LONG, "灯笼丢了。玛拉爬上塔楼，重新点亮它。", "x" * 300 + " y"], ids=str
)
def test_nothing_jumps_while_the_boundary_moves(show, text, width):
    page = show(text, 0, viewport=(width, 900))
    layout = """() => [".mx", ".mx-strip", ".mx-grid", ".mx-main", ".mx-words"].map((name) => {
      const { x, y, width, height } = document.querySelector(name).getBoundingClientRect();
      return [name, x, y, width, height].join(" ");
    }).join("; ")"""
    before = page.evaluate(layout)
    for name in ("Reads, then writes", "One reads, one writes", "Reads both ways", "Writes left to right"):
        page.get_by_role("radio", name=name).check()
        page.evaluate("() => document.querySelector('.mx-divider').focus({ preventScroll: true })")
        page.evaluate("() => scrollTo(0, 0)")
        for key in ("Home", "ArrowRight", "ArrowRight", "PageUp", "End"):
            page.locator(".mx-divider").dispatch_event("keydown", {"key": key})
            settle(page)
            assert page.evaluate(layout) == before, (name, key)


@pytest.mark.parametrize("width", [1280, 400, 320])
@pytest.mark.parametrize("text", [None, "", LONG, "x" * 300 + " y"], ids=["ours", "empty", "256", "long word"])
def test_it_fits_the_page(show, text, width):
    page = show(text, viewport=(width, 900))
    assert page.evaluate("() => document.documentElement.scrollWidth") <= width
    assert (
        page.evaluate(
            "() => Math.max(...[...document.querySelectorAll('.mx *')].map((e) => e.getBoundingClientRect().right))"
        )
        <= width
    )


# -- in JupyterLab


def test_in_jupyterlab_python_and_the_browser_stay_in_step(lab, expect):
    page = lab.open_notebook(
        [
            "from course_lib.classroom import MaskExplorer\nexplorer = MaskExplorer()\nexplorer",
            "print(explorer.prefix_len, explorer.kind, int(explorer.mask.sum()))",
            "explorer.prefix_len = 9",
            "print(explorer.tokens, explorer.prefix_len)",
            "explorer.tokens = ['a', 'b']\nprint(explorer.describe())",
        ],
        name="explorer",
    )

    def printed(index):
        lab.run_cell(page, index)
        return "".join("".join(output.get("text", "")) for output in lab.outputs(page, index)).strip()

    lab.run_cell(page, 0)
    expect(divider(page)).to_have_attribute("aria-valuenow", "5")
    divider(page).focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    expect(divider(page)).to_have_attribute("aria-valuenow", "7")
    expect(divider(page)).to_be_focused()  # JupyterLab did not take the arrows
    assert first_cell(page) == LIGHT["prefix"]
    page.wait_for_timeout(400)
    assert printed(1) == f"7 prefix {costs.allowed_pairs(7, 13)}"
    lab.run_cell(page, 2)
    expect(divider(page)).to_have_attribute("aria-valuenow", "9")
    drag(page, 2)
    page.get_by_label("Your sentence").fill("The keeper laughs.")
    page.wait_for_timeout(400)
    assert printed(3) == "['The', 'keeper', 'laughs', '.'] 3"
    said = printed(4)
    assert said.startswith("The boundary moved from 3 to 2, because the text now has 2 tokens.")
    expect(page.locator(".mx-token")).to_have_text(["a", "b"])
    expect(page.locator(".mx-note")).to_contain_text("The boundary moved from 3 to 2")
