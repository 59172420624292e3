"""Training in the browser: the panel by itself, then in JupyterLab with Stop, Interrupt and going on."""

import json
from itertools import pairwise

import pytest

from course_lib.classroom.training_pictures import smoothed

TRAITS = {
    "title": "<b>Storyteller</b>",
    "state": "running",
    "steps": 300,
    "step": 117,
    "every": 1,
    "tokens_read": 115342,
    "tokens_taught": 93480,
    "seconds": 12.31,
    "measured": "cards kept 0.44 (after 100 steps)",
    "message": "",
    "log": False,
}
LOSSES = [6 * 0.98**i + 0.1 for i in range(117)]
# bytes begin at an odd place, as they may in a message; toJSON tells the stand-in that they differ
PUT = """(values) => {
  const view = new DataView(new ArrayBuffer(values.length * 4 + 1), 1);
  values.forEach((value, i) => view.setFloat32(4 * i, value, true));
  view.toJSON = () => values;
  model.receive("losses", view);
}"""
SETUP = """
import time, torch
torch.set_num_threads(1)
from course_lib.classroom.training_panel import train_live
from course_lib.model import Config, PrefixLM
from course_lib.objectives import prefix_lm_batch
from course_lib.training import Run

def batch_of(step):
    return prefix_lm_batch(torch.randint(5, (2, 6), generator=torch.Generator().manual_seed(step)), 2)

def slowly(step):
    while time.monotonic() < slowly.until:
        pass
    slowly.until = time.monotonic() + pause
    return batch_of(step)

slowly.until, pause = 0.0, 0.2

def a_run(batch_of, steps=200):
    torch.manual_seed(0)
    return Run(PrefixLM(Config(vocab_size=5, dim=8, layers=1, heads=1)), batch_of, steps=steps, objective="a slow test")

run = a_run(slowly)
"""
TRAIN = "train_live(run)"
COMPARE = """
before = run.step
pause = 0.0
run.train()
whole = a_run(batch_of)
whole.train()
same = all(torch.equal(*pair) for pair in zip(run.model.parameters(), whole.model.parameters()))
print("steps", before, run.step, "losses", run.record.losses == whole.record.losses, "weights", same)
"""


@pytest.fixture
def panel_page(module_page):
    """Return a function that shows a panel with a curve on a plain page."""

    def load(losses=LOSSES, *, traits=None, **options):
        page = module_page("training_panel", {**TRAITS, **(traits or {})}, **options)
        page.evaluate(PUT, losses)
        return page

    return load


def test_the_numbers_are_there_in_words(panel_page, expect):
    page = panel_page()
    bar = page.get_by_role("progressbar", name="<b>Storyteller</b>")
    expect(bar).to_have_attribute("aria-valuenow", "117")
    expect(bar).to_have_attribute("aria-valuemax", "300")
    expect(bar).to_have_attribute("aria-valuetext", "step 117 of 300")
    facts = page.locator(".training-facts")
    for words in ("117 of 300", "115,342", "93,480", "12 s, about 19 s to go", "cards kept 0.44"):
        expect(facts).to_contain_text(words)
    curve = page.get_by_role("img")
    expect(curve).to_have_attribute("aria-label", "Loss of each step, from 6.1 at step 1 to 0.676 at step 117 of 300.")


def test_the_curve_is_the_losses(panel_page, expect):
    """Read the drawn points back through the ticks beside them."""
    page = panel_page()
    for scale in ("linear", "log"):
        if scale == "log":
            page.get_by_label("log scale").check()
        expect(page.locator(".training-raw")).to_have_count(1)
        found = page.evaluate(
            """() => ({
              ticks: [...document.querySelectorAll(".training-plot text[text-anchor=end]")]
                .filter((text) => Number(text.getAttribute("x")) < 52)
                .map((text) => [Number(text.textContent), Number(text.getAttribute("y")) - 4]),
              curves: ["raw", "smooth"]
                .map((name) => document.querySelector(`.training-${name}`).getAttribute("points")),
              lefts: [...document.querySelectorAll(".training-rule")].map((rule) => Number(rule.getAttribute("x1"))),
              rights: [...document.querySelectorAll(".training-rule")].map((rule) => Number(rule.getAttribute("x2"))),
            })"""
        )
        (low, at_low), (high, at_high) = found["ticks"][0], found["ticks"][-1]
        left, right = found["lefts"][0], found["rights"][0]
        for text, values in zip(found["curves"], (LOSSES, smoothed(LOSSES)), strict=True):
            points = [tuple(map(float, pair.split(","))) for pair in text.split()]
            assert len(points) == 117
            for i, (x, y) in enumerate(points):
                share = (y - at_low) / (at_high - at_low)
                value = low + share * (high - low) if scale == "linear" else low * (high / low) ** share
                assert value == pytest.approx(values[i], rel=0.01, abs=0.01)
                assert x == pytest.approx(left + (right - left) * (i + 1) / 300, abs=0.1)
    assert page.evaluate("() => model.saved") == [{"log": True}]


@pytest.mark.parametrize("high", [1e-7, 0.13, 0.5, 1, 4.99, 5, 6.07, 70, 1e6])
def test_ticks_are_round_and_reach_round_the_curve(module_page, high):
    page = module_page("training_panel", TRAITS, draw=False)
    linear = page.evaluate("(high) => module.linearTicks(high)", high)
    assert linear[0] == 0
    assert linear[-2] < high <= linear[-1] * (1 + 1e-9)
    assert 3 <= len(linear) <= 7
    log = page.evaluate("([low, high]) => module.logTicks(low, high)", [high / 37, high])
    assert log[0] <= high / 37 < log[1]
    assert log[-2] < high <= log[-1]
    assert all(1.9 < b / a < 2.6 for a, b in pairwise(log))
    flat = page.evaluate("([low, high]) => module.logTicks(low, high)", [high, high])
    assert len(flat) >= 2
    assert flat[0] <= high <= flat[-1]


def test_stop_is_sent_once_and_answered_by_the_state(panel_page, expect):
    page = panel_page()
    button = page.get_by_role("button")
    button.focus()
    page.keyboard.press("Enter")
    expect(button).to_have_text("Stopping …")
    expect(button).to_be_disabled()
    page.evaluate("() => model.receive('step', 118)")  # news of the last step changes nothing
    expect(page.get_by_role("progressbar")).to_have_attribute("aria-valuenow", "118")
    expect(button).to_be_disabled()
    assert page.evaluate("() => model.sent") == [{"type": "stop"}]
    page.evaluate("() => { model.receive('message', 'Stopped after step 118.'); model.receive('state', 'stopped'); }")
    expect(button).to_have_count(0)
    expect(page.locator(".training-message")).to_have_text("Stopped after step 118.")


def test_a_kernel_that_does_not_listen_is_told_of(panel_page, expect):
    page = panel_page()
    page.clock.install()
    page.get_by_role("button").click()
    page.clock.fast_forward(5_500)
    expect(page.locator(".training-message")).to_contain_text("Interrupt it")
    expect(page.get_by_role("button")).to_be_enabled()
    expect(page.get_by_role("button")).to_have_text("Stop")


def test_silence_is_told_of_and_forgotten_at_the_next_news(module_page, expect):
    page = module_page("training_panel", TRAITS, draw=False)
    page.clock.install()
    page.evaluate("() => { module.default.render({ model, el: root }); }")
    page.clock.run_for(17_000)
    message = page.locator(".training-message")
    expect(message).to_contain_text("Nothing was heard from the kernel for 15 seconds")
    page.evaluate("() => model.receive('step', 118)")
    page.clock.run_for(1_000)
    expect(message).to_have_text("")


def test_screen_readers_hear_quarters_and_the_end(panel_page, expect):
    page = panel_page([], traits={"step": 0, "tokens_read": 0, "seconds": 0.0})
    status = page.get_by_role("status")
    expect(status).to_have_text("Training has begun: 300 steps.")
    heard = page.evaluate_handle(
        """() => {
          const heard = [];
          new MutationObserver(() => heard.push(document.querySelector("[role=status]").textContent))
            .observe(document.querySelector("[role=status]"), { childList: true, characterData: true, subtree: true });
          return heard;
        }"""
    )
    for step in range(10, 100, 5):
        page.evaluate("(step) => model.receive('step', step)", step)
        page.wait_for_timeout(30)
    expect(status).to_have_text("Step 75 of 300.")
    page.evaluate("() => { model.receive('step', 300); model.receive('message', 'Finished.'); }")
    page.evaluate("() => model.receive('state', 'finished')")
    expect(status).to_have_text("Finished.")
    assert len(heard.json_value()) == 2


@pytest.mark.parametrize(("width", "theme"), [(400, "dark"), (1280, "light")])
@pytest.mark.parametrize("state", ["ready", "running", "stopped", "finished", "failed"])
def test_every_state_fits(panel_page, expect, width, theme, state):
    message = "the loss is nan " * 12 + "x" * 90 if state == "failed" else "Some words."
    losses = [] if state == "ready" else LOSSES
    page = panel_page(losses, traits={"state": state, "message": message}, viewport=(width, 700), theme=theme)
    expect(page.locator(".training-state")).to_be_visible()
    assert page.evaluate("() => document.documentElement.scrollWidth <= innerWidth")
    assert page.get_by_role("button").count() == (state == "running")


def test_it_lets_go_of_the_model(panel_page):
    page = panel_page()
    page.evaluate("() => cleanup()")
    assert page.evaluate("() => model.listenerCount()") == 0


def steps_done(page) -> int:
    return int(page.locator(".training").get_by_role("progressbar").get_attribute("aria-valuenow"))


def test_in_jupyterlab_stop_and_interrupt_leave_a_run_that_goes_on(lab, expect):
    page = lab.open_notebook([SETUP, TRAIN, COMPARE], run=False)
    lab.run_cell(page, 0)

    lab.start_cell(page, 1)
    panel = page.locator(".training")
    bar = panel.get_by_role("progressbar")
    expect(bar).not_to_have_attribute("aria-valuenow", "0", timeout=20_000)
    prompt = page.locator(".jp-CodeCell .jp-InputPrompt").nth(1)  # the kernel's light goes idle after any comm message
    expect(prompt).to_have_text("[*]:")
    panel.get_by_role("button", name="Stop").click()
    expect(panel.locator(".training-state")).to_have_text("stopped", timeout=15_000)
    expect(panel).to_contain_text("Run the cell again to go on from there.")
    expect(prompt).to_have_text("[2]:")
    stopped_at = steps_done(page)
    assert 0 < stopped_at < 200

    lab.start_cell(page, 1)
    page.wait_for_function(
        "(step) => document.querySelector('.training [role=progressbar]')?.getAttribute('aria-valuenow') > step + 2",
        arg=stopped_at,
        timeout=20_000,
    )
    page.evaluate("() => window.jupyterapp.commands.execute('notebook:interrupt-kernel')")
    expect(panel.locator(".training-state")).to_have_text("stopped", timeout=15_000)
    expect(prompt).to_have_text("[3]:")
    interrupted_at = steps_done(page)
    assert stopped_at < interrupted_at < 200
    outputs = lab.outputs(page, 1)
    assert [output["output_type"] for output in outputs] == ["display_data"]  # no traceback, nothing printed

    lab.run_cell(page, 2)
    assert f"steps {interrupted_at} 200 losses True weights True" in json.dumps(lab.outputs(page, 2))
    lab.run_cell(page, 1)
    expect(panel).to_contain_text("It was finished already; for another, make a new run.")
