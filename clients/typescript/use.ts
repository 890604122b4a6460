// A program with the client, which checks every answer: node use.js http://localhost:8000
import assert from "node:assert/strict";
import { Client, ConnectionFailed, Refused, VersionMismatch, type Latents } from "./client.js";

const vae = new Client(process.argv[2], { model: "mnist@stable" });
const latents = (model: string, rows: ArrayLike<number>[]): Latents => ({ model, rows });

const drawn = await vae.sample({ n: 3, seed: 7, label: "3" });
assert.deepEqual([drawn.seed, drawn.label, drawn.images.length], [7, "3", 3]);
const free = await vae.sample();
assert.deepEqual((await vae.sample({ seed: free.seed })).images, free.images);

const { model, mu } = await vae.encode(drawn.images);
const codes = latents(model, mu);
assert.deepEqual((await vae.decode(codes)).images, (await vae.reconstruct(drawn.images)).images);
const random = await vae.reconstruct(drawn.images, { sample: true });
assert.notEqual(random.seed, null);

const way = await vae.interpolate(latents(model, mu.slice(0, 2)), { steps: 5 });
assert.deepEqual(way.images, (await vae.interpolate(drawn.images.slice(0, 2), { steps: 5 })).images);
assert.equal((await vae.traverse({ dims: [0, 1], steps: 3 })).images.length, 9);
assert.equal((await vae.traverse({ dims: [2], steps: 4 }, latents(model, mu.slice(0, 1)))).images.length, 4);
assert.equal((await vae.score(drawn.images, { importance_samples: 4, seed: 1 })).log_px?.length, 3);
await assert.rejects(vae.score(drawn.images, { flag: true }), { code: "no-thresholds" });
assert.deepEqual((await vae.nearest(codes, codes)).indices, [[0], [1], [2]]);
assert.ok((await vae.models()).some((each) => each.model === model));
assert.equal((await vae.limits())["max_images"].unit, "images");

const png = await (await fetch(`${process.argv[2]}/sample.png?seed=7&scale=10`)).blob();
assert.equal((await vae.encode(png, { fit: "mnist", invert: "auto" })).mu.length, 1);
assert.equal((await vae.encode([png, png], { fit: "contain" })).mu.length, 2);

let rows = 0;
for await (const part of vae.sampleMany(600, { seed: 7, label: "3" })) {
  assert.deepEqual([part.seed, part.firstRow, part.shape.slice(1)], [7, rows, [1, 28, 28]]);
  if (rows === 0) {
    const pixel = 14 * 28 + 14;
    assert.ok(Math.abs(part.data[pixel] - drawn.images[0][0][14][14]) < 1e-6);
  }
  rows += part.shape[0];
}
assert.equal(rows, 600);
for await (const part of vae.sampleMany(2_000)) { assert.equal(part.shape[0], 256); break; }

const other = new Client(process.argv[2], { model: "mnist-ae" });
await assert.rejects(other.decode(latents("mnist-ae@9", [[0, 0]])), VersionMismatch);
await assert.rejects(vae.decode(latents("mnist-2d@1", [[0, 0]])), VersionMismatch, "its size is wrong, too");
assert.deepEqual((await vae.decode(latents(model, mu.map((row) => Float64Array.from(row))))).images, (await vae.decode(codes)).images);
await assert.rejects(vae.nearest(codes, latents("mnist-ae@1", mu)), VersionMismatch);
assert.equal((await vae.pinned(model).sample()).model, model);

const refused = await vae.sample({ label: "eleven" }).catch((error: unknown) => error);
assert.ok(refused instanceof Refused);
assert.deepEqual([refused.status, refused.code, refused.problem?.errors[0].where], [422, "unknown-label", "label"]);

// What the client does when a server is busy, away, or a proxy.
const busy = '{"code": "too-busy", "detail": "full"}';
function scripted(...answers: (Response | Error)[]): [Client, string[]] {
  const asked: string[] = [];
  const answer = async (address: RequestInfo | URL): Promise<Response> => {
    asked.push(`${address}`);
    const next = answers.shift()!;
    if (next instanceof Error) throw next;
    return next;
  };
  return [new Client("http://server/vae/", { fetch: answer, retry: { tries: 3, budgetMs: 10_000 } }), asked];
}
const full = () => new Response(busy, { status: 429, headers: { "Retry-After": "0" } });
const [again, asked] = scripted(full(), new TypeError("fetch failed"), Response.json({ seed: 1 }));
assert.equal((await again.sample()).seed, 1);
assert.equal(new Set(asked).size, 1, "the same seed each time");
assert.match(asked[0], /^http:\/\/server\/vae\/sample\?seed=\d+$/);
const cut = () => new Response(new ReadableStream({ pull: (body) => body.error(new TypeError("terminated")) }));
const [whole, cuts] = scripted(cut(), Response.json({ seed: 2 }));
assert.equal((await whole.sample()).seed, 2, "an answer that broke is asked for again");
assert.equal(cuts.length, 2);
const [away] = scripted(...[1, 2, 3].map(() => new TypeError("fetch failed", { cause: new Error("ECONNREFUSED") })));
await assert.rejects(away.sample(), (error: unknown) => error instanceof ConnectionFailed && /server\/vae\/: ECONNREFUSED/.test(error.message));
const [html] = scripted(new Response("<html>hello"));
await assert.rejects(html.sample(), /Expected JSON from \/sample, got <html>hello.*address of a VAE service/);
for (const [address, apiKey] of [["localhost:8000", "key"], ["http://server", "schl\u20acssel"]] as const) {
  let calls = 0;
  const wrong = new Client(address, { apiKey, fetch: async () => { calls++; throw new TypeError("fetch failed"); } });
  await assert.rejects(wrong.sample(), TypeError);
  assert.equal(calls, 0, "no request that cannot be sent");
}
const [never, times] = scripted(full(), full(), full());
await assert.rejects(never.sample(), { code: "too-busy", retryAfterS: 0 });
assert.equal(times.length, 3);
const [proxy] = scripted(new Response("<html>Bad Gateway", { status: 502 }));
await assert.rejects(proxy.sample(), { code: "http-502" });

const cancel = new AbortController();
const slow = new Client("http://server", { fetch: (_, init) => new Promise((_resolve, reject) => {
  init!.signal!.addEventListener("abort", () => reject(init!.signal!.reason));
  queueMicrotask(() => cancel.abort());
}) });
await assert.rejects(slow.sample({}, cancel.signal), { name: "AbortError" });
const silent = new Client("http://server", { timeoutMs: 20, fetch: (_, init) => new Promise((_resolve, reject) => {
  init!.signal!.addEventListener("abort", () => reject(init!.signal!.reason));
}) });
await assert.rejects(silent.sample(), { name: "TimeoutError", message: /timeoutMs=20/ });
await assert.rejects(silent.sampleMany(5).next(), { name: "TimeoutError" }, "a stream that does not begin");
console.log("ok all calls, a stream, versions, refusals, repeats, cancel, time limits");
