"""The demo, opened from disk with no network: used by mouse and by keyboard, in the dark, and on a phone."""

import build_demo
import pytest

from course_lib.classroom import MaskExplorer, palette, race_words
from course_lib.classroom.race_words import FORMS, key
from course_lib.classroom.text import split_text

HOSTILE = "<img src=x onerror=alert(1)> </script><script>alert(2)</script>"
ADDRESS = build_demo.PAGE.as_uri()
MASK, BLANKS, COSTS, RACE = ("#mask", "#blanks", "#costs", "#race")


@pytest.fixture
def demo(new_page):
    """Return `demo(viewport=..., ...) -> page`, opened offline; `page.requests` lists all that it asked for."""

    def load(**context):
        page = new_page(local=(ADDRESS,), offline=True, **context)
        page.requests, page.dialogs = [], []
        page.on("request", lambda request: page.requests.append(request.url))
        page.on("dialog", lambda dialog: (page.dialogs.append(dialog.message), dialog.dismiss()))
        page.route("**/*", lambda route: route.continue_() if route.request.url == ADDRESS else route.abort())
        page.goto(ADDRESS)
        settle(page)
        return page

    return load


def settle(page):
    page.evaluate("() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")


def divider(page):
    return page.get_by_role("slider", name="Boundary between prefix and target")


def words(page, section: str) -> str:
    settle(page)
    return page.locator(f"{section} .mx-words p:not(.mx-ghost)").last.text_content().strip()


def no_overflow(page) -> bool:
    return page.evaluate("() => document.documentElement.scrollWidth <= innerWidth")


def test_it_opens_from_disk_and_asks_for_nothing_but_itself(demo, expect):
    page = demo()
    for section in (MASK, BLANKS, COSTS, RACE):
        expect(page.locator(f"{section} .course")).to_be_visible()
    expect(page.locator(".waiting")).to_have_count(0)
    page.wait_for_timeout(300)
    assert [url for url in page.requests if not url.startswith("data:")] == [ADDRESS]


def test_the_policy_of_the_page_stops_a_request(demo):
    page = demo()
    found = page.evaluate("() => fetch('https://example.org/').then(() => 'sent', (error) => error.name)")
    assert found == "TypeError"
    assert all("Content Security Policy" in text or "Fetch API cannot load" in text for text in page.errors)
    page.errors.clear()
    assert [url for url in page.requests if url.startswith("http")] == [], "stopped before it was asked"


def test_the_boundary_moves_by_mouse_and_by_keyboard_and_says_what_python_says(demo):
    page = demo()
    text = "The lantern is lost. Mara climbs the tower."

    def said(P):
        return MaskExplorer(text, prefix_len=P).describe()

    assert words(page, MASK) == said(5)
    divider(page).scroll_into_view_if_needed()
    start, token = divider(page).bounding_box(), page.locator("#mask .mx-token").nth(6).bounding_box()
    page.mouse.move(start["x"] + start["width"] / 2, start["y"] + start["height"] / 2)
    page.mouse.down()
    page.mouse.move(token["x"] + token["width"] + 5, token["y"] + 10, steps=6)
    page.mouse.up()
    assert words(page, MASK) == said(7)
    divider(page).focus()
    for press, P in (("ArrowLeft", 6), ("Home", 0), ("End", 10)):
        page.keyboard.press(press)
        assert words(page, MASK) == said(P)
    page.get_by_label("Prefix length P").press("ArrowLeft")
    assert words(page, MASK) == said(9)


def test_hostile_text_stays_text(demo, expect):
    page = demo()
    page.locator(f"{MASK} textarea").fill(HOSTILE)
    expect(page.locator(f"{MASK} .mx-token")).to_have_text(split_text(HOSTILE))
    page.locator(f"{BLANKS} textarea").fill("<img src=x onerror=alert(3)>")
    expect(page.locator(f"{BLANKS} .bx-word")).to_have_text(split_text("<img src=x onerror=alert(3)>"))
    page.wait_for_timeout(200)
    assert page.locator("img").count() == 0
    assert page.dialogs == []
    assert [url for url in page.requests if not url.startswith("data:")] == [ADDRESS]


def test_blanks_are_dragged_and_typed(demo, expect):
    page = demo()
    page.get_by_role("button", name="Clear").click()
    page.locator(f"{BLANKS} textarea").fill("one two three four")
    assert "no blank" in words(page, BLANKS)
    chips = page.locator(f"{BLANKS} .bx-chip")
    chips.nth(2).drag_to(chips.nth(3))
    assert words(page, BLANKS).startswith("1 blank hides 2 of 4 tokens")
    chips.nth(0).focus()
    page.keyboard.press("Space")
    assert words(page, BLANKS).startswith("2 blanks hide 3 of 4 tokens")


def test_the_counts_follow_the_prefix(demo, expect):
    page = demo()
    prefix = page.locator(COSTS).get_by_label("Prefix, P")
    prefix.press("Home")
    expect(page.locator(COSTS).get_by_text("33,554,432", exact=True)).to_be_visible()
    prefix.press("End")
    expect(page.locator(COSTS).get_by_text("16,777,216", exact=True)).to_be_visible()  # half, as the page says


def test_the_race_shows_the_recorded_numbers_and_offers_no_measuring(demo, expect):
    page, record = demo(), race_words.load()
    race = page.locator(RACE)
    expect(race.get_by_text("behind this page there is no Python").last).to_be_visible()
    assert race.get_by_role("button").count() == 0
    assert "Measured here" not in race.inner_text()
    about = race.locator(".rx-record").text_content()
    assert record["machine"] in about
    assert record["date"] in about
    for length, eighths in ((1024, 8), (4096, 4), (4096, 0), (16384, 6)):
        race.locator(".course-segments label").filter(has_text=f"{length:,}").click()
        race.get_by_label("Prefix, P / T").fill(str(eighths))
        settle(page)
        point = record["points"][key(length, eighths)]
        for form in FORMS:
            shown = race.locator(f".rx-timed [data-form='{form}'] .rx-text").text_content()
            median = point["seconds"][form][1]
            family, kind = form.split()
            ratio = f", {race_words.hundredths(point['ratio'][family][1])} × causal" if kind == "prefix" else ""
            number, unit = shown.removesuffix(ratio).split("\u00a0")
            assert shown.endswith(ratio)
            assert float(number) * {"s": 1, "ms": 1e-3, "µs": 1e-6}[unit] == pytest.approx(median, rel=0.006)
        assert f"{point['rounds']} rounds" in race.locator("tbody tr").last.text_content()


def test_light_and_dark_follow_the_system_until_the_reader_chooses(demo):
    page = demo(color_scheme="dark")

    def colours():
        settle(page)
        of = "(one) => getComputedStyle(document.querySelector(one))"
        back = page.evaluate(f"(all) => all.map((one) => ({of})(one).backgroundColor)", [".page", "#mask .course"])
        return {*back}, page.evaluate("() => getComputedStyle(document.documentElement).colorScheme")

    def paper(theme):
        r, g, b = bytes.fromhex(theme["paper"][1:])
        return {f"rgb({r}, {g}, {b})"}

    assert colours() == (paper(palette.DARK), "light dark")
    page.get_by_role("radio", name="Light").check(force=True)
    assert colours() == (paper(palette.LIGHT), "light")
    page.get_by_role("radio", name="Light").press("ArrowRight")
    assert colours() == (paper(palette.DARK), "dark")
    page.emulate_media(color_scheme="light")
    page.get_by_role("radio", name="System").check(force=True)
    assert colours() == (paper(palette.LIGHT), "light dark")


def test_the_stand_in_for_the_model_does_what_anywidgets_does(demo):
    found = demo().evaluate(
        """() => {
          const model = standaloneModel({ list: [1, 2], n: 0 }), heard = [];
          const hear = (...rest) => heard.push(rest.length === 2 && rest[0] === model ? rest[1] : rest);
          model.on("change:n", hear);
          model.on("change:list", hear);
          model.set("n", 1);
          model.set("n", 1);
          model.set("list", [1, 2]); // another list, the same value
          model.off("change:n", hear);
          model.set("n", 2);
          model.save_changes();
          return [heard, model.get("n"), model.get("list"), "send" in model];
        }"""
    )
    assert found == [[1], 2, [1, 2], False]


@pytest.mark.parametrize("width", [320, 360, 768, 1440])
def test_nothing_is_wider_than_the_screen(demo, width):
    page = demo(viewport=(width, 800))
    assert no_overflow(page)
    page.locator(f"{MASK} textarea").fill("Donaudampfschifffahrtsgesellschaftskapitänswitwe " * 3)
    page.locator(f"{RACE} .course-segments label").last.click()
    settle(page)
    assert no_overflow(page)


def test_the_keyboard_alone_reaches_the_first_explorer(demo, expect):
    page = demo()
    page.keyboard.press("Tab")
    skip = page.get_by_role("link", name="Skip to the first explorer")
    expect(skip).to_be_focused()
    expect(skip).to_be_in_viewport()
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    expect(page.locator(f"{MASK} textarea")).to_be_focused()


def test_without_javascript_it_can_be_read_and_says_what_is_missing(new_page, expect):
    page = new_page(local=(ADDRESS,), java_script_enabled=False)
    page.goto(ADDRESS)
    expect(page.locator(".waiting")).to_have_text([build_demo.NO_SCRIPT] * 4)
    expect(page.get_by_role("heading", name="Run the course")).to_be_visible()
