// The explorer's state, one for all views of a model. Views change it and are told; Python hears of it a little later.

const SYNCED = ["text", "tokens", "split_by", "prefix_len", "kind", "selected", "tile", "show_tiles", "moved_from"];
const stores = new WeakMap();
const TELL_PYTHON_AFTER = 120; // ms: dragging must not flood the kernel; the last state always goes out

/** The store of a model: `state` holds the synced traits and `custom` (the user's mask as bytes, or null). */
function storeOf(model) {
  if (!stores.has(model)) stores.set(model, makeStore(model));
  return stores.get(model);
}

function makeStore(model) {
  const state = {};
  const views = new Set();
  const unsent = new Set();
  let timer = 0;
  let writing = false;
  let edit = null; // the tokens, the boundary and the choice from which an edit of the text started

  const read = () => {
    for (const name of SYNCED) if (!unsent.has(name)) state[name] = model.get(name);
    const bytes = model.get("custom_mask");
    state.custom = bytes && bytes.byteLength ? new Uint8Array(bytes.buffer, bytes.byteOffset, bytes.byteLength) : null;
    state.selected ??= null;
    state.moved_from ??= null;
  };
  const tell = () => views.forEach((view) => view());

  const flush = () => {
    clearTimeout(timer);
    timer = 0;
    if (!unsent.size) return;
    writing = true;
    for (const name of unsent) model.set(name, state[name]);
    writing = false;
    unsent.clear();
    model.save_changes();
  };

  /** Change the state, tell the views at once and Python soon. */
  const change = (changes) => {
    let changed = false;
    for (const [name, value] of Object.entries(changes)) {
      if (state[name] === value) continue;
      state[name] = value;
      unsent.add(name);
      changed = true;
    }
    if (!changed) return;
    timer ||= setTimeout(flush, TELL_PYTHON_AFTER);
    tell();
  };

  /** Python's word counts: what it sets replaces what was not sent yet. Its messages may arrive name by name. */
  const heard = (name) => () => {
    if (writing) return;
    unsent.delete(name);
    edit = null;
    read();
    resplit();
    tell();
  };

  /** Python has no dictionary: split what it split again, and keep the boundary at its place in the text. */
  const resplit = () => {
    if (state.split_by !== "python") return;
    let tokens;
    try {
      tokens = splitText(state.text);
    } catch {
      return;
    }
    if (tokens.length === state.tokens.length && tokens.every((token, i) => token === state.tokens[i])) return;
    if (tokens.join("") !== state.tokens.join("") || state.kind === "custom") return;
    const place = (p) => samePlace(state.tokens, p, tokens);
    const selected = state.selected === null ? null : Math.max(place(state.selected + 1) - 1, 0);
    change({ tokens, split_by: "browser", prefix_len: place(state.prefix_len), selected });
  };

  /** A text that the learner typed. Throws a RangeError, in words, if it cannot be shown; then nothing changes. */
  const setText = (text) => {
    text = text.toWellFormed();
    const tokens = splitText(text);
    const T = tokens.length;
    if (state.kind === "custom" && T !== state.tokens.length)
      throw new RangeError(`Your own mask is for ${plural(state.tokens.length, "token")}, and this text has ${T}.`);
    edit ??= { tokens: state.tokens, prefix: state.prefix_len, selected: state.selected ?? 1 };
    const prefix = followEdit(edit.tokens, edit.prefix, tokens);
    change({
      text, tokens, split_by: "browser", prefix_len: prefix, selected: T ? Math.min(edit.selected, T - 1) : null,
      moved_from: prefix === edit.prefix ? null : edit.prefix,
    }); // prettier-ignore
  };

  /** Any change but of the text: it ends the edit, and the note that the text moved the boundary. */
  const set = (changes) => {
    edit = null;
    change("prefix_len" in changes || "kind" in changes ? { ...changes, moved_from: null } : changes);
  };

  read();
  const stops = [...SYNCED, "custom_mask"].map((name) => [name, heard(name)]);
  return {
    state, set, setText, flush,
    watch(view) {
      if (!views.size) {
        read();
        stops.forEach(([name, callback]) => model.on(`change:${name}`, callback));
      }
      views.add(view);
      resplit();
      return () => {
        views.delete(view);
        if (views.size) return;
        flush();
        stops.forEach(([name, callback]) => model.off(`change:${name}`, callback));
      };
    },
  }; // prettier-ignore
}
