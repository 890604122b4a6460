/**
 * The tour: a card that leads through the study notes while the page moves behind it.
 *
 * Knows its card, the state, and where each step takes the page. Each step has one equation in MathML, which
 * browsers draw by themselves. Of the panels' elements it knows only those that name a step in `data-step`:
 * where the card would hide them, the page scrolls.
 */

import { exampleOf, fits } from "./pictures.js";
import { defaultPlane } from "./plane.js";
import { keep, kept, newSeed } from "./state.js";
import { button, el, fill } from "./widgets/dom.js";

/** @typedef {import("./api.js").ModelSummary} ModelSummary */
/** @typedef {import("./panels/panel.js").Context} Context */
/** @typedef {import("./state.js").PanelId} PanelId */
/** @typedef {keyof import("./texts/en.js").Texts["tour"]["steps"]} StepName */

export class Tour {
  /**
   * @param {Context} context
   * @param {(model: ModelSummary) => Promise<void>} choose
   */
  constructor(context, choose) {
    this.context = context;
    this.choose = choose;
    this.texts = context.texts.tour;
    /** The step that is shown; -1: none. */
    this.at = -1;
    this.step = new AbortController();
    this.title = el("h2", { id: "tour-title", tabindex: -1 });
    this.text = el("p");
    this.maths = el("div", { class: "maths", tabindex: 0 });
    this.count = el("span", { class: "note" });
    this.last = button(this.texts.back, () => this.go(this.at - 1));
    this.next = button(
      this.texts.next,
      () => (this.at === STEPS.length - 1 ? this.close() : this.go(this.at + 1)),
      { class: "primary" },
    );
    this.element = el(
      "div",
      { class: "tour", role: "dialog", "aria-labelledby": "tour-title", hidden: true },
      this.title,
      this.text,
      this.maths,
      el(
        "div",
        { class: "row ends" },
        button("✕", () => this.close(), { "aria-label": this.texts.close }),
        this.count,
        this.last,
        this.next,
      ),
    );
    this.element.addEventListener("keydown", (event) => event.key === "Escape" && this.close());
    context.signal.addEventListener("abort", () => this.step.abort(), { once: true });
  }

  /** A line for people who come for the first time; null for the others. */
  invitation() {
    if (kept("localStorage", "tour")) return null;
    this.invited = el(
      "div",
      { class: "invitation row", role: "note" },
      el("span", {}, this.texts.invitation),
      button(this.texts.start, () => this.go(0), { class: "primary" }),
      button(this.texts.no, () => this.dismiss()),
    );
    return this.invited;
  }

  /** Invite no more. */
  dismiss() {
    keep("localStorage", "tour", "seen");
    this.invited?.remove();
  }

  /** @param {number} at */
  go(at) {
    this.dismiss();
    this.step.abort();
    this.step = new AbortController();
    this.at = Math.max(0, Math.min(STEPS.length - 1, at));
    const { name, equation, go } = STEPS[this.at];
    this.title.textContent = this.texts.steps[name].title;
    this.text.textContent = this.texts.steps[name].text;
    fill(this.maths, equation());
    this.count.textContent = `${this.at + 1} / ${STEPS.length}`;
    this.last.disabled = this.at === 0;
    this.next.textContent = this.at === STEPS.length - 1 ? this.texts.end : this.texts.next;
    this.element.hidden = false;
    this.title.focus({ preventScroll: true });
    void go({
      context: this.context,
      choose: this.choose,
      open: (panel) => {
        this.context.open(panel);
        this.follow(name, this.step.signal);
      },
      signal: this.step.signal,
    });
  }

  /** Keep in sight what a step speaks of while its panel fills, until the person scrolls. @param {StepName} name @param {AbortSignal} signal */
  follow(name, signal) {
    const panel = document.getElementById("panel");
    if (signal.aborted || !panel) return;
    const filling = new ResizeObserver(() => this.uncover(name));
    const stop = () => filling.disconnect();
    filling.observe(panel);
    signal.addEventListener("abort", stop, { once: true });
    for (const type of ["wheel", "touchmove", "pointerdown", "keydown"])
      addEventListener(type, stop, { signal, passive: true });
  }

  /** Scroll what the step speaks of above the card, if the card hides it. @param {StepName} name */
  uncover(name) {
    scrollTo(0, 0);
    const spoken = document.querySelector(`[role=tabpanel]:not([hidden]) [data-step~=${name}]`);
    if (!spoken) return;
    const [box, card] = [spoken.getBoundingClientRect(), this.element.getBoundingClientRect()];
    const isBeside = box.right <= card.left && box.top < innerHeight;
    if (!isBeside && box.bottom > card.top) spoken.scrollIntoView({ block: "start" });
  }

  close() {
    this.step.abort();
    this.at = -1;
    this.element.hidden = true;
    document.getElementById("tour-start")?.focus();
  }
}

/**
 * What a step may do to the page.
 * @typedef {object} Guide
 * @property {Context} context
 * @property {(model: ModelSummary) => Promise<void>} choose
 * @property {(panel: PanelId) => void} open
 * @property {AbortSignal} signal  aborts when another step begins
 */

/** @typedef {{name: StepName, equation: () => Element, go: (guide: Guide) => void | Promise<void>}} Step */

const TICK_MS = 60;
const WALK_MS = 6000;
const MATHML = "http://www.w3.org/1998/Math/MathML";

/** @type {Step[]} */
const STEPS = [
  {
    name: "likelihood",
    equation: () =>
      equation(
        sup("θ", "*"),
        "=",
        under("argmax", "θ"),
        under("∑", "i"),
        "log",
        sub("p", "θ"),
        "(",
        sub("x", "i"),
        ")",
      ),
    go: async (guide) => {
      await use(guide, "vae");
      guide.open("map");
      return walk(guide, (share) => circle(1.6, share));
    },
  },
  {
    name: "autoencoder",
    equation: () => equation("z = f ( x ) ,", "\u2003", hat("x"), "= g ( z )"),
    go: async (guide) => {
      await use(guide, "ae");
      guide.open("map");
      return walk(guide, (share) => circle(0.6 * planeOf(guide).span, share));
    },
  },
  {
    name: "wrong",
    equation: () => equation("loss =", sup(made("mrow", ...row(["‖ x −", hat("x"), "‖"])), "2")),
    go: (guide) => {
      const kinds = new Set(guide.context.state.values.models.map(({ kind }) => kind));
      if (kinds.size > 1) guide.open("kinds");
      else guide.open("map");
    },
  },
  {
    name: "regions",
    equation: () => equation("x ↦ q ( z | x )"),
    go: (guide) => withPicture(guide, "draw"),
  },
  {
    name: "gaussian",
    equation: () => equation("q ( z | x ) = N (", "μ ,", sup("σ", "2"), "I )"),
    go: (guide) => withPicture(guide, "draw"),
  },
  {
    name: "logvar",
    equation: () => equation("σ = exp ( ½", "log", sup("σ", "2"), ")"),
    go: (guide) => withPicture(guide, "noise"),
  },
  {
    name: "loss",
    equation: () =>
      equation(
        made(
          "mtable",
          line("loss = −", "log", "p ( x | z )"),
          line("+ β · KL ( q ( z | x ) ‖ N ( 0 , I ) )"),
        ),
      ),
    go: (guide) => withPicture(guide, "loss"),
  },
  {
    name: "sampling",
    equation: () => equation("z ∼ N ( 0 , I ) ,", "\u2003", hat("x"), "= g ( z )"),
    go: async (guide) => {
      await use(guide, "vae");
      guide.open("samples");
    },
  },
  {
    name: "trick",
    equation: () => equation("z = μ + σ · ε ,", "\u2003", "ε ∼ N ( 0 , I )"),
    go: async (guide) => {
      await withPicture(guide, "noise");
      await pause(guide, 1500);
      if (!guide.signal.aborted) guide.context.state.set({ seed: newSeed() });
    },
  },
];

/** A model of a kind, rather one of two dimensions; without one the page keeps what it has. @param {Guide} guide @param {"ae" | "vae"} kind */
async function use({ context, choose }, kind) {
  const { model, models } = context.state.values;
  const isFit = (/** @type {ModelSummary} */ each) => each.kind === kind && each.latent_size === 2;
  const found = isFit(model) ? model : (models.find(isFit) ?? models.find((each) => each.kind === kind));
  if (found && found.model !== model.model) await choose(found);
}

/** @param {Guide} guide */
const planeOf = ({ context }) => defaultPlane(context.state.values.model, context.state.values.preview);

/** @param {number} radius @param {number} share @returns {[number, number]} */
const circle = (radius, share) => [
  radius * Math.cos(2 * Math.PI * share),
  radius * Math.sin(2 * Math.PI * share),
];

/** The page's point along a path on the map; at once at its end for people who want no motion. @param {Guide} guide @param {(share: number) => [number, number]} path */
async function walk(guide, path) {
  const isStill = matchMedia("(prefers-reduced-motion: reduce)").matches;
  const begun = performance.now();
  for (let share = isStill ? 1 : 0; !guide.signal.aborted; share = (performance.now() - begun) / WALK_MS) {
    const plane = planeOf(guide);
    guide.context.state.set({ z: plane.latentAt(path(Math.min(1, share))) });
    if (share >= 1) return;
    await pause(guide, TICK_MS);
  }
}

/** A panel that needs a picture: the page's, or an example. @param {Guide} guide @param {PanelId} panel */
async function withPicture(guide, panel) {
  await use(guide, "vae");
  const { state } = guide.context;
  const { picture, model } = state.values;
  const chosen = fits(picture, model) ? picture : await exampleOf(guide.context, "tour");
  if (guide.signal.aborted) return;
  state.set({ picture: chosen });
  guide.open(panel);
}

/** @param {Guide} guide @param {number} ms @returns {Promise<void>} */
const pause = ({ signal }, ms) =>
  new Promise((go) => {
    const timer = setTimeout(go, ms);
    const stop = () => {
      clearTimeout(timer);
      go();
    };
    signal.addEventListener("abort", stop, { once: true });
  });

/** @typedef {string | Element} Part  tokens with spaces between them, or an element of MathML */

/** An equation. @param {...Part} parts */
function equation(...parts) {
  const math = made("math", ...row(parts));
  math.setAttribute("display", "block");
  return math;
}

/** A line of a longer equation. @param {...Part} parts */
const line = (...parts) => made("mtr", made("mtd", ...row(parts)));

/** @param {Part} base @param {Part} index */
const sub = (base, index) => made("msub", one(base), one(index));
/** @param {Part} base @param {Part} power */
const sup = (base, power) => made("msup", one(base), one(power));
/** @param {Part} base @param {Part} below */
const under = (base, below) => made("munder", one(base), one(below));
/** @param {Part} base */
const hat = (base) => made("mover", one(base), made("mo", "^"));

/** @param {Part} part */
const one = (part) => made("mrow", ...row([part]));

/** @param {Part[]} parts @returns {Element[]} */
function row(parts) {
  return parts.flatMap((part) =>
    part instanceof Element ? [part] : part.split(/\s+/).filter(Boolean).map(token),
  );
}

/** @param {string} text */
function token(text) {
  if (/^[\d½]+$/.test(text)) return made("mn", text);
  if (/^[\p{L}*]+$/u.test(text)) return made("mi", text === "log" ? "log\u2009" : text);
  const operator = made("mo", text);
  // Parentheses of the text's own height.
  operator.setAttribute("stretchy", "false");
  return operator;
}

/** @param {string} tag @param {...(Element | string)} children */
function made(tag, ...children) {
  const element = document.createElementNS(MATHML, tag);
  element.append(...children);
  return element;
}
