/**
 * A plane through the latent space: what a map shows.
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
  const axis = (/** @type {number} */ dim) => center.map((_, at) => (at === dim ? 1 : 0));
  // A model of one dimension.
  const isLine = dims[0] === dims[1];
  return new Plane(center, axis(dims[0]), isLine ? axis(-1) : axis(dims[1]), span, dims);
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
 * Only an autoencoder has latents far from the origin: no prior holds them there.
 * @param {{latent_size: number, kind: string}} model
 * @param {{mu: number[][], kl: number[]} | null} preview
 * @param {[number, number]} [dims]
 */
export function defaultPlane(model, preview, dims) {
  const ranked = rankedDims(model, preview);
  const chosen =
    dims ?? /** @type {[number, number]} */ ([ranked[0], ranked[1] ?? ranked[0]].sort((a, b) => a - b));
  const origin = new Array(model.latent_size).fill(0);
  if (!preview) return planeOfDims(chosen, origin, model.kind === "ae" ? 8 : 3);
  if (model.kind === "ae") {
    for (const dim of chosen) origin[dim] = Math.round(median(preview.mu.map((row) => row[dim])));
  }
  const plane = planeOfDims(chosen, origin, 3);
  plane.span = spanOf(plane, preview.mu, 3);
  return plane;
}

/**
 * Latent dimensions, the most used first: by KL, or in their order if it is unknown.
 * @param {{latent_size: number}} model
 * @param {{kl: number[]} | null} preview
 */
export function rankedDims(model, preview) {
  const dims = Array.from({ length: model.latent_size }, (_, at) => at);
  const kl = preview?.kl ?? [];
  return kl.length === dims.length ? dims.sort((a, b) => kl[b] - kl[a]) : dims;
}

/** @param {number[]} a @param {number[]} b */
const dot = (a, b) => a.reduce((sum, value, at) => sum + value * b[at], 0);
/** @param {number[]} a @param {number[]} b */
const minus = (a, b) => a.map((value, at) => value - b[at]);
/** @param {number[]} values */
const median = (values) => [...values].sort((a, b) => a - b)[Math.floor(values.length / 2)] ?? 0;

/** @param {number[]} a */
function unit(a) {
  const length = Math.hypot(...a) || 1;
  return a.map((value) => value / length);
}
