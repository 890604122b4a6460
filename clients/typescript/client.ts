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

/** Latents and the label of their version; `model` of an answer and its `z` or `mu` make one. */
export type Latents = { model: string; rows: number[][] };

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

  async decode(z: Latents, signal?: AbortSignal): Promise<Schemas["DecodeResponse"]> {
    return this.same(z, await this.json<Schemas["DecodeResponse"]>("POST", "/decode", {}, JSON.stringify({ z: z.rows }), signal));
  }

  reconstruct(images: ImagesIn, options: PictureOptions & { sample?: boolean; seed?: number } = {},
    signal?: AbortSignal): Promise<Schemas["ReconstructResponse"]> {
    const seed = options.sample ? options.seed ?? newSeed() : undefined;
    return this.json("POST", "/reconstruct", { ...options, seed }, bodyOf(images), signal);
  }

  /** `ends` are two latents, or two images. */
  async interpolate(ends: Latents | ImagesIn,
    options: PictureOptions & { steps?: number; method?: Schemas["Method"] } = {},
    signal?: AbortSignal): Promise<Schemas["InterpolateResponse"]> {
    if (!isLatents(ends)) return this.json("POST", "/interpolate", options, bodyOf(ends), signal);
    const body = JSON.stringify({ z: ends.rows });
    return this.same(ends, await this.json<Schemas["InterpolateResponse"]>("POST", "/interpolate", options, body, signal));
  }

  /** `dims` are one or two latent indices; `start` is one latent, and none is the origin. */
  async traverse(options: { dims?: number[]; steps?: number; spacing?: Schemas["Spacing"]; span?: number } = {},
    start?: Latents, signal?: AbortSignal): Promise<Schemas["TraverseResponse"]> {
    const query = { ...options, dims: options.dims?.join(",") };
    if (start === undefined) return this.json("GET", "/traverse", query, undefined, signal);
    const body = JSON.stringify({ z: start.rows });
    return this.same(start, await this.json<Schemas["TraverseResponse"]>("POST", "/traverse", query, body, signal));
  }

  score(images: ImagesIn,
    options: PictureOptions & { importance_samples?: number; seed?: number; binarise?: Schemas["Binarise"] } = {},
    signal?: AbortSignal): Promise<Schemas["ScoreResponse"]> {
    return this.json("POST", "/score", { seed: newSeed(), ...options }, bodyOf(images), signal);
  }

  async nearest(query: Latents, among: Latents, k = 1, signal?: AbortSignal): Promise<Schemas["NearestResponse"]> {
    if (query.model !== among.model) throw mismatch(query.model, among.model);
    const body = JSON.stringify({ z: query.rows, latents: among.rows });
    return this.same(query, await this.json<Schemas["NearestResponse"]>("POST", "/nearest", { k }, body, signal));
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
    const response = await this.send("GET", "/sample.npy", { seed: newSeed(), ...draw, n }, undefined, signal, false);
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
    } finally {
      await reader.cancel();
    }
    if (done < n) throw new Error(`The server ended its answer after ${done} of ${n} images.`);
  }

  private async json<T>(method: string, path: string, query: Query, body?: BodyInit, signal?: AbortSignal): Promise<T> {
    return (await this.send(method, path, query, body, signal, true)).json() as Promise<T>;
  }

  private same<T extends { model: string }>(latents: Latents, answer: T): T {
    if (latents.model !== answer.model) throw mismatch(latents.model, answer.model);
    return answer;
  }

  /** Every request can be repeated: it has a seed. */
  private async send(method: string, path: string, query: Query, body: BodyInit | undefined,
    signal: AbortSignal | undefined, isTimed: boolean): Promise<Response> {
    const { apiKey, model, timeoutMs = 60_000, retry = { tries: 6, budgetMs: 30_000 } } = this.options;
    const parameters = Object.entries({ model, ...query }).filter(([, value]) => value !== undefined && value !== null);
    const address = `${this.url.replace(/\/$/, "")}${path}?${new URLSearchParams(parameters.map(([k, v]) => [k, `${v}`]))}`;
    const headers: Record<string, string> = { Accept: "application/json" };
    if (apiKey) headers["Authorization"] = `Bearer ${apiKey}`;
    if (typeof body === "string") headers["Content-Type"] = "application/json";
    const begun = Date.now();
    for (let count = 1; ; count++) {
      const signals = [signal, isTimed ? AbortSignal.timeout(timeoutMs) : undefined].filter((each) => each !== undefined);
      let failure: unknown, statedS: number | undefined;
      try {
        const response = await (this.options.fetch ?? fetch)(address, { method, headers, body, signal: AbortSignal.any(signals) });
        if (response.ok) return response;
        const refused = await refusalOf(response);
        if (!REPEATED.includes(response.status)) throw refused;
        [failure, statedS] = [refused, refused.retryAfterS];
      } catch (error) {
        if (!(error instanceof TypeError)) throw error; // a time-out, a cancelled request, a refusal that stays
        failure = error;
      }
      const delayMs = (statedS !== undefined ? 1000 * statedS : Math.min(250 * 2 ** (count - 1), 8000)) * (1 + Math.random() / 4);
      if (count >= retry.tries || Date.now() - begun + delayMs > retry.budgetMs) throw failure;
      await sleep(delayMs, signal);
    }
  }
}

const isLatents = (value: Latents | ImagesIn): value is Latents => "rows" in value;
const mismatch = (latents: string, server: string) =>
  new VersionMismatch(`The latents are of ${latents}, and ${server} would read them. Encode the images again.`);
function bodyOf(images: ImagesIn): BodyInit {
  if (images instanceof Blob) return images;
  if (!(images[0] instanceof Blob)) return JSON.stringify({ images });
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

