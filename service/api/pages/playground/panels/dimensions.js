/**
 * A slider for each latent dimension, the most used first, each over the images along it.
 *
 * Knows the point of the state and the KL of each dimension. The server decodes.
 */

import { isStandard, klOf, meanOf, rankedDims } from "../plane.js";
import { stepsOf } from "../sheet.js";
import { newSeed } from "../state.js";
import { Digit, stripCanvas } from "../widgets/digit.js";
import { button, el, fill, slider } from "../widgets/dom.js";
import { subscript } from "../widgets/plot.js";
import { Panel } from "./panel.js";

/** @typedef {import("../api.js").ModelSummary} ModelSummary */
/** @typedef {import("./panel.js").Context} Context */

/** Images along each dimension. */
const STEPS = 9;
/** Images from which the KL is estimated where the version has no preview. */
const PROBES = 64;
/** Below this, in nats, a dimension is not used. */
const DEAD = 0.01;
/** So many have a whole line each. */
const FEW_ROWS = 5;
const REACH = 3;

/** @typedef {{slider: ReturnType<typeof slider>, strip: HTMLCanvasElement, reach: number}} Row */

/** @extends {Panel<import("../texts/en.js").Texts["dimensions"]>} */
export class DimensionsPanel extends Panel {
  /** @param {HTMLElement} element @param {Context} context */
  constructor(element, context) {
    const { texts, state } = context;
    const words = texts.dimensions;
    super(context, words);
    /** KL by dimension, of one model. @type {{model: string, values: number[]}} */
    this.kl = { model: "", values: [] };
    /** By dimension. @type {Map<number, Row>} */
    this.rows = new Map();
    this.digit = new Digit(words.image, "large");
    this.length = el("figcaption", { class: "numbers" });
    this.random = button(words.random, () => void this.randomise());
    this.list = el("div", { class: "dimensions" });
    this.note = el("p", { class: "note" });
    this.build(
      element,
      el(
        "div",
        { class: "split reversed" },
        el(
          "div",
          { class: "card stack pinned" },
          el("figure", {}, this.digit.element, this.length),
          el(
            "div",
            { class: "row" },
            button(words.reset, () => this.move(state.values.z.map(() => 0))),
            this.random,
            button(words.toMap, () => context.open("map")),
          ),
          this.note,
        ),
        this.list,
      ),
    );
    this.on(["model", "preview"], () => this.restart());
    this.on(["z"], () => this.follow());
  }

  /** Another model: its dimensions in order, and their sliders. */
  async restart() {
    const { model } = this.context.state.values;
    this.rows.clear(); // Those of another model have other dimensions.
    this.random.disabled = model.priors.length === 0;
    this.note.textContent = model.kind === "vae" ? this.words.vae : this.words.ae;
    await this.readKl(model);
    if (model !== this.context.state.values.model) return;
    this.writeRows();
    await this.follow();
    await this.strips();
  }

  /** From the preview; without one, from the posteriors of images that the model draws itself. @param {ModelSummary} model */
  async readKl({ model, kind, priors }) {
    const { api, state } = this.context;
    const { preview } = state.values;
    if (preview?.model === model && preview.kl.length > 0) this.kl = { model, values: preview.kl };
    if (this.kl.model === model || kind !== "vae") return;
    this.kl = { model: "", values: [] };
    if (!priors.length) return;
    const drawn = await api.sample({ model, n: PROBES, seed: 0 }, "dimensions-probe");
    const found = drawn && (await api.encode({ model, input: drawn.images }, "dimensions-probe"));
    if (!found) return;
    const rows = found.mu.map((mu, row) => mu.map((each, at) => klOf(each, found.logvar[row][at])));
    this.kl = { model, values: meanOf(rows) };
  }

  writeRows() {
    const { model, preview, z } = this.context.state.values;
    const kl = this.kl.model === model.model ? this.kl.values : [];
    const mu = preview?.model === model.model ? preview.mu : [];
    this.rows.clear();
    const elements = rankedDims(model, { kl }).map((dim) => {
      const farthest = Math.max(0, ...mu.map((row) => Math.abs(row[dim])));
      const reach = Math.max(REACH, Math.ceil(Math.max(isStandard(model) ? 0 : farthest, Math.abs(z[dim]))));
      const isDead = kl.length > 0 && kl[dim] < DEAD;
      const name = `z${subscript(dim)}`;
      const said = kl.length ? `${name} · ${isDead ? this.words.dead : this.words.kl(kl[dim])}` : name;
      const range = { min: -reach, max: reach, step: 0.05, value: z[dim] };
      const row = {
        reach,
        slider: slider(said, range, (value) => this.set(dim, value)),
        strip: stripCanvas(this.words.strip(name)),
      };
      row.slider.input.addEventListener("change", () => void this.strips());
      this.rows.set(dim, row);
      return el("div", { class: isDead ? "dimension dead" : "dimension" }, row.slider.element, row.strip);
    });
    this.list.classList.toggle("few", elements.length <= FEW_ROWS);
    fill(this.list, ...elements);
  }

  /** @param {number} dim @param {number} value */
  set(dim, value) {
    const { state } = this.context;
    state.set({ z: state.values.z.map((each, at) => (at === dim ? value : each)) });
  }

  /** A jump of several dimensions. @param {number[]} z */
  move(z) {
    this.context.state.set({ z });
    void this.strips();
  }

  async randomise() {
    const { api, state } = this.context;
    const seed = newSeed();
    const { model } = state.values;
    const answer = await api.sample({ model: model.model, n: 1, seed }, "dimensions-sample");
    if (answer && model === state.values.model) this.move(answer.z[0]);
  }

  /** The image of the point. */
  async follow() {
    const { api, state, announce, texts } = this.context;
    const { z, model } = state.values;
    for (const [dim, row] of this.rows) row.slider.show(z[dim]);
    this.length.textContent = this.words.length(Math.hypot(...z));
    const answer = await api.decode({ model: model.model, z: [z] }, "dimensions");
    if (!answer) return;
    this.digit.show(answer.images);
    this.copy.show(answer.sent);
    announce(`z = ${texts.units.point(z.slice(0, 4))}`);
  }

  /** The images along every dimension, through the point: one sheet after the other, the most used first. */
  async strips() {
    const { model, z } = this.context.state.values;
    if (!this.isShown) return;
    const most = stepsOf(model) ** 2;
    const steps = Math.min(STEPS, most);
    const dims = [...this.rows.keys()];
    const isStale = () => model !== this.context.state.values.model || z !== this.context.state.values.z;
    for (let at = 0; at < dims.length && !isStale(); at += Math.floor(most / steps)) {
      await this.sheet(model, z, dims.slice(at, at + Math.floor(most / steps)), steps);
    }
  }

  /**
   * @param {ModelSummary} model
   * @param {number[]} z
   * @param {number[]} dims
   * @param {number} steps
   */
  async sheet(model, z, dims, steps) {
    const rows = dims.flatMap((dim) => {
      const { reach = REACH } = this.rows.get(dim) ?? {};
      const place = (/** @type {number} */ step) =>
        steps > 1 ? reach * ((2 * step) / (steps - 1) - 1) : z[dim];
      return Array.from({ length: steps }, (_, step) =>
        z.map((each, at) => (at === dim ? place(step) : each)),
      );
    });
    const answer = await this.context.api.decodeSheet(
      { model: model.model, z: rows, columns: steps },
      "dimensions-strips",
    );
    if (!answer) return;
    const { bitmap } = answer;
    const height = bitmap.height / dims.length;
    dims.forEach((dim, at) => {
      const strip = this.rows.get(dim)?.strip;
      if (!strip) return;
      [strip.width, strip.height] = [bitmap.width, height];
      strip
        .getContext("2d")
        ?.drawImage(bitmap, 0, at * height, bitmap.width, height, 0, 0, bitmap.width, height);
    });
  }
}
