/**
 * Images as arrays, and as the pictures that requests carry: from the pen, an example, a file, the clipboard.
 *
 * Knows pixels, files and the bytes of a PNG. Knows nothing of HTTP or of the page. A model of MNIST's shape
 * gets the figure of a file alone, normalised here, so that the page can show what the model sees; any other gets
 * the file, which the server brings to its size.
 */

import { joined, through } from "./arrays.js";
import { LONGEST_SIDE, normalised, scaled } from "./normalise.js";

/** @typedef {import("./api.js").ModelSummary} ModelSummary */

/**
 * Images, channels first, each value in [0, 1]: those of an answer.
 * @typedef {object} Images
 * @property {number} n
 * @property {number} channels
 * @property {number} height
 * @property {number} width
 * @property {Float32Array} data  n * channels * height * width values
 */

/**
 * One picture for a request: from the pen, an example, a sample or a file.
 * @typedef {object} Picture
 * @property {Blob} file  a PNG of the model's size, or the file of a person
 * @property {Record<string, string>} query  for a file of any size: fit and invert
 * @property {Images | null} x  its pixels as the model sees them, where the page knows them
 * @property {string} name  a short name, such as that of the file
 */

/**
 * Image `index` alone.
 * @param {Images} images
 * @param {number} index
 * @returns {Images}
 */
export function imageAt(images, index) {
  const size = images.channels * images.height * images.width;
  return { ...images, n: 1, data: images.data.slice(index * size, (index + 1) * size) };
}

/**
 * Pixels of the first image for a canvas, grey or colour.
 * @param {Images} images
 * @param {number} [index]
 * @returns {ImageData}
 */
export function pixelsOf(images, index = 0) {
  const { channels, height, width, data } = images;
  const plane = height * width;
  const start = index * channels * plane;
  const pixels = new ImageData(width, height);
  for (let at = 0; at < plane; at++) {
    for (let channel = 0; channel < 3; channel++) {
      const from = start + (channels >= 3 ? channel : 0) * plane + at;
      pixels.data[4 * at + channel] = 255 * data[from];
    }
    pixels.data[4 * at + 3] = 255;
  }
  return pixels;
}

/**
 * The picture of the first image, as a PNG that loses nothing beyond 8 bits.
 * @param {Images} x
 * @param {string} name
 * @returns {Promise<Picture>}
 */
export async function pictureOf(x, name) {
  const file = new Blob([await pngFile(imageAt(x, 0))], { type: "image/png" });
  return { file, query: {}, x: imageAt(x, 0), name };
}

/**
 * The bytes of a PNG, written here because browsers that guard against fingerprints alter what a canvas returns.
 * @param {Images} x
 */
export async function pngFile(x) {
  const { channels, height, width, data } = x;
  const rows = new Uint8Array(height * (1 + width * channels));
  for (let y = 0; y < height; y++) {
    for (let at = 0; at < width * channels; at++) {
      const value = data[(at % channels) * height * width + y * width + Math.floor(at / channels)];
      rows[y * (1 + width * channels) + 1 + at] = Math.round(255 * Math.min(1, Math.max(0, value)));
    }
  }
  const head = new Uint8Array(13);
  new DataView(head.buffer).setUint32(0, width);
  new DataView(head.buffer).setUint32(4, height);
  head.set([8, channels >= 3 ? 2 : 0], 8);
  const body = new Uint8Array(await through(rows, new CompressionStream("deflate")));
  const magic = new Uint8Array([137, 80, 78, 71, 13, 10, 26, 10]);
  return joined([magic, chunk("IHDR", head), chunk("IDAT", body), chunk("IEND", new Uint8Array(0))]);
}

/**
 * @param {string} type
 * @param {Uint8Array} body
 */
function chunk(type, body) {
  const bytes = new Uint8Array(12 + body.length);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, body.length);
  bytes.set(new TextEncoder().encode(type), 4);
  bytes.set(body, 8);
  view.setUint32(8 + body.length, crc(bytes.subarray(4, 8 + body.length)));
  return bytes;
}

/** @param {Uint8Array} bytes */
function crc(bytes) {
  let sum = ~0;
  for (const byte of bytes) {
    sum ^= byte;
    for (let bit = 0; bit < 8; bit++) sum = (sum >>> 1) ^ (sum & 1 ? 0xedb88320 : 0);
  }
  return ~sum >>> 0;
}

/** The server refuses larger pictures by default (GET /limits), so they are scaled here. */
const MOST_PIXELS = 4_194_304;
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
  const pixels = pixelsOfBitmap(bitmap);
  if (isLikeMnist(model) && !isExact) return figurePicture(pixels, name);
  const x = fitted(pixels, channels, height, width);
  const isTooLarge = bitmap.width * bitmap.height > MOST_PIXELS;
  const sent = isTooLarge ? (await pictureOf(imageOf(pixels), name)).file : file;
  return { file: sent, query: isExact ? {} : { resize: "true" }, x, name };
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

/** The first picture among files that were dropped or pasted, or else any file. @param {DataTransfer | null} transfer */
export function fileIn(transfer) {
  const files = [...(transfer?.files ?? [])];
  return files.find((file) => TYPES.includes(file.type)) ?? files[0];
}

/** Pixels of a canvas in colour. @param {ImageData} pixels @returns {Images} */
function imageOf({ data, width, height }) {
  const plane = width * height;
  const values = Float32Array.from({ length: 3 * plane }, (_, at) => {
    return data[4 * (at % plane) + Math.floor(at / plane)] / 255;
  });
  return { n: 1, channels: 3, height, width, data: values };
}

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
