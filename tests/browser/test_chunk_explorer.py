"""The explorer of linear attention in a browser: Python's counts and words, true proportions, mouse and keyboard."""

import json

import pytest

from course_lib.classroom.chunk_explorer import FEATURES, LENGTHS, ChunkExplorer
from course_lib.classroom.chunk_words import WAYS, cost_of, held, sentences

SYNCED = ("way", "total_len", "chunk", "prefix_len", "features")


def traits(explorer) -> dict:
    return {name: getattr(explorer, name) for name in SYNCED}


@pytest.fixture
def show(module_page):
    def draw(explorer=None, *, viewport=(1280, 1000), theme="light", **context):
        explorer = ChunkExplorer() if explorer is None else explorer
        return module_page("chunk_explorer", traits(explorer), viewport=viewport, theme=theme, **context)

    return draw


def settle(page):
    page.evaluate("() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")


def told(page, explorer) -> ChunkExplorer:
    """Bring Python up to date with what the browser told it, and return it."""
    page.wait_for_timeout(250)
    explorer.set_state(page.evaluate("() => Object.assign({}, ...model.saved)"))
    return explorer


def slider(page, name):
    return page.get_by_role("slider", name=name)


def shown(page) -> list[str]:
    """What is drawn and what it trades, as texts."""
    settle(page)
    return page.locator(
        ":is(.ck-paper + .course-room, .course-words .course-room) span:not([aria-hidden])"
    ).all_text_contents()


def boxes(page, kind) -> list[tuple[float, float, float, float]]:
    """The rectangles of a kind in the picture: x, y, width, height."""
    settle(page)
    return page.evaluate(
        """(kind) => [...document.querySelectorAll(`.ck-paper rect.ck-${kind}`)]
          .map((box) => ["x", "y", "width", "height"].map((name) => Number(box.getAttribute(name))))""",
        kind,
    )


# -- the same as Python


def test_numbers_and_sentences_are_those_of_python_in_all_settings(show):
    states = [
        (way, T, 2**n, P, D)
        for T in LENGTHS
        for D in FEATURES
        for way in WAYS
        for n in range(T.bit_length())
        for P in range(0, T + 1, T // 8)
        if way == "chunks" or (2**n == min(64, T) and P in (0, T // 4))
    ]
    found = show(ChunkExplorer()).evaluate(
        """(states) => states.map(([way, T, C, P, D]) => {
          const state = { way, T, C, P, D }, { state: built, read, pairs, flops, steps } = module.chunkCost(state);
          const said = [module.heldMost(state), module.chunkSentences(state)];
          return JSON.stringify([built, read, pairs, flops, steps, ...said]);
        })""",
        states,
    )
    assert len(states) > 6435
    for state, theirs in zip(states, found, strict=True):
        cost = cost_of(*state)
        mine = [cost.state, cost.read, cost.pairs, cost.flops, cost.steps, list(held(*state)), sentences(*state)]
        assert json.loads(theirs) == mine, state


@pytest.mark.parametrize("way", WAYS)
def test_what_is_shown_is_what_python_says(show, expect, way):
    explorer = ChunkExplorer(way, total_len=2048, chunk=256, prefix_len=512, features=128)
    page, said = show(explorer), sentences(*(getattr(explorer, name) for name in SYNCED))
    assert shown(page) == [said[0], said[2]]
    expect(page.get_by_role("img")).to_have_attribute("aria-label", said[0])
    assert page.locator(".course-big").all_text_contents()[1:] == [f"{explorer.cost.steps:,}", f"{explorer.held:,}"]
    expect(page.locator(".course-figure").first).to_contain_text(f"{explorer.cost.flops:,}")


# -- the picture


def test_the_proportions_are_true(show):
    for explorer in (ChunkExplorer(chunk=128, prefix_len=256), ChunkExplorer(total_len=16, chunk=4, features=16)):
        T, C, P, D = explorer.total_len, explorer.chunk, explorer.prefix_len, explorer.features
        page = show(explorer)
        (square,) = boxes(page, "square")
        unit = square[2] / T
        for width, height in (box[2:] for box in boxes(page, "given")):
            assert sorted((width, height)) == pytest.approx(sorted((T * unit, D * unit)))
        tiles = boxes(page, "pairs")
        assert len(tiles) == (T - P) // C
        for n, (x, y, width, height) in enumerate(tiles):
            start = (P + n * C) * unit
            assert (x - square[0], y - square[1], width, height) == pytest.approx((start, start, C * unit, C * unit))
        for width, height in (box[2:] for box in boxes(page, "state")):
            assert (width, height) == pytest.approx((D * unit, D * unit))
        assert [box[2:] for box in boxes(page, "prefix")] == ([pytest.approx([P * unit, P * unit])] if P else [])


def test_the_reordered_products_have_no_square_and_the_same_scale(show):
    page = show(ChunkExplorer("quadratic"))
    (square,) = boxes(page, "square")
    page.get_by_role("radio", name="Reordered").check()
    thin = [box for kind in ("given", "out", "state") for box in boxes(page, kind)]
    assert len(thin) == 6
    assert max(max(box[2:]) for box in thin) == pytest.approx(square[2])
    assert all(min(box[2:]) == pytest.approx(square[2] / 16) for box in thin)
    assert boxes(page, "square") == boxes(page, "pairs") == boxes(page, "read") == []


def test_what_is_too_thin_is_said(show, expect):
    page = show(ChunkExplorer(total_len=65536, chunk=16))
    expect(page.locator(".ck-sheet")).to_contain_text("what is D wide and the tiles would be thinner than 2 px")
    assert min(box[2] for box in boxes(page, "given")) == 2
    assert len(boxes(page, "pairs")) == 0  # a band in their place
    assert page.locator(".ck-band").count() == 1
    assert page.locator(".ck-paper *").count() < 60
    slider(page, "Chunk, C").fill("13")
    assert len(boxes(page, "pairs")) == 8
    slider(page, "Tokens, T").fill("6")
    expect(page.locator(".ck-sheet")).to_contain_text("the proportions are true")


def test_the_picture_stays_on_its_paper(show):
    inside = """() => {
      const paper = document.querySelector(".ck-paper").getBoundingClientRect();
      return [...document.querySelectorAll(".ck-paper > :not(defs)")].filter((node) => {
        const { left, right, top, bottom } = node.getBoundingClientRect();
        return left < paper.left - 2 || right > paper.right + 2 || top < paper.top - 2 || bottom > paper.bottom + 2;
      }).map((node) => node.outerHTML);
    }"""
    for width in (1280, 400):
        page = show(viewport=(width, 1000))
        for way in WAYS:
            for T, C, eighths, features in [(16, 4, 0, 256), (16, 2, 2, 16), (1024, 64, 3, 64), (65536, 1, 1, 16),
                                            (256, 32, 8, 256), (65536, 16384, 0, 256)]:  # fmt: skip
                state = {"way": way, "total_len": T, "chunk": C, "prefix_len": eighths * T // 8, "features": features}
                page.evaluate("(state) => Object.entries(state).forEach((each) => model.receive(...each))", state)
                settle(page)
                assert page.evaluate(inside) == [], (width, state)


def test_the_bars_have_one_linear_scale(show):
    for explorer in (ChunkExplorer(), ChunkExplorer(chunk=1024), ChunkExplorer(total_len=64, features=256)):
        T, C, P, D = explorer.total_len, explorer.chunk, explorer.prefix_len, explorer.features
        costs = [cost_of(way, T, C, P, D) for way in WAYS]
        top = max(cost.flops for cost in costs)
        page = show(explorer)
        widths = "() => [...document.querySelectorAll('.ck-fill')].map((bar) => parseFloat(bar.style.width))"
        assert page.evaluate(widths) == pytest.approx([100 * cost.flops / top for cost in costs], rel=1e-3)
        shares = """() => [...document.querySelectorAll(".ck-fill")].map((bar) =>
          [...bar.children].map((part) => Number(getComputedStyle(part).flexGrow)))"""
        for (state, read, pairs), cost in zip(page.evaluate(shares), costs, strict=True):
            expected = [cost.state / cost.flops, cost.read / cost.flops, cost.pairs / cost.flops]
            assert [state, read, pairs] == pytest.approx(expected, abs=1e-4)


# -- the controls


def test_the_sliders_tell_python(show, expect):
    page, explorer = show(), ChunkExplorer()
    slider(page, "Prefix, P").fill("3")
    slider(page, "Chunk, C").fill("10")
    slider(page, "Features").fill("4")
    slider(page, "Tokens, T").fill("0")
    assert traits(told(page, explorer)) == {
        "way": "chunks", "total_len": 16, "chunk": 16, "prefix_len": 6, "features": 256,
    }  # fmt: skip
    expect(slider(page, "Prefix, P")).to_have_attribute("aria-valuetext", "6 tokens, 3 eighths")
    page.get_by_role("radio", name="Quadratic").check()
    expect(slider(page, "Chunk, C")).to_be_disabled()
    expect(slider(page, "Prefix, P")).to_be_disabled()
    expect(page.get_by_role("status")).to_contain_text("One step, and 1/16 of the operations of the reordered")
    assert told(page, explorer).way == "quadratic"


def test_what_python_sets_is_shown_and_not_sent_back(show):
    page, explorer = show(), ChunkExplorer()
    changes = [("chunk", 1), ("total_len", 65536), ("prefix_len", 8192), ("way", "reordered"), ("total_len", 32)]
    for name, value in changes:
        setattr(explorer, name, value)
        page.evaluate("(state) => Object.entries(state).forEach((each) => model.receive(...each))", traits(explorer))
        said = sentences(*(getattr(explorer, name) for name in SYNCED))
        assert shown(page) == [said[0], said[2]]
    assert page.evaluate("() => model.saved") == []
    page.evaluate("() => cleanup()")
    assert page.evaluate("() => model.listenerCount()") == 0


def test_it_is_worked_by_keys_that_the_page_does_not_get(show, expect):
    page = show()
    page.evaluate("() => { window.leaked = []; document.addEventListener('keydown', (e) => leaked.push(e.key)); }")
    page.keyboard.press("Tab")
    expect(page.get_by_role("radio", name="In chunks")).to_be_focused()
    for _ in range(3):
        page.keyboard.press("Tab")
    chunk = slider(page, "Chunk, C")
    for key, spoken in [("ArrowLeft", "32"), ("Home", "1"), ("ArrowRight", "2"), ("End", "1,024")]:
        page.keyboard.press(key)
        expect(chunk).to_have_attribute("aria-valuetext", f"{spoken} token{'' if spoken == '1' else 's'}")
    expect(chunk).to_be_focused()
    assert chunk.evaluate("(input) => getComputedStyle(input).outlineStyle") == "solid"
    page.get_by_role("radio", name="In chunks").focus()
    page.keyboard.press("ArrowLeft")
    expect(page.get_by_role("radio", name="Reordered")).to_be_checked()
    assert set(page.evaluate("() => leaked")) == {"Tab"}


# -- the looks


@pytest.mark.parametrize("width", [1280, 700, 400, 320])
def test_it_fits_and_nothing_jumps(show, width):
    page = show(viewport=(width, 1000), theme="dark" if width == 700 else "light")
    parts = ".ck > *, .ck-desk > *, .ck-bars > *, .course-range, .course-figure"
    places = (
        f"() => [...document.querySelectorAll('{parts}')]"
        """
      .filter((each) => each.role !== "status")
      .map((each) => { const { top, height } = each.getBoundingClientRect(); return [top + scrollY, height]; })"""
    )
    before = page.evaluate(places)
    for way in WAYS:
        for T, C, eighths, features in [(65536, 32, 3, 128), (16, 1, 0, 16), (65536, 16384, 1, 256), (32768, 1, 8, 64),
                                        (65536, 8192, 0, 256), (2048, 2, 7, 256)]:  # fmt: skip
            state = {"way": way, "total_len": T, "chunk": C, "prefix_len": eighths * T // 8, "features": features}
            page.evaluate("(state) => Object.entries(state).forEach((each) => model.receive(...each))", state)
            settle(page)
            assert page.evaluate(places) == before, state
            assert page.evaluate("() => document.documentElement.scrollWidth") <= width, state
    small = """() => [...document.querySelectorAll(".ck *")].filter((each) => each.textContent.trim() &&
      parseFloat(getComputedStyle(each).fontSize) < 12).map((each) => each.outerHTML)"""
    assert page.evaluate(small) == []


def test_who_wants_less_motion_gets_none(show):
    page = show(reduced_motion="reduce")
    assert page.evaluate("() => getComputedStyle(document.querySelector('.ck-fill')).transitionProperty") == "none"


# -- in JupyterLab


def test_in_jupyterlab_python_and_the_browser_stay_in_step(lab, expect):
    page = lab.open_notebook(
        [
            "from course_lib.classroom.chunk_explorer import ChunkExplorer\nexplorer = ChunkExplorer()\nexplorer",
            "print(explorer.way, explorer.total_len, explorer.chunk, explorer.cost.steps)",
            "explorer.chunk = 256",
        ],
        name="chunks",
    )
    chunk = slider(page, "Chunk, C")
    expect(chunk).to_have_value("8")  # all cells ran
    chunk.focus()
    page.keyboard.press("ArrowLeft")
    expect(chunk).to_be_focused()  # JupyterLab did not take the arrows
    page.wait_for_timeout(400)
    lab.run_cell(page, 1)
    expect(page.get_by_text("chunks 1024 128 8")).to_be_visible()
