// A program with the types of openapi-typescript: node use.js http://localhost:8000
import assert from "node:assert/strict";
import createClient from "openapi-fetch";
import type { components, paths } from "./schema.js";

type Schemas = components["schemas"];

const vae = createClient<paths>({ baseUrl: process.argv[2] });

/** The data of an answer; an error has the type of a problem. */
function data<T>(answer: { data?: T; error?: Schemas["Problem"] }): T {
  if (answer.data === undefined) throw new Error(answer.error?.detail);
  return answer.data;
}

const drawn: Schemas["SampleResponse"] = data(
  await vae.GET("/sample", { params: { query: { n: 2, seed: 7 } } }),
);
assert.deepEqual([drawn.seed, drawn.prior, drawn.label], [7, "learned", null]);
const [channels, height, width] = [drawn.images[0].length, drawn.images[0][0].length, drawn.images[0][0][0].length];

const again = data(await vae.POST("/sample", { body: { n: 2, seed: 7, prior: drawn.prior } }));
assert.deepEqual(again.z, drawn.z);

const posterior: Schemas["EncodeResponse"] = data(await vae.POST("/encode", { body: { images: drawn.images } }));
assert.equal(posterior.mu.length, 2);
assert.equal(posterior.logvar[1].length, drawn.z[1].length);

const walk = data(await vae.POST("/interpolate", { body: { z: drawn.z, steps: 3, method: "slerp" } }));
assert.equal(walk.images.length, 3);

const scores = data(await vae.POST("/score", { body: { images: drawn.images, importance_samples: 4, seed: 1 } }));
const bound: number[] | undefined = scores.log_px;
assert.equal(bound?.length, 2);

const nearest = data(await vae.POST("/nearest", { body: { z: posterior.mu, latents: posterior.mu, k: 1 } }));
assert.deepEqual(nearest.indices, [[0], [1]]);

const npy = data(await vae.GET("/sample.npy", { params: { query: { n: 2, seed: 7 } }, parseAs: "arrayBuffer" }));
assert.equal(npy.byteLength % 4, 0);
assert.ok(npy.byteLength > 2 * channels * height * width * 4);

const png: Blob = data(await vae.GET("/sample.png", { params: { query: { seed: 7 } }, parseAs: "blob" }));
assert.equal(Buffer.from(await png.arrayBuffer()).toString("latin1", 1, 4), "PNG");
const ofPicture = data(
  await vae.POST("/encode", {
    headers: { "Content-Type": "image/png" },
    body: png as unknown as string, // the type of a file, for openapi-typescript
    bodySerializer: (file) => file,
  }),
);
assert.equal(ofPicture.mu.length, 1);

const text: string = data(await vae.GET("/sample.txt", { params: { query: { n: 1, seed: 7 } }, parseAs: "text" }));
assert.match(text, /[\u2801-\u28ff]/);

const missing = await vae.GET("/sample", { params: { query: { model: "nobody" } } });
const code: Schemas["ProblemCode"] | undefined = missing.error?.code;
assert.equal(code, "unknown-model");
assert.match(missing.error!.errors[0].remedy, /GET \/models/);

const models: Schemas["ModelList"] = data(await vae.GET("/models"));
const facts = data(await vae.GET("/models/{name}", { params: { path: { name: models.models[0].model } } }));
assert.equal(facts.likelihood.name, "bernoulli");
assert.deepEqual(facts.image_shape.length, 3);

console.log(`ok ${drawn.model}`);
