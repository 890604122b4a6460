/**
 * The two terms of the loss for one image under every loaded VAE, and the bound on log p(x) as K grows.
 *
 * Knows scores in nats. The server computes them.
 */

import { PictureChoice, titled } from "../pictures.js";
import { newSeed } from "../state.js";
import { LineChart } from "../widgets/chart.js";
import { button, el, fill, slider } from "../widgets/dom.js";
import { Panel } from "./panel.js";

/** @typedef {import("../api.js").ModelSummary} ModelSummary */
/** @typedef {import("../images.js").Picture} Picture */
/** @typedef {import("./panel.js").Context} Context */
/** @typedef {{model: string, reconstruction: number, kl: number, bound: [k: number, nats: number][]}} Score */

const MOST_K = 256;
const MAX_BETA = 10;

/** @extends {Panel<import("../texts/en.js").Texts["loss"]>} */
export class LossPanel extends Panel {
  /** @param {HTMLElement} element @param {Context} context */
  constructor(element, context) {
    const { texts, state } = context;
    const words = texts.loss;
    super(context, words);
    this.beta = 1;
    /** @type {Score[]} */
    this.scores = [];
    /** Counts the runs: an older one stops. */
    this.run = 0;
    this.pictures = new PictureChoice(context, "loss-example");
    this.bars = el("div", { class: "stack", "data-step": "loss" });
    this.chart = new LineChart(words.chart, { x: "K", y: words.nats, isLog: true });
    this.missing = el("p", { class: "card", hidden: true }, words.missing);
    const betas = slider(
      words.beta,
      { min: 0, max: MAX_BETA, step: 0.1, value: 1, text: (value) => value.toFixed(1) },
      (value) => {
        this.beta = value;
        this.write();
      },
    );
    this.all = el(
      "div",
      { class: "split reversed" },
      el(
        "div",
        { class: "card stack" },
        this.pictures.element,
        el(
          "div",
          { class: "row" },
          button(words.again, () => state.set({ seed: newSeed() })),
        ),
        el("p", { class: "note" }, words.drawsNote),
        el("p", {}, el("strong", {}, words.warning)),
      ),
      el(
        "div",
        { class: "stack" },
        titled(
          words.termsTitle,
          "",
          el(
            "p",
            { class: "series-legend note" },
            el("span", { class: "key key-0" }, words.reconstruction),
            el("span", { class: "key key-1" }, words.weighted),
          ),
          this.bars,
          betas.element,
          el("p", { class: "note" }, words.betaNote),
        ),
        titled(words.boundTitle, words.boundNote, this.chart.element),
      ),
    );
    this.build(element, this.missing, this.all);
    this.on(["model", "models", "picture", "seed"], () => this.pictures.isChoosing || this.restart());
  }

  hidden() {
    super.hidden();
    this.run++;
  }

  /** @param {File} file */
  take(file) {
    return this.pictures.open(file);
  }

  async restart() {
    const { api, state } = this.context;
    const run = ++this.run;
    const { model, models, seed } = state.values;
    const vaes = models.filter(
      (each) => each.kind === "vae" && `${each.image_shape}` === `${model.image_shape}`,
    );
    this.missing.hidden = vaes.length > 0;
    this.all.hidden = this.copy.element.hidden = vaes.length === 0;
    if (!vaes.length) return;
    const picture = await this.pictures.ensure();
    if (!picture || run !== this.run) return;
    const found = await Promise.all(
      vaes.map((each) => api.score({ model: each.model, input: picture, seed }, `loss-${each.model}`)),
    );
    if (run !== this.run) return;
    this.scores = found.flatMap((answer) =>
      answer
        ? { model: answer.model, reconstruction: answer.reconstruction_nll[0], kl: answer.kl[0], bound: [] }
        : [],
    );
    const chosen = found.find((answer) => answer?.model === model.model) ?? found.find(Boolean);
    if (chosen) this.copy.show(chosen.sent);
    this.write();
    await this.bound(picture, run);
  }

  /** Bounds for K = 1, 2, 4 … in the same draws. @param {Picture} picture @param {number} run */
  async bound(picture, run) {
    const { api, state } = this.context;
    const { seed } = state.values;
    for (let k = 1; k <= MOST_K; k *= 2) {
      const answers = await Promise.all(
        this.scores.map(({ model }) =>
          api.score({ model, input: picture, seed, importance_samples: k }, `loss-${model}`),
        ),
      );
      if (run !== this.run) return;
      this.scores.forEach((score, at) => {
        const nats = answers[at]?.log_px?.[0];
        if (nats !== undefined) score.bound.push([k, nats]);
      });
      const sent =
        answers.find((answer) => answer?.model === state.values.model.model)?.sent ?? answers[0]?.sent;
      if (sent) this.copy.show(sent);
      this.chart.show(this.scores.map(({ model, bound }) => ({ name: model, points: bound })));
    }
    this.chart.describe(
      this.words.boundSaid(this.scores.map(({ model, bound }) => [model, bound.at(-1)?.[1] ?? 0])),
    );
  }

  /** The bars: one for each model, the best first. */
  write() {
    const { beta, words } = this;
    const { nats } = this.context.texts.units;
    const rows = this.scores
      .map((score) => ({
        ...score,
        weighted: beta * score.kl,
        total: score.reconstruction + beta * score.kl,
      }))
      .sort((one, other) => one.total - other.total);
    // A density of grey pixels may be above 1, and its reconstruction term negative: bars begin at the lowest.
    const base = Math.min(0, ...rows.map((row) => row.reconstruction));
    const largest = Math.max(1e-9, ...rows.map((row) => row.total - base));
    const bar = (/** @type {number} */ value, /** @type {string} */ kind) => {
      const part = el("span", { class: kind });
      part.style.width = `${(100 * Math.max(0, value)) / largest}%`;
      return part;
    };
    fill(
      this.bars,
      ...rows.map((row) =>
        el(
          "div",
          {},
          el(
            "div",
            { class: "row spread" },
            el("strong", {}, row.model),
            el("span", { class: "numbers" }, nats(row.total)),
          ),
          el(
            "div",
            { class: "terms", "aria-hidden": "true" },
            bar(row.reconstruction - base, "part-0"),
            bar(row.weighted, "part-1"),
          ),
          el(
            "p",
            { class: "numbers note" },
            words.terms(nats(row.reconstruction), beta.toFixed(1), nats(row.kl), nats(row.weighted)),
          ),
        ),
      ),
    );
    const [best] = rows;
    if (best) this.context.announce(`${best.model}: ${nats(best.total)}`);
  }
}
