/**
 * A drawing or a photograph of one figure to an image like those of MNIST.
 *
 * Knows grey levels, boxes and centres of mass. Knows nothing of canvases, HTTP or models. MNIST was made from
 * black-and-white scans: each digit was scaled to a box of 20 × 20 with its proportions, smoothing turned it
 * grey, and its centre of mass was put on the pixel (14, 14) of 28 × 28. The same steps as `fit=mnist` of the
 * server (model_store/drawing.py), with the same figures.
 *
 * Source: Y. LeCun, C. Cortes, C. Burges, "The MNIST database of handwritten digits".
 */

/** @typedef {{data: ArrayLike<number>, width: number, height: number}} Rgba  four bytes for a pixel, as ImageData */

/** Side of MNIST's box, as a share of the image. */
const BOX_SHARE = 20 / 28;
/** Longest side in which the figure is sought. */
export const LONGEST_SIDE = 1024;
/** Least difference between ground and figure, of the whole range. */
const LEAST_CONTRAST = 0.1;
/** A pixel belongs to the box from this share of the figure's own level on. */
const IN_THE_BOX = 0.25;
/** Three standard deviations, of 1.4826 median absolute deviations each: the noise of the ground. */
const NOISE = 3 * 1.4826;
/** This share of the figure's pixels is darker than what becomes 1. */
const FULL_INK = 0.98;
/** Width of the border whose majority is the ground, as a share of the shorter side. */
const BORDER_SHARE = 0.05;
const LUMA = [0.299, 0.587, 0.114];

/**
 * The figure of a picture in a box, with its centre of mass in the middle: light on dark, whichever it was.
 * @param {Rgba} picture
 * @param {number} [height]
 * @param {number} [width]
 * @returns {Float32Array | null} height × width values in [0, 1]; null for a picture of one level
 */
export function normalised(picture, height = 28, width = 28) {
  const figure = figureOf(lightOnDark(picture), picture.height, picture.width);
  if (!figure) return null;
  const [top, left, bottom, right] = boxOf(figure, picture.height, picture.width);
  const [rows, columns] = [bottom - top, right - left];
  const box = cut(figure, picture.width, top, left, rows, columns);
  const side = Math.max(1, roundHalfEven(BOX_SHARE * Math.min(height, width)));
  const longer = Math.max(rows, columns);
  const tall = Math.max(1, roundHalfEven((side * rows) / longer));
  const wide = Math.max(1, roundHalfEven((side * columns) / longer));
  const small = scaled(box, { rows, columns, height: tall, width: wide });
  const down = offset(sums(small, tall, wide, "rows"), height);
  const across = offset(sums(small, tall, wide, "columns"), width);
  const image = new Float32Array(height * width);
  for (let y = 0; y < tall; y++) {
    for (let x = 0; x < wide; x++) image[(down + y) * width + across + x] = Math.min(1, small[y * wide + x]);
  }
  return image;
}

/**
 * Grey levels of a picture, light on dark; transparent pixels take the ground.
 * @param {Rgba} picture
 */
export function lightOnDark(picture) {
  const { data, width, height } = picture;
  const isLight = isLightOnDark(picture);
  const grey = new Float64Array(width * height);
  for (let at = 0; at < grey.length; at++) {
    const alpha = data[4 * at + 3] / 255;
    const level = lumaAt(data, at);
    grey[at] = alpha * (isLight ? level : 1 - level);
  }
  return grey;
}

/**
 * Whether a picture shows something light on a dark ground: the ground is what most of the border is. A
 * transparent ground has no level; then the figure decides.
 * @param {Rgba} picture
 */
export function isLightOnDark({ data, width, height }) {
  const border = borderOf(height, width);
  const opaque = border.filter((at) => data[4 * at + 3] > 127).length;
  if (opaque < border.length / 2) {
    let [ink, light] = [0, 0];
    for (let at = 0; at < width * height; at++) {
      ink += data[4 * at + 3];
      light += data[4 * at + 3] * lumaAt(data, at);
    }
    return ink === 0 || light > ink / 2;
  }
  return border.filter((at) => lumaAt(data, at) > 0.5).length < border.length / 2;
}

/** @param {ArrayLike<number>} data @param {number} at */
const lumaAt = (data, at) =>
  (LUMA[0] * data[4 * at] + LUMA[1] * data[4 * at + 1] + LUMA[2] * data[4 * at + 2]) / 255;

/** Levels between ground and figure as 0 to 1. @param {Float64Array} grey @param {number} height @param {number} width */
function figureOf(grey, height, width) {
  const border = Float64Array.from(borderOf(height, width), (at) => grey[at]);
  const ground = quantile(border, 0.5);
  const noise =
    NOISE *
    quantile(
      border.map((level) => Math.abs(level - ground)),
      0.5,
    );
  const differs = grey.filter((level) => level > ground + Math.max(noise, LEAST_CONTRAST));
  if (!differs.length) return null;
  const ink = quantile(differs, FULL_INK);
  const begin = Math.min(ground + noise, (ground + ink) / 2);
  return grey.map((level) => Math.min(1, Math.max(0, (level - begin) / (ink - begin))));
}

/** @param {Float64Array} figure @param {number} height @param {number} width */
function boxOf(figure, height, width) {
  let [top, left, bottom, right] = [height, width, 0, 0];
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      if (figure[y * width + x] <= IN_THE_BOX) continue;
      [top, left] = [Math.min(top, y), Math.min(left, x)];
      [bottom, right] = [Math.max(bottom, y + 1), Math.max(right, x + 1)];
    }
  }
  return [top, left, bottom, right];
}

/**
 * @param {Float64Array} values
 * @param {number} width
 * @param {number} top
 * @param {number} left
 * @param {number} rows
 * @param {number} columns
 */
function cut(values, width, top, left, rows, columns) {
  const out = new Float64Array(rows * columns);
  for (let y = 0; y < rows; y++) {
    const start = (top + y) * width + left;
    out.set(values.subarray(start, start + columns), y * columns);
  }
  return out;
}

/** @param {Float64Array} values @param {number} rows @param {number} columns @param {"rows" | "columns"} along */
function sums(values, rows, columns, along) {
  const out = new Float64Array(along === "rows" ? rows : columns);
  for (let at = 0; at < values.length; at++) {
    out[along === "rows" ? Math.floor(at / columns) : at % columns] += values[at];
  }
  return out;
}

/** Where the figure begins, so that its centre of mass is in the middle and none is cut. @param {Float64Array} masses @param {number} size */
function offset(masses, size) {
  const mass = masses.reduce((all, value) => all + value, 0);
  const centre = masses.reduce((all, value, at) => all + value * at, 0) / mass;
  return Math.min(Math.max(0, roundHalfEven(size / 2 - centre)), size - masses.length);
}

/** Indices of the pixels of the four sides; a corner counts for both of its sides. @param {number} height @param {number} width */
function borderOf(height, width) {
  const wide = Math.floor(BORDER_SHARE * Math.min(height, width)) || 1;
  /** @type {number[]} */
  const found = [];
  for (let away = 0; away < wide; away++) {
    for (let x = 0; x < width; x++) found.push(away * width + x, (height - 1 - away) * width + x);
    for (let y = 0; y < height; y++) found.push(y * width + away, y * width + width - 1 - away);
  }
  return found;
}

/** The value below which a share of the values lies, between two of them if need be. @param {Float64Array} values @param {number} share */
function quantile(values, share) {
  const sorted = values.slice().sort();
  const place = share * (sorted.length - 1);
  const low = Math.floor(place);
  const high = Math.min(low + 1, sorted.length - 1);
  return sorted[low] + (place - low) * (sorted[high] - sorted[low]);
}

/** As Python rounds. @param {number} value */
function roundHalfEven(value) {
  const low = Math.floor(value);
  if (value - low !== 0.5) return Math.round(value);
  return low % 2 === 0 ? low : low + 1;
}

/** @typedef {Float64Array | Float32Array} Samples */

/**
 * The whole of one band, or its largest middle part with the target's proportions, at another size: means
 * weighted by a triangle, which is wider for downscaling, as the server's (model_store/SPEC.md, section 13).
 * @param {Samples} values  rows × columns
 * @param {{rows: number, columns: number, height: number, width: number, crop?: boolean}} sizes
 * @returns {Float64Array} height × width
 */
export function scaled(values, { rows, columns, height, width, crop = false }) {
  let [top, left, tall, wide] = [0, 0, rows, columns];
  if (crop && columns * height > rows * width) {
    wide = (rows * width) / height;
    left = (columns - wide) / 2;
  } else if (crop) {
    tall = (columns * height) / width;
    top = (rows - tall) / 2;
  }
  const shrunk = alongRows(values, rows, columns, top, tall, height);
  const turned = alongRows(transposed(shrunk, height, columns), columns, height, left, wide, width);
  return transposed(turned, width, height);
}

/**
 * @param {Samples} values
 * @param {number} rows
 * @param {number} across
 * @param {number} start
 * @param {number} length
 * @param {number} size
 */
function alongRows(values, rows, across, start, length, size) {
  const step = length / size;
  const reach = Math.max(step, 1);
  const out = new Float64Array(size * across);
  for (let row = 0; row < size; row++) {
    const middle = start + (row + 0.5) * step;
    const first = Math.max(0, Math.trunc(middle - reach + 0.5));
    const last = Math.min(rows, Math.trunc(middle + reach + 0.5));
    let total = 0;
    for (let at = first; at < last; at++) {
      const weight = Math.max(0, 1 - Math.abs((at + 0.5 - middle) / reach));
      total += weight;
      if (weight) for (let x = 0; x < across; x++) out[row * across + x] += weight * values[at * across + x];
    }
    for (let x = 0; x < across; x++) out[row * across + x] /= total;
  }
  return out;
}

/** @param {Samples} values @param {number} rows @param {number} columns */
function transposed(values, rows, columns) {
  const out = new Float64Array(values.length);
  for (let y = 0; y < rows; y++)
    for (let x = 0; x < columns; x++) out[x * rows + y] = values[y * columns + x];
  return out;
}
