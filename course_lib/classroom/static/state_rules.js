// The numbers and the words of the state explorer, in doubles. Python's twins are classroom/state_explorer.py and
// state_words.py. A state `s` has the names of the traits: facts, features, feature_map, normalize, prefix_len, ...

const VALUES = 8;
const FEATURES = [2, 4, 8, 16, 32, 64];
const MOST_FACTS = 32;
const MAPS = { identity: (x) => x, "elu+1": (x) => (x > 0 ? x + 1 : Math.exp(x)) };

// -- steps and facts

const lastStep = ({ facts, prefix_len: P }) => facts + 1 - Math.max(P, 1);
const storedAt = ({ step, prefix_len: P }) => step && Math.max(P, 1) + step - 1;
/** The step after which so many facts are stored, or the first that has them. */
const stepOf = (stored, P) => stored && Math.max(stored - Math.max(P, 1), 0) + 1;

/** What changes with another number of facts or another prefix: as many facts stay stored as can. */
function refit(s, changes) {
  const { facts, prefix_len } = { ...s, ...changes }, P = Math.min(prefix_len, facts); // prettier-ignore
  return { facts, prefix_len: P, step: stepOf(Math.min(storedAt(s), facts), P), selected: Math.min(s.selected, facts - 1) };
}

// -- the memory

/** φ of each fact's key: a unit vector. */
function mappedKeys({ draws }, { facts, features, feature_map }) {
  return draws.slice(0, facts).map((row) => {
    const cut = row.slice(0, features), norm = Math.sqrt(cut.reduce((sum, x) => sum + x * x, 0)); // prettier-ignore
    return cut.map((x) => MAPS[feature_map](x / norm));
  });
}

/** S, a row for each feature, and z, after 0, 1, ... and all facts. */
function memories({ values }, keys) {
  const states = [{ S: keys[0].map(() => Array(VALUES).fill(0)), z: keys[0].map(() => 0) }];
  keys.forEach((key, fact) => {
    const { S, z } = states[fact];
    states.push({ S: S.map((row, i) => row.map((x, j) => x + key[i] * (j === values[fact]))), z: z.map((x, i) => x + key[i]) });
  });
  return states;
}

/** v̂ = φ(q) S, divided by φ(q)·z where that is asked for. */
function readOut(query, { S, z }, normalize, stored) {
  const read = S[0].map((_, j) => S.reduce((sum, row, i) => sum + query[i] * row[j], 0));
  const denominator = normalize && stored ? z.reduce((sum, x, i) => sum + query[i] * x, 0) : 1;
  return read.map((x) => x / denominator);
}

const argmax = (numbers) => numbers.indexOf(Math.max(...numbers));

/** All that is shown at any step of these settings, and its extremes, so that scales stay while facts arrive. */
function history(world, s) {
  const keys = mappedKeys(world, s), states = memories(world, keys); // prettier-ignore
  const reads = states.map((state, stored) => keys.map((key) => readOut(key, state, s.normalize, stored)));
  const sizes = [...keys, ...states.flatMap(({ S }) => S)].flat().map(Math.abs), all = reads.flat(2); // prettier-ignore
  return { keys, states, reads, top: Math.max(...sizes), low: Math.min(0, ...all), high: Math.max(0, ...all) };
}

/** Is each stored fact's value the largest that its key reads? */
const recalled = (world, reads, stored) => reads[stored].slice(0, stored).map((read, fact) => argmax(read) === world.values[fact]);

// -- the words

/** Two decimals, a true minus sign, and no minus before zero. */
function number(value) {
  const text = value.toFixed(2);
  return text === "-0.00" ? "0.00" : text.replace("-", "−");
}

const factWords = ({ nouns, digits, values }, fact) => `${nouns[fact]} → ${digits[values[fact]]}`;

/** The settings, the step, the query, the recall and the size, in this order. */
function sentences(world, s, past = history(world, s)) {
  const { facts, features: Dk, prefix_len: P, step, selected, normalize } = s, { nouns, digits, values } = world; // prettier-ignore
  const stored = storedAt(s), right = recalled(world, past.reads, stored); // prettier-ignore
  const settings = [plural(facts, "fact"), `${Dk} features`, `feature map ${s.feature_map}`, P && `a prefix of ${plural(P, "fact")}`, normalize && "normalised"];

  let now = `${factWords(world, Math.max(stored - 1, 0))} arrives: φ(k)ᵀv is added to S, which changes column ${digits[values[stored - 1]]}.`;
  if (!step) now = `S is empty, all ${Dk * VALUES} numbers are 0.`;
  else if (step === 1 && P > 1) now = `the prefix, ${plural(P, "fact")}, arrives at once: one product KᵀV is added to S. A query made in the prefix sees all ${P}.`;

  const read = past.reads[stored][selected], best = argmax(read), true_ = values[selected]; // prettier-ignore
  let query = `Asked for ${nouns[selected]}, v̂ is largest at ${digits[best]} (${number(read[best])})`;
  if (!stored) query = `Asked for ${nouns[selected]}, v̂ is 0: nothing is stored yet.`;
  else if (selected >= stored && read[best] <= 0) query = `Asked for ${nouns[selected]}, v̂ is nowhere above 0: ${nouns[selected]} is not stored yet.`;
  else if (selected >= stored) query += ` from other facts alone: ${nouns[selected]} is not stored yet.`;
  else query += best === true_ ? ", the value that was stored: right." : `, but ${digits[true_]} was stored (${number(read[true_])}): wrong.`;

  const wrong = nouns.filter((_, fact) => right[fact] === false).join(", ");
  const holds = normalize ? `S and z hold ${Dk} × ${VALUES} + ${Dk} = ${Dk * (VALUES + 1)}` : `S holds ${Dk} × ${VALUES} = ${Dk * VALUES}`;
  const cache = (stored * (Dk + VALUES)).toLocaleString("en-US");
  return [
    `${settings.filter(Boolean).join(", ")}.`,
    `Step ${step} of ${lastStep(s)}: ${now}`,
    query,
    `Recall ${right.filter(Boolean).length} of ${stored}${wrong && `; wrong: ${wrong}`}.`,
    `${holds} numbers; ${plural(stored, "fact")} so far. A cache would hold ${stored} × (${Dk} + ${VALUES}) = ${cache}.`,
  ];
}
