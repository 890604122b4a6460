/**
 * Lines over two axes, and costs as horizontal bars on one scale.
 *
 * Knows numbers, elements and SVG. Knows nothing of what they mean.
 */

import { el, fill } from "./dom.js";

/** @typedef {{name: string, points: [x: number, y: number][]}} Line */

const [WIDTH, HEIGHT] = [360, 200];
const [LEFT, RIGHT, TOP, BOTTOM] = [46, 12, 12, 40];
const SERIES = 6;

export class LineChart {
  /**
   * @param {string} label  what a screen reader says
   * @param {{x: string, y: string, isLog?: boolean}} axes
   */
  constructor(label, { x, y, isLog = false }) {
    this.axes = { x, y };
    this.isLog = isLog;
    this.drawing = svg("svg", {
      viewBox: `0 0 ${WIDTH} ${HEIGHT}`,
      role: "img",
      "aria-label": label,
      class: "chart",
    });
    this.legend = el("p", { class: "series-legend note" });
    this.element = el("figure", {}, this.drawing, this.legend);
  }

  /** @param {string} label */
  describe(label) {
    this.drawing.setAttribute("aria-label", label);
  }

  /**
   * @param {Line[]} lines
   * @param {number | null} [at]  a place on the first axis to point out
   */
  show(lines, at = null) {
    const points = lines.flatMap((line) => line.points);
    if (!points.length) return this.drawing.replaceChildren();
    const across = (/** @type {number} */ x) => (this.isLog ? Math.log2(x) : x);
    const [x, y] = [range(points.map(([each]) => across(each))), range(points.map(([, each]) => each))];
    const placeX = (/** @type {number} */ value) =>
      LEFT + ((across(value) - x[0]) / (x[1] - x[0])) * (WIDTH - LEFT - RIGHT);
    const placeY = (/** @type {number} */ value) =>
      TOP + (1 - (value - y[0]) / (y[1] - y[0])) * (HEIGHT - TOP - BOTTOM);
    const floor = HEIGHT - BOTTOM;
    const marks = [
      svg("path", { class: "axis", d: `M${LEFT} ${TOP}V${floor}H${WIDTH - RIGHT}` }),
      svg("text", { class: "name end", x: WIDTH - RIGHT, y: HEIGHT - 6 }, this.axes.x),
      svg("text", { class: "name", x: 2, y: HEIGHT - 6 }, this.axes.y),
    ];
    for (const value of [y[0], (y[0] + y[1]) / 2, y[1]]) {
      const text = value.toFixed(y[1] - y[0] < 3 ? 2 : y[1] - y[0] < 30 ? 1 : 0);
      marks.push(svg("text", { class: "tick end", x: LEFT - 6, y: placeY(value) + 4 }, text));
      marks.push(svg("path", { class: "grid", d: `M${LEFT} ${placeY(value)}H${WIDTH - RIGHT}` }));
    }
    for (const value of ticks(lines[0]?.points.map(([each]) => each) ?? [])) {
      marks.push(svg("text", { class: "tick middle", x: placeX(value), y: floor + 15 }, `${value}`));
    }
    if (at !== null) marks.push(svg("path", { class: "here", d: `M${placeX(at)} ${TOP}V${floor}` }));
    lines.forEach((line, index) => {
      const steps = line.points.map(([left, up]) => `${placeX(left).toFixed(1)},${placeY(up).toFixed(1)}`);
      marks.push(svg("polyline", { class: `series series-${index % SERIES}`, points: steps.join(" ") }));
    });
    this.drawing.replaceChildren(...marks);
    fill(
      this.legend,
      ...lines.map((line, index) => el("span", { class: `key key-${index % SERIES}` }, line.name)),
    );
    return undefined;
  }
}

/** @param {string} tag @param {Record<string, string | number>} attributes @param {...string} text */
function svg(tag, attributes, ...text) {
  const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, `${value}`);
  element.append(...text);
  return element;
}

/** @param {number[]} values @returns {[number, number]} */
function range(values) {
  const [low, high] = [Math.min(...values), Math.max(...values)];
  const room = high - low < 1e-6 ? 0.5 : 0;
  return [low - room, high + room];
}

/** At most seven of the values. @param {number[]} values */
function ticks(values) {
  const every = Math.ceil(values.length / 7);
  return values.filter((_, index) => index % every === 0);
}

/** @typedef {{name: string, value: number, text: string, usual?: number | null}} Bar */

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
      ...bars.flatMap(({ name, value, text, usual }, at) => {
        const bar = el("span", { class: `bar part-${at}` });
        bar.style.width = `${(100 * Math.max(0, value)) / most}%`;
        const line = usual ? el("span", { class: "usual" }) : null;
        if (line && usual) line.style.left = `${(100 * usual) / most}%`;
        const track = el("span", { class: "track", "aria-hidden": "true" }, bar, line);
        return [el("dt", {}, name), el("dd", {}, el("span", { class: "numbers" }, text), track)];
      }),
    );
    this.legend.hidden = !bars.some(({ usual }) => usual);
  }
}
