/**
 * A map of a plane: the sheet of decoded images, dots by class, points, ellipses and paths over it.
 *
 * Knows canvases, pointers and keys. Knows nothing of HTTP, models or the state. Positions are those of the
 * plane: a to the right, b upwards. Two canvases lie on one another: what changes seldom, and what moves.
 */

import { drawGlyph } from "./digit.js";
import { el } from "./dom.js";

/** @typedef {import("../plane.js").Plane} Plane */
/** @typedef {import("../plane.js").Position} Position */

/**
 * What lies over the sheet. A panel sets the parts that it uses.
 * @typedef {object} Overlay
 * @property {Position | null} point  the point that is decoded: a ring with a cross
 * @property {ImageData | null} image  the image of the point, drawn next to it
 * @property {{at: Position, covariance: {aa: number, ab: number, bb: number}, colour?: string}[]} ellipses  1σ and 2σ of each
 * @property {Position[]} path  a line with a dot at each position
 * @property {{at: Position, colour?: string, radius?: number, text?: string}[]} marks
 */

/**
 * @typedef {object} Handlers
 * @property {(at: Position) => void} [hover]  the mouse is over a position, with no button pressed
 * @property {() => void} [leave]  the mouse has left
 * @property {(at: Position, isDone: boolean) => void} [choose]  a drag, a tap or a key; `isDone` at its end
 */

const STEP = 0.05;
const LARGE_STEP = 0.5;
/** Opacity of the sheet below dots, and in the lens around the point. */
const DIM = 0.4;
export const BRIGHT = 0.95;
const NIGHT = "#0b0e1c";
export const POINT_COLOUR = "#ffffff";
export const ELLIPSE_COLOUR = "#ffb454";

export class LatentPlot {
  /**
   * @param {string} label  what a screen reader says
   * @param {Handlers | null} handlers  none for a map to look at
   * @param {string} [keys]  id of the element that explains the keys
   */
  constructor(label, handlers, keys) {
    this.base = el("canvas", { class: "base", "aria-hidden": "true" });
    this.over = el("canvas", { class: "over", role: handlers ? "application" : "img", "aria-label": label });
    if (handlers) this.over.tabIndex = 0;
    if (keys) this.over.setAttribute("aria-describedby", keys);
    this.element = el("div", { class: handlers ? "plot live" : "plot" }, this.base, this.over);
    this.handlers = handlers;
    /** @type {Plane | null} */
    this.plane = null;
    /** @type {ImageBitmap | null} */
    this.bitmap = null;
    this.steps = 16;
    this.light = DIM;
    /** @type {{at: Position, kind: number}[]} */
    this.dots = [];
    /** The class whose dots stay bright; null: all. @type {number | null} */
    this.brightKind = null;
    /** Circles of the prior. */
    this.hasPrior = false;
    /** @type {Overlay} */
    this.overlay = { point: null, image: null, ellipses: [], path: [], marks: [] };
    /** A small canvas for the image next to the point. */
    this.stamp = el("canvas");
    this.side = 0;
    this.isBaseOld = true;
    this.frame = 0;
    new ResizeObserver(() => this.resize()).observe(this.element);
    if (handlers) this.listen(handlers);
  }

  /**
   * The plane, and what is known of it.
   * @param {{plane?: Plane, bitmap?: ImageBitmap | null, steps?: number, dots?: {at: Position, kind: number}[],
   *   brightKind?: number | null, hasPrior?: boolean, light?: number}} parts
   */
  set(parts) {
    Object.assign(this, parts);
    this.isBaseOld = true;
    this.draw();
  }

  /** @param {Partial<Overlay>} parts */
  show(parts) {
    Object.assign(this.overlay, parts);
    this.draw();
  }

  /** @param {string} label */
  describe(label) {
    this.over.setAttribute("aria-label", label);
  }

  /** @param {Handlers} handlers */
  listen({ hover, leave, choose }) {
    const { over } = this;
    let isPressed = false;
    over.addEventListener("pointerdown", (event) => {
      if (event.button !== 0 || !choose) return;
      isPressed = true;
      over.setPointerCapture(event.pointerId);
      choose(this.positionOf(event), false);
    });
    over.addEventListener("pointermove", (event) => {
      if (isPressed) choose?.(this.positionOf(event), false);
      else if (event.pointerType === "mouse") hover?.(this.positionOf(event));
    });
    over.addEventListener("pointerup", (event) => {
      if (isPressed) choose?.(this.positionOf(event), true);
      isPressed = false;
    });
    over.addEventListener("pointercancel", () => (isPressed = false));
    over.addEventListener("pointerleave", () => {
      if (!isPressed) leave?.();
    });
    over.addEventListener("keydown", (event) => {
      const next = this.afterKey(event);
      if (!next || !choose) return;
      event.preventDefault();
      choose(next, true);
    });
  }

  /** @param {KeyboardEvent} event @returns {Position | null} */
  afterKey({ key, shiftKey, ctrlKey, metaKey, altKey }) {
    if (!this.plane || ctrlKey || metaKey || altKey) return null;
    const [a, b] = this.overlay.point ?? [0, 0];
    const step = shiftKey ? LARGE_STEP : STEP;
    if (key === "ArrowRight") return this.inside([a + step, b]);
    if (key === "ArrowLeft") return this.inside([a - step, b]);
    if (key === "ArrowUp") return this.inside([a, b + step]);
    if (key === "ArrowDown") return this.inside([a, b - step]);
    return key === "Home" ? this.plane.positionOf(new Array(this.plane.center.length).fill(0)) : null;
  }

  /** Half the width that is visible: half a cell beyond the outer points. */
  extent() {
    const span = this.plane?.span ?? 3;
    return span + span / (this.steps - 1);
  }

  /** @param {Position} position @returns {Position} */
  inside([a, b]) {
    const most = this.extent();
    const within = (/** @type {number} */ value) => Number(Math.max(-most, Math.min(most, value)).toFixed(4));
    return [within(a), within(b)];
  }

  /** @param {PointerEvent} event @returns {Position} */
  positionOf(event) {
    const { left, top, width, height } = this.over.getBoundingClientRect();
    const extent = this.extent();
    return this.inside([
      extent * ((2 * (event.clientX - left)) / width - 1),
      extent * (1 - (2 * (event.clientY - top)) / height),
    ]);
  }

  /** Pixels of the canvas. @param {Position} position @returns {[x: number, y: number]} */
  pixelOf([a, b]) {
    const half = this.side / 2;
    return [half * (1 + a / this.extent()), half * (1 - b / this.extent())];
  }

  resize() {
    const width = this.element.clientWidth;
    if (!width) return;
    this.side = width;
    const scale = Math.min(devicePixelRatio || 1, 2);
    for (const canvas of [this.base, this.over]) {
      canvas.width = canvas.height = Math.round(width * scale);
      // All lengths are those of the page.
      contextOf(canvas).scale(scale, scale);
    }
    this.isBaseOld = true;
    this.drawNow();
  }

  /** At the next frame. */
  draw() {
    this.frame ||= requestAnimationFrame(() => this.drawNow());
  }

  drawNow() {
    cancelAnimationFrame(this.frame);
    this.frame = 0;
    if (!this.side) return;
    if (this.isBaseOld) this.drawBase();
    this.isBaseOld = false;
    this.drawOver();
  }

  drawBase() {
    const context = contextOf(this.base);
    context.globalAlpha = 1;
    context.fillStyle = NIGHT;
    context.fillRect(0, 0, this.side, this.side);
    context.globalAlpha = this.light;
    this.drawSheet(context);
    context.globalAlpha = 1;
    if (this.plane) this.drawAxes(context, this.plane);
    this.drawDots(context, this.dots);
  }

  /** @param {CanvasRenderingContext2D} context @param {LatentPlot["dots"]} dots */
  drawDots(context, dots) {
    const radius = this.side < 400 ? 3 : 4;
    for (const { at, kind } of dots) {
      context.globalAlpha = this.brightKind === null ? 0.9 : this.brightKind === kind ? 1 : 0.15;
      drawGlyph(context, kind, ...this.pixelOf(at), radius);
    }
  }

  /** Row by row, because b grows upwards and the rows of the sheet downwards. @param {CanvasRenderingContext2D} context */
  drawSheet(context) {
    const { bitmap, steps, side } = this;
    if (!bitmap) return;
    const row = bitmap.height / steps;
    // Black pixels of the images stay the sky.
    context.globalCompositeOperation = "screen";
    for (let at = 0; at < steps; at++) {
      const top = Math.round((side * (steps - 1 - at)) / steps);
      const bottom = Math.round((side * (steps - at)) / steps);
      context.drawImage(bitmap, 0, at * row, bitmap.width, row, 0, top, side, bottom - top);
    }
    context.globalCompositeOperation = "source-over";
  }

  /** @param {CanvasRenderingContext2D} context @param {Plane} plane */
  drawAxes(context, plane) {
    const [x, y] = this.pixelOf(plane.positionOf(new Array(plane.center.length).fill(0)));
    context.lineWidth = 1;
    context.strokeStyle = "rgb(160 175 255 / 45%)";
    context.fillStyle = "rgb(200 210 255 / 90%)";
    context.font = "11px system-ui, sans-serif";
    if (this.hasPrior && plane.dims) {
      context.setLineDash([3, 4]);
      for (const sigma of [1, 2, 3]) {
        const r = (sigma / this.extent()) * (this.side / 2);
        context.beginPath();
        context.arc(x, y, r, 0, 2 * Math.PI);
        context.stroke();
        if (this.side > 300)
          context.fillText(`${sigma}σ`, x + r * Math.SQRT1_2 + 3, y - r * Math.SQRT1_2 - 3);
      }
      context.setLineDash([]);
    }
    context.beginPath();
    context.moveTo(0, y);
    context.lineTo(this.side, y);
    context.moveTo(x, 0);
    context.lineTo(x, this.side);
    context.stroke();
    if (!plane.dims) return;
    context.textAlign = "right";
    context.fillText(`z${subscript(plane.dims[0])} →`, this.side - 6, Math.min(this.side - 6, y - 6));
    context.textAlign = "left";
    context.fillText(`z${subscript(plane.dims[1])} ↑`, x + 6, 14);
  }

  drawOver() {
    const context = contextOf(this.over);
    context.clearRect(0, 0, this.side, this.side);
    const { point, ellipses, path, marks } = this.overlay;
    if (point) this.drawLens(context, point);
    for (const ellipse of ellipses) this.drawEllipse(context, ellipse);
    this.drawPath(context, path);
    for (const mark of marks) this.drawMark(context, mark);
    if (point) this.drawPoint(context, point);
  }

  /** The sheet in full light around the point. @param {CanvasRenderingContext2D} context @param {Position} point */
  drawLens(context, point) {
    if (!this.bitmap || !this.handlers) return;
    const [x, y] = this.pixelOf(point);
    const r = (1.6 * this.side) / this.steps;
    context.save();
    context.beginPath();
    context.arc(x, y, r, 0, 2 * Math.PI);
    context.clip();
    context.fillStyle = NIGHT;
    context.fillRect(x - r, y - r, 2 * r, 2 * r);
    context.globalAlpha = BRIGHT;
    this.drawSheet(context);
    const reach = (r / this.side) * 2 * this.extent();
    const isNear = (/** @type {Position} */ at) => Math.hypot(at[0] - point[0], at[1] - point[1]) < reach;
    this.drawDots(
      context,
      this.dots.filter(({ at }) => isNear(at)),
    );
    context.restore();
    context.strokeStyle = "rgb(200 210 255 / 60%)";
    context.lineWidth = 1;
    context.stroke();
  }

  /** @param {CanvasRenderingContext2D} context @param {Overlay["ellipses"][number]} ellipse */
  drawEllipse(context, { at, covariance: { aa, ab, bb }, colour = ELLIPSE_COLOUR }) {
    const [x, y] = this.pixelOf(at);
    const unit = this.side / 2 / this.extent();
    // Eigenvalues of the covariance: the squared half axes at 1σ.
    const mean = (aa + bb) / 2;
    const reach = Math.hypot((aa - bb) / 2, ab);
    const turn = 0.5 * Math.atan2(2 * ab, aa - bb);
    context.strokeStyle = colour;
    context.fillStyle = colour;
    for (const sigma of [2, 1]) {
      context.beginPath();
      const major = Math.max(1, sigma * unit * Math.sqrt(mean + reach));
      const minor = Math.max(1, sigma * unit * Math.sqrt(Math.max(0, mean - reach)));
      context.ellipse(x, y, major, minor, -turn, 0, 2 * Math.PI);
      context.globalAlpha = 0.16;
      context.fill();
      context.globalAlpha = 1;
      context.lineWidth = sigma === 1 ? 2 : 1.2;
      context.stroke();
    }
    this.dot(context, x, y, 3, colour);
  }

  /** @param {CanvasRenderingContext2D} context @param {Position[]} path */
  drawPath(context, path) {
    if (!path.length) return;
    const pixels = path.map((at) => this.pixelOf(at));
    context.strokeStyle = ELLIPSE_COLOUR;
    context.lineWidth = 2;
    context.beginPath();
    for (const [x, y] of pixels) context.lineTo(x, y);
    context.stroke();
    for (const [x, y] of pixels) this.dot(context, x, y, 2.5, ELLIPSE_COLOUR);
  }

  /** @param {CanvasRenderingContext2D} context @param {Overlay["marks"][number]} mark */
  drawMark(context, { at, colour = POINT_COLOUR, radius = 4, text }) {
    const [x, y] = this.pixelOf(at);
    this.dot(context, x, y, radius, colour);
    if (!text) return;
    context.font = "600 13px system-ui, sans-serif";
    context.textAlign = "left";
    context.lineWidth = 3;
    context.strokeStyle = NIGHT;
    context.strokeText(text, x + 8, y - 6);
    context.fillText(text, x + 8, y - 6);
  }

  /** @param {CanvasRenderingContext2D} context @param {Position} point */
  drawPoint(context, point) {
    const [x, y] = this.pixelOf(point);
    for (const [colour, width] of /** @type {[string, number][]} */ ([
      [NIGHT, 5],
      [POINT_COLOUR, 2],
    ])) {
      context.strokeStyle = colour;
      context.lineWidth = width;
      context.beginPath();
      context.arc(x, y, 7, 0, 2 * Math.PI);
      context.stroke();
    }
    this.dot(context, x, y, 1.5, POINT_COLOUR);
    if (this.overlay.image) this.drawImageNextTo(context, this.overlay.image, x, y);
  }

  /** On the side where there is room. @param {CanvasRenderingContext2D} context @param {ImageData} image @param {number} x @param {number} y */
  drawImageNextTo(context, image, x, y) {
    const size = Math.min(84, this.side / 4);
    const wide = size * Math.min(1, image.width / image.height);
    const tall = size * Math.min(1, image.height / image.width);
    const gap = 18;
    const left = x + gap + wide > this.side ? x - gap - wide : x + gap;
    const top = y - gap - tall < 0 ? y + gap : y - gap - tall;
    if (this.stamp.width !== image.width) this.stamp.width = image.width;
    if (this.stamp.height !== image.height) this.stamp.height = image.height;
    contextOf(this.stamp).putImageData(image, 0, 0);
    context.imageSmoothingEnabled = false;
    context.strokeStyle = POINT_COLOUR;
    context.lineWidth = 2;
    context.beginPath();
    context.roundRect(left, top, wide, tall, 8);
    context.save();
    context.clip();
    context.drawImage(this.stamp, left, top, wide, tall);
    context.restore();
    context.stroke();
    context.imageSmoothingEnabled = true;
  }

  /** @param {CanvasRenderingContext2D} context @param {number} x @param {number} y @param {number} r @param {string} colour */
  dot(context, x, y, r, colour) {
    context.beginPath();
    context.arc(x, y, r, 0, 2 * Math.PI);
    context.fillStyle = colour;
    context.fill();
  }
}

/** A number in small figures, counted from 1 as in the notes. @param {number} dim */
export const subscript = (dim) => [...`${dim + 1}`].map((figure) => "₀₁₂₃₄₅₆₇₈₉"[Number(figure)]).join("");

/** @param {HTMLCanvasElement} canvas */
const contextOf = (canvas) => /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d"));
