/**
 * The reparameterisation made visible: z = μ + σ · ε for one image, as numbers, as points and as images.
 *
 * Knows the posterior of the picture and draws ε. The server encodes and decodes.
 */

import { imageAt } from "../images.js";
import { captioned, PictureChoice, titled } from "../pictures.js";
import { gaussians, klOf, planeOfDims, ranked } from "../plane.js";
import { showPlane } from "../sheet.js";
import { newSeed } from "../state.js";
import { Digit } from "../widgets/digit.js";
import { button, el, fill, slider } from "../widgets/dom.js";
import { LatentPlot, subscript } from "../widgets/plot.js";
import { Panel } from "./panel.js";

/** @typedef {import("../images.js").Images} Images */
/** @typedef {import("../api.js").ModelSummary} ModelSummary */
/** @typedef {import("./panel.js").Context} Context */

const DRAWS = 16;
const MAX_SCALE = 3;
/** Of the plane, at least, and as a multiple of the largest |μ|. */
const LEAST_SPAN = 3;
const ROOM = 1.25;
/** The standard deviation that is white, at least: a smaller one of all pixels stays dark. */
const LEAST_SPREAD = 0.1;
const DRAW_COLOUR = "#8fb4ff";

/** @typedef {{model: ModelSummary, mu: number[], logvar: number[], plane: import("../plane.js").Plane}} Posterior */

/** @extends {Panel<import("../texts/en.js").Texts["noise"]>} */
export class NoisePanel extends Panel {
  /** @param {HTMLElement} element @param {Context} context */
  constructor(element, context) {
    const { texts, state } = context;
    const words = texts.noise;
    super(context, words);
    this.scale = 1;
    /** @type {Posterior | null} */
    this.posterior = null;
    /** @type {number[]} */
    this.z = [];
    this.pictures = new PictureChoice(context, "noise-example");
    this.plot = new LatentPlot(words.plane, null);
    this.mean = new Digit(words.atMean, "large");
    this.drawn = new Digit(words.atDraw, "large");
    this.average = new Digit(words.average);
    this.spread = new Digit(words.spread);
    this.draws = Array.from({ length: DRAWS }, (_, at) => new Digit(texts.samples.image(at + 1), "small"));
    this.rows = el("tbody");
    this.slider = slider(words.scale, { min: 0, max: MAX_SCALE, step: 0.05, value: 1 }, (value) => {
      this.scale = value;
      void this.redraw();
    });
    this.plain = el("p", { class: "card", hidden: true }, words.plain);
    this.ofVae = el(
      "div",
      { class: "stack tight" },
      el(
        "div",
        { class: "row" },
        button(words.another, () => state.set({ seed: newSeed() }), { class: "primary" }),
        button(words.toMap, () => this.toMap()),
      ),
      this.slider.element,
    );
    this.drawnFigure = captioned(this.drawn.element, words.atDraw);
    this.gallery = titled(
      words.draws,
      "",
      el("div", { class: "gallery" }, ...this.draws.map((digit) => digit.element)),
      el(
        "div",
        { class: "row" },
        captioned(this.average.element, words.average),
        captioned(this.spread.element, words.spread),
        el("p", { class: "note" }, words.spreadNote),
      ),
    );
    this.build(
      element,
      el(
        "div",
        { class: "split reversed" },
        el(
          "div",
          { class: "card stack" },
          this.pictures.element,
          this.ofVae,
          captioned(this.plot.element, words.plane),
          this.tableOf(),
        ),
        el(
          "div",
          { class: "stack" },
          this.plain,
          el(
            "div",
            { class: "pair", "data-step": "trick" },
            captioned(this.mean.element, words.atMean),
            this.drawnFigure,
          ),
          this.gallery,
        ),
      ),
    );
    this.on(["model", "picture"], () => this.pictures.isChoosing || this.restart());
    this.on(["seed"], () => this.redraw());
  }

  tableOf() {
    const names = [this.words.dimension, "μ", "σ", "ε", "z"];
    const head = el("tr", {}, ...names.map((name) => el("th", { scope: "col" }, name)));
    return el(
      "div",
      {
        class: "scrolled",
        tabindex: 0,
        role: "region",
        "aria-label": this.words.numbers,
        "data-step": "logvar",
      },
      el("table", { class: "numbers" }, el("thead", {}, head), this.rows),
    );
  }

  /** The posterior of another picture, or by another model. */
  async restart() {
    const { api, state } = this.context;
    const { model } = state.values;
    const picture = await this.pictures.ensure();
    const isStale = () => picture !== state.values.picture || model !== state.values.model;
    if (!picture || isStale()) return;
    const answer = await api.encode({ model: model.model, input: picture }, "noise-encode");
    if (!answer || isStale()) return;
    this.copy.show(answer.sent);
    const [[mu], [logvar]] = [answer.mu, answer.logvar];
    const isVae = model.kind === "vae";
    const order = ranked(mu.map((each, at) => (isVae ? klOf(each, logvar[at]) : 0))).slice(0, 2);
    const [across, up = across] = order.sort((a, b) => a - b);
    const center = mu.map((each, at) => (at === across || at === up ? 0 : each));
    const span = Math.max(LEAST_SPAN, ROOM * Math.abs(mu[across]), ROOM * Math.abs(mu[up]));
    this.posterior = { model, mu, logvar, plane: planeOfDims([across, up], center, span) };
    this.plain.hidden = isVae;
    this.ofVae.hidden = this.gallery.hidden = this.drawnFigure.hidden = !isVae;
    const sheet = showPlane(this.plot, this.context, this.posterior.plane, "noise-sheet");
    await Promise.all([this.redraw(), sheet]);
  }

  /** @param {File} file */
  take(file) {
    return this.pictures.open(file);
  }

  /** Another ε, or another scale of it. */
  async redraw() {
    const { api, announce, texts, state } = this.context;
    const { posterior, scale } = this;
    if (!this.isShown || !posterior || posterior.model !== state.values.model) return;
    const { model, mu, logvar } = posterior;
    const isVae = model.kind === "vae";
    const sigma = logvar.map((each) => (isVae ? Math.exp(0.5 * each) : 0));
    const noise = Array.from({ length: 1 + DRAWS }, (_, row) =>
      gaussians(state.values.seed + row, mu.length),
    );
    const points = noise.map((eps) => mu.map((mean, at) => mean + scale * sigma[at] * eps[at]));
    const [z, ...draws] = points;
    this.z = z;
    this.write(mu, sigma, noise[0]);
    this.mark(posterior, isVae ? draws : []);
    const answer = await api.decode({ model: model.model, z: isVae ? [mu, ...points] : [mu] }, "noise");
    if (!answer || this.posterior !== posterior) return;
    this.copy.show(answer.sent);
    this.mean.show(answer.images, 0);
    if (!isVae) return;
    this.drawn.show(answer.images, 1);
    this.draws.forEach((digit, at) => {
      digit.show(answer.images, 2 + at);
    });
    const [average, spread] = momentsOf(answer.images, 2);
    this.average.show(average);
    this.spread.show(spread);
    announce(`z = ${texts.units.point(z.slice(0, 4))}`);
  }

  /** The numbers. @param {number[]} mu @param {number[]} sigma @param {number[]} eps */
  write(mu, sigma, eps) {
    const rows = mu.map((mean, at) => {
      const values = [mean, sigma[at], eps[at], this.z[at]].map((value) => el("td", {}, value.toFixed(3)));
      return el("tr", {}, el("th", { scope: "row" }, `z${subscript(at)}`), ...values);
    });
    fill(this.rows, ...rows);
  }

  /** μ with its ellipses, z and the draws. @param {Posterior} posterior @param {number[][]} draws */
  mark({ model, mu, logvar, plane }, draws) {
    const at = plane.positionOf(mu);
    const isVae = model.kind === "vae";
    this.plot.show({
      ellipses: isVae ? [{ at, covariance: plane.covarianceOf(logvar) }] : [],
      marks: [
        ...draws.map((each) => ({ at: plane.positionOf(each), radius: 2, colour: DRAW_COLOUR })),
        { at, text: "μ", radius: 3 },
      ],
      point: isVae ? plane.positionOf(this.z) : null,
    });
  }

  toMap() {
    this.context.state.set({ z: this.z });
    this.context.open("map");
  }
}

/**
 * Mean and standard deviation of each pixel over the images from `first` on; the largest spread is white.
 * @param {Images} images
 * @param {number} first
 * @returns {[Images, Images]}
 */
function momentsOf(images, first) {
  const one = imageAt(images, 0);
  const size = one.data.length;
  const n = images.n - first;
  const [mean, spread] = [new Float32Array(size), new Float32Array(size)];
  for (let at = 0; at < size; at++) {
    let [total, squares] = [0, 0];
    for (let row = first; row < images.n; row++) {
      const value = images.data[row * size + at];
      total += value;
      squares += value * value;
    }
    mean[at] = total / n;
    spread[at] = Math.sqrt(Math.max(0, squares / n - mean[at] ** 2));
  }
  const white = spread.reduce((most, value) => Math.max(most, value), LEAST_SPREAD);
  return [
    { ...one, data: mean },
    { ...one, data: spread.map((value) => value / white) },
  ];
}
