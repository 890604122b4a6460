/**
 * Arithmetic of latents: noise by seed, the KL of a Gaussian, the plane in which points spread most.
 *
 * Knows numbers. Knows nothing of models, requests or elements.
 */

import { Plane, spanOf } from "./plane.js";

/**
 * Numbers of N(0, 1), the same for the same seed.
 * @param {number} seed
 * @param {number} count
 */
export function gaussians(seed, count) {
  let state = seed >>> 0;
  const uniform = () => {
    // mulberry32: 32 bits of state suffice for noise to look at.
    state = (state + 0x6d2b79f5) >>> 0;
    let bits = Math.imul(state ^ (state >>> 15), state | 1);
    bits ^= bits + Math.imul(bits ^ (bits >>> 7), bits | 61);
    return ((bits ^ (bits >>> 14)) >>> 0) / 2 ** 32;
  };
  const radius = () => Math.sqrt(-2 * Math.log(1 - uniform()));
  return Array.from({ length: count }, () => radius() * Math.cos(2 * Math.PI * uniform()));
}

/**
 * KL(N(μ, σ²) ‖ N(0, 1)) of one dimension, in nats.
 * @param {number} mu
 * @param {number} logvar
 */
export const klOf = (mu, logvar) => 0.5 * (mu * mu + Math.exp(logvar) - 1 - logvar);

/** Positions of the values, the largest first. @param {number[]} values */
export const ranked = (values) => values.map((_, at) => at).sort((a, b) => values[b] - values[a]);

/** The mean of each column. @param {number[][]} rows */
export const meanOf = (rows) => rows[0].map((_, at) => sum(rows.map((row) => row[at])) / rows.length);

const ROUNDS = 60;

/**
 * The plane through the middle of some latents in which they spread most; of two dimensions, the space itself.
 * @param {number[][]} latents
 * @param {number} least  half the width of the plane, at least
 */
export function principalPlane(latents, least) {
  const center = meanOf(latents);
  const isSpace = center.length <= 2;
  const centred = latents.map((z) => z.map((value, at) => value - center[at]));
  const axis = (/** @type {number} */ dim) => center.map((_, at) => (at === dim ? 1 : 0));
  const u = isSpace ? axis(0) : direction(centred, null);
  const v = isSpace ? axis(1) : direction(centred, u);
  const plane = new Plane(center, u, v, 1, isSpace ? [0, Math.min(1, center.length - 1)] : null);
  plane.span = spanOf(plane, latents, least);
  return plane;
}

/**
 * The direction of largest variance, square to another one, by power iteration.
 * @param {number[][]} centred
 * @param {number[] | null} other
 */
function direction(centred, other) {
  let found = gaussians(other ? 2 : 1, centred[0].length);
  for (let round = 0; round < ROUNDS; round++) {
    const weights = centred.map((z) => dot(z, found));
    const next = found.map((_, at) => sum(centred.map((z, row) => z[at] * weights[row])));
    const part = other ? dot(next, other) : 0;
    const square = other ? next.map((value, at) => value - part * other[at]) : next;
    const length = Math.hypot(...square) || 1;
    found = square.map((value) => value / length);
  }
  return found;
}

/** @param {number[]} values */
const sum = (values) => values.reduce((total, value) => total + value, 0);

/** @param {number[]} a @param {number[]} b */
const dot = (a, b) => sum(a.map((value, at) => value * b[at]));
