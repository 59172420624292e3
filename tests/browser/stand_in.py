"""A stand-in for anywidget's model, for pages without Jupyter."""

# On a module page: `module` is the module's namespace, `model` the stand-in, `root` the element that was drawn into,
# `cleanup` what `render` returned. `model.saved` lists what each save_changes would send to Python, `model.sent` the
# custom messages; `model.receive(name, value)` sets a trait as Python would, `model.message(content)` sends one.
MODEL = """(traits) => {
  const state = structuredClone(traits), listeners = new Map();
  let dirty = {};
  const emit = (name, ...rest) => [...(listeners.get(name) ?? [])].forEach((callback) => callback(...rest));
  const same = (a, b) => a === b || JSON.stringify(a) === JSON.stringify(b);
  const assign = (name, value) => {
    if (same(state[name], value)) return false;
    state[name] = value;
    emit(`change:${name}`, window.model, value);
    emit("change", window.model);
    return true;
  };
  window.model = {
    saved: [],
    sent: [],
    get: (name) => state[name],
    set(name, value) { if (assign(name, value)) dirty[name] = value; },
    save_changes() { if (Object.keys(dirty).length) this.saved.push(structuredClone(dirty)); dirty = {}; },
    on(name, callback) { listeners.set(name, [...(listeners.get(name) ?? []), callback]); },
    off(name, callback) {
      if (name == null) listeners.clear();
      else listeners.set(name, (listeners.get(name) ?? []).filter((other) => callback && other !== callback));
    },
    send(content, callbacks, buffers) { this.sent.push(structuredClone(content)); },
    receive: assign,
    message: (content, buffers = []) => emit("msg:custom", content, buffers),
    listenerCount: () => [...listeners.values()].reduce((sum, list) => sum + list.length, 0),
    widget_manager: {},
  };
}"""
