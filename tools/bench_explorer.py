"""Measure the mask explorer in Chromium: script time for each key press, and how soon the change is painted.

    python tools/bench_explorer.py [--presses 200] [--chromium PATH] [--json benchmarks/explorer.json]

The divider has the focus and the arrow keys are pressed as a learner presses them. "script" is the key's listeners and
the drawing that they ask for (the callbacks of the animation frame), to the resolution of the browser's clock; "style
and layout" is the browser's own work for the same press, on average. "frames" counts animation frames from the key
press to the one that drew, 1 being the next; "to paint" is the time from the press until that frame was handed over.
"""

import argparse
import statistics
import sys
from pathlib import Path

import tables
import torch
from chromium import find as find_chromium
from playwright.sync_api import sync_playwright

from course_lib.classroom.explorer import MaskExplorer
from course_lib.classroom.widgets import module_source, stylesheet
from course_lib.training_record import machine, today

SENTENCE = "the lantern is lost and Mara climbs a tower near old harbour while rain falls on every roof in town"
ADDRESS = "http://localhost/bench"
PAGE = '<!doctype html><meta charset="utf-8"><body data-jp-theme-light="true"><style></style><div id="root"></div>'
# Time the listeners of key presses and the callbacks of animation frames, from before the module is loaded.
INSTRUMENT = """(traits) => {
  const listen = EventTarget.prototype.addEventListener, frame = window.requestAnimationFrame.bind(window);
  window.press = null;
  EventTarget.prototype.addEventListener = function (type, callback, options) {
    if (type !== "keydown") return listen.call(this, type, callback, options);
    return listen.call(this, type, (event) => {
      const start = performance.now();
      try { return callback.call(this, event); }
      finally { if (window.press) window.press.script += performance.now() - start; }
    }, options);
  };
  window.requestAnimationFrame = (callback) => frame((time) => {
    const start = performance.now();
    callback(time);
    if (!window.press) return;
    window.press.script += performance.now() - start;
    if (window.press.frames !== undefined) return;
    const drawn = window.press;
    drawn.frames = window.frameNumber - drawn.frame;
    const { port1, port2 } = new MessageChannel();  // a message is handled after this frame is painted
    port1.onmessage = () => { drawn.painted = performance.now() - drawn.start; };
    port2.postMessage(0);
  });
  window.frameNumber = 0;
  const count = () => { window.frameNumber += 1; frame(count); };
  frame(count);
  listen.call(window, "keydown", () => {
    window.press = { script: 0, start: performance.now(), frame: window.frameNumber };
  }, true);
  const state = { ...traits, custom_mask: null };
  const ignore = () => {};
  window.model = { get: (name) => state[name], set: ignore, save_changes: ignore, on: ignore, off: ignore };
}"""
LOAD = """async (source) => {
  const module = await import(URL.createObjectURL(new Blob([source], { type: "text/javascript" })));
  module.default.render({ model: window.model, el: document.getElementById("root") });
  document.querySelector("[role=slider]").focus();
}"""


def measure(page, presses: int) -> dict:
    """Press arrow keys and return the times in ms."""
    session = page.context.new_cdp_session(page)
    session.send("Performance.enable")

    def browser_work():
        metrics = {metric["name"]: metric["value"] for metric in session.send("Performance.getMetrics")["metrics"]}
        return 1000 * (metrics["LayoutDuration"] + metrics["RecalcStyleDuration"])

    for _ in range(20):  # warm up: the first presses are interpreted
        page.keyboard.press("ArrowRight")
        page.wait_for_timeout(20)
    before, found = browser_work(), []
    for i in range(presses):
        page.keyboard.press("ArrowRight" if (i // 10) % 2 else "ArrowLeft")
        page.wait_for_function("() => window.press?.painted !== undefined", polling=50)
        found.append(page.evaluate("() => window.press"))
    return {
        "script": [press["script"] for press in found],
        "frames": [press["frames"] for press in found],
        "painted": [press["painted"] for press in found],
        "layout": (browser_work() - before) / presses,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--presses", type=int, default=200)
    parser.add_argument("--chromium", help="the browser, unless it is the system's or what COURSE_CHROMIUM names")
    parser.add_argument("--json", type=Path, help="write the record here; the README's table is made of it")
    options = parser.parse_args()
    try:
        chromium = options.chromium or find_chromium()
    except FileNotFoundError as error:
        parser.error(str(error))
    rows, words = [], SENTENCE.split()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        for tokens in (13, 64, 256):
            explorer = MaskExplorer(" ".join(words[i % len(words)] for i in range(tokens)))
            traits = {name: getattr(explorer, name) for name in explorer.trait_names(sync=True) if name[0] != "_"}
            traits = {name: value for name, value in traits.items() if isinstance(value, (str, int, list, type(None)))}
            page = browser.new_page(viewport={"width": 1280, "height": 1000})
            page.route(ADDRESS, lambda route: route.fulfill(body=PAGE, content_type="text/html"))
            page.goto(ADDRESS)
            page.evaluate("(css) => (document.querySelector('style').textContent = css)", stylesheet("mask_explorer"))
            page.evaluate(INSTRUMENT, traits)
            page.evaluate(LOAD, module_source("mask_explorer"))
            rows.append((tokens, measure(page, options.presses)))
            page.close()
        version = browser.version
        browser.close()
    print(f"{machine(torch.device('cpu'))}; Chromium {version}; {today()}")
    print("| tokens | script, median | script, worst | style and layout | frames, median | frames, worst | to paint |")
    print("|---|---|---|---|---|---|---|")
    for tokens, found in rows:
        print(
            f"| {tokens} | {statistics.median(found['script']):.2f} ms | {max(found['script']):.2f} ms "
            f"| {found['layout']:.2f} ms | {statistics.median(found['frames']):.0f} | {max(found['frames'])} "
            f"| {statistics.median(found['painted']):.1f} ms |"
        )
    if options.json:
        rows = [
            {
                "tokens": tokens,
                "script_median_ms": statistics.median(found["script"]),
                "script_worst_ms": max(found["script"]),
                "layout_ms": found["layout"],
                "frames_median": statistics.median(found["frames"]),
                "painted_median_ms": statistics.median(found["painted"]),
            }
            for tokens, found in rows
        ]
        tables.write_record(options.json, "python " + " ".join(sys.argv), chromium=version, rows=rows)


if __name__ == "__main__":
    main()
