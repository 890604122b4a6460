/**
 * The images of a plane on one sheet: the sky behind a map.
 *
 * Knows planes and the two calls that draw them. Knows nothing of canvases.
 */

/** @typedef {import("./api.js").Api} Api */
/** @typedef {import("./api.js").ModelSummary} ModelSummary */
/** @typedef {import("./plane.js").Plane} Plane */

/** The most images of one request, and the most pixels of one sheet, by default (GET /limits). */
const MAX_IMAGES = 256;
const MAX_PIXELS = 4_194_304;

/** Images along each side of a sheet. @param {ModelSummary} model */
export function stepsOf({ image_shape: [, height, width] }) {
  const side = Math.floor(Math.sqrt(Math.min(MAX_IMAGES, MAX_PIXELS / (height * width))));
  return Math.max(2, Math.min(16, side));
}

/**
 * The sheet of a plane. Its first row is the lowest of the plane: /traverse counts upwards from row to row.
 * @param {Api} api
 * @param {ModelSummary} model
 * @param {Plane} plane
 * @param {string} lane
 * @param {number} [steps]  images along each side
 * @returns {Promise<import("./api.js").BitmapAnswer | null>}
 */
export function fetchSheet(api, model, plane, lane, steps = stepsOf(model)) {
  if (plane.isPlain() && plane.dims && plane.dims[0] !== plane.dims[1]) {
    const dims = [plane.dims[1], plane.dims[0]];
    return api.traverseSheet({ model: model.model, dims, steps, spacing: "linear", span: plane.span }, lane);
  }
  const ticks = Array.from({ length: steps }, (_, at) => plane.span * ((2 * at) / (steps - 1) - 1));
  const z = ticks.flatMap((b) => ticks.map((a) => plane.latentAt([a, b])));
  return api.decodeSheet({ model: model.model, z, columns: steps }, lane);
}
