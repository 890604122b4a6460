/**
 * What a map shows of a model: the images of a plane on one sheet, and real images as dots.
 *
 * Knows planes, previews and the two calls that draw a sheet. Knows nothing of canvases.
 */

import { isStandard } from "./plane.js";

/** @typedef {import("./api.js").Api} Api */
/** @typedef {import("./api.js").ModelSummary} ModelSummary */
/** @typedef {import("./api.js").Preview} Preview */
/** @typedef {import("./plane.js").Plane} Plane */
/** @typedef {import("./widgets/plot.js").LatentPlot} LatentPlot */

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
  if (plane.isTraversed() && plane.dims) {
    const dims = [plane.dims[1], plane.dims[0]];
    const z = plane.center.some(Boolean) ? plane.center : undefined;
    return api.traverseSheet(
      { model: model.model, dims, steps, spacing: "linear", span: plane.span, z },
      lane,
    );
  }
  const ticks = Array.from({ length: steps }, (_, at) => plane.span * ((2 * at) / (steps - 1) - 1));
  const z = ticks.flatMap((b) => ticks.map((a) => plane.latentAt([a, b])));
  return api.decodeSheet({ model: model.model, z, columns: steps }, lane);
}

/** The classes of a preview, in order: their places are the kinds of glyphs. @param {Preview | null} preview */
export const kindsOf = (preview) => [...new Set(preview?.labels)].sort();

/**
 * Put a plane of a model on a map: dots at once, the sheet as soon as it has arrived.
 * @param {LatentPlot} plot
 * @param {import("./panels/panel.js").Context} context
 * @param {Plane} plane
 * @param {string} lane
 */
export async function showPlane(plot, { api, state }, plane, lane) {
  const { model, preview } = state.values;
  const kinds = kindsOf(preview);
  plot.set({
    plane,
    bitmap: null,
    steps: stepsOf(model),
    hasPrior: isStandard(model) && plane.dims !== null,
    dots:
      preview?.mu.map((mu, at) => ({ at: plane.positionOf(mu), kind: kinds.indexOf(preview.labels[at]) })) ??
      [],
  });
  const sheet = await fetchSheet(api, model, plane, lane);
  if (sheet && plot.plane === plane) plot.set({ bitmap: sheet.bitmap });
}

/** Indices in random order, in which the classes take turns. @param {string[]} labels */
export function mixed(labels) {
  /** @type {Map<string, number>} */
  const turns = new Map();
  const order = labels.map((label, at) => ({ label, at, chance: Math.random(), turn: 0 }));
  order.sort((a, b) => a.chance - b.chance);
  for (const each of order) {
    each.turn = turns.get(each.label) ?? 0;
    turns.set(each.label, each.turn + 1);
  }
  return order.sort((a, b) => a.turn - b.turn).map(({ at }) => at);
}
