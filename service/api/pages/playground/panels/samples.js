/**
 * New images from a prior: a gallery whose images go to the map, to the sliders or into a file.
 *
 * Knows the parameters of a draw. The server draws.
 */

import { pathOf } from "../api.js";
import { imageAt, pictureOf } from "../images.js";
import { isStandard } from "../plane.js";
import { newSeed } from "../state.js";
import { Digit } from "../widgets/digit.js";
import { button, choice, el, fill, newId, slider } from "../widgets/dom.js";
import { Panel } from "./panel.js";

/** @typedef {import("../images.js").Images} Images */
/** @typedef {import("../api.js").SampleAnswer} SampleAnswer */
/** @typedef {import("./panel.js").Context} Context */

const COUNTS = [1, 4, 16, 36, 64];
const MAX_TEMPERATURE = 2;

/** @extends {Panel<import("../texts/en.js").Texts["samples"]>} */
export class SamplesPanel extends Panel {
  /** @param {HTMLElement} element @param {Context} context */
  constructor(element, context) {
    const { texts, state } = context;
    const words = texts.samples;
    super(context, words);
    this.n = 36;
    this.temperature = 1;
    this.prior = "";
    this.label = "";
    this.chosen = 0;
    /** @type {SampleAnswer | null} */
    this.answer = null;
    const redraw = () => void this.redraw();
    this.gallery = el("div", { class: "gallery", "data-step": "sampling" });
    this.large = new Digit(words.chosen, "large");
    this.facts = el("figcaption", { class: "numbers" });
    const counts = /** @type {[string, string][]} */ (COUNTS.map((n) => [`${n}`, `${n}`]));
    const count = choice(words.n, counts, (value) => {
      this.n = Number(value);
      redraw();
    });
    count.select.value = `${this.n}`;
    this.priors = choice(words.prior, [], (value) => {
      this.prior = value;
      this.fitControls();
      redraw();
    });
    this.labels = choice(words.label, [], (value) => {
      this.label = value;
      redraw();
    });
    this.temperatures = slider(
      words.temperature,
      { min: 0, max: MAX_TEMPERATURE, step: 0.05, value: 1 },
      (value) => {
        this.temperature = value;
        redraw();
      },
    );
    const id = newId("seed");
    this.seed = el("input", { id, type: "number", min: 0, max: Number.MAX_SAFE_INTEGER, step: 1 });
    this.seed.addEventListener("change", () => {
      const seed = this.seed.valueAsNumber;
      if (Number.isSafeInteger(seed) && seed >= 0) state.set({ seed });
      else this.seed.value = `${state.values.seed}`;
    });
    this.none = el(
      "div",
      { class: "card stack", hidden: true },
      el("p", {}, words.none),
      el(
        "div",
        { class: "row" },
        button(words.compare, () => context.open("kinds")),
      ),
    );
    this.all = el(
      "div",
      { class: "split" },
      el(
        "div",
        { class: "stack" },
        el(
          "div",
          { class: "card stack" },
          el("div", { class: "row" }, count.element, this.priors.element, this.labels.element),
          this.temperatures.element,
          el(
            "div",
            { class: "row" },
            el("div", { class: "field" }, el("label", { for: id }, words.seed), this.seed),
            button(words.again, () => state.set({ seed: newSeed() }), { class: "primary" }),
          ),
        ),
        this.gallery,
        el(
          "div",
          { class: "row" },
          button(words.png, () => void this.save("png")),
          button(words.npy, () => void this.save("npy")),
        ),
      ),
      el(
        "div",
        { class: "card stack" },
        el("figure", {}, this.large.element, this.facts),
        el(
          "div",
          { class: "row" },
          button(words.toMap, () => this.send("map")),
          button(words.toSliders, () => this.send("dimensions")),
          button(words.toNoise, () => void this.use()),
        ),
        el("p", { class: "note" }, words.note),
      ),
    );
    this.build(element, this.none, this.all);
    this.on(["model"], () => this.restart());
    this.on(["seed"], redraw);
  }

  /** The choices that another model offers. */
  restart() {
    const { priors, labels } = this.context.state.values.model;
    const { words } = this;
    this.none.hidden = priors.length > 0;
    this.all.hidden = this.copy.element.hidden = priors.length === 0;
    const names = /** @type {[string, string][]} */ (priors.map((prior) => [prior, words.priors(prior)]));
    this.priors.setOptions(names);
    this.prior = priors.at(-1) ?? "";
    this.priors.select.value = this.prior;
    const each = /** @type {[string, string][]} */ (labels.map((label) => [label, label]));
    this.labels.setOptions([["", words.anyLabel], ...each]);
    this.label = "";
    this.fitControls();
    void this.redraw();
  }

  /** Every prior but N(0, I) may have labels. */
  fitControls() {
    const { priors, labels } = this.context.state.values.model;
    this.priors.element.hidden = priors.length < 2;
    this.labels.element.hidden = labels.length === 0 || this.prior === "standard";
  }

  async redraw() {
    const { api, state } = this.context;
    const { model, seed } = state.values;
    if (!model.priors.length) return;
    this.seed.value = `${seed}`;
    const label = this.prior === "standard" ? "" : this.label;
    const { n, temperature, prior } = this;
    const answer = await api.sample({ model: model.model, n, seed, temperature, prior, label }, "samples");
    if (!answer || model !== state.values.model) return;
    this.answer = answer;
    this.copy.show(answer.sent);
    this.chosen = Math.min(this.chosen, answer.images.n - 1);
    const digits = Array.from({ length: answer.images.n }, (_, at) => this.digit(answer.images, at));
    const { activeElement } = document;
    const focused = activeElement ? [...this.gallery.children].indexOf(activeElement) : -1;
    fill(this.gallery, ...digits);
    if (focused >= 0) digits[Math.min(focused, digits.length - 1)].focus();
    this.choose(this.chosen);
  }

  /** @param {Images} images @param {number} at */
  digit(images, at) {
    const digit = new Digit(this.words.image(at + 1), "small");
    digit.show(images, at);
    const chosen = button("", () => this.choose(at), { class: "picture" });
    chosen.append(digit.element);
    return chosen;
  }

  /** @param {number} at */
  choose(at) {
    const { answer, words } = this;
    if (!answer) return;
    this.chosen = at;
    [...this.gallery.children].forEach((each, place) => {
      each.setAttribute("aria-pressed", `${place === at}`);
    });
    this.large.show(answer.images, at);
    const z = answer.z[at];
    const usual = isStandard(this.context.state.values.model) ? Math.sqrt(z.length) : null;
    this.facts.textContent = words.facts(at + 1, Math.hypot(...z), usual);
    this.context.announce(this.facts.textContent);
  }

  /** @param {"map" | "dimensions"} panel */
  send(panel) {
    if (!this.answer) return;
    this.context.state.set({ z: this.answer.z[this.chosen] });
    this.context.open(panel);
  }

  /** The chosen image becomes the picture of the other panels. */
  async use() {
    if (!this.answer) return;
    const picture = await pictureOf(
      imageAt(this.answer.images, this.chosen),
      this.words.image(this.chosen + 1),
    );
    this.context.state.set({ picture });
    this.context.open("noise");
  }

  /** The same draw as a file of the server. @param {"png" | "npy"} form */
  async save(form) {
    const { api } = this.context;
    if (!this.answer) return;
    const { model, seed, sent } = this.answer;
    const request = { path: pathOf({ ...sent, form }), subject: model, accept: "*/*" };
    const response = await api.send(request, "samples-save");
    if (!response) return;
    const address = URL.createObjectURL(await response.blob());
    el("a", { href: address, download: `sample-${model}-seed-${seed}.${form}` }).click();
    setTimeout(() => URL.revokeObjectURL(address), 10_000);
  }
}
