"""The race of softmax and linear attention in a browser: Python's counts, the recorded marks, mouse, keyboard, Stop."""

import pytest

from course_lib.classroom import race_words
from course_lib.classroom.race_explorer import KernelRaceExplorer
from course_lib.classroom.race_words import EIGHTHS, FAMILIES, FORMS, LENGTHS, counted, counted_words, key, law

SYNCED = ("total_len", "prefix_eighths", "measured", "busy", "said", "setting")
RATIO = {"softmax": [1.15, 1.2, 1.25], "linear": [0.7, 0.78, 0.9]}


SAID = ".rx-said span:last-child"


def a_point(ratio=RATIO, rounds=9) -> dict:
    seconds = {"softmax causal": 0.2, "softmax prefix": 0.25, "linear causal": 0.02, "linear prefix": 0.015}
    spread = {form: [0.9 * one, one, 1.1 * one] for form, one in seconds.items() if form.split()[0] in ratio}
    return {"rounds": rounds, "seconds": spread, "ratio": ratio}


def traits(explorer) -> dict:
    return {name: getattr(explorer, name) for name in SYNCED}


@pytest.fixture
def show(module_page):
    def draw(explorer=None, *, viewport=(1280, 1000), theme="light", measured=None, **context):
        given = traits(KernelRaceExplorer() if explorer is None else explorer) | {"measured": measured or {}}
        return module_page("race_explorer", given, viewport=viewport, theme=theme, **context)

    return draw


def settle(page):
    page.evaluate("() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")


def receive(page, **changes):
    page.evaluate("(state) => Object.entries(state).forEach((each) => model.receive(...each))", changes)
    settle(page)


def texts(page, selector) -> list[str]:
    settle(page)
    return page.locator(selector).all_text_contents()


# -- the same as Python


def test_counts_and_words_are_those_of_python_in_all_settings(show):
    page = show()
    odd = {"eighths": 8, "heads": 3, "dim": 16, "tile": 64}
    found = page.evaluate(
        """([lengths, odd]) => lengths.flatMap((L) => Array.from({ length: 9 }, (_, n) => {
          const setting = model.get("setting");
          return [module.countRace(setting, L, n), module.countedWords(setting, L, n), module.countRace(odd, 200, n)];
        }))""",
        [LENGTHS, odd],
    )
    settings = [(L, n) for L in LENGTHS for n in range(EIGHTHS + 1)]
    for (L, n), (counts, words, _) in zip(settings, found, strict=True):
        assert counts == counted(L, n)
        assert words == counted_words(L, n)
    from course_lib.costs import attention_flops
    from course_lib.linear_costs import linear_cost

    for n, (_, _, ragged) in enumerate(found[:9]):  # lengths that tiles do not fill
        softmax = attention_flops(25 * n, 200, heads=3, head_dim=16, block_size=64)
        linear = linear_cost("chunked", 25 * n, 200, key_dim=16, value_dim=16, chunk=64).flops
        assert (ragged["softmax prefix"], ragged["linear prefix"]) == (softmax, 3 * linear)


def test_the_bars_are_the_counts_each_pair_on_its_own_scale(show):
    page = show()
    for L in LENGTHS:
        for n in (0, 3, 8):
            receive(page, total_len=L, prefix_eighths=n)
            widths = page.evaluate("() => [...document.querySelectorAll('.rx-bar')].map((bar) => bar.style.width)")
            counts = counted(L, n)
            shares = [50 * counts[form] / counts[f"{form.split()[0]} causal"] for form in FORMS]
            assert [float(width[:-1]) for width in widths] == pytest.approx(shares, rel=1e-4)
    assert texts(page, ".rx-counted .rx-text")[1::2] == [
        "550\u00a0billion1.99 × causal",
        "2.15\u00a0billion0.50 × causal",
    ]


def test_what_is_drawn_is_what_was_recorded(show):
    """Read the marks back through the lines of the ratio's axis, and the dots through the ticks of time."""
    record = race_words.load()["points"]
    page = show(measured={"4096:4": a_point()})
    for L in LENGTHS:
        receive(page, total_len=L)
        for family in FAMILIES:
            known = [record[key(L, n)]["ratio"][family][1] for n in range(9) if key(L, n) in record]
            assert curve(page, f".rx-curve.rx-{family}.is-recorded") == pytest.approx(known, abs=0.01)
            counts = [counted(L, n) for n in range(9)]
            linear = [one["linear prefix"] / one["linear causal"] for one in counts]
            laws = [law(n) for n in range(9)] if family == "softmax" else linear
            assert curve(page, f".rx-sheet .rx-law.rx-{family}") == pytest.approx(laws, abs=0.01)
    receive(page, total_len=4096, prefix_eighths=4)
    for family in FAMILIES:
        assert curve(page, f".rx-curve.rx-{family}.is-measured") == pytest.approx([RATIO[family][1]], abs=0.01)
    for look, point in (("is-recorded", record.get("4096:4")), ("is-measured", a_point())):
        found = page.evaluate(
            """(look) => [...document.querySelectorAll(`.rx-dot.${look}`)].map((dot) => parseFloat(dot.style.left))""",
            look,
        )
        axis = """(seconds) => module.timeAxis(seconds)"""
        every = [one for name, each in record.items() if name.startswith("4096:") for one in each["seconds"].values()]
        every = [one for spread in [*every, *a_point()["seconds"].values()] for one in spread]
        places = page.evaluate(f"([every, at]) => at.map(({axis})(every).at)", [every, medians(point)])
        assert found == pytest.approx(places, abs=0.01)


def medians(point) -> list[float]:
    return [point["seconds"][form][1] for form in FORMS]


def curve(page, selector) -> list[float]:
    """The ratios of a drawn curve."""
    return page.evaluate(
        """(selector) => {
          const lines = [...document.querySelectorAll(".rx-sheet :is(.rx-rule, .rx-one)")].map((one) => Number(one.getAttribute("y1")));
          const [zero, half] = lines, found = document.querySelector(selector);
          if (!found) return [];
          return found.getAttribute("points").split(" ").map((pair) => (0.5 * (Number(pair.split(",")[1]) - zero)) / (half - zero));
        }""",  # noqa: E501
        selector,
    )


def test_the_axis_of_time_goes_round_what_it_shows(show):
    page = show()
    for low, high in [(1e-6, 2e-6), (0.0051, 0.0052), (0.02, 0.45), (0.001, 12), (1e-5, 70)]:
        axis = page.evaluate(
            """(seconds) => {
              const { at, ticks } = module.timeAxis(seconds);
              return [seconds.map(at), ticks.map(at)];
            }""",
            [low, high],
        )
        assert 0 < axis[0][0] < axis[0][1] < 100
        assert 2 <= len(axis[1]) <= 9
        assert all(-0.01 <= tick <= 100.01 for tick in axis[1])


# -- the words


@pytest.mark.parametrize(
    ("softmax", "linear", "short", "words"),
    [
        ([1.1, 1.2, 1.3], [0.7, 0.8, 0.9], ["slower", "faster"],
         "softmax is slower, 1.20 times (middle half 1.10 to 1.30); linear is faster, 0.80 times"),
        ([0.9, 1.1, 1.2], [0.9, 0.97, 1.01], ["not slower here", "not faster here"],
         "linear is not faster here: no difference that this race can show, 0.97 times (middle half 0.90 to 1.01)"),
        ([0.8, 0.9, 0.95], [1.1, 1.2, 1.3], ["faster here", "slower here"],
         "softmax is not slower here but faster, 0.90 times (middle half 0.80 to 0.95); linear is not faster here but slower"),  # noqa: E501
    ],
)  # fmt: skip
def test_faster_and_slower_only_if_three_rounds_of_four_say_so(show, expect, softmax, linear, short, words):
    page = show(KernelRaceExplorer(1024, 4))
    page.wait_for_timeout(100)
    receive(page, measured={"1024:4": a_point({"softmax": softmax, "linear": linear})})
    assert texts(page, "tbody tr:nth-child(2) td b") == short
    expect(page.get_by_role("status")).to_contain_text("Measured here, 9 rounds, prefix against causal: ")
    expect(page.get_by_role("status")).to_contain_text(words)


def test_too_few_rounds_tell_nothing(show):
    page = show(KernelRaceExplorer(1024, 4))
    few = {**a_point({"softmax": [1.1, 1.2, 1.3], "linear": [0.7, 0.8, 0.9]}), "rounds": 5}
    receive(page, measured={"1024:4": few})
    assert texts(page, "tbody tr:nth-child(2) td b") == ["too few rounds", "too few rounds"]


def test_what_was_left_out_and_what_is_noise_is_said(show, expect):
    page = show(KernelRaceExplorer(16384, 4), measured={"16384:4": a_point({"linear": RATIO["linear"]})})
    assert texts(page, ".rx-timed .rx-text b") == [
        "left out",
        "left out",
        "20.0\u00a0ms",
        "15.0\u00a0ms, 0.78 × causal",
    ]
    assert texts(page, "tbody tr:nth-child(2) td")[0] == "left out"
    receive(page, total_len=1024, prefix_eighths=0, measured={"1024:0": a_point()})
    assert texts(page, "tbody tr:nth-child(2) td b") == ["noise only", "noise only"]
    expect(page.get_by_role("status")).to_contain_text("both forms are one function, and a ratio other than 1 is noise")


def test_the_recording_names_its_origin(show, expect):
    page, record = show(), race_words.load()
    for name in ("machine", "date", "command"):
        expect(page.locator(".rx-record")).to_contain_text(record[name])
    row = page.locator("tbody tr:nth-child(3)")
    point = record["points"]["4096:4"]
    expect(row).to_contain_text(f"{point['rounds']} rounds")
    for family in FAMILIES:
        expect(row).to_contain_text(f"{race_words.hundredths(point['ratio'][family][1])} × time")


# -- the controls


def test_the_slider_and_the_lengths_tell_python(show, expect):
    page, explorer = show(), KernelRaceExplorer()
    page.get_by_role("slider").fill("6")
    page.get_by_role("radio", name="16,384").check()
    expect(page.get_by_role("slider")).to_have_attribute("aria-valuetext", "6 eighths: 12,288 of 16,384 tokens")
    expect(page.get_by_role("status")).to_contain_text(counted_words(16384, 6))
    page.wait_for_timeout(250)
    explorer.set_state(page.evaluate("() => Object.assign({}, ...model.saved)"))
    assert (explorer.total_len, explorer.prefix_eighths) == (16384, 6)


def test_it_is_worked_by_keys_that_the_page_does_not_get(show, expect):
    page = show()
    page.evaluate("() => { window.leaked = []; document.addEventListener('keydown', (e) => leaked.push(e.key)); }")
    page.keyboard.press("Tab")
    expect(page.get_by_role("radio", name="4,096")).to_be_focused()
    page.keyboard.press("ArrowRight")
    expect(page.get_by_role("radio", name="16,384")).to_be_checked()
    page.keyboard.press("Tab")
    slider = page.get_by_role("slider", name="Prefix, P / T")
    expect(slider).to_be_focused()
    for press, eighth in [("ArrowLeft", "3"), ("Home", "0"), ("ArrowRight", "1"), ("End", "8")]:
        page.keyboard.press(press)
        expect(slider).to_have_value(eighth)
    assert slider.evaluate("(input) => getComputedStyle(input).outlineStyle") == "solid"
    page.keyboard.press("Tab")
    expect(page.get_by_role("button", name="Measure here")).to_be_focused()
    assert set(page.evaluate("() => leaked")) == {"Tab"}


def test_measure_and_stop_send_once_and_hand_on_the_focus(show, expect):
    page = show()
    measure, stop = page.get_by_role("button", name="Measure here"), page.get_by_role("button", name="Stop")
    expect(stop).to_be_disabled()
    page.get_by_role("slider").fill("5")
    measure.focus()
    page.keyboard.press("Enter")
    expect(measure).to_be_disabled()
    assert page.evaluate("() => model.saved") == [{"prefix_eighths": 5}]  # before the race, not after
    receive(page, busy=True, said="Measuring at T = 4,096, P = 2,560: the first 3 rounds …")
    expect(stop).to_be_focused()
    expect(page.get_by_role("status")).to_have_text("Measuring at T = 4,096, P = 2,560: the first 3 rounds …")
    expect(page.locator(".rx")).to_have_attribute("aria-busy", "true")
    receive(page, said="Measuring at T = 4,096, P = 2,560: 3 rounds so far …", measured={"4096:5": a_point()})
    page.keyboard.press("Enter")
    expect(stop).to_be_disabled()
    assert page.evaluate("() => model.sent") == [{"type": "measure"}, {"type": "stop"}]
    receive(page, busy=False, said="Stopped; kept at T = 4,096, P = 2,560: 3 rounds in 2 s.")
    expect(measure).to_be_focused()
    expect(page.locator(SAID)).to_have_text("Stopped; kept at T = 4,096, P = 2,560: 3 rounds in 2 s.")
    assert len(page.query_selector_all(".rx-sheet .rx-mark.is-measured")) == 2
    page.evaluate("() => cleanup()")
    assert page.evaluate("() => model.listenerCount()") == 0


def test_a_kernel_that_does_not_answer_is_told_of(show, expect):
    page = show()
    page.clock.install()
    page.get_by_role("button", name="Measure here").click()
    page.clock.fast_forward(5_500)
    expect(page.locator(SAID)).to_contain_text("The kernel has not answered")
    expect(page.get_by_role("button", name="Measure here")).to_be_enabled()


# -- the looks


@pytest.mark.parametrize("width", [1280, 832, 700, 400, 320])
def test_it_fits_and_nothing_jumps(show, width):
    page = show(viewport=(width, 1000), theme="dark" if width == 832 else "light")
    places = """() => [...document.querySelectorAll(".rx > *, .rx h3, .rx li, .rx tr, .rx-desk > *, .rx-buttons > *")]
      .filter((each) => each.role !== "status")
      .map((each) => { const { top, height } = each.getBoundingClientRect(); return [top + scrollY, height]; })"""
    before = page.evaluate(places)
    unsure = {"softmax": [0.9, 1.02, 1.1], "linear": [0.95, 1.02, 1.1]}
    for L in LENGTHS:
        for n in range(EIGHTHS + 1):
            for point in (a_point(), a_point(unsure, 30), a_point({"linear": RATIO["linear"]}), None):
                said = f"Measured at {race_words.place(L, n)}: 30 rounds in 6 s." if point else ""
                if point and "softmax" not in point["ratio"]:
                    said += (
                        " Softmax is left out: about 12 s a round (estimated from 4,096 tokens), over the limit of 6 s."
                    )
                measured = {key(L, n): point} if point else {}
                receive(page, total_len=L, prefix_eighths=n, measured=measured, said=said)
                assert page.evaluate(places) == before, (L, n, point)
                assert page.evaluate("() => document.documentElement.scrollWidth") <= width
    small = """() => [...document.querySelectorAll(".rx *")].filter((each) => each.textContent.trim() &&
      parseFloat(getComputedStyle(each).fontSize) < 12).map((each) => each.outerHTML)"""
    assert page.evaluate(small) == []


def test_who_wants_less_motion_gets_none(show):
    page = show(reduced_motion="reduce")
    assert page.evaluate("() => getComputedStyle(document.querySelector('.rx-bar')).transitionProperty") == "none"


# -- in JupyterLab

SETUP = """
from course_lib.classroom import race_explorer
race_explorer.LENGTHS, race_explorer.PROBE = (64, 128, 256), 128
race_explorer.MAX_SECONDS, race_explorer.MOST_ROUNDS = 120, 10**6
explorer = race_explorer.KernelRaceExplorer(64, 4)
explorer
"""
TELL = "print('kept', {name: one['rounds'] for name, one in explorer.measured.items()}, explorer.busy)"


def test_in_jupyterlab_a_race_is_begun_stopped_and_kept(lab, expect):
    page = lab.open_notebook([SETUP, TELL, "race = explorer.measure(8, max_seconds=120)"], run=False)
    lab.run_cell(page, 0)
    widget = page.locator(".rx")
    measure, stop = widget.get_by_role("button", name="Measure here"), widget.get_by_role("button", name="Stop")
    said = widget.locator(SAID)
    measure.click()
    expect(said).to_contain_text("rounds so far", timeout=30_000)
    expect(widget.locator(".rx-dot.is-measured")).to_have_count(4)
    slider = widget.get_by_role("slider")
    slider.focus()
    page.keyboard.press("ArrowRight")  # the race goes on where it began
    expect(slider).to_have_value("5")
    expect(slider).to_be_focused()
    expect(stop).to_be_enabled()
    stop.click()
    expect(said).to_contain_text("Stopped; kept at T = 64, P = 32:", timeout=15_000)
    expect(measure).to_be_enabled()
    page.keyboard.press("Escape")
    lab.run_cell(page, 1)
    (output,) = lab.outputs(page, 1)
    kept = "".join(output["text"])
    assert kept.startswith("kept {'64:4': ")
    assert kept.endswith("False\n")

    lab.start_cell(page, 2)  # the same from a cell, which Stop ends without an error
    expect(said).to_contain_text("at T = 64, P = 64: ", timeout=30_000)
    expect(said).to_contain_text("rounds so far", timeout=30_000)
    prompt = page.locator(".jp-CodeCell .jp-InputPrompt").nth(2)
    expect(prompt).to_have_text("[*]:")
    stop.click()
    expect(said).to_contain_text("Stopped; kept at T = 64, P = 64:", timeout=15_000)
    expect(prompt).to_have_text("[3]:")
    assert lab.outputs(page, 2) == []
    expect(widget.locator(".rx-sheet .rx-mark.is-measured")).to_have_count(4)
