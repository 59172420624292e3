// What the learner wants to see, and what Python has computed. One store for all views of a model.
// A wish (a boundary, a text) is sent when it settles; while one is on its way the next one waits, and only the latest goes.

const attentionStores = new WeakMap();
const BOUNDARY_SETTLES = 30, TEXT_SETTLES = 400; // ms

function attentionStoreOf(model) {
  if (!attentionStores.has(model)) attentionStores.set(model, makeAttentionStore(model));
  return attentionStores.get(model);
}

function makeAttentionStore(model) {
  const views = new Set();
  const names = ["layer", "head", "selected", "problem", "computed", "text", "weight_bytes"];
  let wish = {}; // prefix_len and text that Python has not been asked for yet
  let asked = null; // the wish that is on its way
  let field = null; // the learner's text, while it differs from the one that is shown
  let late = false, timer = 0; // prettier-ignore
  let weights = [], weightsOf = null; // prettier-ignore

  const tell = () => views.forEach((view) => view());
  const sender = patientSender(model, () => {
    late = true;
    tell();
  });

  const send = () => {
    clearTimeout(timer);
    timer = 0;
    if (asked || !Object.keys(wish).length) return;
    asked = { ...wish, request: uniqueId("ask") };
    wish = {};
    const prefix_len = asked.prefix_len ?? model.get("prefix_len");
    sender.send({ type: "compute", request: asked.request, text: asked.text ?? null, prefix_len });
  };
  const settle = (delay) => {
    clearTimeout(timer);
    timer = setTimeout(send, delay);
  };

  /** Python has computed something, for us or on its own. */
  const heard = () => {
    if (asked && model.get("computed").request === asked.request) {
      sender.answered();
      asked = null;
      late = false;
      send();
    }
    tell();
  };

  /** What is to be drawn: what Python computed, and the learner's boundary if it has moved on since. */
  const state = () => {
    const computed = model.get("computed");
    const tokens = model.get("tokens");
    const bytes = model.get("weight_bytes");
    if (weightsOf !== bytes) {
      weightsOf = bytes;
      // a copy: the bytes of a message need not begin at a multiple of four
      weights = bytes ? new Float32Array(bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.byteLength)) : [];
    }
    const { layers, heads } = computed;
    const T = tokens.length;
    const whole = weights.length === layers * heads * T * T && computed.next.length === T;
    const selected = model.get("selected");
    return {
      tokens, layers, heads, weights, whole, next: computed.next, follows: computed.follows, movedFrom: computed.moved_from,
      layer: model.get("layer"),
      head: model.get("head") ?? null,
      selected: selected === null || selected === undefined || selected >= T ? null : selected,
      prefixLen: Math.min(wish.prefix_len ?? asked?.prefix_len ?? computed.prefix_len, T),
      computedLen: computed.prefix_len,
      busy: Boolean(asked) || Object.keys(wish).length > 0,
      text: field ?? model.get("text"),
      problem: field === null ? "" : model.get("problem"),
      late,
    }; // prettier-ignore
  };

  return {
    state,
    setBoundary(prefix_len) {
      if (state().prefixLen === prefix_len) return;
      wish.prefix_len = prefix_len;
      settle(wish.text === undefined ? BOUNDARY_SETTLES : TEXT_SETTLES);
      tell();
    },
    setText(text) {
      field = text;
      wish.text = text.toWellFormed();
      settle(TEXT_SETTLES);
      tell();
    },
    /** The text field was left: what it holds and what is shown are the same, unless there is something wrong with it. */
    leaveText() {
      if (asked?.text === undefined && wish.text === undefined && !model.get("problem")) field = null;
      tell();
    },
    /** layer, head or selected: nothing has to be computed for it. */
    set(changes) {
      for (const [name, value] of Object.entries(changes)) model.set(name, value);
      model.save_changes();
      tell();
    },
    watch(view) {
      if (!views.size) names.forEach((name) => model.on(`change:${name}`, heard));
      views.add(view);
      return () => {
        views.delete(view);
        if (views.size) return;
        send();
        names.forEach((name) => model.off(`change:${name}`, heard));
      };
    },
  };
}
