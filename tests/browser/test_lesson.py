"""The first lesson as it is built, in JupyterLab, by keyboard alone: run it, go into its picture, and come back."""

import shutil
from pathlib import Path

LESSON = "00_start_here"
BUILT = Path(__file__).parents[2] / "notebooks" / f"{LESSON}.ipynb"
ACTIVE = "() => window.jupyterapp.shell.currentWidget.content.activeCellIndex"
SOURCES = "() => window.jupyterapp.shell.currentWidget.content.model.sharedModel.cells.map((cell) => cell.source)"


def go_to(page, index: int):
    """Press an arrow until this cell is the active one."""
    for _ in range(60):
        active = page.evaluate(ACTIVE)
        if active == index:
            return
        page.keyboard.press("ArrowUp" if active > index else "ArrowDown")
        page.wait_for_function(f"({ACTIVE})() !== {active}", timeout=5000)
    raise AssertionError(f"the arrows do not reach cell {index}")


def test_the_first_lesson_is_run_and_its_picture_moved_without_a_mouse(lab, expect):
    shutil.copy(BUILT, lab.server.root)
    page = lab.open_file(lab.server.root / BUILT.name, run=False)
    sources = page.evaluate(SOURCES)
    picture = next(n for n, source in enumerate(sources) if source.startswith("explorer = MaskExplorer("))
    told = next(n for n, source in enumerate(sources) if source.startswith("print(len(explorer.tokens)"))
    page.keyboard.press("Escape")
    for n in range(told):
        go_to(page, n)
        page.keyboard.press("Shift+Enter")
    divider = page.get_by_role("slider", name="Boundary between prefix and target")
    expect(divider).to_have_text("P = 5", timeout=60_000)
    go_to(page, picture)
    for _ in range(12):
        page.keyboard.press("Tab")
        if divider.evaluate("(element) => element === document.activeElement"):
            break
    expect(divider).to_be_focused()
    page.keyboard.press("ArrowRight")
    expect(divider).to_have_text("P = 6")
    page.keyboard.press("Escape")  # back to the cell: the arrows are JupyterLab's again
    go_to(page, told)
    page.keyboard.press("Shift+Enter")
    expect(page.get_by_text("10 tokens, of which 6 are the prefix", exact=True)).to_be_visible(timeout=60_000)
    expect(divider).to_have_text("P = 6")
