"""The explorer of keys and values in a browser: Python's bytes and words, by mouse and by keyboard."""

import pytest

from course_lib.classroom.kv_explorer import CONTEXTS, SEQUENCES, SIZES, KVExplorer, divisors, nearest

SYNCED = ("model", "kv_heads", "context", "sequences", "sizes")


def traits(explorer) -> dict:
    return {name: getattr(explorer, name) for name in SYNCED}


@pytest.fixture
def show(module_page):
    def draw(explorer=None, *, viewport=(1280, 900), theme="light", **context):
        explorer = KVExplorer() if explorer is None else explorer
        return module_page("kv_explorer", traits(explorer), viewport=viewport, theme=theme, **context)

    return draw


def settle(page):
    page.evaluate("() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")


def told(page, explorer) -> KVExplorer:
    """Bring Python up to date with what the browser told it, and return it."""
    page.wait_for_timeout(250)
    explorer.set_state(page.evaluate("() => Object.assign({}, ...model.saved)"))
    return explorer


def sentence(page) -> str:
    settle(page)
    return " ".join(
        page.locator(":is(.kv-heads, .course-words) .course-room span:not([aria-hidden])").all_text_contents()
    )


def slider(page, name):
    return page.get_by_role("slider", name=name)


def marks(page) -> list[int]:
    settle(page)
    return [int(mark) for mark in page.locator(".kv-marks span").all_text_contents()]


# -- the same as Python


def test_numbers_and_sentences_are_those_of_python(show):
    states, expected = [], []
    for model, sizes in SIZES.items():
        for kv_heads in divisors(sizes["heads"]):
            for context in (256, 512, 2048, 8192, 131072):
                for sequences in (1, 2, 64, 512):
                    one = KVExplorer(model, kv_heads=kv_heads, context=context, sequences=sequences)
                    states.append([model, kv_heads, context, sequences])
                    numbers = [one.bytes_per_token, one.cache_bytes, one.weight_bytes]
                    expected.append([*numbers, one.describe()])
                    one.close()
    found = show().evaluate(
        """(states) => states.map(([name, kvHeads, context, sequences]) => {
          const state = { model: name, kvHeads, context, sequences, sizes: model.get("sizes") };
          const { token, cache, weights } = module.kvCount(state);
          return [token, cache, weights, module.kvSentences(state).join(" ")];
        })""",
        states,
    )
    for state, mine, theirs in zip(states, found, expected, strict=True):
        assert mine == theirs, state


def test_the_nearest_number_of_heads_is_that_of_python(show):
    pairs = [[heads, n] for heads in (16, 32, 48) for n in range(1, 49)]
    found = show().evaluate("(pairs) => pairs.map((pair) => module.nearest(...pair))", pairs)
    assert found == [nearest(*pair) for pair in pairs]


# -- what is seen


@pytest.mark.parametrize("model", list(SIZES))
def test_each_group_of_query_heads_stands_over_its_key_value_head(show, expect, model):
    heads = SIZES[model]["heads"]
    page, explorer = show(KVExplorer(model)), KVExplorer(model)
    for n, kv_heads in enumerate(divisors(heads)):
        slider(page, "Key/value heads").fill(str(n))
        explorer.kv_heads = kv_heads
        assert sentence(page) == explorer.describe()
        groups = page.evaluate(
            "() => [...document.querySelectorAll('.kv-group')].map((group) => group.querySelectorAll('i').length)"
        )
        assert groups == [heads // kv_heads] * kv_heads
        shared = explorer.describe().partition(" with ")[2].partition(". ")[0]
        expect(page.get_by_role("img")).to_have_attribute("aria-label", f"{heads} query heads in each layer; {shared}")
        expect(page.locator(".course-big").first).to_have_text(f"{explorer.bytes_per_token:,}")
    assert told(page, KVExplorer(model)).kv_heads == heads


def test_the_bars_have_one_scale(show):
    width = "() => [...document.querySelectorAll('.kv-fill')].map((bar) => parseFloat(bar.style.width))"
    for context, sequences in [(256, 1), (2048, 64), (32768, 512)]:
        explorer = KVExplorer("62B", kv_heads=8, context=context, sequences=sequences)
        cache, weights = explorer.cache_bytes, explorer.weight_bytes
        page = show(explorer)
        expected = [100 * cache / max(cache, weights), 100 * weights / max(cache, weights)]
        assert page.evaluate(width) == pytest.approx(expected, rel=1e-3)


def test_context_and_sequences_go_by_powers_of_two(show, expect):
    page, explorer = show(), KVExplorer()
    slider(page, "Tokens in a sequence").fill("9")
    slider(page, "Sequences at once").fill("0")
    assert (told(page, explorer).context, explorer.sequences) == (CONTEXTS[-1], SEQUENCES[0])
    assert sentence(page) == explorer.describe()
    expect(slider(page, "Tokens in a sequence")).to_have_attribute("aria-valuetext", "131,072 tokens")
    expect(slider(page, "Sequences at once")).to_have_attribute("aria-valuetext", "1 sequence")


def test_another_model_moves_the_slider_where_it_must_and_says_so(show, expect):
    page, explorer = show(KVExplorer(kv_heads=48)), KVExplorer(kv_heads=48)
    assert marks(page) == divisors(48)
    page.get_by_role("radio", name="8B", exact=True).check()
    assert marks(page) == divisors(16)
    expect(slider(page, "Key/value heads")).to_have_value("4")
    expect(slider(page, "Key/value heads")).to_have_attribute("max", "4")
    words = "Key/value heads went from 48 to 16, the nearest that fits 8B."
    expect(page.locator(".course-words")).to_contain_text(words)
    expect(page.get_by_role("status")).to_contain_text(words)
    assert (told(page, explorer).model, explorer.kv_heads) == ("8B", 16)
    slider(page, "Sequences at once").fill("0")
    expect(page.locator(".course-words")).to_contain_text(words)  # still true
    page.get_by_role("radio", name="540B").check()  # 16 fits
    assert sentence(page) == told(page, explorer).describe()
    assert (explorer.model, explorer.kv_heads) == ("540B", 16)


def test_what_python_sets_is_shown_and_not_sent_back(show):
    page, explorer = show(), KVExplorer()
    for name, value in [("kv_heads", 24), ("model", "62B"), ("context", 256), ("sequences", 512), ("model", "8B")]:
        setattr(explorer, name, value)
        page.evaluate("(state) => Object.entries(state).forEach((each) => model.receive(...each))", traits(explorer))
        assert sentence(page) == explorer.describe()
    assert page.evaluate("() => model.saved") == []
    page.evaluate("() => cleanup()")
    assert page.evaluate("() => model.listenerCount()") == 0


# -- the keyboard, and the looks


def test_it_is_worked_by_keys_that_the_page_does_not_get(show, expect):
    page = show(KVExplorer(kv_heads=6))
    page.evaluate("() => { window.leaked = []; document.addEventListener('keydown', (e) => leaked.push(e.key)); }")
    page.keyboard.press("Tab")
    expect(page.get_by_role("radio", name="540B")).to_be_focused()
    page.keyboard.press("Tab")
    heads = slider(page, "Key/value heads")
    for key, value, spoken in [("ArrowRight", "5", "8, each shared by 6 query heads (grouped-query)"),
                               ("End", "9", "48, one for each query head (multi-head)"),
                               ("Home", "0", "1, shared by all 48 query heads (multi-query)"),
                               ("ArrowLeft", "0", "1, shared by all 48 query heads (multi-query)")]:  # fmt: skip
        page.keyboard.press(key)
        expect(heads).to_have_value(value)
        expect(heads).to_have_attribute("aria-valuetext", spoken)
    expect(heads).to_be_focused()
    assert heads.evaluate("(input) => getComputedStyle(input).outlineStyle") == "solid"
    page.get_by_role("radio", name="540B").focus()
    page.keyboard.press("ArrowLeft")
    expect(page.get_by_role("radio", name="62B")).to_be_checked()
    assert set(page.evaluate("() => leaked")) == {"Tab"}


@pytest.mark.parametrize("width", [1280, 700, 400, 320])
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_it_fits_and_nothing_jumps(show, width, theme):
    page = show(viewport=(width, 900), theme=theme)
    places = """() => [...document.querySelectorAll(".kv > *, .course-range, .kv-figures > *")]
      .filter((each) => each.role !== "status")
      .map((each) => { const { top, height } = each.getBoundingClientRect(); return [top + scrollY, height]; })"""
    before = page.evaluate(places)
    for model, *values in [("62B", 5, 9, 9), ("8B", 0, 0, 0), ("540B", 9, 9, 9), ("62B",), ("8B",), ("540B", 8, 0, 0)]:
        page.get_by_role("radio", name=model, exact=True).check(force=True)
        settle(page)
        for name, value in zip(("Key/value heads", "Tokens in a sequence", "Sequences at once"), values, strict=False):
            slider(page, name).fill(str(value))
        settle(page)
        assert page.evaluate(places) == before, (model, values)
        assert page.evaluate("() => document.documentElement.scrollWidth") <= width
    small = """() => [...document.querySelectorAll(".kv *")].filter((each) => each.textContent.trim() &&
      parseFloat(getComputedStyle(each).fontSize) < 12).map((each) => each.className)"""
    assert page.evaluate(small) == []


def test_who_wants_less_motion_gets_none(show):
    page = show(reduced_motion="reduce")
    shown = "() => getComputedStyle(document.querySelector('.kv-fill')).transitionProperty"
    assert page.evaluate(shown) == "none"


# -- in JupyterLab


def test_in_jupyterlab_python_and_the_browser_stay_in_step(lab, expect):
    page = lab.open_notebook(
        [
            "from course_lib.classroom.kv_explorer import KVExplorer\nexplorer = KVExplorer(kv_heads=24)\nexplorer",
            "print(explorer.model, explorer.kv_heads, explorer.bytes_per_token)",
            "explorer.model = '8B'",
        ],
        name="kv",
    )
    expect(page.get_by_role("radio", name="8B", exact=True)).to_be_checked()  # all cells ran
    heads = slider(page, "Key/value heads")
    expect(heads).to_have_value("4")
    heads.focus()
    page.keyboard.press("ArrowLeft")
    expect(heads).to_be_focused()  # JupyterLab did not take the arrows
    page.get_by_role("radio", name="540B").check()
    page.wait_for_timeout(400)
    lab.run_cell(page, 1)
    expect(page.get_by_text("540B 8 966656")).to_be_visible()
