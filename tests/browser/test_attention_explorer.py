"""The attention explorer in a browser: Python's numbers and words, and never an old picture as a new one."""

import math

import pytest
import torch

from course_lib.classroom import attention_words
from course_lib.classroom.attention_explorer import AttentionExplorer
from course_lib.classroom.palette import DARK, LIGHT
from course_lib.data import Vocabulary
from course_lib.model import Config, PrefixLM

WORDS = ["the", "bat", "sees", "fox", "a", ".", "hangs", "upside", "down", "in", "forest"]
TEXT = "the bat hangs upside down in the forest"
SYNCED = ("text", "tokens", "prefix_len", "layer", "head", "selected", "problem", "computed")


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    model = PrefixLM(Config(vocab_size=len(Vocabulary(WORDS)), dim=16, layers=2, heads=3, head_dim=8, max_len=80))
    with torch.no_grad():
        for weight in model.parameters():
            weight.mul_(8)  # so that the attention is not spread evenly
    return model


class Live:
    """An explorer whose Python half is here and whose browser half is `page`. Python answers when it is told to."""

    def __init__(self, explorer, page):
        self.explorer, self.page, self.read = explorer, page, 0

    def push(self):
        """Bring the browser's state up to date, as one message from Python would."""
        state = {name: getattr(self.explorer, name) for name in SYNCED}
        state["computed"] = state.pop("computed")  # what is set last
        self.page.evaluate(
            """([bytes, state]) => {
              model.receive("weight_bytes", new Uint8Array(bytes));
              for (const [name, value] of Object.entries(state)) model.receive(name, value);
            }""",
            [list(self.explorer.weight_bytes), state],
        )
        settle(self.page)

    def asked(self) -> list[dict]:
        """The messages that have come since they were last read."""
        messages = self.page.evaluate("() => model.sent")[self.read :]
        self.read += len(messages)
        return messages

    def wait_asked(self) -> dict:
        self.page.wait_for_function("(count) => model.sent.length > count", arg=self.read)
        (message,) = self.asked()
        return message

    def answer(self) -> dict:
        message = self.wait_asked()
        self.explorer._receive(None, message, [])
        self.push()
        return message


@pytest.fixture
def show(module_page, model):
    def draw(text=TEXT, prefix_len=4, *, viewport=(900, 900), theme="light", **options):
        explorer = AttentionExplorer(model, Vocabulary(WORDS), text, prefix_len, **options)
        traits = {name: getattr(explorer, name) for name in SYNCED}
        live = Live(explorer, module_page("attention_explorer", traits, viewport=viewport, theme=theme))
        live.push()
        return live

    return draw


def settle(page):
    page.evaluate("() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")


def sentence(page) -> str:
    settle(page)
    return page.locator(".mx-words p:not(.ax-ghost)").text_content().strip()


def divider(page):
    return page.get_by_role("slider", name="Boundary between prefix and target")


def slider(page):
    return page.get_by_role("slider", name="Prefix length P")


def colour_at(page, i: int, j: int) -> str:
    """The colour in the middle of a cell."""
    return page.evaluate(
        """([i, j]) => {
          const [x, y, size] = document.querySelector(".mx-grid").dataset.cells.split(" ").map(Number);
          const pen = document.querySelector(".ax-heat").getContext("2d");
          const [r, g, b, a] = pen.getImageData(x + (j + 0.5) * size, y + (i + 0.5) * size, 1, 1).data;
          return a ? "#" + ((r << 16) | (g << 8) | b).toString(16).padStart(6, "0") : "";
        }""",
        [i, j],
    )


def expected_colour(weight: float, palette=LIGHT) -> tuple:
    share = round(math.sqrt(weight) * 255) / 255

    def channels(colour):
        return [int(colour[n : n + 2], 16) for n in (1, 3, 5)]

    return tuple(
        a + (b - a) * share for a, b in zip(channels(palette["paper"]), channels(palette["cross"]), strict=True)
    )


# -- the same as Python


def test_the_sentences_are_those_of_python(show):
    live = show("the bat sees the fox in a forest .", 0)
    explorer, T = live.explorer, 10
    states, expected = [], []
    for P in range(T + 1):
        explorer.prefix_len = P
        weights = explorer.weights.flatten().tolist()
        for n in range(T):
            explorer.selected, explorer.layer = n, 1 + n % 2
            explorer.head = None if n % 4 == 0 else n % 4
            about = {name: explorer.computed[name] for name in ("layers", "heads", "next", "follows")}
            about |= {"tokens": explorer.tokens, "prefixLen": P, "selected": n}
            states.append({**about, "layer": explorer.layer, "head": explorer.head, "weights": weights})
            expected.append(explorer.describe())
    said = live.page.evaluate("(states) => states.map((state) => module.attentionSentences(state).join(' '))", states)
    assert said == expected


def test_it_shows_what_python_says(show):
    live = show(selected=2, layer=1, head=2)
    assert sentence(live.page) == live.explorer.describe()
    row = live.explorer.row()
    bars = live.page.locator(".ax-looks .ax-bar:not(.is-unused)")
    order = sorted(range(9), key=lambda j: (-row[j], j))
    for n in range(min(6, bars.count())):
        ahead = ", ahead" if order[n] > 2 else ", itself" if order[n] == 2 else ""
        assert bars.nth(n).text_content() == (
            f"{live.explorer.tokens[order[n]]}{attention_words.decimal(row[order[n]])} key {order[n]}{ahead}"
        )
    words = live.page.locator(".ax-next .ax-word").all_text_contents()
    assert words == [word for word, _ in live.explorer.computed["next"][2]]
    marks = live.page.locator(".ax-next .is-marked .ax-word").all_text_contents()
    assert marks == (["hangs"] if "hangs" in words else [])


@pytest.mark.parametrize(("theme", "palette"), [("light", LIGHT), ("dark", DARK)])
def test_each_cell_has_the_colour_of_its_weight_and_closed_cells_are_left_hatched(show, theme, palette):
    live = show(theme=theme, layer=2, head=1, prefix_len=4)
    weights = live.explorer.weights[1, 0]
    for i, j in [(0, 0), (0, 3), (3, 1), (5, 0), (8, 7), (2, 2)]:
        found = colour_at(live.page, i, j)
        found = tuple(int(found[n : n + 2], 16) for n in (1, 3, 5))
        assert found == pytest.approx(expected_colour(weights[i, j].item(), palette), abs=2)
    for i, j in [(0, 5), (3, 4), (5, 7)]:
        assert colour_at(live.page, i, j) == ""  # the mask's own hatching is seen


def test_the_grid_says_a_weight_in_words(show, expect):
    live = show(layer=1, head=None, selected=2)
    page, tokens = live.page, live.explorer.tokens
    x, y, size = map(float, page.locator(".mx-grid").get_attribute("data-cells").split())
    page.locator(".mx-grid").scroll_into_view_if_needed()
    box = page.locator(".mx-grid").bounding_box()
    for i, j in [(2, 3), (8, 0), (1, 6)]:
        page.mouse.move(box["x"] + x + (j + 0.5) * size, box["y"] + y + (i + 0.5) * size)
        weight = live.explorer.weights[0, :, i, j].double().mean().item()
        if j <= i or j < 4:
            gives = f"gives {attention_words.decimal(weight)} of its attention to"
            said = f"‘{tokens[i]}’ (query {i}) {gives} ‘{tokens[j]}’ (key {j})."
        else:
            said = f"‘{tokens[i]}’ (query {i}) may not read ‘{tokens[j]}’ (key {j})."
        expect(page.locator(".mx-cell")).to_have_text(said)
    page.mouse.move(2, 2)
    page.get_by_role("grid").focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowDown")
    expect(page.get_by_role("gridcell")).to_contain_text("‘hangs’ (query 3) gives")
    expect(page.get_by_role("gridcell")).to_contain_text("(key 3)")
    assert page.evaluate("() => model.get('selected')") == 3


# -- the boundary


def test_a_moved_boundary_is_computed_and_until_then_nothing_old_is_shown_as_new(show, expect):
    live = show(selected=1)
    page, root = live.page, live.page.locator(".ax")
    before = colour_at(page, 1, 0)
    divider(page).focus()
    page.keyboard.press("ArrowRight")  # one only: on a slow machine a second might come after the first was asked for
    settle(page)
    expect(divider(page)).to_have_attribute("aria-valuenow", "5")
    expect(slider(page)).to_have_value("5")
    expect(root).to_have_attribute("aria-busy", "true")
    expect(page.locator(".ax-status")).to_have_text("computing …")
    pale = colour_at(page, 1, 0)
    assert pale != before
    message = live.answer()
    assert {name: message[name] for name in ("type", "prefix_len", "text")} == {
        "type": "compute", "prefix_len": 5, "text": None
    }  # fmt: skip
    expect(root).to_have_attribute("aria-busy", "false")
    expect(page.locator(".ax-status")).to_have_text("")
    assert live.explorer.prefix_len == 5
    assert sentence(page) == live.explorer.describe()
    assert live.asked() == []


def test_of_a_quick_drag_only_the_latest_is_computed(show, expect):
    live = show()
    page = live.page
    move = """async ([from, to]) => {
      const slider = document.querySelector(".mx-boundary input");
      for (let P = from; P !== to; P += Math.sign(to - from)) {
        slider.value = P;
        slider.dispatchEvent(new Event("input"));
        await new Promise((done) => setTimeout(done, 4));
      }
    }"""
    page.evaluate(move, [0, 9])
    first = live.wait_asked()
    page.evaluate(move, [9, 2])  # while the first is on its way
    page.wait_for_timeout(100)
    assert live.asked() == [], "one at a time"
    live.explorer._receive(None, first, [])
    live.push()
    expect(divider(page)).to_have_attribute(
        "aria-valuenow", "3"
    )  # the answer is of another boundary than the learner's
    expect(page.locator(".ax")).to_have_attribute("aria-busy", "true")
    assert live.answer()["prefix_len"] == 3
    expect(page.locator(".ax")).to_have_attribute("aria-busy", "false")
    assert sentence(page) == live.explorer.describe()
    page.wait_for_timeout(100)
    assert live.asked() == []


def test_dragging_the_divider_moves_the_boundary(show, expect):
    live = show(viewport=(900, 1200))
    handle, token = divider(live.page).bounding_box(), live.page.locator(".mx-token").nth(6).bounding_box()
    live.page.mouse.move(handle["x"] + 14, handle["y"] + 10)
    live.page.mouse.down()
    live.page.mouse.move(token["x"] + token["width"] + 5, token["y"] + 5, steps=6)
    live.page.mouse.up()
    expect(divider(live.page)).to_have_attribute("aria-valuenow", "7")
    while live.explorer.prefix_len != 7:
        live.answer()
    expect(live.page.locator(".ax")).to_have_attribute("aria-busy", "false")


def test_python_that_does_not_answer_is_said_and_its_late_answer_taken(show, expect):
    live = show()
    divider(live.page).focus()
    live.page.keyboard.press("End")
    expect(live.page.locator(".ax-status")).to_contain_text("Python does not answer", timeout=8000)
    live.answer()
    expect(live.page.locator(".ax-status")).to_have_text("")
    assert sentence(live.page) == live.explorer.describe()


def test_what_python_sets_is_shown(show, expect):
    live = show()
    live.explorer.prefix_len = 7
    live.explorer.selected, live.explorer.head = 5, 2
    live.push()
    expect(divider(live.page)).to_have_attribute("aria-valuenow", "7")
    expect(live.page.get_by_role("radio", name="2").nth(1)).to_be_checked()
    assert sentence(live.page) == live.explorer.describe()
    live.explorer.text = "a fox"
    live.push()
    expect(live.page.get_by_label("The text that the model reads")).to_have_value("a fox")
    expect(live.page.get_by_role("option")).to_have_count(3)


# -- the text


def test_an_unknown_word_is_said_under_the_field_and_nothing_is_lost(show, expect):
    live = show()
    page, field = live.page, live.page.get_by_label("The text that the model reads")
    before = sentence(page)
    field.fill("the Bat <b>sees</b> the fox")
    expect(page.locator(".ax")).to_have_attribute("aria-busy", "true")
    live.answer()
    note = page.locator(".mx-note")
    expect(note).to_contain_text("‘Bat’ (did you mean ‘bat’?)")
    expect(note).to_contain_text("The picture still shows the text before.")
    expect(field).to_have_attribute("aria-invalid", "true")
    expect(field).to_have_value("the Bat <b>sees</b> the fox")
    expect(page.locator(".ax")).to_have_attribute("aria-busy", "false")
    assert sentence(page) == before
    slider(page).fill("2")  # the boundary still moves
    live.answer()
    assert live.explorer.prefix_len == 2
    field.fill("the bat sees the fox")
    live.answer()
    expect(field).to_have_attribute("aria-invalid", "false")
    expect(page.get_by_role("option")).to_have_count(6)
    assert sentence(page) == live.explorer.describe()
    field.fill("")
    live.answer()
    expect(page.get_by_role("option")).to_have_count(1)
    assert sentence(page) == live.explorer.describe()


def test_an_edit_moves_the_boundary_with_its_words_and_says_so(show, expect):
    live = show(TEXT, 6)
    live.page.get_by_label("The text that the model reads").fill("a fox sees " + TEXT)
    live.answer()
    expect(divider(live.page)).to_have_attribute("aria-valuenow", "9")
    expect(live.page.locator(".mx-note")).to_have_text(
        "The boundary moved from 6 to 9, with the words that it stands between."
    )


def test_no_tokens_are_a_state_too(show, expect):
    live = show([], 0)
    expect(live.page.get_by_text("No tokens yet.")).to_be_visible()
    assert sentence(live.page) == live.explorer.describe()
    live.page.get_by_label("The text that the model reads").fill("the bat")
    live.answer()
    expect(live.page.get_by_role("option")).to_have_count(2)
    assert sentence(live.page) == live.explorer.describe()


# -- layer, head and query


def test_layer_and_head_are_chosen_by_keyboard(show, expect):
    live = show(layer=1, selected=3)
    page = live.page
    before = colour_at(page, 3, 0)
    page.get_by_role("group", name="Layer").get_by_role("radio").first.focus()
    page.keyboard.press("ArrowRight")
    page.get_by_role("group", name="Head").get_by_role("radio").first.focus()
    page.keyboard.press("ArrowRight")
    settle(page)
    saved = page.evaluate("() => Object.assign({}, ...model.saved)")
    assert saved == {"layer": 2, "head": 1}
    assert live.asked() == []  # everything is here already
    live.explorer.layer, live.explorer.head = 2, 1
    assert sentence(page) == live.explorer.describe()
    assert colour_at(page, 3, 0) != before


def test_a_token_is_chosen_by_a_click_or_the_arrow_keys(show, expect):
    live = show(selected=2)
    tokens = live.page.get_by_role("option")
    tokens.nth(6).click()
    expect(tokens.nth(6)).to_have_attribute("aria-selected", "true")
    live.page.keyboard.press("ArrowLeft")
    expect(tokens.nth(5)).to_be_focused()
    live.explorer.selected = 5
    assert sentence(live.page) == live.explorer.describe()


def test_thicker_arcs_go_to_what_has_more_attention(show):
    live = show(selected=3, layer=2, head=1)
    count = """() => {
      const canvas = document.querySelector(".ax-arcs");
      const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
      let seen = 0;
      for (let i = 3; i < data.length; i += 4) if (data[i] > 60) seen++;
      return seen;
    }"""
    assert live.page.evaluate(count) > 100
    live.explorer.selected = None
    live.push()
    assert live.page.evaluate(count) == 0


def test_a_change_is_spoken_once_it_has_settled(show):
    live = show()
    divider(live.page).focus()
    live.page.keyboard.press("ArrowRight")
    live.answer()
    live.page.wait_for_function(
        "() => document.querySelector('.course-live').textContent.startsWith('9 tokens, the first 5 prefix')"
    )


# -- the layout


@pytest.mark.parametrize("width", [900, 400])
def test_nothing_jumps_while_the_boundary_the_query_and_the_head_change(show, width):
    live = show(viewport=(width, 900), prefix_len=0)
    heights = set()
    for P, selected, head in [(0, 0, None), (4, 2, 1), (9, 5, 2), (5, 8, 3), (1, 0, None), (8, 7, 1)]:
        live.explorer.prefix_len = P
        live.explorer.selected, live.explorer.head = selected, head
        live.push()
        heights.add(live.page.evaluate("() => document.querySelector('.ax').getBoundingClientRect().height"))
    divider(live.page).focus()
    live.page.keyboard.press("Home")
    settle(live.page)
    heights.add(live.page.evaluate("() => document.querySelector('.ax').getBoundingClientRect().height"))
    assert len(heights) == 1


@pytest.mark.parametrize("width", [1280, 400, 320])
@pytest.mark.parametrize("text", [TEXT, " ".join(["upside"] * 79), ""], ids=["short", "80 tokens", "one token"])
def test_it_fits_the_page(show, text, width):
    live = show(text, 1, viewport=(width, 900))
    assert live.page.evaluate("() => document.documentElement.scrollWidth") <= width


def test_it_stops_listening_when_it_is_removed(show):
    live = show()
    live.page.evaluate("() => cleanup()")
    assert live.page.evaluate("() => model.listenerCount()") == 0


# -- in JupyterLab


def test_in_jupyterlab_the_model_answers(lab, expect):
    page = lab.open_notebook(
        [
            "import torch\nfrom course_lib.classroom import AttentionExplorer\n"
            "from course_lib.model import Config, PrefixLM\n"
            "from course_lib.data import Vocabulary\ntorch.manual_seed(0)\n"
            "vocabulary = Vocabulary(['the', 'bat', 'hangs', 'upside', 'down', '.'])\n"
            "model = PrefixLM(Config(vocab_size=len(vocabulary), dim=16, layers=2, heads=2))\n"
            "explorer = AttentionExplorer(model, vocabulary, 'the bat hangs upside down .', 3)\nexplorer",
            "print(explorer.prefix_len, explorer.tokens[-1], explorer.head)",
        ],
        name="attention",
    )
    root = page.locator(".ax")
    expect(divider(page)).to_have_attribute("aria-valuenow", "3")
    divider(page).focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    expect(divider(page)).to_have_attribute("aria-valuenow", "5")
    expect(root.locator(".mx-words")).to_contain_text("7 tokens, the first 5 prefix, up to ‘upside’")
    expect(root).to_have_attribute("aria-busy", "false")
    page.get_by_label("The text that the model reads").fill("the bat hangs down")
    expect(root.get_by_role("option")).to_have_count(5)
    page.get_by_label("The text that the model reads").fill("the Bat")
    expect(root.locator(".mx-note")).to_contain_text("did you mean ‘bat’?")
    page.get_by_role("group", name="Head").get_by_role("radio").nth(2).check()
    page.wait_for_timeout(400)
    lab.run_cell(page, 1)
    expect(page.get_by_text("5 down 2")).to_be_visible()
