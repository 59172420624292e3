// Masks, what is counted in them, and the role of each cell. Python's twins are course_lib/masks.py and costs.py.
// A state is { kind, prefixLen, tokens, tile, selected, custom, moved }; P and T are its lengths.

const CLOSED = 0, PREFIX = 1, TARGET = 2, ADDED = 3, CROSS = 4, SHUT = 5; // prettier-ignore
const BUILT_IN_KINDS = ["encoder", "decoder", "encoder-decoder", "prefix"];

/** The prefix length whose prefix mask the kind uses: T for an encoder, 0 for a decoder. */
function seenPrefix(kind, P, T) {
  return kind === "encoder" ? T : kind === "decoder" ? 0 : P;
}

/** The mask as T * T bytes, row by row: 1 where query i may read key j. */
function maskBits(kind, P, T, custom = null) {
  if (kind === "custom") return custom;
  const bits = new Uint8Array(T * T);
  const prefix = seenPrefix(kind, P, T);
  for (let i = 0; i < T; i++) bits.fill(1, i * T, i * T + Math.max(i + 1, prefix));
  return bits;
}

/** The tokens that the loss counts, or null where a mask alone does not say. An encoder's are spread evenly. */
function lossPositions(kind, P, T) {
  if (kind === "custom") return null;
  if (kind === "encoder") {
    const count = Math.max(Math.floor((15 * T + 50) / 100), Math.min(T, 1));
    return Array.from({ length: count }, (_, i) => Math.floor(((2 * i + 1) * T) / (2 * count)));
  }
  const first = { decoder: 1, prefix: Math.max(P, 1), "encoder-decoder": P }[kind];
  return Array.from({ length: Math.max(T - first, 0) }, (_, i) => first + i);
}

/** Everything that the meters show, counted pair by pair. `grid` holds each tile's sort: 0 skipped, 1 partial, 2 full. */
function counts(kind, P, T, tile, custom = null) {
  const bits = maskBits(kind, P, T, custom);
  const side = Math.ceil(T / tile);
  const open = new Uint32Array(side * side);
  let allowed = 0;
  let above = 0;
  for (let i = 0, at = 0; i < T; i++) {
    const row = Math.floor(i / tile) * side;
    for (let j = 0; j < T; j++, at++)
      if (bits[at]) {
        allowed++;
        if (j > i) above++;
        open[row + Math.floor(j / tile)]++;
      }
  }
  const grid = Uint8Array.from(open, (pairs) => (pairs === 0 ? 0 : pairs === tile * tile ? 2 : 1));
  const sorts = [0, 0, 0];
  for (const sort of grid) sorts[sort]++;
  return {
    bits, grid, side, allowed, above, total: T * T, causal: (T * (T + 1)) / 2,
    tiles: { skipped: sorts[0], partial: sorts[1], full: sorts[2], visited: sorts[1] + sorts[2] },
    loss: lossPositions(kind, P, T),
  }; // prettier-ignore
}

/** Where the user's own mask differs from the prefix mask of the boundary: pairs it opens, pairs it closes, blind rows. */
function difference(custom, P, T) {
  const prefix = maskBits("prefix", P, T);
  const found = { opens: [], closes: [], blind: [] };
  for (let i = 0, at = 0; i < T; i++) {
    let reads = 0;
    for (let j = 0; j < T; j++, at++) {
      reads += custom[at];
      if (custom[at] !== prefix[at]) found[custom[at] ? "opens" : "closes"].push([i, j]);
    }
    if (!reads) found.blind.push(i);
  }
  return found;
}

/** What each cell is, (T * T): CLOSED or how it is open; ADDED looks ahead (or is open against the prefix mask), SHUT is closed against it. */
function cellRoles(kind, P, T, custom = null) {
  const roles = new Uint8Array(T * T);
  for (let i = 0; i < T; i++) {
    const row = i * T;
    const paint = (role, from, to) => from < to && roles.fill(role, row + from, row + to);
    if (kind === "encoder" || (kind === "prefix" && i < P)) {
      paint(PREFIX, 0, i + 1);
      paint(ADDED, i + 1, kind === "encoder" ? T : P);
    } else if (kind === "decoder") paint(TARGET, 0, i + 1);
    else if (kind === "custom")
      for (let j = 0; j < T; j++) {
        const expected = j <= i || j < P;
        if (custom[row + j]) roles[row + j] = !expected ? ADDED : j < P ? PREFIX : TARGET;
        else if (expected) roles[row + j] = SHUT;
      }
    else {
      paint(kind === "encoder-decoder" && i >= P ? CROSS : PREFIX, 0, P);
      paint(TARGET, P, i + 1);
    }
  }
  return roles;
}
