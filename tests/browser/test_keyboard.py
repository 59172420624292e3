"""Every widget by keyboard alone: Tab reaches each control in order and leads out, arrows move, Escape closes."""

from keyboard_walk import faults_of_walk, nameless

# What the arrow keys change: the value, the cell or the option that has the focus, and what the root says of it.
SIGNATURE = """() => {
  const focused = document.activeElement;
  const named = focused.getAttribute("aria-activedescendant");
  const cell = named && (focused.querySelector(`#${named}`) ?? document.getElementById(named));
  const inside = focused.closest("main > div")?.id;
  const said = [focused, cell].map((e) => [e?.getAttribute("aria-label"), e?.textContent]);
  const place = [...document.querySelectorAll("main *")].indexOf(focused);
  return [inside, place, focused.value, focused.getAttribute("aria-valuenow"), focused.checked, named, said];
}"""


MOVED_BY_ARROWS = """main :is(input[type=range]:enabled, [role=slider]:not([aria-disabled=true]), [role=grid][tabindex],
  input[type=radio]:checked,
  [role=listbox] [tabindex="0"], .bx-chip[tabindex="0"], .bx-head[tabindex="0"], .fx-node[tabindex="0"],
  .quiz-cell[tabindex="0"], .quiz-moves button)"""


def test_tab_reaches_every_control_with_a_ring_and_a_name_and_leads_out(gallery_page):
    gallery = gallery_page()
    faults = faults_of_walk(gallery.page)
    gallery.theme("dark")
    faults += faults_of_walk(gallery.page) + nameless(gallery.page)
    gallery.use_explorers()
    faults += faults_of_walk(gallery.page) + nameless(gallery.page)
    gallery.answer_wrong()
    faults += faults_of_walk(gallery.page) + nameless(gallery.page)
    assert faults == []


def test_arrow_keys_move_in_every_slider_list_grid_and_group(gallery_page):
    gallery = gallery_page()
    places = gallery.page.locator(MOVED_BY_ARROWS)
    assert places.count() > 40
    stuck, n = [], 0
    while n < places.count():  # what one moves may put another in or out
        place, n = places.nth(n), n + 1
        place.focus()
        before = gallery.page.evaluate(SIGNATURE)
        for key in ("ArrowRight", "ArrowDown", "ArrowLeft", "ArrowUp"):
            gallery.page.keyboard.press(key)
            gallery.settle()
            after = gallery.page.evaluate(SIGNATURE)
            if after != before:
                break
        if after == before or after[0] != before[0]:
            stuck.append(place.evaluate("(element) => element.outerHTML.slice(0, 160)"))
    assert stuck == []


def test_escape_closes_what_was_opened_and_gives_the_focus_back(gallery_page, expect):
    gallery = gallery_page(names=["progress"])
    panel = gallery.root("progress")
    panel.get_by_role("button", name="Reset").focus()
    gallery.page.keyboard.press("Enter")
    expect(panel.get_by_role("button", name="Keep it")).to_be_focused()
    gallery.page.keyboard.press("Escape")
    expect(panel.get_by_role("group", name="Reset")).to_be_hidden()
    expect(panel.get_by_role("button", name="Reset")).to_be_focused()


FAULTS = {
    "cannot be seen": "<button style='outline: none'>no ring</button>",
    "cannot be seen ": "<p><button style='outline: 3px solid #eee'>pale ring</button></p>",
    "out of order": "<button tabindex=1>first</button>",
    "does not come to the end": "<input id=trap aria-label=trap>",
}


def test_faults_are_noticed(new_page):
    for expected, html in FAULTS.items():
        page = new_page(local=("about:",))
        page.set_content(f"<main><div id=x><button>one</button>{html}<button>two</button></div></main>")
        page.evaluate("() => document.querySelector('#trap')?.addEventListener('keydown', (e) => e.preventDefault())")
        assert any(expected.strip() in fault for fault in faults_of_walk(page)), expected
    page.set_content("<title>x</title><main><button></button><span tabindex=0>plain</span><input></main>")
    assert len(nameless(page)) == 3
    page.set_content("<title>x</title><main><button>a</button><input aria-label=b></main>")
    assert nameless(page) == []
