/**
 * Samples at another size: means weighted by a triangle, which is wider for downscaling.
 *
 * Knows arrays. The weights are those of the server and of the trainer (model_store/SPEC.md, section 13), so a
 * picture that the page shrinks has the pixels that training saw.
 */

/** @typedef {Float64Array | Float32Array} Samples */

/**
 * The whole of one band, or its largest middle part with the target's proportions, at another size.
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
  for (let y = 0; y < rows; y++) for (let x = 0; x < columns; x++) out[x * rows + y] = values[y * columns + x];
  return out;
}
