/**
 * The service's public API: the only module of the page that knows HTTP.
 *
 * Knows addresses (relative to this file, so that a prefix of a proxy stays), the key's header, bodies,
 * answers and refusals. Knows nothing of panels or of the state. Every call belongs to a lane: of one lane one
 * request is on its way, and the latest call wins. A call returns null if a newer one replaced it, or if the
 * server refused it: then `hooks.trouble` has already reported why. So a panel writes
 *
 *     const answer = await api.decode({ model, z: [z] }, "map");
 *     if (!answer) return;
 */

import { npyFile, readNpy, readNpz } from "./arrays.js";
import { Lanes } from "./lanes.js";

/** @typedef {import("./arrays.js").NumberArray} NumberArray */
/** @typedef {import("./images.js").Images} Images */
/** @typedef {import("./images.js").Picture} Picture */

/**
 * @typedef {object} ModelSummary
 * @property {string} model  label of the version, name@version
 * @property {string} name
 * @property {number} version
 * @property {string[]} aliases
 * @property {"vae" | "ae"} kind
 * @property {number[]} image_shape  channels, height, width
 * @property {number} latent_size
 * @property {string[]} priors
 * @property {string[]} labels
 * @property {string} description
 * @property {boolean} [preview]  whether GET /models/{name}/preview exists
 */

/** @typedef {{default: string, models: ModelSummary[]}} ModelList */

/**
 * @typedef {object} ModelFacts
 * @property {{name: "bernoulli"} | {name: "gaussian", sigma: number}} likelihood
 * @property {{fit: string, ground: string, levels: number | null}} preprocessing
 * @property {{name: string, value: number, unit: string, protocol: string}[]} metrics
 */

/**
 * Posterior means of some real images of a version.
 * @typedef {object} Preview
 * @property {string} model
 * @property {number[][]} mu
 * @property {string[]} labels  the class of each image; empty strings if it has none
 * @property {Images} thumbnails  smaller than the images of the model, if these are large
 * @property {number[]} kl  nats of each latent dimension; empty for an autoencoder
 */

/**
 * What a call sent: `copyRequest` of widgets/copy.js makes a line of curl and of Python of it.
 * @typedef {object} Sent
 * @property {string} operation  such as "decode"
 * @property {string} form  of the answer, such as "npy"
 * @property {Record<string, string>} query
 * @property {{type: string, content: string | Blob} | null} body  JSON as text, other bodies as bytes
 */

/** @typedef {{model: string, sent: Sent}} Answer */
/** @typedef {Answer & {images: Images}} ImagesAnswer */
/** @typedef {Answer & {images: Images, z: number[][]}} LatentsAnswer */
/** @typedef {LatentsAnswer & {seed: number, prior: string}} SampleAnswer */
/** @typedef {Answer & {mu: number[][], logvar: number[][]}} EncodeAnswer */
/** @typedef {Answer & {bitmap: ImageBitmap}} BitmapAnswer */
/**
 * Nats for each image; `log_px` only with importance_samples.
 * @typedef {Answer & {seed: number, likelihood: string, reconstruction_nll: number[], kl: number[],
 *   elbo: number[], log_px?: number[]}} ScoreAnswer
 */

/**
 * Why a call did not succeed. `offline`, `busy` and `key` mend themselves: the call goes on afterwards.
 * @typedef {object} Trouble
 * @property {"offline" | "busy" | "key" | "gone" | "refused" | "failed"} kind
 * @property {number} [seconds]  until the next try, for `busy`
 * @property {string} [detail]  the server's sentence
 * @property {string} [remedy]
 * @property {string} [code]
 */

/**
 * @typedef {object} Hooks
 * @property {(lane: string, trouble: Trouble | null) => void} trouble  a lane's trouble, and null when it passed
 * @property {() => void} back  the server answers again after a silence
 * @property {(model: string) => Promise<boolean>} gone  the server refuses a version: whether the page left it
 * @property {(wasRefused: boolean) => Promise<string>} askKey  the key of a person
 */

/** The root of the API: this file is at playground/DIGEST/ below it, behind whatever prefix. */
export const ROOT = new URL("../../", import.meta.url);
const POLL_MS = 1500;
/** Between the answer to one busy call and the next try, if the server names no time. */
const PAUSE_S = 2;
const BUSY = [429, 502, 503, 504];
/** One byte for a pixel suffices: pictures have 256 levels. */
const LEVELS = 255;

export class Api {
  /**
   * @param {Hooks} hooks
   * @param {string} [key]
   */
  constructor(hooks, key = "") {
    this.hooks = hooks;
    this.key = key;
    this.lanes = new Lanes();
    /** A decode that the first panel will ask for. @type {{path: string, body: unknown, answer: Promise<Response | null>} | null} */
    this.early = null;
    /** @type {Promise<void> | null} */
    this.silence = null;
    /** @type {Promise<void> | null} */
    this.keyQuestion = null;
  }

  /** Every loaded version. @returns {Promise<ModelList | null>} */
  models() {
    return this.json("models", "", "models");
  }

  /** One version, with its likelihood and figures. @param {string} model @param {string} [lane] @returns {Promise<ModelFacts | null>} */
  facts(model, lane = "facts") {
    return this.json(`models/${model}`, model, lane);
  }

  /**
   * Posterior means of some images; only for versions whose summary says that they have a preview.
   * @param {string} model
   * @param {string} lane
   * @returns {Promise<Preview | null>}
   */
  async preview(model, lane) {
    const response = await this.send(
      { path: `models/${model}/preview.npz`, subject: model, accept: "*/*" },
      lane,
    );
    return response && previewOf(model, await readNpz(await response.arrayBuffer()));
  }

  /**
   * New images from a prior.
   * @param {{model: string, n: number, seed: number, temperature?: number, prior?: string, label?: string}} draw
   * @param {string} lane
   * @returns {Promise<SampleAnswer | null>}
   */
  async sample(draw, lane) {
    const sent = sentOf("sample", "npz", draw, null);
    const arrays = await this.npz(sent, lane);
    return (
      arrays && { ...arrays.answer, ...latentsIn(arrays.found), seed: draw.seed, prior: arrays.answer.prior }
    );
  }

  /**
   * The posterior of a picture, or of each image.
   * @param {{model: string, input: Picture | Images}} call
   * @param {string} lane
   * @returns {Promise<EncodeAnswer | null>}
   */
  async encode({ model, input }, lane) {
    return this.jsonOf(sentOf("encode", "json", { model, ...queryOf(input) }, bodyOf(input)), lane);
  }

  /**
   * The image of each latent.
   * @param {{model: string, z: number[][]}} call
   * @param {string} lane
   * @returns {Promise<ImagesAnswer | null>}
   */
  async decode({ model, z }, lane) {
    return this.npy(sentOf("decode", "npy", { model }, latentsBody(z)), lane);
  }

  /** Let the first `decode` travel while the page is built. @param {{model: string, z: number[][]}} call */
  decodeEarly({ model, z }) {
    const request = requestOf(sentOf("decode", "npy", { model }, latentsBody(z)));
    const { path, body } = request;
    this.early = { path, body, answer: this.once(request) };
  }

  /**
   * The images of latents on one sheet, row by row.
   * @param {{model: string, z: number[][], columns: number}} call
   * @param {string} lane
   * @returns {Promise<BitmapAnswer | null>}
   */
  async decodeSheet({ model, z, columns }, lane) {
    return this.bitmap(sentOf("decode", "png", { model, columns }, latentsBody(z)), lane);
  }

  /**
   * Each image again, through z = mu or, with `sample`, a z of its posterior, drawn by `seed`.
   * @param {{model: string, input: Picture | Images, sample?: boolean, seed?: number}} call
   * @param {string} lane
   * @returns {Promise<ImagesAnswer | null>}
   */
  async reconstruct({ model, input, ...rest }, lane) {
    const query = { model, ...queryOf(input), ...rest };
    return this.npy(sentOf("reconstruct", "npy", query, bodyOf(input)), lane);
  }

  /**
   * Images along two dimensions on one sheet. `z` holds the other dimensions; without it they are 0, and a
   * cache of the browser keeps the sheet.
   * @param {{model: string, dims: number[], steps: number, spacing?: string, span?: number, z?: number[]}} call
   * @param {string} lane
   * @returns {Promise<BitmapAnswer | null>}
   */
  async traverseSheet({ z, dims, ...rest }, lane) {
    const query = { ...rest, dims: dims.join(",") };
    return this.bitmap(sentOf("traverse", "png", query, z ? latentsBody([z]) : null), lane);
  }

  /**
   * Images on the path between two latents.
   * @param {{model: string, ends: number[][], steps: number, method: "lerp" | "slerp"}} call
   * @param {string} lane
   * @returns {Promise<LatentsAnswer | null>}
   */
  async interpolate({ ends, ...query }, lane) {
    const arrays = await this.npz(sentOf("interpolate", "npz", query, latentsBody(ends)), lane);
    return arrays && { ...arrays.answer, ...latentsIn(arrays.found) };
  }

  /**
   * The terms of the bound on log p(x). Only for models of kind `vae`.
   * @param {{model: string, input: Picture | Images, seed: number, importance_samples?: number}} call
   * @param {string} lane
   * @returns {Promise<ScoreAnswer | null>}
   */
  async score({ model, input, ...rest }, lane) {
    return this.jsonOf(sentOf("score", "json", { model, ...queryOf(input), ...rest }, bodyOf(input)), lane);
  }

  /** @param {string} path @param {string} subject @param {string} lane @returns {Promise<any>} */
  async json(path, subject, lane) {
    const response = await this.send({ path, subject, accept: "application/json" }, lane);
    return response && response.json();
  }

  /** @param {Sent} sent @param {string} lane @returns {Promise<any>} */
  async jsonOf(sent, lane) {
    const response = await this.send(requestOf(sent), lane);
    return response && { ...(await response.json()), sent };
  }

  /** @param {Sent} sent @param {string} lane @returns {Promise<ImagesAnswer | null>} */
  async npy(sent, lane) {
    const response = await this.send(requestOf(sent), lane);
    return (
      response && { ...answerOf(response, sent), images: imagesIn(readNpy(await response.arrayBuffer())) }
    );
  }

  /** @param {Sent} sent @param {string} lane */
  async npz(sent, lane) {
    const response = await this.send(requestOf(sent), lane);
    return (
      response && { answer: answerOf(response, sent), found: await readNpz(await response.arrayBuffer()) }
    );
  }

  /** @param {Sent} sent @param {string} lane @returns {Promise<BitmapAnswer | null>} */
  async bitmap(sent, lane) {
    const response = await this.send(requestOf(sent), lane);
    return (
      response && { ...answerOf(response, sent), bitmap: await createImageBitmap(await response.blob()) }
    );
  }

  /**
   * @param {Request_} request
   * @param {string} lane
   * @returns {Promise<Response | null>}
   */
  send(request, lane) {
    return this.lanes.run(lane, request.subject, (isLatest) => this.until(request, lane, isLatest));
  }

  /**
   * Try until an answer or a refusal, or until a newer call of the lane waits.
   * @param {Request_} request
   * @param {string} lane
   * @param {() => boolean} isLatest
   * @returns {Promise<Response | null>}
   */
  async until(request, lane, isLatest) {
    while (isLatest()) {
      const response = await this.once(request);
      if (response?.ok) {
        this.hooks.trouble(lane, null);
        return response;
      }
      if (!response) {
        this.hooks.trouble(lane, { kind: "offline" });
        await this.whenBack();
      } else if (response.status === 401) {
        await this.whenKeyIsKnown(request.key);
      } else if (BUSY.includes(response.status)) {
        const problem = await problemOf(response);
        const hasLeft = problem.code === "model-unavailable" && (await this.hooks.gone(request.subject));
        if (hasLeft) break;
        await this.pause(response, problem, lane, isLatest);
      } else {
        const problem = await problemOf(response);
        const isGone = problem.code === "unknown-model";
        if (isGone) void this.hooks.gone(request.subject);
        const kind = isGone ? "gone" : response.status >= 500 ? "failed" : "refused";
        this.hooks.trouble(lane, { kind, ...problem });
        return null;
      }
    }
    this.hooks.trouble(lane, null);
    return null;
  }

  /** The answer, or null without any. @param {Request_} request @returns {Promise<Response | null>} */
  async once(request) {
    request.key = this.key;
    const { early } = this;
    if (early?.path === request.path && early.body === request.body) {
      this.early = null;
      return early.answer;
    }
    /** @type {Record<string, string>} */
    const headers = { Accept: request.accept };
    if (this.key) headers["Authorization"] = `Bearer ${this.key}`;
    if (request.type) headers["Content-Type"] = request.type;
    const method = request.body === undefined ? "GET" : "POST";
    const init = { method, headers, body: request.body, credentials: /** @type {const} */ ("same-origin") };
    return fetch(new URL(request.path, ROOT), init).catch(() => null);
  }

  /** One question for all calls that wait for a server. */
  whenBack() {
    this.silence ??= (async () => {
      do await seconds(POLL_MS / 1000);
      while (!(await fetch(new URL("livez", ROOT), { cache: "no-store" }).catch(() => null))?.ok);
      this.silence = null;
      this.hooks.back();
    })();
    return this.silence;
  }

  /** One question for all calls that lack a key. @param {string | undefined} used */
  async whenKeyIsKnown(used) {
    // Another call has asked meanwhile.
    if (used !== this.key) return;
    this.keyQuestion ??= this.hooks.askKey(this.key !== "").then((key) => {
      this.key = key;
      this.keyQuestion = null;
    });
    await this.keyQuestion;
  }

  /** @param {Response} response @param {object} problem @param {string} lane @param {() => boolean} isLatest */
  async pause(response, problem, lane, isLatest) {
    let left = Number(response.headers.get("Retry-After") ?? PAUSE_S) || PAUSE_S;
    for (; left > 0 && isLatest(); left--) {
      this.hooks.trouble(lane, { kind: "busy", seconds: left, ...problem });
      await seconds(1);
    }
  }
}

/**
 * @typedef {object} Request_
 * @property {string} path
 * @property {string} subject  the model: an answer about another one is stale
 * @property {string} accept
 * @property {string} [type]
 * @property {BodyInit} [body]
 * @property {string} [key]
 */

/** The path and query of a request. @param {Sent} sent */
export const pathOf = (sent) => `${sent.operation}.${sent.form}?${new URLSearchParams(sent.query)}`;

/** The `number[]` rows of an array of two axes. @param {NumberArray} array */
export function rowsOf({ shape, data }) {
  const rows = shape[0];
  const width = shape[1] ?? 1;
  return Array.from({ length: rows }, (_, row) => [...data.slice(row * width, (row + 1) * width)]);
}

/** @param {number} s @returns {Promise<void>} */
const seconds = (s) => new Promise((go) => setTimeout(go, 1000 * s));

/** @param {Sent} sent @returns {Request_} */
function requestOf(sent) {
  const { body, query } = sent;
  return { path: pathOf(sent), subject: query.model, accept: "*/*", type: body?.type, body: body?.content };
}

/**
 * @param {string} operation
 * @param {string} form
 * @param {Record<string, string | number | boolean | undefined>} query
 * @param {Sent["body"]} body
 * @returns {Sent}
 */
function sentOf(operation, form, query, body) {
  const given = Object.entries(query).filter(([, value]) => value !== undefined && value !== "");
  return {
    operation,
    form,
    query: Object.fromEntries(given.map(([name, value]) => [name, `${value}`])),
    body,
  };
}

/** @param {number[][]} z */
const latentsBody = (z) => ({
  type: "application/json",
  content: JSON.stringify({ z: z.map((row) => row.map((value) => Number(value.toFixed(5)))) }),
});

/** @param {Picture | Images} input */
const queryOf = (input) => ("file" in input ? input.query : {});

/** @param {Picture | Images} input @returns {Sent["body"]} */
function bodyOf(input) {
  if ("file" in input) return { type: input.file.type || "image/png", content: input.file };
  const { n, channels, height, width, data } = input;
  const file = npyFile(
    Uint8Array.from(data, (value) => Math.round(LEVELS * value)),
    [n, channels, height, width],
  );
  return { type: "application/x-npy", content: new Blob([file]) };
}

/** @param {Response} response @param {Sent} sent */
function answerOf(response, sent) {
  const { headers } = response;
  return { model: headers.get("X-Model") ?? sent.query.model, prior: headers.get("X-Prior") ?? "", sent };
}

/** @param {NumberArray} array @returns {Images} */
function imagesIn({ shape, data }) {
  const [n, channels, height, width] = shape;
  const values = new Float32Array(data);
  if (data instanceof Uint8Array) for (let at = 0; at < values.length; at++) values[at] /= LEVELS;
  return { n, channels, height, width, data: values };
}

/** @param {Record<string, NumberArray>} found */
const latentsIn = (found) => ({ images: imagesIn(found.images), z: rowsOf(found.z) });

/** @param {string} model @param {Record<string, NumberArray>} found @returns {Preview} */
function previewOf(model, found) {
  const mu = rowsOf(found.mu);
  const text = (/** @type {number[]} */ row) => String.fromCodePoint(...row.filter(Boolean));
  const labels = found.labels ? rowsOf(found.labels).map(text) : mu.map(() => "");
  return { model, mu, labels, thumbnails: imagesIn(found.thumbnails), kl: [...(found.kl?.data ?? [])] };
}

/** @param {Response} response */
async function problemOf(response) {
  try {
    const { code, detail, remedy } = await response.json();
    return { code, detail, remedy };
  } catch {
    // The answer of a proxy.
    return { code: "", detail: `HTTP ${response.status}`, remedy: "" };
  }
}
