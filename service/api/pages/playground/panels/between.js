/**
 * The path from one image to another: straight (lerp) and along an arc (slerp), scrubbed without a request.
 *
 * Knows two ends and the images of both paths. The server draws the paths.
 */

import { pictureOf } from "../images.js";
import { captioned, exampleOf, fileButton, fits, readable } from "../pictures.js";
import { defaultPlane, principalPlane } from "../plane.js";
import { showPlane } from "../sheet.js";
import { newSeed } from "../state.js";
import { LineChart } from "../widgets/chart.js";
import { Digit, stripCanvas } from "../widgets/digit.js";
import { button, el, slider } from "../widgets/dom.js";
import { LatentPlot } from "../widgets/plot.js";
import { Panel } from "./panel.js";

/** @typedef {import("../api.js").LatentsAnswer} LatentsAnswer */
/** @typedef {import("../api.js").ModelSummary} ModelSummary */
/** @typedef {import("../images.js").Picture} Picture */
/** @typedef {import("./panel.js").Context} Context */

const STEPS = 32;
/** Values of all images of one answer: fewer steps for large images. */
const MAX_VALUES = 2_000_000;
/** @type {("lerp" | "slerp")[]} */
const METHODS = ["lerp", "slerp"];
const SLERP_COLOUR = "#8fb4ff";
/** From one end to the other. */
const PLAY_MS = 2500;
const LEAST_SPAN = 1;

/** One end: a picture, and the latent in the middle of its posterior. */
class End {
  /**
   * @param {Context} context
   * @param {string} name
   * @param {string} lane
   * @param {() => void} changed
   */
  constructor(context, name, lane, changed) {
    const { texts, state } = context;
    const words = texts.pictures;
    this.context = context;
    this.lane = lane;
    this.changed = changed;
    /** @type {Picture | null} */
    this.picture = null;
    /** @type {number[]} */
    this.z = [];
    /** @type {import("../api.js").Sent | null} */
    this.sent = null;
    this.digit = new Digit(name, "medium");
    this.name = name;
    this.caption = el("figcaption", {}, name);
    this.drawn = button(words.drawn, () => void this.take(state.values.picture));
    this.element = el(
      "div",
      { class: "card row end" },
      captioned(this.digit.element, this.caption),
      el(
        "div",
        { class: "stack tight" },
        button(words.sample, () => void this.sample()),
        this.drawn,
        fileButton(words.file, (file) => void this.open(file)),
      ),
    );
  }

  /** The latent of this end for the model of the state, or null. */
  async ready() {
    const { state } = this.context;
    const { picture, model } = state.values;
    this.drawn.disabled = picture === null || !fits(picture, model);
    if (!this.picture || !fits(this.picture, model)) await this.set(await exampleOf(this.context, this.lane));
    else if (this.z.length !== model.latent_size || this.model !== model) await this.set(this.picture);
    return this.z.length === model.latent_size ? this.z : null;
  }

  /** @param {Picture | null} picture */
  async take(picture) {
    await this.set(picture);
    this.changed();
  }

  /** @param {Picture | null} picture */
  async set(picture) {
    const { api, state } = this.context;
    const { model } = state.values;
    if (!picture) return;
    const answer = await api.encode({ model: model.model, input: picture }, this.lane);
    if (!answer || model !== state.values.model) return;
    this.picture = picture;
    this.model = model;
    this.z = answer.mu[0];
    this.caption.textContent = this.name;
    this.sent = answer.sent;
    if (picture.x) this.digit.show(picture.x);
  }

  /** @param {File} file */
  async open(file) {
    const { state, texts } = this.context;
    const picture = await readable(file, state.values.model);
    if (picture) await this.take(picture);
    else this.caption.textContent = texts.draw.unreadable(file.name);
  }

  async sample() {
    const { api, state, texts } = this.context;
    const { model } = state.values;
    if (!model.priors.length) return this.take(await exampleOf(this.context, this.lane));
    const answer = await api.sample({ model: model.model, n: 1, seed: newSeed() }, this.lane);
    if (answer) await this.take(await pictureOf(answer.images, texts.pictures.sample));
    return undefined;
  }
}

/** @extends {Panel<import("../texts/en.js").Texts["between"]>} */
export class BetweenPanel extends Panel {
  /** @param {HTMLElement} element @param {Context} context */
  constructor(element, context) {
    const words = context.texts.between;
    super(context, words);
    this.at = 0;
    this.steps = STEPS;
    /** @type {LatentsAnswer[]} */
    this.paths = [];
    this.playing = 0;
    const changed = () => void this.restart();
    this.ends = [
      new End(context, words.first, "between-first", changed),
      new End(context, words.last, "between-last", changed),
    ];
    this.digits = METHODS.map((method) => new Digit(words.methods[method], "large"));
    this.strips = METHODS.map((method) => stripCanvas(words.strip(words.methods[method])));
    this.slider = slider(
      words.place,
      { min: 0, max: STEPS - 1, step: 1, value: 0, text: (value) => words.step(value + 1, this.steps) },
      (value) => {
        this.stop();
        this.scrub(value);
      },
    );
    this.play = button(words.play, () => (this.playing ? this.stop() : this.start()), { class: "primary" });
    this.chart = new LineChart(words.chart, { x: words.axes.x, y: words.axes.y });
    this.plot = new LatentPlot(words.plane, null);
    this.build(
      element,
      el(
        "div",
        { class: "split" },
        el(
          "div",
          { class: "stack" },
          el("div", { class: "halves" }, ...this.ends.map((end) => end.element)),
          el("div", { class: "row fill" }, this.slider.element, this.play),
          el(
            "div",
            { class: "pair" },
            ...METHODS.map((method, at) => {
              const large = captioned(this.digits[at].element, words.methods[method]);
              return el("div", { class: "stack tight" }, large, this.strips[at]);
            }),
          ),
        ),
        el(
          "div",
          { class: "card stack" },
          captioned(this.plot.element, words.plane),
          this.chart.element,
          el("p", { class: "note" }, words.note),
        ),
      ),
    );
    this.on(["model", "picture"], changed);
    context.signal.addEventListener("abort", () => this.stop());
  }

  hidden() {
    super.hidden();
    this.stop();
  }

  async restart() {
    const { api, state } = this.context;
    const { model } = state.values;
    const ends = await Promise.all(this.ends.map((end) => end.ready()));
    const [from, to] = ends;
    if (!from || !to || model !== state.values.model) return;
    const steps = stepsOf(model);
    const answers = await Promise.all(
      METHODS.map((method) =>
        api.interpolate({ model: model.model, ends: [from, to], steps, method }, `between-${method}`),
      ),
    );
    const paths = answers.flatMap((answer) => answer ?? []);
    if (paths.length < METHODS.length || model !== state.values.model) return;
    this.paths = paths;
    this.steps = steps;
    this.at = Math.min(this.at, steps - 1);
    this.slider.input.max = `${steps - 1}`;
    this.copy.show(paths[1].sent);
    if (this.ends[0].sent) this.copy.show(this.ends[0].sent);
    this.strips.forEach((strip, at) => {
      drawStrip(strip, this.digits[at], paths[at]);
    });
    this.frame(model);
    this.scrub(this.at);
  }

  /** The plane behind both paths. @param {ModelSummary} model */
  frame(model) {
    const { preview } = this.context.state.values;
    const points = this.paths.flatMap((path) => path.z);
    const isSpace = model.latent_size === 2;
    const plane = isSpace ? defaultPlane(model, preview) : principalPlane(points, LEAST_SPAN);
    const reach = Math.max(...points.map((z) => Math.max(...plane.positionOf(z).map(Math.abs))));
    plane.span = Math.max(isSpace ? plane.span : 0.1, 1.1 * reach);
    void showPlane(this.plot, this.context, plane, "between-sheet");
    const [straight, arc] = this.paths.map((path) => path.z.map((z) => plane.positionOf(z)));
    this.marks = [
      ...arc.map((at) => ({ at, radius: 2, colour: SLERP_COLOUR })),
      { at: straight[0], text: "A" },
      { at: straight[this.steps - 1], text: "B" },
    ];
    this.positions = { straight, arc };
  }

  /** Step `at` of both paths: images that are here already. @param {number} at */
  scrub(at) {
    this.at = at;
    this.slider.show(at);
    if (this.paths.length < METHODS.length || !this.positions || !this.marks) return;
    this.digits.forEach((digit, method) => {
      digit.show(this.paths[method].images, at);
    });
    const { straight, arc } = this.positions;
    const here = { at: arc[at], radius: 4, colour: SLERP_COLOUR };
    this.plot.show({ path: straight, marks: [...this.marks, here], point: straight[at] });
    // In the colours of the map: slerp first, which is blue.
    const lines = METHODS.map((method, index) => ({
      name: this.words.methods[method],
      points: this.paths[index].z.map(
        (z, step) => /** @type {[number, number]} */ ([step + 1, Math.hypot(...z)]),
      ),
    })).reverse();
    this.chart.show(lines, at + 1);
    if (!this.playing) this.context.announce(this.words.step(at + 1, this.steps));
  }

  /** To the other end and back, at the screen's rate. */
  start() {
    this.play.textContent = this.words.pause;
    const begun = performance.now() - (this.at / (this.steps - 1)) * PLAY_MS;
    const tick = (/** @type {number} */ now) => {
      const turn = ((((now - begun) / PLAY_MS) % 2) + 2) % 2;
      const at = Math.round((turn < 1 ? turn : 2 - turn) * (this.steps - 1));
      if (at !== this.at) this.scrub(at);
      this.playing = requestAnimationFrame(tick);
    };
    this.playing = requestAnimationFrame(tick);
  }

  stop() {
    cancelAnimationFrame(this.playing);
    this.playing = 0;
    this.play.textContent = this.words.play;
  }
}

/** Images of each path. @param {ModelSummary} model */
function stepsOf({ image_shape: [channels, height, width] }) {
  return Math.max(8, Math.min(STEPS, Math.floor(MAX_VALUES / (channels * height * width))));
}

/**
 * Every fourth image of a path, side by side. The digit's canvas serves as the brush.
 * @param {HTMLCanvasElement} strip
 * @param {Digit} digit
 * @param {LatentsAnswer} path
 */
function drawStrip(strip, digit, { images }) {
  const every = 4;
  const shown = Array.from({ length: images.n }, (_, at) => at).filter(
    (at) => at % every === 0 || at === images.n - 1,
  );
  [strip.width, strip.height] = [shown.length * images.width, images.height];
  const context = strip.getContext("2d");
  shown.forEach((at, place) => {
    digit.show(images, at);
    context?.drawImage(digit.element, place * images.width, 0);
  });
}
