/**
 * The state of the page: which model, which point, which seed, which panel, which picture.
 *
 * Knows values, their subscribers, the fragment of the address and what the browser keeps. Knows nothing of
 * HTTP or of elements.
 * The first four are in the fragment, so that a copied address opens the same view.
 */

/** @typedef {import("./api.js").ModelSummary} ModelSummary */
/** @typedef {import("./api.js").Preview} Preview */
/** @typedef {import("./images.js").Picture} Picture */
/** @typedef {"map" | "draw" | "noise" | "dimensions" | "samples" | "between" | "kinds" | "loss"} PanelId */

/**
 * @typedef {object} Values
 * @property {PanelId} panel
 * @property {ModelSummary} model  the chosen version; send its `model` with requests
 * @property {ModelSummary[]} models  every loaded version
 * @property {Preview | null} preview  posterior means of some images of the chosen version, if it has them
 * @property {number[]} z  the point, as long as `model.latent_size`
 * @property {number} seed
 * @property {Picture | null} picture  what Draw made, or another panel sent: Noise, Between and The loss use it
 */

/** @typedef {keyof Values} Name */
/** @typedef {{panel: PanelId | null, model: string | null, z: number[] | null, seed: number | null}} Fragment */

/** @type {PanelId[]} */
export const PANELS = ["map", "draw", "noise", "dimensions", "samples", "between", "kinds", "loss"];

/** Browsers refuse more than some 100 changes of the address in 30 seconds. */
const FRAGMENT_DELAY_MS = 400;
/** An address of more numbers is no longer one to share. */
const LONGEST_Z = 64;

export class State {
  /** @param {Values} values */
  constructor(values) {
    /** @type {Readonly<Values>} */
    this.values = values;
    /** @type {Set<{names: Name[], listener: (changed: Set<Name>) => void}>} */
    this.subscribers = new Set();
    /** @type {ReturnType<typeof setTimeout> | undefined} */
    this.timer = undefined;
  }

  /**
   * Change values; subscribers of those that differ hear of it once.
   * @param {Partial<Values>} changes
   */
  set(changes) {
    const names = /** @type {Name[]} */ (Object.keys(changes));
    const changed = new Set(names.filter((name) => !isSame(changes[name], this.values[name])));
    if (!changed.size) return;
    this.values = { ...this.values, ...changes };
    this.writeFragmentSoon();
    for (const { names: wanted, listener } of [...this.subscribers]) {
      if (wanted.some((name) => changed.has(name))) listener(changed);
    }
  }

  /**
   * Hear of changes, until `signal` ends it.
   * @param {Name[]} names
   * @param {(changed: Set<Name>) => void} listener
   * @param {AbortSignal} signal
   */
  on(names, listener, signal) {
    const subscriber = { names, listener };
    this.subscribers.add(subscriber);
    signal.addEventListener("abort", () => this.subscribers.delete(subscriber), { once: true });
  }

  /** The fragment of these values. */
  fragment() {
    const { panel, model, z, seed } = this.values;
    const point = z.length > LONGEST_Z ? "" : `&z=${z.map((value) => Number(value.toFixed(3))).join(",")}`;
    return `#panel=${panel}&model=${model.model}${point}&seed=${seed}`;
  }

  writeFragmentSoon() {
    this.timer ??= setTimeout(() => {
      this.timer = undefined;
      history.replaceState(null, "", this.fragment());
    }, FRAGMENT_DELAY_MS);
  }
}

/**
 * The values of a fragment; null for each that is missing or malformed.
 * @param {string} text
 * @returns {Fragment}
 */
export function readFragment(text) {
  const query = new URLSearchParams(text.replace(/^#/, ""));
  const panel = PANELS.find((each) => each === query.get("panel")) ?? null;
  const z = query.get("z")?.split(",").map(Number) ?? null;
  const seed = Number(query.get("seed") ?? NaN);
  return {
    panel,
    model: query.get("model"),
    z: z?.every((value) => Number.isFinite(value) && Math.abs(value) <= 10_000) ? z : null,
    seed: Number.isSafeInteger(seed) && seed >= 0 ? seed : null,
  };
}

/** A seed for a new draw. */
export const newSeed = () => Math.floor(Math.random() * 2 ** 31);

/** @param {unknown} one @param {unknown} other */
function isSame(one, other) {
  if (!Array.isArray(one) || !Array.isArray(other)) return one === other;
  return one.length === other.length && one.every((value, at) => value === other[at]);
}

const PREFIX = "vae-playground-";

/** @param {"localStorage" | "sessionStorage"} storage @param {string} name */
export function kept(storage, name) {
  try {
    return window[storage].getItem(PREFIX + name);
  } catch {
    // Storage is switched off.
    return null;
  }
}

/** Keep a value; null forgets it. @param {"localStorage" | "sessionStorage"} storage @param {string} name @param {string | null} value */
export function keep(storage, name, value) {
  try {
    if (value === null) window[storage].removeItem(PREFIX + name);
    else window[storage].setItem(PREFIX + name, value);
  } catch {
    // Storage is switched off: it lasts as long as the page.
  }
}
