/** One image on a canvas, with hard pixels. Knows pixels. Knows nothing of models or of requests. */

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
