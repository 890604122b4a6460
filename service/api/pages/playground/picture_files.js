/**
 * Pictures of a person: files, what is dropped, what is pasted.
 *
 * Knows files and their pixels. Knows no HTTP. A model of MNIST's shape gets the figure alone, normalised here,
 * so that the page can show what the model sees; any other gets the file, which the server brings to its size.
 */

import { pictureOf } from "./images.js";
import { LONGEST_SIDE, normalised, scaled } from "./normalise.js";

/** @typedef {import("./api.js").ModelSummary} ModelSummary */
/** @typedef {import("./images.js").Images} Images */
/** @typedef {import("./images.js").Picture} Picture */

export const TYPES = ["image/png", "image/jpeg", "image/webp"];

/** Whether the page normalises drawings for this model. @param {ModelSummary} model */
export const isLikeMnist = ({ image_shape: [channels, height, width] }) =>
  channels === 1 && height === 28 && width === 28;

/**
 * What a model gets of pixels that show one figure; null if they show none.
 * @param {import("./normalise.js").Rgba} pixels
 * @param {string} name
 * @returns {Promise<Picture | null>}
 */
export async function figurePicture(pixels, name) {
  const data = normalised(pixels);
  return data && pictureOf({ n: 1, channels: 1, height: 28, width: 28, data }, name);
}

/**
 * What a model gets of a file; null if it shows nothing.
 * @param {Blob} file
 * @param {string} name
 * @param {ModelSummary} model
 * @returns {Promise<Picture | null>}
 */
export async function filePicture(file, name, model) {
  const bitmap = await createImageBitmap(file);
  const [channels, height, width] = model.image_shape;
  const isExact = bitmap.width === width && bitmap.height === height;
  if (isLikeMnist(model) && !isExact) return figurePicture(pixelsOfBitmap(bitmap), name);
  const x = fitted(pixelsOfBitmap(bitmap), channels, height, width);
  return { file, query: isExact ? {} : { resize: "true" }, x, name };
}

/**
 * Thumbnails or samples for a model: their pixels if they have its shape, else a file that the server scales.
 * @param {Images} image
 * @param {string} name
 * @param {ModelSummary} model
 * @returns {Promise<Picture>}
 */
export async function examplePicture(image, name, model) {
  const picture = await pictureOf(image, name);
  const [, height, width] = model.image_shape;
  return image.height === height && image.width === width
    ? picture
    : { ...picture, query: { resize: "true" } };
}

/** The first picture among files that were dropped or pasted. @param {DataTransfer | null} transfer */
export const fileIn = (transfer) =>
  [...(transfer?.files ?? [])].find((file) => TYPES.includes(file.type)) ?? null;

/** @param {ImageBitmap} bitmap */
function pixelsOfBitmap(bitmap) {
  const share = Math.min(1, LONGEST_SIDE / Math.max(bitmap.width, bitmap.height));
  const width = Math.max(1, Math.round(share * bitmap.width));
  const height = Math.max(1, Math.round(share * bitmap.height));
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = [width, height];
  const context = /** @type {CanvasRenderingContext2D} */ (
    canvas.getContext("2d", { willReadFrequently: true })
  );
  context.drawImage(bitmap, 0, 0, width, height);
  return context.getImageData(0, 0, width, height);
}

/**
 * The middle part at the model's size, to show and to compare: the server makes its own from the file.
 * @param {ImageData} pixels
 * @param {number} channels
 * @param {number} height
 * @param {number} width
 * @returns {Images}
 */
function fitted(pixels, channels, height, width) {
  const { data, width: columns, height: rows } = pixels;
  const band = (/** @type {number} */ at) =>
    Float32Array.from({ length: rows * columns }, (_, i) => data[4 * i + at] / 255);
  const bands = [0, 1, 2].map((at) => scaled(band(at), { rows, columns, height, width, crop: true }));
  const plane = height * width;
  const out = new Float32Array(channels * plane);
  for (let at = 0; at < plane; at++) {
    if (channels >= 3)
      for (let channel = 0; channel < 3; channel++) out[channel * plane + at] = bands[channel][at];
    else out[at] = 0.299 * bands[0][at] + 0.587 * bands[1][at] + 0.114 * bands[2][at];
  }
  return { n: 1, channels, height, width, data: out };
}
