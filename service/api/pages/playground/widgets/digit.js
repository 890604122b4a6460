/**
 * Small canvases: an image with hard pixels, a strip of images, the glyph of a class on the dark sky of a map.
 *
 * Knows pixels. Knows nothing of models or of requests.
 */

import { pixelsOf } from "../images.js";
import { el } from "./dom.js";

/** @typedef {import("../images.js").Images} Images */

export class Digit {
  /**
   * @param {string} label  what a screen reader says; `describe` changes it
   * @param {string} [size]  a class of style.css: "large", "medium" or "small"
   */
  constructor(label, size = "medium") {
    this.element = el("canvas", {
      class: `digit ${size}`,
      role: "img",
      "aria-label": label,
      width: 28,
      height: 28,
    });
    this.context = /** @type {CanvasRenderingContext2D} */ (this.element.getContext("2d"));
  }

  /** @param {Images} images @param {number} [index] */
  show(images, index = 0) {
    this.put(pixelsOf(images, index));
  }

  /**
   * Signed values, such as an error, from -1 (blue) over 0 (black) to 1 (orange).
   * @param {Float32Array} values
   * @param {number} width
   * @param {number} height
   */
  showSigned(values, width, height) {
    const pixels = new ImageData(width, height);
    for (let at = 0; at < width * height; at++) {
      const value = Math.max(-1, Math.min(1, values[at]));
      const [red, green, blue] = value > 0 ? [255, 168, 60] : [84, 160, 255];
      const strength = Math.sqrt(Math.abs(value));
      pixels.data.set([red * strength, green * strength, blue * strength, 255], 4 * at);
    }
    this.put(pixels);
  }

  clear() {
    this.context.clearRect(0, 0, this.element.width, this.element.height);
  }

  /** @param {string} label */
  describe(label) {
    this.element.setAttribute("aria-label", label);
  }

  /** @param {ImageData} pixels */
  put(pixels) {
    if (this.element.width !== pixels.width) this.element.width = pixels.width;
    if (this.element.height !== pixels.height) this.element.height = pixels.height;
    this.context.putImageData(pixels, 0, 0);
  }
}

/** A canvas for images side by side; who draws them gives it its size. @param {string} label */
export const stripCanvas = (label) =>
  el("canvas", { class: "strip", role: "img", "aria-label": label, width: 1, height: 1 });

/** Told apart in pairs by people who see few colours, too: neighbours differ in shape. */
export const COLOURS = [
  "#ff8080",
  "#ffb347",
  "#f5e663",
  "#a8e05f",
  "#4ddba6",
  "#57d3f2",
  "#7fb0ff",
  "#bb9bff",
  "#ff93de",
  "#e8e2d6",
];

/** Corners, how far in the edges are bent, and a turn in eighths of a circle; no corners: a disc. */
const SHAPES = [
  [0],
  [3, 0.5, 2],
  [4, 0.71, 1],
  [4, 0.71, 0],
  [4, 0.3, 0],
  [4, 0.3, 1],
  [3, 0.5, 6],
  [5, 0.4, 2],
  [6, 0.87, 0],
  [2, 0.45, 2],
];

/**
 * Draw the glyph of a class.
 * @param {CanvasRenderingContext2D} context
 * @param {number} kind
 * @param {number} x
 * @param {number} y
 * @param {number} r
 */
export function drawGlyph(context, kind, x, y, r) {
  const path = shape(SHAPES[kind % SHAPES.length], r);
  context.save();
  context.translate(x, y);
  context.lineWidth = r * 0.45;
  context.strokeStyle = "#0b0e1c";
  context.fillStyle = COLOURS[kind % COLOURS.length];
  context.stroke(path);
  context.fill(path);
  context.restore();
}

/** A glyph as a small picture, for a legend. @param {number} kind */
export function glyphCanvas(kind) {
  const canvas = document.createElement("canvas");
  canvas.width = canvas.height = 36;
  canvas.className = "glyph";
  canvas.setAttribute("aria-hidden", "true");
  const context = canvas.getContext("2d");
  if (context) drawGlyph(context, kind, 18, 18, 9);
  return canvas;
}

/** @param {number[]} corners @param {number} r */
function shape([corners, bent, turn], r) {
  const path = new Path2D();
  if (!corners) path.arc(0, 0, r, 0, 2 * Math.PI);
  for (let at = 0; at < 2 * corners; at++) {
    const angle = (Math.PI * at) / corners - (Math.PI * turn) / 4;
    const reach = 1.35 * r * (at % 2 ? bent : 1);
    path.lineTo(reach * Math.cos(angle), reach * Math.sin(angle));
  }
  path.closePath();
  return path;
}
