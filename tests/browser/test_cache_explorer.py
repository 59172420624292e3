"""The cache explorer in a browser: Python's counts and words, by mouse, by keyboard, and with less motion."""

import pytest

from course_lib import cache
from course_lib.classroom import cache_words
from course_lib.classroom.cache_explorer import CacheExplorer
from course_lib.classroom.explorer_pictures import cell_states

SYNCED = ("tokens", "prompt_len", "prefix_len", "layers", "step", "reader", "turns", "prefill_len", "re_encoded")


def traits(explorer) -> dict:
    return {name: getattr(explorer, name) for name in SYNCED}


@pytest.fixture
def show(module_page):
    def draw(explorer=None, *, viewport=(900, 1000), theme="light", **context):
        explorer = CacheExplorer() if explorer is None else explorer
        page = module_page("cache_explorer", traits(explorer), viewport=viewport, theme=theme, **context)
        settle(page)
        return page

    return draw


def settle(page):
    page.evaluate("() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")


def told(page, explorer) -> CacheExplorer:
    """Bring Python up to date with what the browser told it, and return it."""
    page.wait_for_timeout(250)
    explorer.set_state(page.evaluate("() => Object.assign({}, ...model.saved)"))
    return explorer


def sentence(page) -> str:
    settle(page)
    return page.locator(".cx-words p:not(.cx-room)").text_content().strip()


def cells(page) -> list[list[str]]:
    """What each cell shows, layer by layer."""
    settle(page)
    words = page.evaluate(
        """() => [...document.querySelectorAll(".cx-row:not(.cx-head)")].map((row) =>
          [...row.querySelectorAll(".cx-cell")].map((cell) => {
            const seen = cell.checkVisibility({ visibilityProperty: true });
            return seen && (cell.textContent || cell.getAttribute("aria-label"));
          }))"""
    )
    kinds = {"empty": "empty", "kept": "kept", "new": "written", "stale": "stale"}
    return [[kinds[row[layer]] for row in words] for layer in range(len(words[0]))]


def press(page, name):
    page.get_by_role("button", name=name).click(force=True)  # also one that is off: it must do nothing
    settle(page)


def slide(page, name, value):
    page.get_by_role("slider", name=name).fill(str(value))
    settle(page)


def divider(page):
    return page.get_by_role("slider", name="Boundary between prefix and target")


# -- the same as Python


def state_of(explorer) -> dict:
    state = explorer.state
    return {
        "tokens": list(state.tokens), "promptLen": state.prompt_len, "prefixLen": state.prefix_len,
        "layers": state.layers, "step": state.step, "prefillLen": state.prefill_len, "reEncoded": state.re_encoded,
        "reader": state.reader, "turns": state.turns,
    }  # fmt: skip


def test_the_stale_rows_are_those_of_the_cache(show):
    page = show()
    found = page.evaluate(
        """() => {
          const out = [];
          for (let layers = 1; layers <= 4; layers++) for (let T = 0; T <= 8; T++)
            for (let P = 0; P <= T; P++) for (let Q = 0; Q <= T; Q++) out.push(module.staleRows(P, Q, T, layers));
          return out;
        }"""
    )
    expected = [
        [len(rows) for rows in cache.stale_rows(P, Q, T, layers)]
        for layers in range(1, 5) for T in range(9) for P in range(T + 1) for Q in range(T + 1)
    ]  # fmt: skip
    assert found == expected


def test_counts_cells_and_sentences_are_those_of_python(show):
    states, expected = [], []

    def note(explorer):
        state = explorer.state
        states.append(state_of(explorer))
        counts = [cache_words.written(state), *map(list, (cache_words.products(state), cache_words.so_far(state)))]
        expected.append([explorer.describe(), cell_states(state), cache_words.action(state), counts])

    odd = ["Mara", "灯笼", "."], ["x" * 40, "مارا", ""]
    for prompt, new, layers in [(["a"], [], 1), (*odd, 3), (list("abcd"), ["e"], 4), (list("ab"), list("cdef"), 2)]:
        for prefix_len in range(len(prompt) + 1):
            explorer = CacheExplorer(prompt, new, prefix_len, layers=layers, turns=1 + prefix_len)
            note(explorer)
            for step in range(1, len(new) + 2):
                explorer.step = step
                explorer.reader = None if step % 2 else step // 2
                note(explorer)
                if step % 3 == 1:
                    for moved in range(explorer.held + 1):
                        explorer.prefix_len = moved
                        note(explorer)
                    explorer.prefix_len = max(0, explorer.held - 1)
                    explorer.re_encode()
                    note(explorer)
    found = show().evaluate(
        """(states) => states.map((state) => [
          module.cacheSentences(state).join(" "), module.cellStates(state), module.cacheAction(state),
          [module.rowsWritten(state), module.productsOf(state), module.productsSoFar(state)],
        ])""",
        states,
    )
    for given, mine, theirs in zip(states, found, expected, strict=True):
        assert mine == theirs, given


def test_the_rows_of_a_chat_are_those_of_python(show):
    sizes = [(t, m, a, n) for t in range(1, 11) for m in (1, 5) for a in (0, 6) for n in range(1, 5)]
    found = show().evaluate("(sizes) => sizes.map((each) => module.chatRows(...each))", sizes)
    assert found == [list(cache_words.chat_rows(*each)) for each in sizes]


# -- steps


def test_it_steps_through_prefill_and_decode_and_back(show, expect):
    page, explorer = show(), CacheExplorer()
    assert cells(page) == cell_states(explorer.state)
    press(page, "Prefill")
    for step in range(1, 8):
        assert told(page, explorer).step == step
        assert cells(page) == cell_states(explorer.state)
        assert sentence(page) == explorer.describe()
        press(page, "Step")
    assert explorer.step == 7
    expect(page.get_by_role("button", name="Step")).to_have_attribute("aria-disabled", "true")
    press(page, "Back")
    assert told(page, explorer).step == 6
    slide(page, "Step", 2)
    assert told(page, explorer).step == 2
    assert cells(page) == cell_states(explorer.state)
    assert sentence(page) == explorer.describe()


def test_the_numbers_are_those_of_python(show, expect):
    explorer = CacheExplorer(prefix_len=3, step=4)
    page = show(explorer)
    used, everything = cache_words.so_far(explorer.state)
    figures = page.locator(".cx-big")
    expect(figures.nth(0)).to_have_text("3")
    expect(figures.nth(1)).to_have_text(str(3 * 8))
    expect(page.locator(".cx-bars").nth(0)).to_contain_text(f"with the cache{used}without one{everything}")
    slide(page, "Turns", 6)
    once, again = cache_words.chat_rows(6, 5, 6, 3)
    expect(page.locator(".cx-bars").nth(1)).to_contain_text(f"causal{once}prefix{once} + {again}")
    assert told(page, explorer).turns == 6


def test_play_goes_on_by_itself_until_the_end_or_a_pause(show, expect):
    page = show(CacheExplorer("a b", "c"))
    press(page, "Play")
    expect(page.get_by_role("slider", name="Step")).to_have_value("1", timeout=4000)
    press(page, "Pause")
    page.wait_for_timeout(1400)
    expect(page.get_by_role("slider", name="Step")).to_have_value("1")
    press(page, "Play")
    expect(page.get_by_role("slider", name="Step")).to_have_value("2", timeout=4000)
    expect(page.get_by_role("button", name="Play")).to_be_visible(timeout=4000)  # the end
    press(page, "Play")  # begins anew
    expect(page.get_by_role("slider", name="Step")).to_have_value("0")
    page.evaluate("() => cleanup()")
    assert page.evaluate("() => model.listenerCount()") == 0


def test_who_wants_less_motion_steps_by_hand(show, expect):
    page = show(reduced_motion="reduce")
    expect(page.get_by_role("button", name="Play")).to_be_hidden()
    press(page, "Prefill")
    expect(page.get_by_role("slider", name="Step")).to_have_value("1")
    assert page.evaluate("() => getComputedStyle(document.querySelector('.cx-written')).animationName") == "none"


# -- the boundary


@pytest.mark.parametrize("layers", [1, 2, 3, 4])
def test_a_moved_boundary_shows_what_is_stale_and_re_encoding_mends_it(show, expect, layers):
    explorer = CacheExplorer(prefix_len=3, step=4, layers=layers)
    page = show(explorer)
    slide(page, "Prefix length P", 6)
    stale = cache.stale_rows(3, 6, 8, layers)
    assert told(page, explorer).stale == stale
    assert cells(page) == cell_states(explorer.state)
    assert sentence(page) == explorer.describe()
    said = page.locator(".cx-stale-list li").all_text_contents()
    assert said == [f"layer {n + 1}{len(rows)} of 8" for n, rows in enumerate(stale)]
    expect(page.get_by_role("button", name="Step")).to_have_attribute("aria-disabled", "true")
    press(page, "Step")
    slide(page, "Step", 6)
    expect(page.get_by_role("slider", name="Step")).to_have_value("4")
    count = sum(map(len, stale))
    press(page, f"Re-encode {count} row{'' if count == 1 else 's'}")
    assert told(page, explorer).cached_prefix_len == 6
    assert cells(page) == cell_states(explorer.state)
    assert sentence(page) == explorer.describe()
    press(page, "Step")
    assert told(page, explorer).step == 5
    press(page, "Back")
    press(page, "Back")
    assert told(page, explorer).cached_prefix_len == 3  # what was re-encoded after that step is undone
    assert (explorer.step, explorer.prefix_len) == (3, 3)


def test_the_divider_is_dragged_and_moved_by_keys(show, expect):
    explorer = CacheExplorer(prefix_len=2, step=5)
    page = show(explorer)
    pill, row = page.locator(".cx-pill").bounding_box(), page.locator(".cx-token").nth(5).bounding_box()
    page.mouse.move(pill["x"] + 10, pill["y"] + 10)
    page.mouse.down()
    page.mouse.move(pill["x"] + 10, row["y"] + row["height"] + 2, steps=8)
    page.mouse.up()
    expect(divider(page)).to_have_attribute("aria-valuenow", "6")
    expect(divider(page)).to_have_attribute("aria-valuetext", "6 tokens, between ‘Mara’ and ‘walks’")
    expect(divider(page)).to_be_focused()
    page.keyboard.press("ArrowUp")
    expect(divider(page)).to_have_attribute("aria-valuenow", "5")
    page.keyboard.press("End")
    expect(divider(page)).to_have_attribute("aria-valuenow", "9")  # the tokens held, not those to come
    page.keyboard.press("Home")
    page.keyboard.press("ArrowUp")
    assert told(page, explorer).prefix_len == 0
    assert sentence(page) == explorer.describe()


def test_before_the_prefill_the_boundary_is_only_chosen(show):
    explorer = CacheExplorer()
    page = show(explorer)
    slide(page, "Prefix length P", 2)
    press(page, "Prefill")
    assert told(page, explorer).cached_prefix_len == 2
    assert sentence(page) == explorer.describe()


# -- who reads


def test_the_row_that_reads_is_chosen_by_a_click_or_the_arrow_keys(show, expect):
    explorer = CacheExplorer(prefix_len=4, step=3)
    page = show(explorer)
    assert page.locator(".cx-line").count() == 3 * 7
    page.locator(".cx-token").nth(1).click()
    settle(page)
    assert page.locator(".cx-line").count() == 3 * 4  # a prefix row reads the whole prefix
    page.get_by_role("grid").focus()
    for _ in range(4):
        page.keyboard.press("ArrowDown")
    assert told(page, explorer).reader == 5
    assert sentence(page) == explorer.describe()
    assert page.locator(".cx-line").count() == 3 * 6
    expect(page.get_by_role("row", selected=True)).to_contain_text("Mara")
    page.locator(".cx-token").nth(9).click()  # not there yet
    assert told(page, explorer).reader == 5


def test_what_python_sets_is_shown(show):
    explorer = CacheExplorer()
    page = show(explorer)
    for name, value in [("step", 4), ("layers", 5), ("prefix_len", 7), ("turns", 2), ("reader", 2)]:
        setattr(explorer, name, value)
        page.evaluate("(state) => Object.entries(state).forEach((each) => model.receive(...each))", traits(explorer))
        assert sentence(page) == explorer.describe()
        assert cells(page) == cell_states(explorer.state)
    assert page.evaluate("() => model.saved") == []


def test_a_change_is_spoken_once_it_has_settled(show):
    page = show()
    press(page, "Prefill")
    press(page, "Step")
    page.wait_for_function(
        "() => document.querySelector('.course-live').textContent.startsWith('Decoding, new token 1')"
    )


def test_text_is_never_markup(show, expect):
    page = show(CacheExplorer(["<b>bold</b>", "<img src=x onerror=alert(1)>"], ["&amp;"], step=1))
    expect(page.locator(".cx-token").first).to_have_text("<b>bold</b>")
    assert page.locator(".cx b, .cx img").count() == 0


# -- the layout


@pytest.mark.parametrize("width", [1280, 900, 400])
def test_nothing_jumps_from_step_to_step(show, width):
    page = show(viewport=(width, 1000))
    height = "() => document.querySelector('.cx').getBoundingClientRect().height"
    grid = "() => JSON.stringify(document.querySelector('.cx-grid').getBoundingClientRect())"
    before = page.evaluate(height), page.evaluate(grid)
    for act in [lambda: press(page, "Prefill"), lambda: press(page, "Step"), lambda: press(page, "Step"),
                lambda: slide(page, "Prefix length P", 7), lambda: press(page, "Re-encode"),
                lambda: slide(page, "Prefix length P", 0), lambda: slide(page, "Step", 0)]:  # fmt: skip
        act()
        page.evaluate("() => scrollTo(0, 0)")
        assert (page.evaluate(height), page.evaluate(grid)) == before


@pytest.mark.parametrize("width", [1280, 720, 400, 320])
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_the_largest_fits_the_page(show, width, theme):
    explorer = CacheExplorer("upside " * 12, "down " * 12, layers=6, step=9)
    explorer.prefix_len = 15
    page = show(explorer, viewport=(width, 1000), theme=theme)
    assert page.evaluate("() => document.documentElement.scrollWidth") <= width
    inside = """() => {
      const side = document.querySelector(".cx-side").getBoundingClientRect();
      const flow = document.querySelector(".cx-main > div").getBoundingClientRect();
      return [...document.querySelectorAll(".cx-grid *")].every((each) => {
        const { left, right } = each.getBoundingClientRect();
        return right <= flow.right + 1 && (side.top >= flow.bottom || right <= side.left);
      });
    }"""
    assert page.evaluate(inside)


# -- in JupyterLab


def test_in_jupyterlab_python_and_the_browser_stay_in_step(lab, expect):
    page = lab.open_notebook(
        [
            "from course_lib.classroom import CacheExplorer\nexplorer = CacheExplorer(prefix_len=3)\nexplorer",
            "print(explorer.step, explorer.prefix_len, [len(rows) for rows in explorer.stale])",
            "if explorer.step:  # not yet when all cells run\n    print(explorer.re_encode())\n    explorer.step = 6",
        ],
        name="cache",
    )
    press(page, "Prefill")
    press(page, "Step")
    divider(page).focus()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowDown")
    expect(divider(page)).to_have_attribute("aria-valuenow", "5")
    expect(divider(page)).to_be_focused()  # JupyterLab did not take the arrows
    page.wait_for_timeout(400)
    lab.run_cell(page, 1)
    expect(page.get_by_text("2 5 [0, 4, 6]")).to_be_visible()
    lab.run_cell(page, 2)
    expect(page.get_by_text("[0, 4, 6]", exact=True)).to_be_visible()
    expect(page.get_by_role("slider", name="Step")).to_have_value("6")
    expect(page.locator(".cx-words")).to_contain_text("Decoding, new token 5 of 6")
