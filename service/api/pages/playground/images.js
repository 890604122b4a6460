/**
 * Images as arrays, and as the pictures that requests carry.
 *
 * Knows pixels and the bytes of a PNG. Knows nothing of HTTP, models or the page.
 */

import { joined, through } from "./arrays.js";

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
 * The first image, `n` times.
 * @param {Images} images
 * @param {number} n
 * @returns {Images}
 */
export function repeated(images, n) {
  const one = imageAt(images, 0).data;
  const data = new Float32Array(n * one.length);
  for (let row = 0; row < n; row++) data.set(one, row * one.length);
  return { ...images, n, data };
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
