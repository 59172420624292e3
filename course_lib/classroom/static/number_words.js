// Numbers as the counting explorers say them. Python's twin is classroom/number_words.py.

const COUNT_UNITS = [["trillion", 1e12], ["billion", 1e9], ["million", 1e6], ["thousand", 1e3]]; // prettier-ignore
const BYTE_UNITS = [["TB", 1e12], ["GB", 1e9], ["MB", 1e6], ["KB", 1e3]]; // prettier-ignore

const whole = (n) => n.toLocaleString("en-US");
const plural = (count, one) => `${whole(count)} ${one}${count === 1 ? "" : "s"}`;

/** Three digits or so, rounded half up. */
function brief(value) {
  const places = value >= 100 ? 0 : value >= 10 ? 1 : value >= 0.1 ? 2 : 3;
  const rounded = Math.floor(value * 10 ** places + 0.5) / 10 ** places;
  return rounded.toLocaleString("en-US", { minimumFractionDigits: places, maximumFractionDigits: places });
}

function short(count) {
  const [unit, least] = COUNT_UNITS.find(([, least]) => count >= least) ?? [];
  return unit ? `${brief(count / least)}\u00a0${unit}` : String(count);
}

/** Bytes in decimal units: 1 GB is 10⁹ bytes. */
function byteSize(count) {
  const [unit, least] = BYTE_UNITS.find(([, least]) => count >= least);
  return `${brief(count / least)}\u00a0${unit}`;
}
