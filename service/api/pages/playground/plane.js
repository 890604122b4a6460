/**
 * Arithmetic of latents: planes through their space, which maps show; noise by seed; the KL of a Gaussian.
 *
 * Knows vectors. Knows nothing of HTTP, canvases or the state. A position (a, b) on the plane is the latent
 * center + a·u + b·v, where u and v are orthonormal.
 */

/** @typedef {[number, number]} Position */

export class Plane {
  /**
   * @param {number[]} center
   * @param {number[]} u  to the right
   * @param {number[]} v  upwards
   * @param {number} span  of the map to each side of the center
   * @param {[number, number] | null} dims  the latent indices along u and v, if the axes are those of the latent
   */
  constructor(center, u, v, span, dims) {
    this.center = center;
    this.u = u;
    this.v = v;
    this.span = span;
    this.dims = dims;
  }

  /** The latent at a position. @param {Position} position */
  latentAt([a, b]) {
    return this.center.map((value, at) => value + a * this.u[at] + b * this.v[at]);
  }

  /** The foot of the perpendicular from a latent. @param {number[]} z @returns {Position} */
  positionOf(z) {
    const from = z.map((value, at) => value - this.center[at]);
    return [dot(from, this.u), dot(from, this.v)];
  }

  /** The distance of a latent from the plane. @param {number[]} z */
  distanceOf(z) {
    const foot = this.latentAt(this.positionOf(z));
    return Math.hypot(...z.map((value, at) => value - foot[at]));
  }

  /**
   * The covariance on the plane of a diagonal Gaussian: of its shadow, if the latent has more dimensions.
   * @param {number[]} logvar
   * @returns {{aa: number, ab: number, bb: number}}
   */
  covarianceOf(logvar) {
    const variance = logvar.map(Math.exp);
    const sum = (/** @type {number[]} */ one, /** @type {number[]} */ other) =>
      variance.reduce((all, value, at) => all + value * one[at] * other[at], 0);
    return { aa: sum(this.u, this.u), ab: sum(this.u, this.v), bb: sum(this.v, this.v) };
  }

  /** Whether /traverse draws it: two axes that cross at 0, whatever the other dimensions are. */
  isTraversed() {
    const { dims, center } = this;
    return dims !== null && dims[0] !== dims[1] && this.span <= 10 && dims.every((dim) => center[dim] === 0);
  }
}

/**
 * The plane of two latent dimensions; the others keep their value in `center`.
 * @param {[number, number]} dims
 * @param {number[]} center
 * @param {number} span
 */
export function planeOfDims(dims, center, span) {
  // A model of one dimension has no second axis.
  const up = dims[0] === dims[1] ? -1 : dims[1];
  return new Plane(center, axis(center, dims[0]), axis(center, up), span, dims);
}

/**
 * The plane through three latents, with all of them well inside.
 * @param {number[]} one
 * @param {number[]} two
 * @param {number[]} three
 */
export function planeThrough(one, two, three) {
  const center = one.map((value, at) => (value + two[at] + three[at]) / 3);
  const u = unit(minus(two, one));
  const side = minus(three, one);
  const v = unit(
    minus(
      side,
      u.map((value) => value * dot(side, u)),
    ),
  );
  const plane = new Plane(center, u, v, 1, null);
  const reach = Math.max(...[one, two, three].flatMap((z) => plane.positionOf(z).map(Math.abs)));
  plane.span = Math.max(1, 1.35 * reach);
  return plane;
}

/**
 * Half the width that holds nearly all of some latents on a plane, and at least `least`.
 * @param {Plane} plane
 * @param {number[][]} latents
 * @param {number} least
 */
export function spanOf(plane, latents, least) {
  const reach = latents.map((z) => Math.max(...plane.positionOf(z).map(Math.abs))).sort((a, b) => a - b);
  const most = reach[Math.floor(0.98 * (reach.length - 1))] ?? 0;
  return Math.max(least, Math.ceil(2 * most) / 2);
}

/**
 * The default plane of a model: its two most used dimensions, around the middle of its latents.
 *
 * Only N(0, I) holds latents around the origin: others are around the middle of the preview's.
 * @param {{latent_size: number, kind: string, priors: string[]}} model
 * @param {{mu: number[][], kl: number[]} | null} preview
 * @param {[number, number]} [dims]
 */
export function defaultPlane(model, preview, dims) {
  const [most, second = most] = rankedDims(model, preview);
  const chosen = dims ?? /** @type {[number, number]} */ ([most, second].sort((a, b) => a - b));
  const origin = new Array(model.latent_size).fill(0);
  if (!preview) return planeOfDims(chosen, origin, model.kind === "ae" ? 8 : 3);
  if (!isStandard(model)) {
    for (const dim of chosen) origin[dim] = Math.round(median(preview.mu.map((row) => row[dim])));
  }
  const plane = planeOfDims(chosen, origin, 3);
  plane.span = spanOf(plane, preview.mu, 3);
  return plane;
}

/**
 * The point at which a model is first shown: the origin, or a real image where the origin is none.
 *
 * Only N(0, I) has its most usual point at the origin. Under another prior, an image of many latents at 0 looks
 * like nothing, so the point is the preview's image nearest to the middle of all.
 * @param {{latent_size: number, kind: string, priors: string[]}} model
 * @param {{mu: number[][]} | null} preview
 */
export function firstPoint(model, preview) {
  if (!preview?.mu.length || !startsAtImage(model)) return new Array(model.latent_size).fill(0);
  const middle = meanOf(preview.mu);
  const away = preview.mu.map((z) => Math.hypot(...minus(z, middle)));
  return preview.mu[away.indexOf(Math.min(...away))];
}

/** Whether `firstPoint` needs the preview. @param {{latent_size: number, priors: string[]}} model */
export const startsAtImage = (model) => model.latent_size > 2 && !isStandard(model);

/**
 * Latent dimensions, the most used first: by KL, or in their order if it is unknown.
 * @param {{latent_size: number}} model
 * @param {{kl: number[]} | null} preview
 */
export function rankedDims(model, preview) {
  const kl = preview?.kl ?? [];
  return ranked(kl.length === model.latent_size ? kl : new Array(model.latent_size).fill(0));
}

/** Whether a model was trained with N(0, I): only then rings around the origin tell how usual a point is. @param {{priors: string[]}} model */
export const isStandard = ({ priors }) => priors.includes("standard");

/** The unit vector along a dimension. @param {number[]} center @param {number} dim */
const axis = (center, dim) => center.map((_, at) => (at === dim ? 1 : 0));
/** @param {number[]} a @param {number[]} b */
const minus = (a, b) => a.map((value, at) => value - b[at]);
/** @param {number[]} values */
const median = (values) => [...values].sort((a, b) => a - b)[Math.floor(values.length / 2)] ?? 0;

/** @param {number[]} a */
function unit(a) {
  const length = Math.hypot(...a) || 1;
  return a.map((value) => value / length);
}

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
  const u = isSpace ? axis(center, 0) : direction(centred, null);
  const v = isSpace ? axis(center, 1) : direction(centred, u);
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
    found = unit(square);
  }
  return found;
}

/** @param {number[]} values */
const sum = (values) => values.reduce((total, value) => total + value, 0);

/** @param {number[]} a @param {number[]} b */
const dot = (a, b) => sum(a.map((value, at) => value * b[at]));
