"""What the browser tests share: a JupyterLab of their own, a watched page, and widgets on a plain page.

`lab`          a drive_lab.Classroom: `lab.open_notebook([code, ...]) -> page` writes, opens and runs a notebook;
               `lab.run_all`, `lab.run_cell`, `lab.restart_kernel`, `lab.reload`, `lab.progress_file`, ...
`open_notebook`  the same helper by itself.
`module_page`  `module_page("quiz", {"trait": value}) -> page`: a widget's ES module on a blank page, with a stand-in
               for anywidget's model. Fast, no Jupyter. See stand_in.py for what the page has.
`gallery_page` `gallery_page() -> gallery.Gallery`: every widget of the course on one plain page, with Python behind.
`expect`       playwright's assertions that wait.

At the end of each test the page must have logged no error and asked nothing of another machine. A test that
provokes an error on purpose clears `page.errors`.
"""

import os
import time
from pathlib import Path

import pytest
from chromium import find as find_chromium
from drive_lab import WIDE, Classroom, Server
from stand_in import MODEL

HERE = Path(__file__).parent
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
]
LOAD_MODULE = """async ([source, draw]) => {
  const url = URL.createObjectURL(new Blob([source], { type: "text/javascript" }));
  window.module = await import(url);
  window.root = document.getElementById("root");
  if (!draw) return;
  const made = window.module.default;
  const widget = typeof made === "function" ? await made() : made;
  const context = { model: window.model, experimental: { invoke: async () => [null, []] } };
  await widget.initialize?.(context);
  window.root.remove(); // as in JupyterLab, which draws first and attaches after
  window.cleanup = await widget.render({ ...context, el: window.root });
  document.body.append(window.root);
  await new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)));
}"""


def pytest_collection_modifyitems(items):
    for item in items:
        if item.path.is_relative_to(HERE):
            item.add_marker(pytest.mark.browser)


def unavailable(reason: str):
    """Skip, or fail where the browser tests were asked for (`make test-browser` sets COURSE_BROWSER=required)."""
    if os.environ.get("COURSE_BROWSER") == "required":
        pytest.fail(f"{reason}, and COURSE_BROWSER=required asks for the browser tests", pytrace=False)
    pytest.skip(reason)


def chromium_path() -> str:
    """The system's Chromium, or what COURSE_CHROMIUM names."""
    try:
        return find_chromium()
    except FileNotFoundError as error:
        unavailable(str(error))


@pytest.fixture(scope="session")
def browser():
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        unavailable("playwright is not installed: make test-browser installs it")
    path = chromium_path()
    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=path, headless=True, args=FLAGS)
        yield running
        running.close()


@pytest.fixture(scope="session", name="unavailable")
def unavailable_fixture():
    """What a fixture of a single file calls when something is not installed."""
    return unavailable


@pytest.fixture
def expect(browser):
    from playwright.sync_api import expect

    return expect


@pytest.fixture
def new_page(browser):
    """Return a function that makes a watched page; close them all at the end and ask what they logged and requested."""
    pages = []

    def make(*, viewport=WIDE, local=(), **context_options):
        width, height = viewport
        context = browser.new_context(viewport={"width": width, "height": height}, **context_options)
        page = context.new_page()
        page.errors, page.outside = [], set()
        page.on("console", lambda message: page.errors.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: page.errors.append(str(error)))
        allowed = (*local, "data:", "blob:", "about:")
        page.on("request", lambda request: None if request.url.startswith(allowed) else page.outside.add(request.url))
        pages.append(page)
        return page

    yield make
    for page in pages:
        page.context.close()
    assert [error for page in pages for error in page.errors] == [], "the page logged errors"
    assert sorted(url for page in pages for url in page.outside) == [], "the page asked other machines"


@pytest.fixture(scope="session")
def lab_server(browser, tmp_path_factory):
    """One JupyterLab for all tests, on the loopback only, with fresh folders for its settings."""
    server = Server(tmp_path_factory.mktemp("lab"))
    yield server
    server.stop()


@pytest.fixture
def lab(lab_server, new_page):
    """JupyterLab with no progress and, after the test, no kernels."""
    lab_server.progress_file.unlink(missing_ok=True)
    yield Classroom(lab_server, new_page)
    lab_server.shut_kernels()


@pytest.fixture
def open_notebook(lab):
    return lab.open_notebook


@pytest.fixture
def module_page(new_page):
    """Return `load(name, traits=None, *, viewport, theme, draw=True, **context) -> page`.

    `theme` is "light", "dark", or None for a page without JupyterLab's mark. With `draw=False` the module is only
    imported: its exports are at `window.module`.
    """
    from course_lib.classroom.widgets import module_source, stylesheet

    address = "http://localhost/module-page"  # a secure context, answered here: nothing listens there

    def load(name, traits=None, *, viewport=(900, 900), theme="light", draw=True, **context):
        page = new_page(viewport=viewport, local=(address,), **context)
        mark = "" if theme is None else f' data-jp-theme-light="{str(theme == "light").lower()}"'
        paper = {"light": "#fff", "dark": "#111", None: "Canvas"}[theme]
        html = (
            '<!doctype html><html lang="en"><head><meta charset="utf-8"><title>widget</title>'
            '<link rel="icon" href="data:,"><meta name="viewport" content="width=device-width">'
            f"<style>body {{ margin: 16px; color-scheme: light dark; background: {paper} }}</style>"
            f'<style id="sheet"></style></head><body{mark}><div id="root"></div></body></html>'
        )
        page.route(address, lambda route: route.fulfill(body=html, content_type="text/html; charset=utf-8"))
        page.goto(address)
        page.evaluate("(css) => { document.getElementById('sheet').textContent = css; }", stylesheet(name))
        page.evaluate(MODEL, traits or {})
        page.evaluate(LOAD_MODULE, [module_source(name), draw])
        return page

    return load


@pytest.fixture
def gallery_page(new_page, own_progress):
    """Return `load(*, viewport, **context) -> gallery.Gallery`, with a record of progress of its own."""
    from gallery import ADDRESS, Gallery, specimens

    from course_lib.classroom.race_explorer import KernelRaceExplorer

    made = []

    def load(*, viewport=(1000, 1000), names=None, **context):
        widgets = specimens()
        shown = {name: widgets[name] for name in names or widgets}
        made.extend(shown.values())
        return Gallery(new_page(viewport=viewport, local=(ADDRESS,), **context), shown)

    yield load
    for race in (one for one in made if isinstance(one, KernelRaceExplorer)):
        race._stop.set()
        while race.busy:  # a thread that computes when Python ends would abort it
            time.sleep(0.05)
