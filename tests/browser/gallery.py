"""Every widget of the course on one plain page, as they stand in one notebook, and the map of the lessons.

`specimens()` makes them, by name; `Gallery(page, specimens)` draws them. Each has a stand-in for anywidget's model
(stand_in.MODEL), and the real Python object answers what the browser sends.
"""

from pathlib import Path

import torch
from stand_in import MODEL

from course_lib.classroom.attention_explorer import AttentionExplorer
from course_lib.classroom.banks import load_banks
from course_lib.classroom.blank_explorer import BlankExplorer
from course_lib.classroom.cache_explorer import CacheExplorer
from course_lib.classroom.chunk_explorer import ChunkExplorer
from course_lib.classroom.course_map import course_map
from course_lib.classroom.exam import exam
from course_lib.classroom.explorer import MaskExplorer
from course_lib.classroom.flow_explorer import DataFlowExplorer
from course_lib.classroom.glossary import glossary
from course_lib.classroom.kv_explorer import KVExplorer
from course_lib.classroom.panel import ProgressPanel
from course_lib.classroom.predict import Prediction
from course_lib.classroom.progress import progress
from course_lib.classroom.quiz import QuizDeck
from course_lib.classroom.race_explorer import KernelRaceExplorer
from course_lib.classroom.score import score
from course_lib.classroom.shard_explorer import ShardExplorer
from course_lib.classroom.state_explorer import StateExplorer
from course_lib.classroom.training_panel import TrainingPanel
from course_lib.data import Vocabulary
from course_lib.model import Config, PrefixLM
from course_lib.training import Run

ADDRESS = "http://localhost/gallery"  # a secure context, answered by the test: nothing listens there
BANKS = Path(__file__).parents[1] / "banks"
QUIZ_KINDS = ("one", "several", "count", "cells", "steps", "say")
EXPLORERS = ("mask", "attention", "cache", "blank", "flow", "kv", "chunk", "state", "race", "shard")
GUESSES = ("guess", "typed", "pick", "curve")
WORDS = ["the", "bat", "sees", "fox", "a", ".", "hangs", "upside", "down", "in", "forest"]
MAP = f'<div id="map"><div class="course">{course_map()._repr_html_()}</div></div>'  # not a widget: shown as it is
HTML = """<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Every widget</title>
<link rel="icon" href="data:,"><meta name="viewport" content="width=device-width">
<style>
  body { margin: 16px; color-scheme: light; background: #fff; color: #000 }
  body[data-jp-theme-light=false] { color-scheme: dark; background: #111; color: #eee }
</style></head><body data-jp-theme-light="true"><main></main></body></html>"""
SHOW = """async ({ name, bytes, source, css }) => {
  const { model } = window;
  (window.models ??= {})[name] = model;
  for (const [trait, value] of Object.entries(bytes)) window.receiveBytes(model, trait, Uint8Array.from(value));
  model.send = (content) => {
    model.sent.push(content);
    window.asked = (window.asked ?? 0) + 1;
    window.python(name, content).then(([traits, bytes]) => {
      window.asked -= 1;
      for (const [trait, value] of Object.entries(bytes)) window.receiveBytes(model, trait, Uint8Array.from(value));
      for (const [trait, value] of Object.entries(traits)) model.receive(trait, value);
    });
  };
  document.head.append(Object.assign(document.createElement("style"), { textContent: css }));
  const { default: made } = await import(URL.createObjectURL(new Blob([source], { type: "text/javascript" })));
  const el = Object.assign(document.createElement("div"), { id: name });
  await made.render({ model, el, experimental: { invoke: async () => [null, []] } });
  document.querySelector("main").append(el);
}"""

RECEIVE_BYTES = """() => {
  window.receiveBytes = (model, trait, { buffer }) => {
    const view = new DataView(buffer);
    view.toJSON = () => [...new Uint8Array(buffer)]; // tells the stand-in that two views differ
    model.receive(trait, view);
  };
}"""
USE_CONTROLS = """() => {
  const fire = (element, ...names) => {
    for (const name of names) element.dispatchEvent(new Event(name, { bubbles: true }));
  };
  for (const root of document.querySelectorAll(":is(main > div):has(.course:not(.quiz, .predict, .progress-panel))")) {
    for (const radio of root.querySelectorAll("fieldset label:last-child input[type=radio]:enabled")) radio.click();
    for (const range of root.querySelectorAll("input[type=range]:enabled")) {
      range.value = Number(range.min) + Math.ceil((range.max - range.min) * 0.4);
      fire(range, "input", "change");
    }
    for (const list of root.querySelectorAll("select")) {
      list.selectedIndex = list.options.length - 1;
      fire(list, "input", "change");
    }
    for (const box of root.querySelectorAll("input[type=checkbox]:enabled")) box.click();
    for (const button of root.querySelectorAll("button:enabled")) if (button.textContent !== "Play") button.click();
  }
}"""


def specimens() -> dict:
    """The widgets by name, made as in the lessons. Needs COURSE_PROGRESS to name a file that may be written."""
    torch.manual_seed(0)
    small = PrefixLM(Config(vocab_size=len(Vocabulary(WORDS)), dim=16, layers=2, heads=3, head_dim=8, max_len=80))
    with torch.no_grad():
        for weight in small.parameters():
            weight.mul_(8)  # so that the attention is not spread evenly
    sample = load_banks(BANKS)
    run = Run(
        PrefixLM(Config(vocab_size=5, dim=8, layers=1, heads=1)), lambda step: None, steps=300, objective="stories"
    )
    guesses = {name: Prediction(sample.predictions[f"sample.{name}"]) for name in GUESSES}
    text = "the bat hangs upside down in the forest"
    return {
        "mask": MaskExplorer(),
        "attention": AttentionExplorer(small, Vocabulary(WORDS), text, 4, selected=2),
        "cache": CacheExplorer(),
        "blank": BlankExplorer(),
        "flow": DataFlowExplorer(),
        "kv": KVExplorer(),
        "chunk": ChunkExplorer(),
        "state": StateExplorer(),
        "race": KernelRaceExplorer(),
        "shard": ShardExplorer(),
        "deck": QuizDeck([sample.questions[name] for name in sample.decks["sample.all"]]),
        **{f"quiz-{kind}": QuizDeck([sample.questions[f"sample.{kind}"]]) for kind in QUIZ_KINDS},
        **{f"predict-{name}": guess for name, guess in guesses.items()},
        "reveal": guesses["pick"].reveal(bars, alt="Two bars, of which the right one is twice as high."),
        "training": TrainingPanel(run, title="Storyteller"),
        "progress": ProgressPanel(progress),
        "exam": exam(size=3),
        "score": score(),
        "glossary": glossary(),
    }


def bars(guess):
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4, 2), dpi=100)
    figure.add_subplot().bar(["this", "that"], [1, 2])
    return figure


def traits(widget) -> tuple[dict, dict]:
    """What Python would send to the browser, but for what is ipywidgets' own: plain values, and bytes as lists."""
    names = [name for name in widget.keys if not name.startswith("_") and name not in ("layout", "tabbable", "tooltip")]
    values = {name: getattr(widget, name) for name in names}
    data = {name: list(value) for name, value in values.items() if isinstance(value, bytes)}
    return {name: value for name, value in values.items() if name not in data}, data


class Gallery:
    """The widgets on a page; `root(name)` is one of them."""

    def __init__(self, page, widgets: dict):
        self.page, self.widgets = page, widgets
        page.route(ADDRESS, lambda route: route.fulfill(body=HTML, content_type="text/html; charset=utf-8"))
        page.goto(ADDRESS)
        page.evaluate("(html) => document.querySelector('main').insertAdjacentHTML('beforeend', html)", MAP)
        page.expose_function("python", self._python)
        page.evaluate(RECEIVE_BYTES)
        for name, widget in widgets.items():
            plain, data = traits(widget)
            page.evaluate(MODEL, plain)
            page.evaluate(SHOW, {"name": name, "bytes": data, "source": widget._esm, "css": widget._css})
        self.settle()

    def _python(self, name, content) -> tuple[dict, dict]:
        widget = self.widgets[name]
        widget._receive(widget, content, [])
        return traits(widget)

    def root(self, name):
        return self.page.locator(f"#{name} > .course")

    def receive(self, name, **state):
        """Set traits as Python would."""
        self.page.evaluate(
            "([name, state]) => Object.entries(state).forEach((each) => models[name].receive(...each))", [name, state]
        )

    def theme(self, name: str):
        self.page.evaluate("(light) => { document.body.dataset.jpThemeLight = light; }", name == "light")
        self.settle()

    def look_at(self, explorers: bool):
        """Show the explorers alone, or all the rest: a page of half the height takes half the time to photograph."""
        self.page.evaluate(
            """([names, explorers]) => {
              for (const each of document.querySelectorAll("main > div"))
                each.style.display = names.includes(each.id) === explorers ? "" : "none";
            }""",
            [EXPLORERS, explorers],
        )

    def settle(self):
        """Wait until Python has answered all, what was asked for is drawn, and nothing moves."""
        self.page.wait_for_function("() => !window.asked")
        self.page.evaluate("() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
        self.page.wait_for_function("() => document.getAnimations().every((one) => one.playState !== 'running')")

    # -- states

    def use_explorers(self):
        """Move every control of the explorers once: sliders, choices, boxes, lists, buttons."""
        self.look_at(explorers=True)
        self.page.evaluate(USE_CONTROLS)
        self.root("mask").locator(".mx-token").nth(3).click()
        self.root("mask").locator("textarea").fill("word " * 300)  # refused, with its reason
        self.settle()

    def answer_wrong(self):
        """Answer every question wrongly, take every guess, open what opens."""
        self.look_at(explorers=False)
        for kind in QUIZ_KINDS:
            root = self.root(f"quiz-{kind}")
            for box in root.locator(".quiz-slot :is(input[type=radio], input[type=checkbox])").all()[:1]:
                box.check()
            for field in root.locator(".quiz-slot :is(input[type=text], textarea)").all():
                field.fill("28")
            if kind == "steps":
                root.locator(".quiz-moves button").nth(1).click()
            root.locator("button[type=submit]").click()
            root.locator(".quiz-feedback, .quiz-note:not(:empty)").first.wait_for()
        for name in GUESSES:
            self.root(f"predict-{name}").locator("button[type=submit]").click()
        self.root("progress").get_by_role("button", name="Reset").click()
        for summary in self.root("progress").locator("summary").all():
            summary.click()
        self.page.evaluate("() => receiveBytes(models.training, 'losses', new Float32Array([6, 4, 3, 2.5]))")
        self.receive("training", step=4, state="failed", message="The kernel ran out of memory.")
        self.settle()

    def answer_again(self):
        """A second miss shows the answer; in the deck, a right answer, and the next question."""
        for kind in QUIZ_KINDS:
            root = self.root(f"quiz-{kind}")
            if (button := root.locator("button[type=submit]")).is_visible():
                for box in root.locator(".quiz-slot input[type=radio]").all()[2:3]:
                    box.check()
                if kind == "count":
                    root.locator("input").fill("29")
                if kind == "cells":
                    root.locator(".quiz-cell").first.click()
                button.click()
        deck = self.root("deck")  # it has the same questions, so it knows the same answers
        self.receive("deck", states=self.widgets["deck"].states)
        deck.get_by_role("button", name="Try again").click()
        deck.locator("input").nth(1).check()
        deck.get_by_role("button", name="Check").click()
        deck.locator(".quiz-feedback .good").wait_for()
        self.root("predict-pick").locator("input").first.check()
        self.root("predict-pick").locator("button[type=submit]").click()
        self.receive("training", state="finished", message="All 300 steps are done.")
        self.settle()
