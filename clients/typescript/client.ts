// A client of a VAE service for browsers, Node, Deno and Bun: the calls of clients/python, with fetch alone.
// The types of the answers are generated: `npx openapi-typescript openapi.json -o schema.d.ts`.
import type { components } from "./schema.js";

type Schemas = components["schemas"];
type Query = Record<string, string | number | boolean | null | undefined>;
/** Numbers (N, C, H, W) in [0, 1], or picture files. */
export type ImagesIn = number[][][][] | Blob | Blob[];
/** How pictures of any size are read. */
export type PictureOptions = { fit?: Schemas["Fit"]; invert?: Schemas["Invert"]; resize?: boolean };
/** How many images are drawn, and from what. */
export type Draw = { n?: number; seed?: number; temperature?: number; prior?: Schemas["Prior"]; label?: string };
/** Some images of a stream: their shape (N, C, H, W), and their pixels in this order. */
export type Part = { model: string; seed: number; firstRow: number; shape: number[]; data: Float32Array };
export type Options = {
  apiKey?: string;
  model?: string;
  timeoutMs?: number;
  /** Most times that a request is sent, and milliseconds after which no further try begins. */
  retry?: { tries: number; budgetMs: number };
  fetch?: typeof fetch;
};

/** The server refused a request, with its problem. */
export class Refused extends Error {
  constructor(readonly status: number, readonly problem: Schemas["Problem"] | undefined, text: string,
    readonly retryAfterS: number | undefined) {
    super(problem ? `${problem.code} (${status}): ${problem.detail}` : `http-${status}: ${text.slice(0, 200)}`);
  }
  get code(): string { return this.problem?.code ?? `http-${this.status}`; }
}
/** Latents of one version were sent to another, where they mean nothing. */
export class VersionMismatch extends Error {}
/** The server gave no complete answer; `cause` has the reason of `fetch`. */
export class ConnectionFailed extends Error {}
/** Latents and the label of their version; `model` of an answer and its `z` or `mu` make one. */
export type Latents = { model: string; rows: ArrayLike<number>[] };

const REPEATED = [429, 503, 504]; // and a connection that failed or broke
const sleep = (ms: number, signal?: AbortSignal) => new Promise<void>((resolve, reject) => {
  const timer = setTimeout(resolve, ms);
  signal?.addEventListener("abort", () => { clearTimeout(timer); reject(signal.reason); }, { once: true });
});
const newSeed = () => Math.floor(Math.random() * Number.MAX_SAFE_INTEGER);
export class Client {
  constructor(readonly url: string, readonly options: Options = {}) {}

  /** A client bound to one version, such as that of an answer. */
  pinned(model: string): Client { return new Client(this.url, { ...this.options, model }); }
  sample(draw: Draw = {}, signal?: AbortSignal): Promise<Schemas["SampleResponse"]> {
    return this.json("GET", "/sample", { seed: newSeed(), ...draw }, undefined, signal);
  }
  encode(images: ImagesIn, options: PictureOptions = {}, signal?: AbortSignal): Promise<Schemas["EncodeResponse"]> {
    return this.json("POST", "/encode", options, bodyOf(images), signal);
  }
  decode(z: Latents, signal?: AbortSignal): Promise<Schemas["DecodeResponse"]> {
    return this.json("POST", "/decode", {}, toJson({ z: z.rows }), signal, z);
  }
  reconstruct(images: ImagesIn, options: PictureOptions & { sample?: boolean; seed?: number } = {},
    signal?: AbortSignal): Promise<Schemas["ReconstructResponse"]> {
    const seed = options.sample ? options.seed ?? newSeed() : undefined;
    return this.json("POST", "/reconstruct", { ...options, seed }, bodyOf(images), signal);
  }

  /** `ends` are two latents, or two images. */
  interpolate(ends: Latents | ImagesIn, options: PictureOptions & { steps?: number; method?: Schemas["Method"] } = {},
    signal?: AbortSignal): Promise<Schemas["InterpolateResponse"]> {
    if (!isLatents(ends)) return this.json("POST", "/interpolate", options, bodyOf(ends), signal);
    return this.json("POST", "/interpolate", options, toJson({ z: ends.rows }), signal, ends);
  }

  /** `dims` are one or two latent indices; `start` is one latent, and none is the origin. */
  traverse(options: { dims?: number[]; steps?: number; spacing?: Schemas["Spacing"]; span?: number } = {},
    start?: Latents, signal?: AbortSignal): Promise<Schemas["TraverseResponse"]> {
    const query = { ...options, dims: options.dims?.join(",") };
    if (start === undefined) return this.json("GET", "/traverse", query, undefined, signal);
    return this.json("POST", "/traverse", query, toJson({ z: start.rows }), signal, start);
  }

  score(images: ImagesIn, options: PictureOptions & { importance_samples?: number; seed?: number;
    binarise?: Schemas["Binarise"]; flag?: boolean } = {}, signal?: AbortSignal): Promise<Schemas["ScoreResponse"]> {
    return this.json("POST", "/score", { seed: newSeed(), ...options }, bodyOf(images), signal);
  }

  async nearest(query: Latents, among: Latents, k = 1, signal?: AbortSignal): Promise<Schemas["NearestResponse"]> {
    if (query.model !== among.model) throw mismatch(query.model, among.model);
    return this.json("POST", "/nearest", { k }, toJson({ z: query.rows, latents: among.rows }), signal, query);
  }
  async models(signal?: AbortSignal): Promise<Schemas["ModelSummary"][]> {
    return (await this.json<Schemas["ModelList"]>("GET", "/models", { model: null }, undefined, signal)).models;
  }
  async limits(signal?: AbortSignal): Promise<Record<string, Schemas["LimitRow"]>> {
    const { limits } = await this.json<Schemas["LimitTable"]>("GET", "/limits", { model: null }, undefined, signal);
    return Object.fromEntries(limits.map((row) => [row.name, row]));
  }

  /** Images of one seed, at most `max_stream_images` of limits(), in parts of `rows`, of which one is in memory. */
  async *sampleMany(n: number, draw: Omit<Draw, "n"> = {}, rows = 256, signal?: AbortSignal): AsyncGenerator<Part> {
    const response = await this.send("GET", "/sample.npy", { seed: newSeed(), ...draw, n }, undefined, signal, undefined,
      async (answer) => answer);
    const model = response.headers.get("X-Model") ?? "", seed = Number(response.headers.get("X-Seed"));
    const reader = response.body!.getReader();
    let waiting = new Uint8Array(0), shape: number[] | undefined, done = 0;
    try {
      while (true) {
        const piece = await reader.read();
        if (piece.value) waiting = new Uint8Array(await new Blob([waiting, piece.value]).arrayBuffer());
        const end = 10 + (waiting[8] | (waiting[9] << 8));
        if (!shape && waiting.length >= Math.max(10, end)) {
          shape = npyShape(new TextDecoder("latin1").decode(waiting.subarray(0, end)));
          waiting = waiting.slice(end);
        }
        const rowBytes = shape ? 4 * shape.slice(1).reduce((all, side) => all * side, 1) : 0;
        while (shape && done < n && waiting.length >= rowBytes * Math.min(rows, n - done)) {
          const count = Math.min(rows, n - done), part = waiting.slice(0, count * rowBytes);
          waiting = waiting.slice(count * rowBytes);
          yield { model, seed, firstRow: done, shape: [count, ...shape.slice(1)], data: new Float32Array(part.buffer) };
          done += count;
        }
        if (piece.done) break;
      }
    } finally { await reader.cancel(); }
    if (done < n) throw new Error(`The server ended its answer after ${done} of ${n} images.`);
  }

  private json<T>(method: string, path: string, query: Query, body?: BodyInit, signal?: AbortSignal, latents?: Latents): Promise<T> {
    return this.send(method, path, query, body, signal, latents, async (response) => {
      const text = await response.text();
      let answer: T & { model?: string };
      try { answer = JSON.parse(text); } catch {
        throw new Error(`Expected JSON from ${path}, got ${text.slice(0, 60)}. Is ${this.url} the address of a VAE service?`);
      }
      if (latents && latents.model !== answer.model) throw mismatch(latents.model, `${answer.model}`);
      return answer;
    });
  }

  /** Every request can be repeated: it has a seed. The time limit ends with `read`, which a stream ends at its head. */
  private async send<T>(method: string, path: string, query: Query, body: BodyInit | undefined, signal: AbortSignal | undefined,
    latents: Latents | undefined, read: (response: Response) => Promise<T>): Promise<T> {
    const { apiKey, model, timeoutMs = 60_000, retry = { tries: 6, budgetMs: 30_000 } } = this.options;
    const parameters = Object.entries({ model, ...query }).filter(([, value]) => value !== undefined && value !== null);
    const address = `${this.url.replace(/\/+$/, "")}${path}?${new URLSearchParams(parameters.map(([k, v]) => [k, `${v}`]))}`;
    const headers: Record<string, string> = { Accept: "application/json" };
    if (apiKey) headers["Authorization"] = `Bearer ${apiKey}`;
    if (typeof body === "string") headers["Content-Type"] = "application/json";
    new Headers(headers); // a key that no header can contain is an error now, and not after six tries; an address, too
    const { protocol } = new URL(address, globalThis.location?.href);
    if (!protocol.startsWith("http")) throw new TypeError(`Expected http://HOST:PORT or https://HOST, got ${this.url}`);
    const begun = Date.now();
    for (let count = 1; ; count++) {
      const late = new AbortController(), text = `No answer of ${this.url} within timeoutMs=${timeoutMs}.`;
      const timer = setTimeout(() => late.abort(new DOMException(text, "TimeoutError")), Math.min(timeoutMs, 2 ** 31 - 1));
      let failure: unknown, statedS: number | undefined;
      try {
        const either = AbortSignal.any(signal ? [signal, late.signal] : [late.signal]);
        const response = await (this.options.fetch ?? fetch)(address, { method, headers, body, signal: either });
        if (response.ok) return await read(response);
        const refused = await refusalOf(response), version = response.headers.get("X-Model");
        if (latents && version && version !== latents.model) throw mismatch(latents.model, version);
        if (!REPEATED.includes(response.status)) throw refused;
        [failure, statedS] = [refused, refused.retryAfterS];
      } catch (error) {
        if (!(error instanceof TypeError)) throw error; // a time-out, a cancelled request, a refusal that stays
        const reason = error.cause instanceof Error ? error.cause.message : error.message;
        failure = new ConnectionFailed(`No answer of ${this.url}: ${reason}. Is the server running?`, { cause: error });
      } finally { clearTimeout(timer); }
      const delayMs = (statedS ? 1000 * statedS : Math.min(250 * 2 ** (count - 1), 8000)) * (1 + Math.random() / 4);
      if (count >= retry.tries || Date.now() - begun + delayMs > retry.budgetMs) throw failure;
      await sleep(delayMs, signal);
    }
  }
}

/** Typed arrays as lists: JSON has an object for them. */
const toJson = (value: unknown) =>
  JSON.stringify(value, (_, each: unknown) => (ArrayBuffer.isView(each) ? Array.from(each as Float32Array) : each));
const isLatents = (value: Latents | ImagesIn): value is Latents => "rows" in value;
const mismatch = (latents: string, server: string) =>
  new VersionMismatch(`The latents are of ${latents}, and ${server} would read them. Encode the images again.`);
function bodyOf(images: ImagesIn): BodyInit {
  if (images instanceof Blob) return images;
  if (!(images[0] instanceof Blob)) return toJson({ images });
  const form = new FormData();
  (images as Blob[]).forEach((blob, index) => form.append("images", blob, `${index}`));
  return form;
}
async function refusalOf(response: Response): Promise<Refused> {
  const text = await response.text(), after = Number(response.headers.get("Retry-After") ?? NaN);
  let problem: Schemas["Problem"] | undefined;
  try { problem = JSON.parse(text); } catch { /* an answer of a proxy */ }
  return new Refused(response.status, problem?.code ? problem : undefined, text, Number.isFinite(after) ? after : undefined);
}
function npyShape(head: string): number[] {
  const found = /'<f4'.*'shape': \(([\d, ]+)\)/.exec(head);
  if (!found) throw new Error(`Expected an npy file of float32, got ${head.slice(0, 60)}`);
  return found[1].split(",").filter((side) => side.trim()).map(Number);
}
