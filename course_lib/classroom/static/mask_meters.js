// What a mask costs, as three meters: pairs, tiles with the controls of their size, and tokens that are scored.

const TILE_SIZES = [1, 2, 4, 8, 16, 32, 64, 128];

function makeMeters(store) {
  const id = uniqueId("mx-tile");
  const pairs = meter("pairs", "Allowed pairs", "The share of the square; the part that is dotted is more than causal");
  const tiles = meter("tiles", "Tiles visited", "A kernel computes visited tiles in whole, and never touches skipped ones");
  const loss = meter("loss", "Tokens scored", "What the loss counts");
  const tileSize = h("select", { id, onchange: () => store.set({ tile: Number(tileSize.value) }) });
  const tileShow = h("input", { type: "checkbox", onchange: () => store.set({ show_tiles: tileShow.checked }) });
  const tileControls = h("div", { class: "mx-tiles" },
    h("label", { class: "mx-check" }, tileShow, "show tiles"),
    h("label", { class: "mx-check", for: id }, "of size", tileSize)); // prettier-ignore
  tiles.box.append(tileControls);
  return {
    boxes: [pairs.box, tiles.box, loss.box],
    /** `c` is what `counts` gave for this state. */
    draw({ kind, tokens }, c) {
      const choices = [...new Set([...TILE_SIZES, store.state.tile])].sort((a, b) => a - b);
      if (tileSize.mxChoices !== choices.join()) {
        tileSize.replaceChildren(...choices.map((n) => h("option", { value: n }, `${n} × ${n}`)));
        tileSize.mxChoices = choices.join();
      }
      if (tileSize.value !== String(store.state.tile)) tileSize.value = store.state.tile;
      tileShow.checked = store.state.show_tiles;
      const T = tokens.length, total = Math.max(c.total, 1), all = Math.max(c.grid.length, 1); // prettier-ignore
      const more = c.allowed - c.causal;
      pairs.show(`${c.allowed} of ${c.total}`, `${percent(c.allowed, c.total)} %`, [c.allowed - Math.max(more, 0), Math.max(more, 0)].map((n) => n / total),
        `causal ${c.causal}${more ? `, ${more > 0 ? "+" : "−"}${Math.abs(more)}` : ""}`); // prettier-ignore
      tiles.show(`${c.tiles.visited} of ${c.grid.length}`, `${percent(c.tiles.visited, c.grid.length)} %`, [c.tiles.full / all, c.tiles.partial / all], `${c.tiles.skipped} skipped, ${c.tiles.partial} partial, ${c.tiles.full} full`);
      if (kind === "custom") loss.show("not said", "", [0, 0], "a mask alone does not say");
      else loss.show(`${c.loss.length} of ${T}`, `${percent(c.loss.length, T)} %`, [c.loss.length / Math.max(T, 1), 0], { encoder: "15 % masked at random", decoder: "all but the first", "encoder-decoder": "the target", prefix: "the target" }[kind]);
    },
  };
}

function meter(id, name, title) {
  const value = h("span", { class: "mx-value mx-number" });
  const share = h("span", { class: "mx-share mx-number muted" });
  const first = h("span", { class: "mx-fill" });
  const second = h("span", { class: "mx-fill mx-more" });
  const detail = h("p", { class: "mx-detail muted mx-number" });
  const box = h("div", { class: `mx-meter mx-meter-${id}` }, h("p", { class: "mx-meter-head", title }, h("span", { class: "mx-name" }, name), value, share), h("div", { class: "mx-bar", "aria-hidden": "true" }, first, second), detail);
  return {
    box,
    show(words, percentage, [a, b], more) {
      setText(value, words);
      setText(share, percentage);
      setText(detail, more);
      first.style.clipPath = `inset(0 ${100 - a * 100}% 0 0)`;
      second.style.clipPath = `inset(0 ${100 - (a + b) * 100}% 0 ${a * 100}%)`;
    },
  };
}
