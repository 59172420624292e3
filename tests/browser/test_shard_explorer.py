"""The explorer of a shared sequence in a browser: Python's bytes and words, the picture, mouse and keyboard."""

import json
from math import log10

import pytest

from course_lib.classroom.explorer_checks import EIGHTHS
from course_lib.classroom.shard_explorer import LENGTHS, PROCESSES, SCALE, ShardExplorer
from course_lib.classroom.shard_words import made_of, sent, sentences

SYNCED = ("processes", "total_len", "prefix_len", "training")
GRID = [(N, L, n * L // EIGHTHS, on) for N in PROCESSES for L in LENGTHS for n in range(9) for on in (False, True)]
CORNERS = [(1, 1024, 512, False), (2, 1024, 0, False), (4, 65536, 57344, True), (16, 2**20, 2**20, True),
           (64, 2**20, 2**17, True), (64, 2**20, 0, True), (8, 2**20, 2**20 - 2**17, True),
           (32, 2**19, 2**18, False)]  # fmt: skip


def traits(explorer) -> dict:
    return {name: getattr(explorer, name) for name in SYNCED}


def receive(page, state):
    named = dict(zip(SYNCED, state, strict=True))
    page.evaluate("(state) => Object.entries(state).forEach((each) => model.receive(...each))", named)
    settle(page)


@pytest.fixture
def show(module_page):
    def draw(explorer=None, *, viewport=(1280, 1000), theme="light", **context):
        explorer = ShardExplorer() if explorer is None else explorer
        return module_page("shard_explorer", traits(explorer), viewport=viewport, theme=theme, **context)

    return draw


def settle(page):
    page.evaluate("() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")


def told(page, explorer) -> ShardExplorer:
    """Bring Python up to date with what the browser told it, and return it."""
    page.wait_for_timeout(250)
    explorer.set_state(page.evaluate("() => Object.assign({}, ...model.saved)"))
    return explorer


def slider(page, name):
    return page.get_by_role("slider", name=name)


def shown(page) -> str:
    settle(page)
    rooms = page.locator(":is(.sd-caption, .course-words) .course-room span:not([aria-hidden])")
    return " ".join(rooms.all_text_contents()).replace("\n", " ")


def boxes(page, kind) -> list[list[float]]:
    """The rectangles of a kind in the picture: x, width."""
    settle(page)
    return page.evaluate(
        """(kind) => [...document.querySelectorAll(`.sd-paper rect.sd-${kind}`)]
          .map((box) => ["x", "width"].map((name) => Number(box.getAttribute(name))))""",
        kind,
    )


# -- the same as Python


def test_numbers_and_sentences_are_those_of_python_in_all_settings(show):
    found = show().evaluate(
        """(states) => states.map(([N, L, P, training]) => {
          const state = { N, L, P, training }, { linear, ring, first } = module.shardCount(state);
          return JSON.stringify([linear, ring, first, module.madeOf(state), module.shardSentences(state)]);
        })""",
        GRID,
    )
    for state, theirs in zip(GRID, found, strict=True):
        count = sent(*state)
        mine = [count.linear, count.ring, count.first, list(made_of(*state)), sentences(*state)]
        assert json.loads(theirs) == mine, state


def test_what_is_shown_is_what_python_says(show, expect):
    page = show()
    for state in CORNERS:
        receive(page, state)
        explorer = ShardExplorer(state[0], total_len=state[1], prefix_len=state[2], training=state[3])
        assert shown(page) == explorer.describe()
        expect(page.get_by_role("img")).to_have_attribute("aria-label", sentences(*state)[0])
        details = page.locator(".sd-figures .course-room span:not([aria-hidden])").all_text_contents()
        assert details == list(made_of(*state))


# -- the picture


def test_the_boxes_are_the_text_and_the_states_stand_where_they_are(show):
    for width in (1280, 360):
        page = show(viewport=(width, 1000))
        for N, L, P, training in CORNERS:
            receive(page, (N, L, P, training))
            read, written = boxes(page, "prefix"), boxes(page, "target")
            assert (len(read), len(written)) == (-(-P * N // L), N - P * N // L)
            wide = [sum(box[1] for box in some) for some in (read, written)]
            assert wide[0] / sum(wide) == pytest.approx(P / L, abs=1e-6)
            links = N - 1 - P * N // L
            assert len(boxes(page, "part")) == (len(read) if N > 1 else 0)
            assert len(boxes(page, "handed")) == (links + 1 if links > 0 else 0)
            assert len(boxes(page, "block")) == (N if N > 1 else 0)


def test_the_picture_stays_on_its_paper(show):
    inside = """() => {
      const paper = document.querySelector(".sd-paper").getBoundingClientRect();
      return [...document.querySelectorAll(".sd-paper > *")].filter((node) => {
        const { left, right, top, bottom } = node.getBoundingClientRect();
        return left < paper.left - 2 || right > paper.right + 2 || top < paper.top - 2 || bottom > paper.bottom + 2;
      }).map((node) => node.outerHTML);
    }"""
    apart = """() => {
      const texts = [...document.querySelectorAll(".sd-paper text")]
        .map((text) => [text.textContent, text.getBoundingClientRect()]);
      return texts.flatMap(([one, a], n) => texts.slice(n + 1).filter(([, b]) => a.left < b.right && b.left < a.right
        && a.top + 3 < b.bottom && b.top + 3 < a.bottom).map(([other]) => `${one} / ${other}`));
    }"""
    for width in (1280, 700, 320):
        page = show(viewport=(width, 1000))
        for N in PROCESSES:
            for L, eighths, training in [
                (1024, 0, False),
                (2**20, 1, True),
                (2**20, 4, True),
                (2**20, 7, True),
                (2**20, 8, False),
            ]:
                receive(page, (N, L, eighths * L // 8, training))
                assert page.evaluate(inside) == [], (width, N, eighths)
                assert page.evaluate(apart) == [], (width, N, eighths)


def test_the_dots_have_one_scale(show):
    page = show()
    for state in CORNERS[1:]:
        receive(page, state)
        places = page.evaluate(
            "() => [...document.querySelectorAll('.sd-dot')].map((dot) => parseFloat(dot.style.left))"
        )
        count = sent(*state)
        low, high = SCALE
        assert places == pytest.approx(
            [100 * (log10(n) - low) / (high - low) for n in (count.linear, count.ring)], rel=1e-4
        )
        assert all(0 < place < 100 for place in places)
    receive(page, CORNERS[0])
    assert page.locator(".sd-dot:visible").count() == 0
    ticks = [text.replace("\u00a0", " ") for text in page.locator(".sd-ticks span").all_text_contents()]
    assert ticks == ["10 KB", "100 KB", "1 MB", "10 MB", "100 MB", "1 GB", "10 GB", "100 GB"]


# -- the controls


def test_the_sliders_tell_python(show, expect):
    page, explorer = show(), ShardExplorer()
    slider(page, "Prefix, P").fill("3")
    slider(page, "Processes, N").fill("6")
    slider(page, "Tokens, T").fill("0")
    page.get_by_role("radio", name="Training").check()
    assert told(page, explorer)._state == (64, 1024, 384, True)
    expect(slider(page, "Prefix, P")).to_have_attribute("aria-valuetext", "384 tokens, 3 eighths")
    expect(page.get_by_role("status")).to_contain_text("64 processes hold 16 tokens each.")
    slider(page, "Processes, N").fill("0")
    expect(slider(page, "Processes, N")).to_have_attribute("aria-valuetext", "1 process")
    expect(page.get_by_role("status")).to_contain_text("It has nobody to send to")


def test_what_python_sets_is_shown_and_not_sent_back(show):
    page, explorer = show(), ShardExplorer()
    for name, value in [
        ("processes", 8),
        ("total_len", 1024),
        ("prefix_len", 896),
        ("training", True),
        ("total_len", 2**20),
    ]:
        setattr(explorer, name, value)
        page.evaluate("(state) => Object.entries(state).forEach((each) => model.receive(...each))", traits(explorer))
        assert shown(page) == explorer.describe()
    assert page.evaluate("() => model.saved") == []
    page.evaluate("() => cleanup()")
    assert page.evaluate("() => model.listenerCount()") == 0


def test_it_is_worked_by_keys_that_the_page_does_not_get(show, expect):
    page = show()
    page.evaluate("() => { window.leaked = []; document.addEventListener('keydown', (e) => leaked.push(e.key)); }")
    page.keyboard.press("Tab")
    expect(page.get_by_role("radio", name="Forward")).to_be_focused()
    page.keyboard.press("Tab")
    processes = slider(page, "Processes, N")
    for key, spoken in [("ArrowRight", "8 processes"), ("Home", "1 process"), ("End", "64 processes")]:
        page.keyboard.press(key)
        expect(processes).to_have_attribute("aria-valuetext", spoken)
    expect(processes).to_be_focused()
    assert processes.evaluate("(input) => getComputedStyle(input).outlineStyle") == "solid"
    page.get_by_role("radio", name="Forward").focus()
    page.keyboard.press("ArrowRight")
    expect(page.get_by_role("radio", name="Training")).to_be_checked()
    assert set(page.evaluate("() => leaked")) == {"Tab"}


# -- the looks


@pytest.mark.parametrize("width", [1280, 700, 400, 320])
def test_it_fits_and_nothing_jumps(show, width):
    page = show(viewport=(width, 1000), theme="dark" if width == 700 else "light")
    places = """() => [...document.querySelectorAll(".sd > *, .course-range, .sd-figures > *, .sd-rows > *")]
      .filter((each) => each.role !== "status")
      .map((each) => { const { top, height } = each.getBoundingClientRect(); return [top + scrollY, height]; })"""
    before = page.evaluate(places)
    for state in [*CORNERS, *GRID[::37]]:
        receive(page, state)
        assert page.evaluate(places) == before, state
        assert page.evaluate("() => document.documentElement.scrollWidth") <= width, state
    small = """() => [...document.querySelectorAll(".sd *")].filter((each) => each.textContent.trim() &&
      parseFloat(getComputedStyle(each).fontSize) < 12).map((each) => each.outerHTML)"""
    assert page.evaluate(small) == []


def test_who_wants_less_motion_gets_none(show):
    page = show(reduced_motion="reduce")
    assert page.evaluate("() => getComputedStyle(document.querySelector('.sd-dot')).transitionProperty") == "none"


# -- in JupyterLab


def test_in_jupyterlab_python_and_the_browser_stay_in_step(lab, expect):
    page = lab.open_notebook(
        [
            "from course_lib.classroom.shard_explorer import ShardExplorer\nexplorer = ShardExplorer()\nexplorer",
            "print(explorer.processes, explorer.sent.linear)",
            "explorer.processes = 16",
        ],
        name="shards",
    )
    processes = slider(page, "Processes, N")
    expect(processes).to_have_value("4")  # all cells ran
    processes.focus()
    page.keyboard.press("ArrowLeft")
    expect(processes).to_be_focused()  # JupyterLab did not take the arrows
    page.wait_for_timeout(400)
    lab.run_cell(page, 1)
    expect(page.get_by_text("8 366080")).to_be_visible()
