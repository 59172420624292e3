"""The data-flow explorer in a browser: Python's graph, counts and words, by mouse and by keyboard."""

import pytest

from course_lib.block_costs import operations, stages
from course_lib.classroom import flow_words
from course_lib.classroom.flow_explorer import SHAPE, DataFlowExplorer

SYNCED = ("graphs", "step", "fused", "devices", "selected")
every_variant = pytest.mark.parametrize(("fused", "devices"), flow_words.VARIANTS)


def traits(explorer) -> dict:
    return {name: getattr(explorer, name) for name in SYNCED}


@pytest.fixture
def show(module_page):
    def draw(explorer=None, *, viewport=(1000, 1200), theme="light", **context):
        explorer = DataFlowExplorer() if explorer is None else explorer
        page = module_page("flow_explorer", traits(explorer), viewport=viewport, theme=theme, **context)
        settle(page)
        return page

    return draw


def settle(page):
    page.evaluate("() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")


def told(page, explorer) -> DataFlowExplorer:
    """Bring Python up to date with what the browser told it, and return it."""
    page.wait_for_timeout(250)
    explorer.set_state(page.evaluate("() => Object.assign({}, ...model.saved)"))
    return explorer


def states(page, block) -> dict[str, str]:
    """What each operation of a block looks like, and the same as it is said aloud."""
    settle(page)
    found = page.evaluate(
        """(block) => [...document.querySelectorAll(`.fx-${block} .fx-node`)].map((node) =>
          [node.dataset.name, node.getAttribute("class"), node.getAttribute("aria-label"), node.textContent])""",
        block,
    )
    said = {"waiting": ", waiting", "running": ", running now", "done": ", done"}
    result = {}
    for name, kind, label, text in found:
        result[name] = next(state for state in said if f"is-{state}" in kind.split())
        assert label.startswith(name)
        assert label.endswith(said[result[name]])
        assert text == name
    return result


def table(page) -> list[list[str]]:
    settle(page)
    return page.evaluate(
        """() => [...document.querySelectorAll(".fx-table tbody tr")].map((row) =>
          [...row.children].map((cell) => cell.textContent))"""
    )


def same_as_python(page, explorer):
    settle(page)
    for block in flow_words.BLOCKS:
        assert states(page, block) == explorer.states(block)
    said = page.locator(".fx-words p")
    assert said.nth(0).text_content() == explorer.shown["said"][explorer.step]
    if explorer.selected:
        assert said.nth(1).text_content() == explorer.shown["told"][explorer.selected]
        assert set(page.locator(".fx-node.is-chosen").all_text_contents()) == {explorer.selected}
    else:
        assert said.nth(1).text_content().startswith("Choose an operation")
        assert page.locator(".fx-node.is-chosen").count() == 0
    steps = [explorer.shown[block]["steps"] for block in flow_words.BLOCKS]
    so_far = [f"{min(explorer.step, each)} of {each}" for each in steps]
    assert table(page) == [["Steps so far", *so_far], *explorer.shown["rows"]]


def press(page, name):
    page.get_by_role("button", name=name, exact=True).click(force=True)  # also one that is off: it must do nothing
    settle(page)


def slider(page):
    return page.get_by_role("slider", name="Step")


def node(page, block, name):
    return page.locator(f'.fx-{block} .fx-node[data-name="{name}"]')


# -- the same as Python


@every_variant
def test_every_operation_at_every_step_is_as_the_stages_say(show, fused, devices):
    explorer = DataFlowExplorer(fused=fused, devices=devices)
    page = show(explorer)
    for step in range(explorer.last_step + 1):
        explorer.step = step
        page.evaluate("(step) => model.receive('step', step)", step)
        for block in flow_words.BLOCKS:
            of_block = stages(operations(block, SHAPE, tokens=128, fused=fused, devices=devices))
            found = states(page, block)
            for at, names in enumerate(of_block, 1):
                expected = "running" if at == step else "done" if at < step else "waiting"
                assert {found[name] for name in names} == {expected}
        same_as_python(page, explorer)
    assert page.evaluate("() => model.saved") == []


@every_variant
def test_there_is_a_line_for_each_wait(show, fused, devices):
    explorer = DataFlowExplorer(fused=fused, devices=devices)
    page = show(explorer)
    for block in flow_words.BLOCKS:
        waits = sum(len(each["waits_for"]) for each in explorer.shown[block]["nodes"])
        assert page.locator(f".fx-{block} .fx-edge").count() == waits
        formula = page.locator(f".fx-{block} math").text_content()
        assert formula == flow_words.BLOCKS[block].replace(" ", "")


def test_what_python_sets_is_shown(show):
    explorer = DataFlowExplorer()
    page = show(explorer)
    for name, value in [("step", 4), ("devices", 2), ("selected", "all-reduce"), ("step", 12), ("fused", True),
                        ("devices", 1), ("selected", "output, down"), ("fused", False)]:  # fmt: skip
        setattr(explorer, name, value)
        page.evaluate("(state) => Object.entries(state).forEach((each) => model.receive(...each))", traits(explorer))
        same_as_python(page, explorer)
    assert page.evaluate("() => model.saved") == []


# -- steps


def test_it_steps_forth_and_back_by_mouse(show, expect):
    page, explorer = show(), DataFlowExplorer()
    press(page, "Back")
    for step in range(1, 11):
        press(page, "Next")
        assert told(page, explorer).step == step
        same_as_python(page, explorer)
    expect(page.get_by_role("button", name="Next", exact=True)).to_have_attribute("aria-disabled", "true")
    press(page, "Next")
    assert told(page, explorer).step == 10
    press(page, "Back")
    assert told(page, explorer).step == 9
    slider(page).fill("5")
    same_as_python(page, told(page, explorer))
    assert explorer.step == 5


def test_it_steps_by_keyboard_and_keeps_its_keys(show, expect):
    page, explorer = show(), DataFlowExplorer()
    page.evaluate("() => { window.leaked = []; document.addEventListener('keydown', (e) => leaked.push(e.key)); }")
    slider(page).focus()
    for key, step in [("ArrowRight", 1), ("ArrowUp", 2), ("End", 10), ("ArrowLeft", 9), ("Home", 0)]:
        page.keyboard.press(key)
        assert told(page, explorer).step == step
        same_as_python(page, explorer)
    page.keyboard.press("Space")
    expect(slider(page)).to_have_value("1", timeout=4000)
    page.keyboard.press("Space")
    expect(page.get_by_role("button", name="Play", exact=True)).to_be_visible()
    expect(slider(page)).to_be_focused()
    node(page, "serial", "norm 1").focus()
    for key in ("ArrowDown", "ArrowRight", "Enter", "Space", "a"):
        page.keyboard.press(key)
    assert page.evaluate("() => leaked") == []
    assert page.evaluate("() => scrollY") == 0


def test_play_goes_on_by_itself_until_the_end_or_a_pause(show, expect):
    page = show(DataFlowExplorer(step=9))
    press(page, "Play")
    expect(slider(page)).to_have_value("10", timeout=4000)
    expect(page.get_by_role("button", name="Play", exact=True)).to_be_visible()  # the end
    press(page, "Play")  # begins anew
    expect(slider(page)).to_have_value("0")
    expect(slider(page)).to_have_value("1", timeout=4000)
    press(page, "Pause")
    page.wait_for_timeout(1500)
    expect(slider(page)).to_have_value("1")
    press(page, "Play")
    page.evaluate("() => cleanup()")
    assert page.evaluate("() => model.listenerCount()") == 0


def test_who_wants_less_motion_steps_by_hand(show, expect):
    page = show(reduced_motion="reduce")
    expect(page.get_by_role("button", name="Play", exact=True)).to_be_hidden()
    slider(page).focus()
    page.keyboard.press("Space")
    expect(slider(page)).to_have_value("1")
    moving = "() => getComputedStyle(document.querySelector('.fx-band')).transitionProperty"
    assert page.evaluate(moving) == "none"


# -- variants


def test_fused_and_devices_are_chosen_and_step_and_selected_follow(show):
    page, explorer = show(), DataFlowExplorer()
    page.get_by_label("on 2 devices").check()
    same_as_python(page, told(page, explorer))
    assert (explorer.devices, page.locator(".fx-node.fx-all-reduce").count()) == (2, 3)
    slider(page).fill("12")
    node(page, "serial", "all-reduce 2").click()
    same_as_python(page, told(page, explorer))
    assert (explorer.step, explorer.selected) == (12, "all-reduce 2")
    page.get_by_label("on 1 device", exact=True).check()
    same_as_python(page, told(page, explorer))
    assert (explorer.step, explorer.selected) == (10, "")
    page.get_by_label("Fuse the products that share an input").check()
    same_as_python(page, told(page, explorer))
    assert explorer.fused
    assert page.locator(".fx-parallel .fx-product").count() == 2


# -- an operation by itself


def test_an_operation_is_chosen_by_a_click_and_told_about(show):
    page, explorer = show(), DataFlowExplorer()
    node(page, "parallel", "up").click()
    same_as_python(page, told(page, explorer))
    assert explorer.selected == "up"
    assert page.locator(".fx-node.is-chosen").count() == 2  # the same one in both blocks
    assert page.locator(".fx-edge.is-chosen").count() == 4
    page.locator(".fx-serial .fx-x").click(force=True)
    assert told(page, explorer).selected == ""


def test_the_arrow_keys_go_through_a_diagram(show, expect):
    page, explorer = show(), DataFlowExplorer()
    page.get_by_label("on 1 device", exact=True).focus()
    page.keyboard.press("Tab")
    for key, name in [(None, "norm 1"), ("ArrowDown", "key"), ("ArrowRight", "value"), ("ArrowRight", "value"),
                      ("ArrowLeft", "key"), ("ArrowDown", "attention"), ("End", "y"), ("ArrowDown", "y"),
                      ("ArrowUp", "down"), ("Home", "norm 1")]:  # fmt: skip
        if key:
            page.keyboard.press(key)
        expect(node(page, "serial", name)).to_be_focused()
        assert told(page, explorer).selected == name
    page.keyboard.press("Tab")  # one stop for each diagram
    expect(node(page, "parallel", "norm")).to_be_focused()
    assert told(page, explorer).selected == "norm"
    same_as_python(page, explorer)


def test_a_change_is_spoken_once_it_has_settled(show):
    page = show(DataFlowExplorer(step=4))
    press(page, "Next")
    page.wait_for_function(
        "() => document.querySelector('.course-live').textContent.includes('the parallel block is done')"
    )


# -- the layout


@every_variant
@pytest.mark.parametrize("width", [1280, 700, 400])
def test_nothing_jumps_from_step_to_step_or_when_one_is_chosen(show, width, fused, devices):
    explorer = DataFlowExplorer(fused=fused, devices=devices)
    page = show(explorer, viewport=(width, 1000))
    places = """() => JSON.stringify([...document.querySelectorAll(".fx, .fx-block, .fx-legend, .fx-table")]
      .map((each) => [each.offsetLeft, each.offsetTop, each.offsetWidth, each.offsetHeight]))"""
    before = page.evaluate(places)
    for step in range(explorer.last_step + 1):
        page.evaluate("(step) => model.receive('step', step)", step)
        settle(page)
        assert page.evaluate(places) == before
    for name in explorer.shown["told"]:
        page.evaluate("(name) => model.receive('selected', name)", name)
        settle(page)
        assert page.evaluate(places) == before, name


@every_variant
@pytest.mark.parametrize("width", [1280, 700, 400, 320])
def test_it_fits_the_page_and_can_be_read(show, width, fused, devices):
    explorer = DataFlowExplorer(fused=fused, devices=devices, step=5)
    page = show(explorer, viewport=(width, 1000), theme="dark" if fused else "light")
    assert page.evaluate("() => document.documentElement.scrollWidth") <= width
    for step in range(explorer.last_step + 1):  # what runs is set in bold
        page.evaluate("(step) => model.receive('step', step)", step)
        settle(page)
        names = page.evaluate(
            """() => [...document.querySelectorAll(".fx-node")].map((node) => {
              const text = node.querySelector(".fx-name"), of = text.getBoundingClientRect();
              const box = node.querySelector(".fx-shape").getBoundingClientRect();
              const frame = document.querySelector(".fx").getBoundingClientRect();
              return [node.dataset.name, parseFloat(getComputedStyle(text).fontSize),
                of.left >= box.left && of.right <= box.right && box.left >= frame.left && box.right <= frame.right];
            })"""
        )
        assert [each for each in names if each[1] < 11 or not each[2]] == [], step
    boxes = page.locator(".fx-block").evaluate_all("(all) => all.map((each) => each.getBoundingClientRect().top)")
    assert (boxes[0] == boxes[1]) == (width > 690)


def test_a_step_is_as_tall_in_both(show):
    page = show()
    tops = page.evaluate(
        """() => [...document.querySelectorAll(".fx-block")].map((block) =>
          [...block.querySelectorAll(".fx-step")].map((number) => number.getBoundingClientRect().top))"""
    )
    assert tops[0] == tops[1]
    fifth = [node(page, *which).locator(".fx-shape") for which in (("serial", "add 1"), ("parallel", "y"))]
    assert fifth[0].bounding_box()["y"] == fifth[1].bounding_box()["y"]


# -- in JupyterLab


def test_in_jupyterlab_python_and_the_browser_stay_in_step(lab, expect):
    page = lab.open_notebook(
        [
            "from course_lib.classroom.flow_explorer import DataFlowExplorer\nflow = DataFlowExplorer()\nflow",
            "print(flow.step, flow.devices, flow.selected)",
            "if flow.step:  # not yet when all cells run\n    flow.fused = True\n    flow.step = 6",
        ],
        name="flow",
    )
    slider(page).focus()
    for _ in range(3):
        page.keyboard.press("ArrowRight")
    expect(slider(page)).to_be_focused()  # JupyterLab did not take the arrows
    page.get_by_label("on 2 devices").check()
    node(page, "serial", "norm 1").click()
    page.keyboard.press("ArrowDown")
    page.wait_for_timeout(400)
    lab.run_cell(page, 1)
    expect(page.get_by_text("3 2 key", exact=True)).to_be_visible()
    lab.run_cell(page, 2)
    expect(slider(page)).to_have_value("6")
    expect(page.locator(".fx-words").first).to_contain_text("the parallel block runs y, its last")
