/**
 * An autoencoder and a VAE side by side: the same images, the same walk, the same noise.
 *
 * Knows two models and what they make of one set of images. The server encodes and decodes.
 */

import { imageAt, pixelsOf } from "../images.js";
import { captioned, titled } from "../pictures.js";
import { gaussians, isStandard, principalPlane } from "../plane.js";
import { fetchSheet, kindsOf, stepsOf } from "../sheet.js";
import { newSeed } from "../state.js";
import { Digit, stripCanvas } from "../widgets/digit.js";
import { button, choice, el, slider } from "../widgets/dom.js";
import { LatentPlot } from "../widgets/plot.js";
import { Panel } from "./panel.js";

/** @typedef {import("../api.js").ModelSummary} ModelSummary */
/** @typedef {import("../images.js").Images} Images */
/** @typedef {import("../plane.js").Position} Position */
/** @typedef {import("./panel.js").Context} Context */

const IMAGES = 200;
const STEPS = 11;
const DRAWS = 8;
const LEAST_SPAN = 3;

/** One model: its map, its walk and its samples. */
class Side {
  /**
   * @param {Context} context
   * @param {"ae" | "vae"} kind
   * @param {() => void} changed
   */
  constructor(context, kind, changed) {
    const { texts } = context;
    const words = texts.kinds;
    this.context = context;
    this.kind = kind;
    this.words = words;
    /** @type {ModelSummary | null} */
    this.model = null;
    /** @type {ModelSummary[]} */
    this.models = [];
    /** @type {number[][]} */
    this.codes = [];
    /** @type {Images | null} */
    this.walk = null;
    /** @type {Position[]} */
    this.path = [];
    this.choice = choice(words.names[kind], [], (label) => {
      this.model = this.models.find((each) => each.model === label) ?? null;
      changed();
    });
    const point = (/** @type {Position} */ at) => void this.decode(at);
    this.plot = new LatentPlot(words.map(words.names[kind]), { hover: point, choose: point });
    this.step = new Digit(words.step(words.names[kind]), "medium");
    this.strip = stripCanvas(words.walk);
    this.draws = Array.from(
      { length: DRAWS },
      (_, at) => new Digit(words.draw(words.names[kind], at + 1), "small"),
    );
  }

  /** @param {ModelSummary[]} models  those of the kind and shape */
  offer(models) {
    this.models = models;
    const kept = models.find((each) => each.model === this.model?.model);
    this.model = kept ?? models.find((each) => each.latent_size === 2) ?? models[0] ?? null;
    this.choice.setOptions(models.map((each) => [each.model, each.model]));
    if (this.model) this.choice.select.value = this.model.model;
  }

  /** The codes of the images on the map. @param {Images} images @param {number[]} kinds */
  async encode(images, kinds) {
    const { model } = this;
    if (!model) return;
    const { api } = this.context;
    const answer = await api.encode({ model: model.model, input: images }, `kinds-encode-${this.kind}`);
    if (!answer || model !== this.model) return;
    this.codes = answer.mu;
    const plane = principalPlane(this.codes, LEAST_SPAN);
    this.plane = plane;
    const dots = this.codes.map((z, at) => ({ at: plane.positionOf(z), kind: kinds[at] }));
    this.plot.set({ plane, bitmap: null, dots, hasPrior: isStandard(model) });
    this.plot.show({ point: null, image: null });
    const sheet = await fetchSheet(api, model, plane, `kinds-sheet-${this.kind}`);
    if (sheet && model === this.model) this.plot.set({ bitmap: sheet.bitmap, steps: stepsOf(model) });
  }

  /** The image of a position. @param {Position} at */
  async decode(at) {
    const { model, plane } = this;
    if (!model || !plane) return;
    this.plot.show({ point: at });
    const { api, announce, texts } = this.context;
    const answer = await api.decode(
      { model: model.model, z: [plane.latentAt(at)] },
      `kinds-point-${this.kind}`,
    );
    if (!answer || model !== this.model) return;
    this.plot.show({ image: pixelsOf(answer.images) });
    announce(`${this.words.names[this.kind]}: ${texts.units.point(at)}`);
  }

  /** The straight way between two of the images. @param {number} first @param {number} last */
  async go(first, last) {
    const { model, plane } = this;
    if (!model || !plane) return null;
    const ends = [this.codes[first], this.codes[last]];
    const call = { model: model.model, ends, steps: STEPS, method: /** @type {const} */ ("lerp") };
    const answer = await this.context.api.interpolate(call, `kinds-walk-${this.kind}`);
    if (!answer || model !== this.model) return null;
    this.walk = answer.images;
    this.path = answer.z.map((z) => plane.positionOf(z));
    const { width, height } = answer.images;
    [this.strip.width, this.strip.height] = [STEPS * width, height];
    const context = this.strip.getContext("2d");
    for (let at = 0; at < STEPS; at++) context?.putImageData(pixelsOf(answer.images, at), at * width, 0);
    return answer;
  }

  /** @param {number} at */
  scrub(at) {
    if (!this.walk) return;
    this.step.show(this.walk, at);
    const ends = [
      { at: this.path[0], text: "A" },
      { at: this.path[STEPS - 1], text: "B" },
    ];
    this.plot.show({ path: this.path, marks: [...ends, { at: this.path[at], radius: 6 }] });
  }

  /** Images of noise that both models receive. @param {number} seed */
  async sample(seed) {
    const { model } = this;
    if (!model) return null;
    const z = Array.from({ length: DRAWS }, (_, row) => gaussians(seed + row, model.latent_size));
    const answer = await this.context.api.decode({ model: model.model, z }, `kinds-draws-${this.kind}`);
    if (!answer || model !== this.model) return null;
    this.draws.forEach((digit, at) => {
      digit.show(answer.images, at);
    });
    return answer;
  }
}

/** @extends {Panel<import("../texts/en.js").Texts["kinds"]>} */
export class KindsPanel extends Panel {
  /** @param {HTMLElement} element @param {Context} context */
  constructor(element, context) {
    const { texts, state } = context;
    const words = texts.kinds;
    super(context, words);
    this.at = 0;
    this.ends = [0, 1];
    /** @type {{images: Images, kinds: number[]} | null} */
    this.data = null;
    this.source = "";
    const changed = () => void this.restart();
    this.sides = [new Side(context, "ae", changed), new Side(context, "vae", changed)];
    this.origin = el("p", { class: "note" });
    this.first = new Digit(words.first, "small");
    this.last = new Digit(words.last, "small");
    this.slider = slider(
      words.place,
      { min: 0, max: STEPS - 1, step: 1, value: 0, text: (at) => `${at + 1} / ${STEPS}` },
      (at) => this.scrub(at),
    );
    this.missing = el("p", { class: "card", hidden: true }, words.missing);
    const both = (/** @type {(side: Side) => Element} */ part, step = "") =>
      el("div", { class: "halves", "data-step": step }, ...this.sides.map((side) => part(side)));
    const names = words.names;
    this.all = el(
      "div",
      { class: "stack" },
      both((side) => side.choice.element),
      titled(
        words.mapTitle,
        words.mapNote,
        both((side) => captioned(side.plot.element, names[side.kind]), "wrong"),
        this.origin,
      ),
      titled(
        words.walkTitle,
        words.walkNote,
        el(
          "div",
          { class: "row" },
          captioned(this.first.element, "A"),
          captioned(this.last.element, "B"),
          button(words.others, () => void this.walk(true), { class: "primary" }),
        ),
        this.slider.element,
        both((side) =>
          el("div", { class: "stack tight" }, captioned(side.step.element, names[side.kind]), side.strip),
        ),
      ),
      titled(
        words.drawTitle,
        words.drawNote,
        el(
          "div",
          { class: "row" },
          button(words.again, () => state.set({ seed: newSeed() }), { class: "primary" }),
        ),
        both((side) =>
          captioned(
            el("div", { class: "gallery" }, ...side.draws.map((digit) => digit.element)),
            names[side.kind],
          ),
        ),
      ),
    );
    this.build(element, this.missing, this.all);
    this.on(["models", "model"], () => this.restart());
    this.on(["seed"], () => this.sample());
  }

  /** Other models: the images on both maps, then the walk and the samples. */
  async restart() {
    const { model, models } = this.context.state.values;
    const ofShape = (/** @type {ModelSummary} */ shape) =>
      models.filter(
        (each) =>
          `${each.image_shape}` === `${shape.image_shape}` &&
          // Both sides get draws of N(0, I).
          (each.kind === "ae" || isStandard(each)),
      );
    // A shape of which both kinds are loaded: that of the chosen model if possible.
    const shape = [model, ...models].find((each) => new Set(ofShape(each).map((one) => one.kind)).size === 2);
    this.missing.hidden = shape !== undefined;
    this.all.hidden = this.copy.element.hidden = shape === undefined;
    if (!shape) return;
    for (const side of this.sides) side.offer(ofShape(shape).filter((each) => each.kind === side.kind));
    const chosen = this.sides.map((side) => side.model?.model).join(" ");
    if (chosen === this.source && this.data) return;
    const data = await this.images();
    if (!data) return;
    this.data = data;
    this.source = chosen;
    await Promise.all(this.sides.map((side) => side.encode(data.images, data.kinds)));
    await Promise.all([this.walk(false), this.sample()]);
  }

  /** Real images of a preview, or images that the VAE draws. */
  async images() {
    const { api, texts } = this.context;
    const models = this.sides.flatMap((side) => side.model ?? []).reverse();
    for (const { model, preview } of models) {
      const found = preview ? await api.preview(model, "kinds-preview") : null;
      if (!found?.thumbnails) continue;
      const n = Math.min(IMAGES, found.thumbnails.n);
      const size = found.thumbnails.data.length / found.thumbnails.n;
      const labels = kindsOf(found);
      this.origin.textContent = texts.kinds.real(n, model);
      const images = { ...found.thumbnails, n, data: found.thumbnails.data.slice(0, n * size) };
      return { images, kinds: found.labels.map((label) => labels.indexOf(label)) };
    }
    const vae = models.find((each) => each.priors.length > 0);
    const drawn = vae && (await api.sample({ model: vae.model, n: IMAGES / 2, seed: 0 }, "kinds-images"));
    if (!drawn) return null;
    this.origin.textContent = texts.kinds.drawn(drawn.images.n, drawn.model);
    return { images: drawn.images, kinds: new Array(drawn.images.n).fill(0) };
  }

  /** @param {boolean} areOthers */
  async walk(areOthers) {
    const { data } = this;
    if (!data) return;
    if (areOthers || this.ends.some((at) => at >= data.images.n))
      this.ends = pairOf(data.kinds.slice(0, data.images.n));
    const [first, last] = this.ends;
    this.first.show(imageAt(data.images, first));
    this.last.show(imageAt(data.images, last));
    const answers = await Promise.all(this.sides.map((side) => side.go(first, last)));
    if (answers[0]) this.copy.show(answers[0].sent);
    this.scrub(areOthers ? 0 : this.at);
    this.slider.show(this.at);
  }

  /** @param {number} at */
  scrub(at) {
    this.at = at;
    for (const side of this.sides) side.scrub(at);
  }

  async sample() {
    if (!this.isShown || !this.data) return;
    const { seed } = this.context.state.values;
    const answers = await Promise.all(this.sides.map((side) => side.sample(seed)));
    if (answers[0]) this.copy.show(answers[0].sent);
  }
}

/** Two images, of different classes if there are some. @param {number[]} kinds */
function pairOf(kinds) {
  const any = () => Math.floor(Math.random() * kinds.length);
  const first = any();
  const others = kinds.flatMap((kind, at) => (kind === kinds[first] ? [] : [at]));
  return [first, others.length ? others[Math.floor(Math.random() * others.length)] : any()];
}
