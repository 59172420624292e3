"""The course on one page: a picture of nine boxes, each a link to its lesson."""

import base64
from dataclasses import dataclass
from html import escape

from course_lib import masks

from .palette import LIGHT


@dataclass(frozen=True)
class Lesson:
    """One stop of the course. `picture` names its thumbnail."""

    notebook: str
    title: str
    claim: str
    picture: str

    @property
    def number(self) -> str:
        return self.notebook[:2]


LESSONS = (
    Lesson("00_start_here", "Start here", "You can run and change everything here.", "play"),
    Lesson("01_guided_storyteller", "The Guided Storyteller", "Reading and writing need two kinds of looking.", "arcs"),
    Lesson("02_prefix_mask", "The prefix mask", "Inside the model, the difference is one square of ones.", "mask"),
    Lesson("03_prefix_lm", "Prefix LM", "One stack, one mask, two behaviours.", "stack"),
    Lesson("04_glm", "GLM", "Blanks filled token by token: one model reads and writes.", "blanks"),
    Lesson("05_palm_parallel", "PaLM's parallel layers", "Attention and MLP can run side by side.", "parallel"),
    Lesson("06_linear_attention", "Linear attention", "Attention becomes a running sum.", "sum"),
    Lesson("07_prefix_linear_attention", "Prefix linear attention", "A prefix makes that sum faster.", "race"),
    Lesson("08_wrap_up", "Wrap up", "You can now explain all this.", "check"),
)  # fmt: skip


class CourseMap:
    """The map: HTML where a notebook shows HTML, a list of the lessons elsewhere."""

    def __repr__(self) -> str:
        return "\n".join(f"{one.number} {one.title}: {one.claim}" for one in LESSONS)

    def _repr_html_(self) -> str:
        boxes = "".join(_box(lesson) for lesson in LESSONS)
        return (
            '<nav aria-label="The lessons of the course" '
            f'style="display:flex; flex-wrap:wrap; gap:12px; max-width:60rem; margin:4px 0 12px">{boxes}</nav>'
        )


def course_map() -> CourseMap:
    """Return the map of the course; as the last line of a cell it shows itself."""
    return CourseMap()


def _box(lesson: Lesson) -> str:
    image = base64.b64encode(_thumbnail(lesson.picture).encode()).decode()
    title = f"{lesson.number} &middot; {escape(lesson.title)}"
    style = (
        "box-sizing:border-box; width:288px; min-height:88px; padding:10px; border-radius:8px; display:flex; gap:12px; "
        f"align-items:flex-start; text-decoration:none; color:inherit; border:1px solid {LIGHT['prefix']}"
    )
    inside = (
        f'<img alt="" width="56" height="56" style="flex:none" '
        f'src="data:image/svg+xml;base64,{image}">'
        f'<span style="font-size:13px; line-height:1.4"><strong style="font-size:14px">{title}</strong>'
        f"<br>{escape(lesson.claim)}</span>"
    )
    return f'<a href="{lesson.notebook}.ipynb" style="{style}">{inside}</a>'


def _thumbnail(picture: str) -> str:
    """Draw one lesson as an SVG of 56 by 56, in the light palette on its own paper."""
    ink, blue, orange, green, line = (LIGHT[name] for name in ("ink", "prefix", "target", "added", "line"))

    def box(x, y, width, height, colour):
        return f'<rect x="{x}" y="{y}" width="{width}" height="{height}" rx="1" fill="{colour}"/>'

    def stroke(path, colour, width=2.5):
        return f'<path d="{path}" fill="none" stroke="{colour}" stroke-width="{width}" stroke-linecap="round"/>'

    def row(y, colours):
        return "".join(box(6 + 7.5 * i, y, 6, 6, colour) for i, colour in enumerate(colours))

    cells = masks.prefix_mask(3, 6).tolist() if picture == "mask" else []
    drawings = {
        "play": f'<path d="M20 14 L42 28 L20 42 Z" fill="{blue}"/>',
        "arcs": row(38, [blue] * 3 + [orange] * 3)
        + stroke("M9 35 Q16 22 24 35 M9 35 Q16 10 46 35 M24 35 Q34 18 46 35", ink, 1.5),
        "mask": "".join(
            box(7 + 7 * j, 7 + 7 * i, 6, 6, (green if j > i else blue if j < 3 else orange) if may else line)
            for i, cell_row in enumerate(cells)
            for j, may in enumerate(cell_row)
        ),
        "stack": "".join(box(10, y, 36, 6, blue if y > 24 else orange) for y in (10, 20, 30, 40)),
        "blanks": row(25, [blue, line, blue, line, line, blue]) + stroke("M17 20 Q17 10 28 12", orange),
        "parallel": box(10, 12, 14, 32, blue) + box(32, 12, 14, 32, orange),
        "sum": "".join(box(8 + 11 * i, 40 - 8 * i, 8, 8 + 8 * i, green) for i in range(4)),
        "race": box(8, 12, 40, 8, orange) + box(8, 26, 34, 8, blue) + box(8, 40, 16, 8, green),
        "check": stroke("M14 30 L24 40 L43 17", green, 5),
    }
    return (
        '<svg xmlns="http://www.w3.org/2000/svg" width="56" height="56" viewBox="0 0 56 56">'
        f'<rect width="56" height="56" rx="4" fill="{LIGHT["paper"]}" stroke="{line}"/>{drawings[picture]}</svg>'
    )
