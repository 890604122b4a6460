/**
 * Arrays of numbers as files: npy, and the npz that holds several of them.
 *
 * Knows the bytes of both formats. Knows nothing of HTTP, models or the page.
 */

/**
 * Text is an array of code points with one more axis.
 * @typedef {{shape: number[], data: Float32Array | Float64Array | Uint8Array | Uint32Array}} NumberArray
 */

const MAGIC = [0x93, 0x4e, 0x55, 0x4d, 0x50, 0x59];
/** @type {Record<string, (buffer: ArrayBuffer) => NumberArray["data"]>} */
const READERS = {
  "<f4": (buffer) => new Float32Array(buffer),
  "<f8": (buffer) => new Float64Array(buffer),
  "|u1": (buffer) => new Uint8Array(buffer),
  "<U": (buffer) => new Uint32Array(buffer),
  // Float64 holds every whole number that the service sends.
  "<i8": (buffer) => Float64Array.from(new BigInt64Array(buffer), Number),
};

/**
 * The array in the bytes of a .npy file.
 * @param {ArrayBuffer} buffer
 * @returns {NumberArray}
 */
export function readNpy(buffer) {
  const view = new DataView(buffer);
  const isNpy = buffer.byteLength > 10 && MAGIC.every((byte, at) => view.getUint8(at) === byte);
  if (!isNpy) throw new Error("Expected an npy file, got other bytes.");
  const isLong = view.getUint8(6) > 1;
  const start = isLong ? 12 : 10;
  const end = start + (isLong ? view.getUint32(8, true) : view.getUint16(8, true));
  const head = new TextDecoder("latin1").decode(buffer.slice(start, end));
  const found = /'descr': '([^']+)'.*'fortran_order': False.*'shape': \(([\d, ]*)\)/.exec(head);
  const [, kind, length] = /^(<U)?(.*)$/.exec(found?.[1] ?? "") ?? [];
  const reader = READERS[kind ?? length];
  if (!found || !reader) throw new Error(`Expected an npy file of numbers or text, got ${head.trim()}`);
  const sides = kind ? `${found[2]},${length}` : found[2];
  const shape = sides
    .split(",")
    .filter((side) => side.trim())
    .map(Number);
  return { shape, data: reader(buffer.slice(end)) };
}

/**
 * The bytes of a .npy file.
 * @param {Float32Array | Uint8Array} data
 * @param {number[]} shape
 */
export function npyFile(data, shape) {
  const type = data instanceof Uint8Array ? "|u1" : "<f4";
  const sides = shape.length === 1 ? `${shape[0]},` : shape.join(", ");
  const head = `{'descr': '${type}', 'fortran_order': False, 'shape': (${sides}), }`;
  const padded = head.padEnd(Math.ceil((head.length + 11) / 64) * 64 - 11) + "\n";
  const length = [padded.length & 255, padded.length >> 8];
  const text = new TextEncoder().encode(padded);
  const bytes = new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
  return joined([new Uint8Array([...MAGIC, 1, 0, ...length]), text, bytes]);
}

/**
 * The arrays of a .npz file, by name. Members are stored or deflated.
 * @param {ArrayBuffer} buffer
 * @returns {Promise<Record<string, NumberArray>>}
 */
export async function readNpz(buffer) {
  const view = new DataView(buffer);
  let end = buffer.byteLength - 22;
  while (end >= 0 && view.getUint32(end, true) !== 0x06054b50) end--;
  if (end < 0) throw new Error("Expected an npz file, got other bytes.");
  /** @type {Record<string, NumberArray>} */
  const arrays = {};
  let at = view.getUint32(end + 16, true);
  for (let left = view.getUint16(end + 10, true); left > 0; left--) {
    const nameLength = view.getUint16(at + 28, true);
    const name = new TextDecoder().decode(buffer.slice(at + 46, at + 46 + nameLength));
    const local = view.getUint32(at + 42, true);
    const start = local + 30 + view.getUint16(local + 26, true) + view.getUint16(local + 28, true);
    const member = buffer.slice(start, start + view.getUint32(at + 20, true));
    const isStored = view.getUint16(at + 10, true) === 0;
    const bytes = isStored ? member : await through(member, new DecompressionStream("deflate-raw"));
    arrays[name.replace(/\.npy$/, "")] = readNpy(bytes);
    at += 46 + nameLength + view.getUint16(at + 30, true) + view.getUint16(at + 32, true);
  }
  return arrays;
}

/**
 * Bytes after compression or decompression.
 * @param {BlobPart} bytes
 * @param {CompressionStream | DecompressionStream} stream
 */
export function through(bytes, stream) {
  return new Response(new Blob([bytes]).stream().pipeThrough(stream)).arrayBuffer();
}

/**
 * Parts, one after the other.
 * @param {Uint8Array[]} parts
 */
export function joined(parts) {
  const all = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    all.set(part, at);
    at += part.length;
  }
  return all;
}
