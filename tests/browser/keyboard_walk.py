"""Walk a page by Tab alone, and say what a keyboard cannot do there, in words."""

# `stops()` lists what Tab should reach, in order: all that takes input, is seen and is on; of a group of radio buttons
# one. `here()` describes what has the focus: which stop it is, and how strong its ring is against what it lies on.
LOOK = """() => {
  const seen = (e) => e.checkVisibility({ visibilityProperty: true }) && e.getClientRects().length > 0;
  const inputs = "a[href], button, input, select, textarea, summary, [tabindex]";
  const leads = (radio, all) => {
    const group = all.filter((one) => one.type === "radio" && one.name === radio.name && one.form === radio.form);
    return radio === (group.find((one) => one.checked) ?? group[0]);
  };
  window.stops = () => {
    const takes = (e) => e.tabIndex >= 0 && !e.disabled && seen(e);
    const all = [...document.querySelectorAll(`main :is(${inputs})`)].filter(takes);
    return all.filter((e) => e.type !== "radio" || leads(e, all));
  };
  const pen = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
  const channels = (colour) => {
    pen.clearRect(0, 0, 1, 1);
    pen.fillStyle = colour;
    pen.fillRect(0, 0, 1, 1);
    return [...pen.getImageData(0, 0, 1, 1).data].map((one) => one / 255);
  };
  const ground = (element) => {
    const layers = [];
    for (let e = element; e; e = e.parentElement) layers.push(channels(getComputedStyle(e).backgroundColor));
    const over = (under, [r, g, b, a]) => [r, g, b].map((c, n) => c * a + under[n] * (1 - a));
    return layers.reverse().reduce(over, [1, 1, 1]);
  };
  const luminance = (colour) => {
    const [r, g, b] = colour.map((c) => (c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const ring = (focused) => {
    const strengths = [0];
    for (const e of [focused, focused.closest("label"), ...focused.querySelectorAll("*")].filter(Boolean)) {
      const style = getComputedStyle(e), width = parseFloat(style.outlineWidth); // prettier-ignore
      if (style.outlineStyle === "none" || width < 2 || !seen(e) || style.opacity < 0.5) continue;
      const inside = parseFloat(style.outlineOffset) <= -width / 2; // else most of it lies outside
      const [a, b] = [channels(style.outlineColor), ground(inside ? e : e.parentElement)].map(luminance);
      strengths.push((Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05));
    }
    return Math.max(...strengths);
  };
  window.here = () => {
    const focused = document.activeElement;
    const box = focused.getBoundingClientRect();
    const inView = box.bottom > 0 && box.top < innerHeight && box.right > 0 && box.left < innerWidth;
    return { stop: window.stops().indexOf(focused), ring: ring(focused), inView };
  };
  window.nameOf = (e) => {
    const words = e.getAttribute("aria-label") ?? e.labels?.[0]?.textContent ?? e.textContent;
    return `${e.closest("main > div")?.id}: a ${e.localName} .${e.getAttribute("class")} ${words.trim().slice(0, 40)}`;
  };
}"""


def faults_of_walk(page, weakest_ring=3) -> list[str]:
    """Tab from before `main` to behind it and back; return what was not reached, or not seen to be."""
    page.evaluate(LOOK)
    page.evaluate(
        """() => {
          const button = (id) => Object.assign(document.createElement("button"), { id, textContent: id });
          const [before, after] = [button("before"), button("after")];
          document.querySelector("main").before(before);
          document.querySelector("main").after(after);
          before.focus();
        }"""
    )
    names = page.evaluate("() => stops().map(nameOf)")
    faults, reached = [], []
    for _ in range(len(names) + 1):
        page.keyboard.press("Tab")
        at = page.evaluate("() => here()")
        if at["stop"] < 0:
            break
        reached.append(at["stop"])
        if at["ring"] < weakest_ring:
            faults.append(f"{names[at['stop']]}: a focus ring of {at['ring']:.1f}:1 cannot be seen")
        if not at["inView"]:
            faults.append(f"{names[at['stop']]}: is not scrolled into view")
    if page.evaluate("() => document.activeElement.id") != "after":
        where = page.evaluate("() => nameOf(document.activeElement)")
        faults.append(f"{where}: Tab does not come to the end")
    if reached != list(range(len(names))):
        missed = [names[n] for n in range(len(names)) if n not in reached]
        faults.append(f"not reached, or out of order: {missed or reached}")
    for _ in range(len(names) + 1):
        page.keyboard.press("Shift+Tab")
    if page.evaluate("() => document.activeElement.id") != "before":
        faults.append(f"{page.evaluate('() => nameOf(document.activeElement)')}: Shift+Tab does not come back")
    page.evaluate("() => ['before', 'after'].forEach((id) => document.getElementById(id).remove())")
    return faults


def nameless(page) -> list[str]:
    """Return what can have the focus and has no name, or no role, in the tree that screen readers read."""
    session = page.context.new_cdp_session(page)
    nodes = session.send("Accessibility.getFullAXTree")["nodes"]
    session.detach()
    faults = []
    for node in nodes:
        properties = {each["name"]: each["value"].get("value") for each in node.get("properties", [])}
        if node["ignored"] or not properties.get("focusable"):
            continue
        role, name = node["role"]["value"], node.get("name", {}).get("value", "").strip()
        told = role in {"paragraph", "status"}  # a message that gets the focus is read out itself
        if role in {"generic", "none", ""} or not (name or told):
            faults.append(f"a {role or 'thing'} that can have the focus is named {name!r}")
    return faults
