// Widgets on a page without a kernel: a stand-in for the model that anywidget hands them, and a place for each.

/**
 * The model of one widget. There is no `send`, because nobody would hear it: a widget that asks Python for something sees
 * that, and says so. What `set` is given stays in the page; `save_changes` has nobody to tell.
 */
function standaloneModel(traits) {
  const state = new Map(Object.entries(traits));
  const listeners = new Map();
  const same = (a, b) => a === b || JSON.stringify(a) === JSON.stringify(b);
  const emit = (event, ...rest) => [...(listeners.get(event) ?? [])].forEach((callback) => callback(...rest));
  const model = {
    get: (name) => state.get(name),
    set(name, value) {
      if (same(state.get(name), value)) return;
      state.set(name, value);
      emit(`change:${name}`, model, value);
      emit("change", model);
    },
    save_changes() {},
    on(event, callback) {
      listeners.set(event, [...(listeners.get(event) ?? []), callback]);
    },
    off(event, callback) {
      listeners.set(event, (listeners.get(event) ?? []).filter((other) => other !== callback));
    },
  };
  return model;
}

/** Draw a widget where the page keeps a place for it, with the traits that Python wrote beside it. */
function standalone(name, render) {
  const place = document.querySelector(`[data-widget="${name}"]`);
  const traits = JSON.parse(document.getElementById(`traits-${name}`).textContent);
  const el = document.createElement("div");
  render({ model: standaloneModel(traits), el });
  place.replaceChildren(el);
}
