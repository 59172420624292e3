"""Write docs/demo.html: the explorers in one file that opens from disk, with no server, no network and no Python.

    python tools/build_demo.py             # the page
    python tools/build_demo.py --picture   # and docs/explorer.png of README.md, a picture of it, taken in Chromium

The modules are those of the notebooks, character for character. What Python would send them, the traits that each
widget starts with, stands beside them as JSON, and `demo/standalone.js` takes the part of the kernel. The page is the
same, byte for byte, wherever it is built.
"""

import argparse
import io
import json
import re
import sys
from pathlib import Path

import anywidget
from chromium import find as find_chromium

from course_lib.classroom import BlankExplorer, ChunkExplorer, KernelRaceExplorer, MaskExplorer
from course_lib.classroom.palette import css_variables
from course_lib.classroom.widgets import CourseWidget, module_source, stylesheet
from course_lib.masks import prefix_mask

ROOT = Path(__file__).resolve().parent.parent
PARTS = Path(__file__).resolve().parent / "demo"
PAGE, PICTURE = ROOT / "docs" / "demo.html", ROOT / "docs" / "explorer.png"
NO_SCRIPT = "This explorer needs JavaScript, and a browser of 2024 or newer."


def widgets() -> dict[str, CourseWidget]:
    """Return what the page shows, each in the state that it starts with, by the name of its module."""
    return {
        "mask_explorer": MaskExplorer("The lantern is lost. Mara climbs the tower.", prefix_len=5),
        "blank_explorer": BlankExplorer(),
        "chunk_explorer": ChunkExplorer(total_len=1024, prefix_len=512),
        "race_explorer": KernelRaceExplorer(),
    }


def traits(widget: CourseWidget) -> dict:
    """Return what a kernel would send to the browser; bytes, which must be empty, are left out."""
    names = set(widget.class_trait_names(sync=True)) - set(anywidget.AnyWidget.class_trait_names(sync=True))
    values = {name: getattr(widget, name) for name in sorted(names) if not name.startswith("_")}
    held = [name for name, value in values.items() if isinstance(value, bytes) and value]
    if held:
        raise ValueError(f"{type(widget).__name__}.{held[0]} holds bytes, which JSON cannot carry")
    return {name: value for name, value in values.items() if not isinstance(value, bytes)}


def as_json(value) -> str:
    """Return JSON that no reader of HTML takes for a tag or a comment."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")


def inlined(name: str, text: str) -> str:
    """Return a script or a style as it is, or refuse it: within one, such a piece would end it or hide its end."""
    found = re.search(r"</(script|style)|<script|<!--", text, re.IGNORECASE)
    if found:
        raise ValueError(f"{name} holds {found[0]!r}, which cannot stand within a page")
    return text.strip("\n")


def script(name: str, widget: CourseWidget) -> str:
    """Return a widget's traits and its module, to which one line is added: where to draw."""
    source = inlined(f"{name}.js", module_source(name))
    return (
        f'<script type="application/json" id="traits-{name}">{as_json(traits(widget))}</script>\n'
        f'<script type="module">\n{source}\nstandalone("{name}", render);\n</script>'
    )


def mask_picture(prefix_len: int = 4, total_len: int = 9, cell: int = 16) -> str:
    """Return the prefix mask as a drawing, for the head of the page."""
    rows = prefix_mask(prefix_len, total_len).tolist()
    rects = []
    for i, row in enumerate(rows):
        for j, seen in enumerate(row):
            look = "shut" if not seen else "written" if j >= prefix_len else "ahead" if j > i else "read"
            inset, side = (1.5, cell - 3) if look == "shut" else (1, cell - 2)
            place = f'x="{j * cell + inset}" y="{i * cell + inset}" width="{side}" height="{side}"'
            rects.append(f'<rect class="{look}" {place} rx="2"/>')
    side, edge = total_len * cell, prefix_len * cell
    lines = f'<path class="edge" d="M{edge} -6V{side}M-6 {edge}H{side}"/>'
    box = f'viewBox="-8 -8 {side + 10} {side + 10}"'
    return f'<svg {box} aria-hidden="true" focusable="false">{"".join(rects)}{lines}</svg>'


def page() -> str:
    """Return the whole page."""
    shown = widgets()
    parts = {name: (PARTS / name).read_text("utf-8") for name in ("page.html", "page.css", "theme.js", "standalone.js")}
    styles = [css_variables(".page"), *(stylesheet(name) for name in shown), parts["page.css"]]
    pieces = {
        "style": inlined("the style", "\n".join(styles)),
        "picture": mask_picture(),
        "theme": inlined("theme.js", parts["theme.js"]),
        "standalone": inlined("standalone.js", parts["standalone.js"]),
        "widgets": "\n".join(script(name, widget) for name, widget in shown.items()),
    }
    for name in shown:
        pieces[name] = f'<div class="widget" data-widget="{name}"><p class="waiting">{NO_SCRIPT}</p></div>'
    places = re.findall(r"{{(\w+)}}", parts["page.html"])
    if sorted(places) != sorted(pieces):
        raise ValueError(f"page.html has places for {sorted(places)}, but the pieces are {sorted(pieces)}")
    return re.sub(r"{{(\w+)}}", lambda place: pieces[place[1]], parts["page.html"])


def take_picture(chromium: str) -> bytes:
    """Return a PNG of the page's first explorer, with few enough colours to be small."""
    from PIL import Image
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
        screen = browser.new_page(viewport={"width": 1000, "height": 1400}, device_scale_factor=1.5)
        screen.goto(PAGE.as_uri())
        screen.wait_for_timeout(500)
        shot = screen.locator("#mask .course").screenshot()
        browser.close()
    small = io.BytesIO()
    Image.open(io.BytesIO(shot)).convert("RGB").quantize(128).save(small, "PNG", optimize=True)
    return small.getvalue()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--picture", action="store_true", help="write docs/explorer.png, too")
    options = parser.parse_args()
    PAGE.write_text(page(), "utf-8", newline="\n")
    print(f"{PAGE.relative_to(ROOT)}: {PAGE.stat().st_size / 1000:.0f} kB. Open it in a browser.")
    if not options.picture:
        return
    try:
        chromium = find_chromium()
    except FileNotFoundError as error:
        sys.exit(str(error))
    PICTURE.write_bytes(take_picture(chromium))
    print(f"{PICTURE.relative_to(ROOT)}: {PICTURE.stat().st_size / 1000:.0f} kB.")


if __name__ == "__main__":
    main()
