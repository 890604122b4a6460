/** Costs as horizontal bars on one scale, each with its figure. Knows elements. Knows nothing of models. */

import { el, fill } from "./dom.js";

/** @typedef {{name: string, value: number, text: string, usual?: number | null, kind: "one" | "two"}} Bar */

export class Bars {
  /** @param {string} usual  what the thin line on a bar means */
  constructor(usual) {
    this.list = el("dl", { class: "bars" });
    this.legend = el(
      "p",
      { class: "note", hidden: true },
      el("span", { class: "usual-sign", "aria-hidden": "true" }),
      usual,
    );
    this.element = el("div", {}, this.list, this.legend);
  }

  /** @param {Bar[]} bars */
  show(bars) {
    const most = Math.max(1, ...bars.flatMap(({ value, usual }) => [value, usual ?? 0]));
    fill(
      this.list,
      ...bars.flatMap(({ name, value, text, usual, kind }) => {
        const bar = el("span", { class: `bar ${kind}` });
        bar.style.width = `${(100 * Math.max(0, value)) / most}%`;
        const line = usual ? el("span", { class: "usual" }) : null;
        if (line && usual) line.style.left = `${(100 * usual) / most}%`;
        const track = el("span", { class: "track", "aria-hidden": "true" }, bar, line);
        return [el("dt", {}, name), el("dd", {}, el("span", { class: "numbers" }, text), track)];
      }),
    );
    this.legend.hidden = !bars.some(({ usual }) => usual);
  }

  clear() {
    fill(this.list);
    this.legend.hidden = true;
  }
}
