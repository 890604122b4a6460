/**
 * A canvas to draw on: mouse, finger, pen and keys; undo and thickness.
 *
 * Knows strokes and pointers. Knows nothing of models. Light on dark, like the digits of MNIST.
 */

import { el } from "./widgets/dom.js";

/** @typedef {{x: number, y: number, width: number}} Spot */

/** Pixels of a side: ten for each of MNIST's. */
export const SIDE = 280;
const STEP = 4;
const LARGE_STEP = 20;

export class DrawingBoard {
  /**
   * @param {string} label
   * @param {string} keys  id of the element that explains the keys
   * @param {string} hint  on the empty canvas
   * @param {(isDone: boolean) => void} changed  during a stroke, and at its end
   */
  constructor(label, keys, hint, changed) {
    this.element = el("canvas", {
      class: "board",
      id: "draw-canvas",
      width: SIDE,
      height: SIDE,
      tabindex: 0,
      role: "application",
      "aria-label": label,
      "aria-describedby": keys,
    });
    const context = this.element.getContext("2d", { willReadFrequently: true });
    this.context = /** @type {CanvasRenderingContext2D} */ (context);
    this.hint = hint;
    this.changed = changed;
    this.width = 24;
    /** @type {Spot[][]} */
    this.strokes = [];
    this.pen = { x: SIDE / 2, y: SIDE / 2, isDown: false, isShown: false };
    this.listen();
    this.redraw();
  }

  get isEmpty() {
    return this.strokes.length === 0;
  }

  /** The pixels, without the cursor of the keys. */
  pixels() {
    this.redraw(false);
    const pixels = this.context.getImageData(0, 0, SIDE, SIDE);
    if (this.pen.isShown || this.isEmpty) this.redraw();
    return pixels;
  }

  undo() {
    if (!this.strokes.pop()) return;
    this.pen.isDown = false;
    this.redraw();
    this.changed(true);
  }

  clear() {
    this.wipe();
    this.changed(true);
  }

  /** Clear it for another picture: without a report. */
  wipe() {
    this.strokes = [];
    this.pen.isDown = false;
    this.redraw();
  }

  listen() {
    const { element } = this;
    /** @type {number | null} */
    let pointer = null;
    element.addEventListener("pointerdown", (event) => {
      if (event.button !== 0 || pointer !== null) return;
      pointer = event.pointerId;
      element.setPointerCapture(pointer);
      this.pen.isShown = this.pen.isDown = false;
      this.strokes.push([this.spotOf(event)]);
      this.redraw();
      this.changed(false);
    });
    element.addEventListener("pointermove", (event) => {
      if (event.pointerId !== pointer) return;
      const events = event.getCoalescedEvents?.() ?? [];
      const stroke = this.strokes[this.strokes.length - 1];
      stroke?.push(...(events.length ? events : [event]).map((each) => this.spotOf(each)));
      this.redraw();
      this.changed(false);
    });
    for (const end of ["pointerup", "pointercancel"]) {
      element.addEventListener(end, (event) => {
        if (/** @type {PointerEvent} */ (event).pointerId !== pointer) return;
        pointer = null;
        this.changed(true);
      });
    }
    element.addEventListener("keydown", (event) => this.key(event));
    element.addEventListener("blur", () => {
      this.pen.isShown = this.pen.isDown = false;
      this.redraw();
    });
  }

  /** Arrows move a pen, the space bar lowers and lifts it. @param {KeyboardEvent} event */
  key(event) {
    const { pen } = this;
    const step = event.shiftKey ? LARGE_STEP : STEP;
    const way = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
    if ((event.ctrlKey || event.metaKey) && event.key === "z") this.undo();
    else if (event.ctrlKey || event.metaKey || event.altKey) return;
    else if (event.key === "Backspace") this.undo();
    else if (event.key === "Delete") this.clear();
    else if (event.key === " ") {
      pen.isDown = !pen.isDown;
      if (pen.isDown) this.strokes.push([{ x: pen.x, y: pen.y, width: this.width }]);
      this.changed(!pen.isDown);
    } else if (way) {
      pen.x = Math.max(0, Math.min(SIDE, pen.x + step * way[0]));
      pen.y = Math.max(0, Math.min(SIDE, pen.y + step * way[1]));
      if (pen.isDown) {
        this.strokes[this.strokes.length - 1].push({ x: pen.x, y: pen.y, width: this.width });
        this.changed(false);
      }
    } else return;
    event.preventDefault();
    pen.isShown = true;
    this.redraw();
  }

  /** @param {PointerEvent} event @returns {Spot} */
  spotOf(event) {
    const { left, top, width, height } = this.element.getBoundingClientRect();
    // A mouse has a pressure of 0.5 and a pen its own; a finger may have none.
    const share = event.pointerType === "pen" && event.pressure > 0 ? 0.5 + event.pressure : 1;
    return {
      x: ((event.clientX - left) * SIDE) / width,
      y: ((event.clientY - top) * SIDE) / height,
      width: this.width * share,
    };
  }

  /** @param {boolean} [hasCursor] */
  redraw(hasCursor = true) {
    const { context, pen } = this;
    context.fillStyle = "#000000";
    context.fillRect(0, 0, SIDE, SIDE);
    context.strokeStyle = "#ffffff";
    context.lineCap = context.lineJoin = "round";
    for (const stroke of this.strokes) drawStroke(context, stroke);
    if (!hasCursor) return;
    if (this.isEmpty) {
      context.fillStyle = "#8f96b3";
      context.font = "20px system-ui, sans-serif";
      context.textAlign = "center";
      context.fillText(this.hint, SIDE / 2, SIDE / 2);
    }
    if (!pen.isShown) return;
    context.strokeStyle = pen.isDown ? "#ffb454" : "#8fa4ff";
    context.lineWidth = 3;
    context.beginPath();
    context.arc(pen.x, pen.y, this.width / 2 + 3, 0, 2 * Math.PI);
    context.stroke();
  }
}

/** Curves through the middles between spots: a quick hand leaves few of them. @param {CanvasRenderingContext2D} context @param {Spot[]} stroke */
function drawStroke(context, stroke) {
  let last = stroke[0];
  let from = last;
  for (const spot of stroke.length > 1 ? stroke.slice(1) : stroke) {
    const middle = { x: (last.x + spot.x) / 2, y: (last.y + spot.y) / 2 };
    context.lineWidth = spot.width;
    context.beginPath();
    context.moveTo(from.x, from.y);
    context.quadraticCurveTo(last.x, last.y, middle.x, middle.y);
    context.stroke();
    from = { ...middle, width: spot.width };
    last = spot;
  }
  context.beginPath();
  context.moveTo(from.x, from.y);
  // A line of no length, such as a tap, would leave no dot.
  context.lineTo(last.x + 0.01, last.y);
  context.stroke();
}
