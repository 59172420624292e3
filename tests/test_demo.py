"""The demo is one file: whole, the same wherever it is built, of the notebooks' modules, and it asks for nothing."""

import json
import re
from html.parser import HTMLParser
from itertools import pairwise

import build_demo
import pytest

from course_lib.classroom import MaskExplorer, race_words
from course_lib.classroom.course_map import LESSONS
from course_lib.classroom.widgets import module_source, stylesheet
from course_lib.masks import prefix_mask

PAGE = build_demo.PAGE.read_text("utf-8")
NAMES = list(build_demo.widgets())


class Tags(HTMLParser):
    """The tags of a page, and the text of its scripts by id."""

    def __init__(self, text: str):
        super().__init__()
        self.tags, self.scripts, self._script = [], {}, None
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        self._script = dict(attributes).get("id") if tag == "script" else None

    def handle_endtag(self, tag):
        self._script = None

    def handle_data(self, data):
        if self._script:
            self.scripts[self._script] = self.scripts.get(self._script, "") + data


@pytest.fixture(scope="module")
def parsed():
    return Tags(PAGE)


def of(parsed, name: str) -> list[str]:
    """The values of an attribute, in the order of the page."""
    return [attributes[name] for _, attributes in parsed.tags if name in attributes]


def test_the_page_in_docs_is_what_is_built_now():
    assert build_demo.page() == PAGE, "docs/demo.html is older than its parts: run make demo"
    assert build_demo.PAGE.read_bytes() == PAGE.encode()  # no other line ends


def test_it_is_small_enough_to_download_without_a_thought():
    assert len(PAGE.encode()) < 400_000


def test_the_modules_and_styles_are_those_of_the_notebooks(parsed):
    for name in NAMES:
        start = module_source(name).strip("\n")
        assert f'<script type="module">\n{start}\nstandalone("{name}", render);\n</script>' in PAGE
        assert stylesheet(name) in PAGE
    kinds = [attributes.get("type") for tag, attributes in parsed.tags if tag == "script"]
    assert (kinds.count("module"), kinds.count("application/json"), kinds.count(None)) == (len(NAMES), len(NAMES), 1)
    assert of(parsed, "data-widget") == NAMES


def test_nothing_is_asked_of_a_network_and_the_page_forbids_it(parsed):
    assert of(parsed, "src") == of(parsed, "srcset") == of(parsed, "action") == []
    assert [link for link in of(parsed, "href") if not link.startswith("#")] == ["data:,"]
    names = {"http://www.w3.org/2000/svg", "http://www.w3.org/1998/Math/MathML"}  # of languages, not addresses
    assert set(re.findall(r"https?://[\w./]+", PAGE)) == names
    assert not re.search(r"@import|url\((?!#)|\bfetch\(|XMLHttpRequest|WebSocket|sendBeacon|\bimport\s*\(", PAGE)
    (policy,) = [a["content"] for _, a in parsed.tags if a.get("http-equiv") == "Content-Security-Policy"]
    allowed = ["default-src 'none'", "style-src 'unsafe-inline'", "script-src 'unsafe-inline'", "img-src data:"]
    assert policy.split("; ") == [*allowed, "base-uri 'none'", "form-action 'none'"]


def test_it_reads_as_a_page(parsed):
    assert parsed.tags[0] == ("html", {"lang": "en"})
    ids = of(parsed, "id")
    assert len(ids) == len(set(ids))
    assert {link[1:] for link in of(parsed, "href") if link.startswith("#")} <= set(ids)
    assert set(of(parsed, "aria-labelledby")) <= set(ids)
    levels = [int(tag[1]) for tag, _ in parsed.tags if re.fullmatch("h[1-6]", tag)]
    assert levels.count(1) == 1 == levels[0]
    assert all(after <= before + 1 for before, after in pairwise(levels))
    assert len(re.findall(r"<title>.{20,}</title>", PAGE)) == 1
    assert any(attributes.get("name") == "description" for _, attributes in parsed.tags)


def test_the_lessons_that_it_names_are_there():
    named = re.findall(r"[Ll]esson (\d\d), (.+?), ", PAGE)
    assert len(named) == len(NAMES)
    assert set(named) <= {(lesson.number, lesson.title) for lesson in LESSONS}


def test_each_widget_starts_with_what_a_kernel_would_send(parsed):
    for name, widget in build_demo.widgets().items():
        sent = json.loads(parsed.scripts[f"traits-{name}"])
        assert sent == json.loads(json.dumps(build_demo.traits(widget)))
        state = {key for key in widget.get_state() if not key.startswith("_")}
        assert state - sent.keys() <= {"layout", "tabbable", "tooltip", "custom_mask"}
    mask = json.loads(parsed.scripts["traits-mask_explorer"])
    assert (mask["prefix_len"], mask["tokens"][:2]) == (5, ["The", "lantern"])


def test_the_race_is_the_recorded_one_with_its_machine_and_date(parsed):
    recorded = json.loads(parsed.scripts["traits-race_explorer"])["setting"]["recorded"]
    content = json.loads(race_words.RECORDING.read_text("utf-8"))
    assert recorded == {name: content[name] for name in ("machine", "date", "command", "points")}
    assert json.loads(parsed.scripts["traits-race_explorer"])["measured"] == {}


def test_what_the_page_says_of_the_race_is_what_was_recorded():
    points = race_words.load()["points"]

    def medians(family, length):
        return [points[race_words.key(length, n)]["ratio"][family][1] for n in range(race_words.EIGHTHS + 1)]

    def away(length):
        """How far the clock is from the counts, on average over both families and all prefixes."""
        return sum(
            abs(median - race_words.counted_ratio(family, length, n))
            for family in race_words.FAMILIES
            for n, median in enumerate(medians(family, length))
        )

    assert "at 4,096 tokens. As it grows, softmax gets slower, and linear gets faster" in PAGE
    softmax, linear = medians("softmax", 4096), medians("linear", 4096)
    assert softmax == sorted(softmax)
    assert linear == sorted(linear, reverse=True)
    assert "Choose 1,024 tokens. On short texts the clock follows the counts less closely" in PAGE
    assert away(1024) > 1.5 * away(4096)


def test_the_mask_at_the_head_is_the_librarys():
    picture = build_demo.mask_picture(3, 5)
    looks = re.findall(r'<rect class="(\w+)"', picture)
    seen = prefix_mask(3, 5).flatten().tolist()
    assert [look != "shut" for look in looks] == seen
    assert looks.count("ahead") == 3
    assert looks.count("written") == 3


def test_data_cannot_end_its_script():
    hostile = {"</script><script>alert(1)//": "<!-- \u2028 é"}
    text = build_demo.as_json(hostile)
    assert "<" not in text
    assert "\u2028" not in text
    assert json.loads(text) == hostile


@pytest.mark.parametrize("piece", ["</script>", "</SCRIPT ", "<script", "<!--", "</style>"])
def test_a_script_that_would_end_early_is_refused(piece):
    with pytest.raises(ValueError, match="cannot stand within a page"):
        build_demo.inlined("some.js", f"const text = '{piece}';")


def test_bytes_are_refused_and_not_lost():
    with pytest.raises(ValueError, match=r"MaskExplorer\.custom_mask holds bytes"):
        build_demo.traits(MaskExplorer(mask=[[1, 0], [1, 1]]))


def test_a_page_with_a_place_too_few_is_refused(monkeypatch, tmp_path):
    for part in build_demo.PARTS.iterdir():
        text = part.read_text("utf-8").replace("{{race_explorer}}", "")
        (tmp_path / part.name).write_text(text, "utf-8")
    monkeypatch.setattr(build_demo, "PARTS", tmp_path)
    with pytest.raises(ValueError, match=r"page\.html has places for"):
        build_demo.page()
