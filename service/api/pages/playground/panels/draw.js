/**
 * Draw: a picture goes through the model, and every stage of its way is shown.
 *
 * A drawing, a file or an example becomes the page's picture; its posterior mean becomes the page's point.
 */

import { DrawingBoard } from "../drawing.js";
import { examplePicture, figurePicture, imageAt, isLikeMnist, pixelsOf } from "../images.js";
import { captioned, fileButton, fits, readable, titled } from "../pictures.js";
import { defaultPlane, Plane } from "../plane.js";
import { fetchSheet, mixed, showPlane } from "../sheet.js";
import { Bars } from "../widgets/chart.js";
import { Digit } from "../widgets/digit.js";
import { button, el, fill, newId, slider } from "../widgets/dom.js";
import { BRIGHT, LatentPlot } from "../widgets/plot.js";
import { Panel } from "./panel.js";

/** @typedef {import("../images.js").Images} Images */
/** @typedef {import("../images.js").Picture} Picture */
/** @typedef {import("./panel.js").Context} Context */

/** Between two looks at a drawing that goes on. */
const LIVE_MS = 70;
const EXAMPLES = 20;
/** Images along each side of the region, and its standard deviations to each side. */
const ZOOM_STEPS = 7;
const ZOOM_SIGMAS = 2.6;

/** @extends {Panel<import("../texts/en.js").Texts["draw"]>} */
export class DrawPanel extends Panel {
  /** @param {HTMLElement} element @param {Context} context */
  constructor(element, context) {
    const texts = context.texts.draw;
    super(context, texts);
    /** What the panel shows: changes of anything else are its own. */
    this.shownPicture = /** @type {Picture | null} */ (null);
    this.shownModel = "";
    this.plane = /** @type {Plane | null} */ (null);
    this.lastLook = 0;
    this.count = 0;
    this.facts = /** @type {import("../api.js").ModelFacts | null} */ (null);

    const keys = el("p", { class: "note keys", id: newId("keys") }, texts.keys);
    this.board = new DrawingBoard(texts.board, keys.id, texts.here, (isDone) => void this.drawn(isDone));
    const width = slider(
      texts.width,
      { min: 8, max: 48, step: 2, value: this.board.width, text: String },
      (to) => {
        this.board.width = to;
      },
    );
    const tools = el(
      "div",
      { class: "row" },
      button(texts.undo, () => this.board.undo()),
      button(texts.clear, () => this.board.clear()),
    );
    this.pad = el("div", { class: "stack" }, this.board.element, tools, width.element, keys);
    this.examples = el("div", { class: "gallery examples" });
    this.problem = el("p", { class: "note", role: "status" });
    const sources = el(
      "div",
      { class: "stack" },
      el(
        "div",
        { class: "row" },
        fileButton(context.texts.pictures.file, (file) => void this.take(file), "draw-file"),
        el("span", { class: "note" }, texts.drop),
      ),
      this.problem,
      el(
        "div",
        { class: "row" },
        el("h3", {}, texts.examples),
        button(texts.others, () => void this.writeExamples()),
      ),
      this.examples,
    );
    this.seen = new Digit(texts.seen, "stage");
    this.seen.element.id = "draw-seen";
    this.again = new Digit(texts.again, "stage");
    this.error = new Digit(texts.error, "stage");
    this.plot = new LatentPlot(texts.plot, null);
    this.zoom = new LatentPlot(texts.zoomed, null);
    this.zoom.set({ steps: ZOOM_STEPS, light: BRIGHT });
    this.zoomed = captioned(this.zoom.element, texts.zoomed);
    this.bars = new Bars(texts.usual);
    this.sum = el("p", { class: "numbers" });
    this.costs = titled(texts.costs, "", this.bars.element, this.sum);
    this.place = el("span", { class: "numbers" });
    const stage = (/** @type {Digit} */ digit, /** @type {string} */ symbol, /** @type {string} */ caption) =>
      captioned(digit.element, el("figcaption", {}, el("i", {}, symbol), " ", caption));
    this.build(
      element,
      el(
        "div",
        { class: "split even" },
        el("div", { class: "card stack" }, this.pad, sources),
        el(
          "div",
          { class: "stack" },
          el(
            "div",
            { class: "stages" },
            stage(this.seen, "x", texts.seen),
            stage(this.again, "x̂", texts.again),
            stage(this.error, "x̂ − x", texts.error),
          ),
          el(
            "div",
            { class: "halves", "data-step": "regions gaussian" },
            captioned(this.plot.element, el("figcaption", {}, texts.region, " ", this.place)),
            this.zoomed,
          ),
          this.costs,
        ),
      ),
    );
    this.on(["picture", "model"], () => this.restart());
  }

  /** What the state has and the panel does not show yet. */
  restart() {
    const { model, preview, picture } = this.context.state.values;
    const isOther = this.shownModel !== model.model;
    if (isOther) {
      this.shownModel = model.model;
      this.costs.hidden = this.zoomed.hidden = true; // Until the model has answered.
      this.pad.hidden = !isLikeMnist(model);
      this.lead.textContent = isLikeMnist(model) ? this.words.lead : this.words.other;
      this.plane = defaultPlane(model, preview);
      void showPlane(this.plot, this.context, this.plane, "draw-sheet");
      void this.readFacts();
      void this.writeExamples();
    }
    if (isOther && picture && !fits(picture, model)) this.context.state.set({ picture: null });
    else if (isOther || picture !== this.shownPicture) void this.look(picture, false);
  }

  async readFacts() {
    const { model } = this.context.state.values;
    this.facts = null;
    const facts = await this.context.api.facts(model.model);
    if (model.model === this.shownModel) this.facts = facts;
  }

  /** The board has changed. @param {boolean} isDone */
  async drawn(isDone) {
    if (!isDone && performance.now() - this.lastLook < LIVE_MS) return;
    this.lastLook = performance.now();
    const count = ++this.count;
    const picture = this.board.isEmpty
      ? null
      : await figurePicture(this.board.pixels(), this.context.texts.pictures.drawn);
    // A picture that is older than the latest change is not shown, and a dot too small to be a figure is none.
    if (count === this.count && (picture || this.board.isEmpty)) void this.look(picture, !isDone);
  }

  /** @param {File} file */
  async take(file) {
    this.count++;
    this.problem.textContent = "";
    const picture = await readable(file, this.context.state.values.model);
    if (!picture) {
      this.problem.textContent = this.words.unreadable(file.name);
      return;
    }
    this.board.wipe();
    await this.look(picture, false);
  }

  /**
   * Send a picture through the model. While a stroke goes on, without the score.
   * @param {Picture | null} picture
   * @param {boolean} isLive
   */
  async look(picture, isLive) {
    const { api, state } = this.context;
    const { seed } = state.values;
    const { model, kind } = state.values.model;
    this.shownPicture = picture;
    if (!isLive) state.set({ picture });
    if (!picture) return this.empty();
    if (picture.x) this.seen.show(picture.x);
    const call = { model, input: picture };
    await Promise.all([
      api.reconstruct(call, "draw-reconstruct").then((answer) => {
        if (!answer || !this.isAbout(answer.model)) return;
        this.again.show(answer.images);
        this.plot.show({ image: pixelsOf(answer.images) });
        this.showError(picture.x, answer.images);
        this.copy.show(answer.sent);
      }),
      api.encode(call, "draw-encode").then((answer) => {
        if (!answer || !this.isAbout(answer.model)) return;
        this.showRegion(answer.mu[0], answer.logvar[0], isLive);
        if (!isLive) this.copy.show(answer.sent);
      }),
      kind === "vae" &&
        !isLive &&
        api.score({ ...call, seed }, "draw-score").then((answer) => {
          if (!answer || !this.isAbout(answer.model)) return;
          this.showCosts(answer.reconstruction_nll[0], answer.kl[0]);
          this.copy.show(answer.sent);
        }),
    ]);
  }

  /** Whether an answer is about what is shown. @param {string} model */
  isAbout(model) {
    return model === this.context.state.values.model.model && this.shownPicture !== null;
  }

  empty() {
    for (const each of [this.seen, this.again, this.error]) each.clear();
    this.place.textContent = "";
    this.costs.hidden = this.zoomed.hidden = true;
    this.plot.show({ ellipses: [], point: null, image: null });
  }

  /** @param {Images | null} x @param {Images} xHat */
  showError(x, xHat) {
    if (!x || x.width !== xHat.width || x.height !== xHat.height) return this.error.clear();
    const plane = x.width * x.height;
    const mean = (/** @type {Images} */ image, /** @type {number} */ at) => {
      let sum = 0;
      for (let channel = 0; channel < image.channels; channel++) sum += image.data[channel * plane + at];
      return sum / image.channels;
    };
    this.error.showSigned(
      Float32Array.from({ length: plane }, (_, at) => mean(xHat, at) - mean(x, at)),
      x.width,
      x.height,
    );
  }

  /** @param {number[]} mu @param {number[]} logvar @param {boolean} isLive */
  showRegion(mu, logvar, isLive) {
    if (!this.plane || mu.length !== this.plane.center.length) return;
    const { state, texts, announce } = this.context;
    const isPoint = state.values.model.kind === "ae";
    const at = this.plane.positionOf(mu);
    const sigma = this.plane.covarianceOf(logvar);
    this.plot.show({ point: at, ellipses: isPoint ? [] : [{ at, covariance: sigma }] });
    if (!isPoint && !isLive) void this.showZoom(mu, logvar);
    const numbers = [at, [Math.sqrt(sigma.aa), Math.sqrt(sigma.bb)]].map((each) => texts.units.point(each));
    this.place.textContent = isPoint ? `z = ${numbers[0]}` : `μ = ${numbers[0]}, σ = ${numbers[1]}`;
    if (isLive) return;
    state.set({ z: mu });
    announce(this.words.said(this.place.textContent));
  }

  /**
   * The region alone, with what its points decode to.
   * @param {number[]} mu
   * @param {number[]} logvar
   */
  async showZoom(mu, logvar) {
    const { api, state } = this.context;
    const { model } = state.values;
    if (!this.plane) return;
    const covariance = this.plane.covarianceOf(logvar);
    const span = ZOOM_SIGMAS * Math.sqrt(Math.max(covariance.aa, covariance.bb));
    const plane = new Plane(mu, this.plane.u, this.plane.v, span, null);
    const sheet = await fetchSheet(api, model, plane, "draw-zoom", ZOOM_STEPS);
    if (!sheet || !this.isAbout(sheet.model)) return;
    this.zoomed.hidden = false;
    this.zoom.set({ plane, bitmap: sheet.bitmap });
    this.zoom.show({ ellipses: [{ at: [0, 0], covariance }] });
  }

  /** @param {number} reconstruction @param {number} kl */
  showCosts(reconstruction, kl) {
    const { nats } = this.context.texts.units;
    const usual = (/** @type {string} */ name) =>
      this.facts?.metrics.find((each) => each.name === name)?.value ?? null;
    this.costs.hidden = false;
    this.bars.show([
      {
        name: this.words.reconstruction,
        value: reconstruction,
        text: nats(reconstruction),
        usual: usual("reconstruction_nll"),
      },
      { name: this.words.kl, value: kl, text: nats(kl), usual: usual("kl") },
    ]);
    this.sum.textContent = `−ELBO = ${reconstruction.toFixed(1)} + ${kl.toFixed(1)} = ${nats(reconstruction + kl)}`;
  }

  /** Real images of the preview, two of each class, or samples for a version without one. */
  async writeExamples() {
    const { api, state } = this.context;
    const { model, preview } = state.values;
    /** @type {{image: Images, label: string}[]} */
    let found = [];
    if (preview) {
      const { thumbnails, labels } = preview;
      const chosen = mixed(labels)
        .slice(0, EXAMPLES)
        .sort((a, b) => labels[a].localeCompare(labels[b]));
      found = chosen.map((at) => ({ image: imageAt(thumbnails, at), label: labels[at] }));
    } else if (model.priors.length) {
      const seed = Math.floor(Math.random() * 1e6);
      const answer = await api.sample({ model: model.model, n: EXAMPLES / 2, seed }, "draw-examples");
      if (!answer || answer.model !== state.values.model.model) return;
      found = Array.from({ length: answer.images.n }, (_, at) => ({
        image: imageAt(answer.images, at),
        label: "",
      }));
    }
    fill(
      this.examples,
      ...found.map(({ image, label }, at) => {
        const digit = new Digit("", "small");
        digit.show(image);
        digit.element.setAttribute("aria-hidden", "true");
        const name = this.words.example(label || `${at + 1}`);
        const press = async () => {
          this.count++;
          this.board.wipe();
          await this.look(await examplePicture(image, name, state.values.model), false);
        };
        const each = el("button", {
          type: "button",
          class: "picture",
          "aria-label": name,
          click: () => void press(),
        });
        each.append(digit.element);
        return each;
      }),
    );
  }
}
