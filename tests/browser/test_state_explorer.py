"""The state explorer in a browser: Python's S, recall and words at every step, by mouse and by keyboard."""

import pytest

from course_lib.classroom.state_explorer import FEATURES, StateExplorer
from course_lib.classroom.state_words import DIGITS, number

SYNCED = ("facts", "features", "feature_map", "normalize", "prefix_len", "step", "selected", "world")
SETTINGS = [
    {"facts": 32, "features": 8, "seed": 1},
    {"facts": 32, "features": 2, "prefix_len": 5, "seed": 3},
    {"facts": 20, "features": 16, "feature_map": "elu+1", "prefix_len": 20},
    {"facts": 9, "features": 64, "feature_map": "elu+1", "normalize": True, "prefix_len": 1},
    {"facts": 32, "features": 64, "feature_map": "elu+1", "prefix_len": 12},
    {"facts": 1, "features": 4},
]


def traits(explorer) -> dict:
    return {name: getattr(explorer, name) for name in SYNCED}


@pytest.fixture
def show(module_page):
    def draw(explorer=None, *, viewport=(1280, 900), theme="light", **context):
        explorer = StateExplorer() if explorer is None else explorer
        return module_page("state_explorer", traits(explorer), viewport=viewport, theme=theme, **context)

    return draw


def settle(page):
    page.evaluate("() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")


def told(page, explorer) -> StateExplorer:
    """Bring Python up to date with what the browser told it, and return it."""
    page.wait_for_timeout(250)
    explorer.set_state(page.evaluate("() => Object.assign({}, ...model.saved)"))
    return explorer


def slider(page, name):
    return page.get_by_role("slider", name=name)


def press(page, name):
    page.get_by_role("button", name=name, exact=True).click(force=True)  # also one that is off: it must do nothing
    settle(page)


def same_as_python(page, explorer):
    """What is seen is what Python has: the facts, S, the query, the strip and the words."""
    settle(page)
    seen = page.evaluate(
        """() => {
          const texts = (query) => [...document.querySelectorAll(query)].map((each) => each.textContent);
          const seen = (query) => [...document.querySelectorAll(query)].filter((each) => !each.hidden);
          return {
            map: seen(".st-row:not(.st-header)").map((row) => [...row.children].map((cell) => cell.textContent)),
            facts: seen(".st-facts > div").map((each) => [each.textContent, each.className, each.ariaSelected]),
            strip: seen(".st-slot").map((each) => each.textContent),
            recall: document.querySelector(".st-strip").getAttribute("aria-label"),
            words: texts(".course-room:not(.course-note) span:not([aria-hidden])"),
            amounts: texts(".st-amount"),
            outlined: [...document.querySelectorAll(".st-bars li")].map((row) => row.classList.contains("is-true")),
            tags: texts(".st-tag"),
          };
        }"""
    )  # fmt: skip
    query = explorer.mapped_keys[explorer.selected].tolist()
    rows = [[query[i], *row] for i, row in enumerate(explorer.state.tolist())]
    assert seen["map"] == [[number(x) for x in row] for row in rows]
    marks = ["✓" if right else "✗" for right in explorer.recalled]
    assert seen["strip"] == marks + [""] * (explorer.facts - explorer.stored)
    first = 0 if explorer.step == 1 else explorer.stored - 1
    for fact, (text, classes, selected) in enumerate(seen["facts"]):
        assert text == explorer.fact(fact) + seen["strip"][fact]
        when = "later" if fact >= explorer.stored else "now" if fact >= first else "stored"
        assert classes.split() == [f"is-{when}", *["is-prefix"] * (fact < explorer.prefix_len)]
        assert selected == str(fact == explorer.selected).lower()
    read = explorer.read(explorer.selected)
    true, best = explorer.world["values"][explorer.selected], int(read.argmax())
    assert seen["amounts"] == [number(x) for x in read.tolist()]
    assert seen["outlined"] == [value == true for value in range(8)]
    tags = [""] * 8
    tags[true] = "to come"
    if explorer.stored and explorer.selected < explorer.stored:
        tags[true] = "stored"
        tags[best] = "✓ right" if best == true else "✗ wrong"
    elif read[best] > 0 and best != true:
        tags[best] = "largest"
    assert seen["tags"] == tags
    words = [*seen["words"][:2], seen["recall"], seen["words"][2]]
    assert explorer.describe().endswith(" ".join(words))


# -- the same as Python


@pytest.mark.parametrize("settings", SETTINGS)
def test_s_and_recall_and_words_are_those_of_python_at_every_step(show, settings):
    explorer = StateExplorer(**settings)
    found = show(explorer).evaluate(
        """(last) => {
          const names = ["facts", "features", "feature_map", "normalize", "prefix_len"], world = model.get("world");
          const of = Object.fromEntries(names.map((name) => [name, model.get(name)]));
          const past = module.history(world, { ...of, step: 0, selected: 0 });
          return Array.from({ length: last + 1 }, (_, step) => {
            const s = { ...of, step, selected: step % of.facts }, stored = module.storedAt(s);
            const words = module.sentences(world, s, past).join(" ");
            return [past.states[stored].S, past.reads[stored], module.recalled(world, past.reads, stored), words];
          });
        }""",
        explorer.last_step,
    )
    for step, (state, reads, recalled, words) in enumerate(found):
        explorer.step, explorer.selected = step, step % explorer.facts
        assert [x for row in state for x in row] == pytest.approx(explorer.state.flatten().tolist(), abs=1e-9)
        for fact in range(0, explorer.facts, 5):
            assert reads[fact] == pytest.approx(explorer.read(fact).tolist(), abs=1e-9)
        assert recalled == explorer.recalled
        assert words == explorer.describe()


@pytest.mark.parametrize("settings", SETTINGS[:4])
def test_what_python_sets_is_shown_and_not_sent_back(show, settings):
    explorer = StateExplorer(**settings)
    page = show(explorer)
    for step in [0, 1, explorer.last_step // 2, explorer.last_step]:
        explorer.step, explorer.selected = min(step, explorer.last_step), step % explorer.facts
        page.evaluate("(state) => Object.entries(state).forEach((each) => model.receive(...each))", traits(explorer))
        same_as_python(page, explorer)
    for name, value in [("facts", 6), ("seed", 9), ("features", 32), ("prefix_len", 4)]:
        setattr(explorer, name, value)
        page.evaluate("(state) => Object.entries(state).forEach((each) => model.receive(...each))", traits(explorer))
        same_as_python(page, explorer)
    assert page.evaluate("() => model.saved") == []
    page.evaluate("() => cleanup()")
    assert page.evaluate("() => model.listenerCount()") == 0


# -- what is done with it


def test_it_steps_forth_and_back(show, expect):
    page, explorer = show(StateExplorer(4, prefix_len=2)), StateExplorer(4, prefix_len=2)
    press(page, "Back")
    for step in range(1, 4):
        press(page, "Next")
        assert told(page, explorer).step == step
        same_as_python(page, explorer)
    expect(page.get_by_role("button", name="Next", exact=True)).to_have_attribute("aria-disabled", "true")
    press(page, "Next")
    press(page, "Back")
    assert told(page, explorer).step == 2
    page.wait_for_function("() => document.querySelector('.course-live').textContent.includes('Step 2 of 3: comb')")


def test_the_settings_are_chosen_and_the_rest_follows(show, expect):
    page, explorer = show(StateExplorer(step=7)), StateExplorer(step=7)
    for name, value in [("Features of a key", 0), ("Prefix, at once", 4), ("Facts", 32), ("Prefix, at once", 20),
                        ("Features of a key", 5), ("Facts", 6), ("Prefix, at once", 0)]:  # fmt: skip
        slider(page, name).fill(str(value))
        python = {"Facts": "facts", "Prefix, at once": "prefix_len", "Features of a key": "features"}[name]
        by_python = StateExplorer(explorer.facts, features=explorer.features, prefix_len=explorer.prefix_len,
                                  step=explorer.step)  # fmt: skip
        setattr(by_python, python, FEATURES[value] if python == "features" else value)
        same_as_python(page, told(page, explorer))
        assert repr(explorer) == repr(by_python)
    assert (explorer.facts, explorer.stored) == (6, 6)


def test_normalising_is_refused_in_words_with_identity(show, expect):
    page, explorer = show(StateExplorer(step=9)), StateExplorer(step=9)
    box = page.get_by_role("checkbox", name="Normalise")
    expect(box).to_have_accessible_description("With identity there is no normalising: φ(q)·z may be 0 or negative.")
    box.focus()
    page.keyboard.press("Space")
    expect(box).not_to_be_checked()
    expect(page.get_by_role("status")).to_contain_text("φ(q)·z may be 0 or negative")
    page.get_by_role("radio", name="elu + 1").check(force=True)
    box.check()
    same_as_python(page, told(page, explorer))
    assert (explorer.feature_map, explorer.normalize) == ("elu+1", True)
    expect(page.locator(".st-right .course-title")).to_have_text("lantern: v̂ = φ(q) S / (φ(q)·z)")
    page.get_by_role("radio", name="identity").check(force=True)
    same_as_python(page, told(page, explorer))
    assert (explorer.feature_map, explorer.normalize) == ("identity", False)


def test_a_fact_is_asked_for_by_a_click_or_by_the_arrows(show, expect):
    page, explorer = show(StateExplorer(8, step=5)), StateExplorer(8, step=5)
    options = page.get_by_role("option")
    expect(options).to_have_count(8)
    options.nth(6).click()
    same_as_python(page, told(page, explorer))
    assert explorer.selected == 6
    for key, selected in [("ArrowDown", 7), ("ArrowDown", 7), ("ArrowUp", 6), ("ArrowLeft", 5), ("ArrowRight", 6),
                          ("End", 7), ("Home", 0)]:  # fmt: skip
        page.keyboard.press(key)
        expect(options.nth(selected)).to_be_focused()
        assert told(page, explorer).selected == selected
    assert options.nth(0).evaluate("(option) => getComputedStyle(option).outlineStyle") == "solid"
    expect(options.nth(0)).to_have_attribute("aria-label", f"{explorer.fact(0)}, stored, recalled right")
    expect(options.nth(7)).to_have_attribute("aria-label", f"{explorer.fact(7)}, to come")


def test_the_keyboard_steps_and_nothing_leaks(show, expect):
    page, explorer = show(), StateExplorer()
    page.evaluate("() => { window.leaked = []; document.addEventListener('keydown', (e) => leaked.push(e.key)); }")
    step = slider(page, "Step")
    step.focus()
    for key, value in [("ArrowRight", 1), ("ArrowUp", 2), ("End", 12), ("ArrowLeft", 11), ("Home", 0)]:
        page.keyboard.press(key)
        assert told(page, explorer).step == value
    page.keyboard.press("Space")
    expect(step).to_have_value("2", timeout=6000)
    page.keyboard.press("Space")
    expect(page.get_by_role("button", name="Play", exact=True)).to_be_visible()
    expect(step).to_be_focused()
    page.get_by_role("option").nth(0).focus()
    for key in ("ArrowDown", "End", "Enter", "a"):
        page.keyboard.press(key)
    assert page.evaluate("() => leaked") == []
    assert page.evaluate("() => scrollY") == 0


def test_play_ends_at_the_end_and_begins_anew(show, expect):
    page = show(StateExplorer(3, step=2))
    press(page, "Play")
    expect(slider(page, "Step")).to_have_value("3", timeout=4000)
    press(page, "Play")
    expect(slider(page, "Step")).to_have_value("1", timeout=4000)
    page.evaluate("() => cleanup()")
    page.wait_for_timeout(1200)
    expect(slider(page, "Step")).to_have_value("1")


def test_less_motion(show, expect):
    """No Play and no transitions: steps by hand."""
    page = show(StateExplorer(3, step=1), reduced_motion="reduce")
    moving = "() => getComputedStyle(document.querySelector('.st-fill')).transitionProperty"
    assert page.evaluate(moving) == "none"
    expect(page.get_by_role("button", name="Play")).to_be_hidden()
    slider(page, "Step").press(" ")
    expect(slider(page, "Step")).to_have_value("2")


# -- the looks


@pytest.mark.parametrize("width", [1280, 800, 700, 400, 320])
def test_it_fits_and_nothing_jumps(show, width):
    theme = "dark" if width in (800, 400) else "light"
    page = show(StateExplorer(32, features=16, feature_map="elu+1", prefix_len=24), viewport=(width, 900), theme=theme)
    places = """() => [...document.querySelectorAll(".st > *, .st-panel > *, .course-range, .st-normalize")]
      .filter((each) => each.role !== "status")
      .map((each) => [each, each.getBoundingClientRect()])
      .map(([each, { top, height }]) => [each.classList[0], top + scrollY, height])"""
    cut = """() => [...document.querySelectorAll(".st *:not(.visually-hidden, .course-live)")]
      .filter((each) => each.textContent.trim() && !each.matches("[aria-hidden]") &&
        !(each.matches(".st-cell") && getComputedStyle(each.firstChild).position === "absolute") &&
        each.scrollWidth > each.clientWidth + 1 && each.clientWidth).map((each) => each.className + each.textContent)"""
    before = page.evaluate(places)
    for changes in [{"step": 1}, {"step": 2, "selected": 30}, {"step": 9, "selected": 3}, {"normalize": True},
                    {"features": 64}, {"features": 2, "normalize": False}, {"feature_map": "identity"}]:  # fmt: skip
        page.evaluate("(changes) => Object.entries(changes).forEach((each) => model.receive(...each))", changes)
        settle(page)
        assert page.evaluate(places) == before, changes
        assert page.evaluate("() => document.documentElement.scrollWidth") <= width
        assert page.evaluate(cut) == [], changes
    small = """() => [...document.querySelectorAll(".st *")].filter((each) => each.textContent.trim() &&
      parseFloat(getComputedStyle(each).fontSize) < 12).map((each) => each.className)"""
    assert page.evaluate(small) == []


@pytest.mark.parametrize("features", FEATURES)
def test_s_is_as_large_on_the_page_whatever_it_holds(show, features):
    page = show(StateExplorer(features=features, step=12))
    box = page.get_by_role("table").bounding_box()
    assert round(box["height"]) == 414
    rows = page.locator(".st-row:not(.st-header)")
    expected = (414 - 24) / features
    assert rows.count() == features
    assert rows.nth(0).bounding_box()["height"] == pytest.approx(expected, abs=0.1)
    hatched = "() => getComputedStyle(document.querySelector('.st-cell.is-below')).backgroundImage !== 'none'"
    assert page.evaluate(hatched) == (features > 16)
    assert page.get_by_role("columnheader").all_text_contents() == ["φ(q)", *DIGITS]


# -- in JupyterLab


def test_in_jupyterlab_python_and_the_browser_stay_in_step(lab, expect):
    page = lab.open_notebook(
        [
            "from course_lib.classroom.state_explorer import StateExplorer\nstate = StateExplorer()\nstate",
            "print(state.step, state.facts, state.selected, sum(state.recalled))",
            "if state.step:  # not yet when all cells run\n    state.prefix_len = 3",
        ],
        name="state",
    )
    step = slider(page, "Step")
    step.focus()
    for _ in range(5):
        page.keyboard.press("ArrowRight")
    expect(step).to_be_focused()  # JupyterLab did not take the arrows
    page.get_by_role("option", name="rope").click()
    page.keyboard.press("ArrowDown")
    slider(page, "Facts").fill("9")
    page.wait_for_timeout(400)
    lab.run_cell(page, 1)
    expect(page.get_by_text("5 9 2 5", exact=True)).to_be_visible()
    lab.run_cell(page, 2)
    expect(step).to_have_value("3")
    expect(page.locator(".course-words").first).to_contain_text("Step 3 of 7: anchor")
