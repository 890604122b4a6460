/**
 * The picture that panels work on: the one that a person drew, an example, or a file.
 *
 * Knows the state, the API and one figure with its buttons. Knows nothing of what a panel does with the picture.
 */

import { imageAt, pictureOf } from "./images.js";
import { gaussians } from "./latent_math.js";
import { newSeed } from "./state.js";
import { Digit } from "./widgets/digit.js";
import { button, el, newId } from "./widgets/dom.js";

/** @typedef {import("./images.js").Images} Images */
/** @typedef {import("./images.js").Picture} Picture */
/** @typedef {import("./api.js").ModelSummary} ModelSummary */
/** @typedef {import("./panels/panel.js").Context} Context */

const TEMPERATURE = 0.8;

/** @param {Picture | null} picture @param {ModelSummary} model */
export function fits(picture, { image_shape }) {
  if (!picture) return false;
  if (!picture.x) return true;
  const { channels, height, width } = picture.x;
  return [channels, height, width].every((side, at) => side === image_shape[at]);
}

/**
 * A file of a person, which the server brings to the model's size.
 * @param {File} file
 * @param {ModelSummary} model
 * @returns {Picture}
 */
export function pictureOfFile(file, { image_shape: [channels, height, width] }) {
  const isDigit = channels === 1 && height === 28 && width === 28;
  /** @type {Record<string, string>} */
  const query = isDigit ? { fit: "mnist", invert: "auto" } : { resize: "true" };
  return { file, query, x: null, name: file.name };
}

/**
 * A real image of the preview, or a new one of the prior, or where there is no prior any image of the decoder.
 * @param {Context} context
 * @param {string} lane
 * @returns {Promise<Picture | null>}
 */
export async function examplePicture({ api, state, texts }, lane) {
  const { model, models, preview } = state.values;
  const seed = newSeed();
  const shown = preview?.model === model.model ? preview.thumbnails : null;
  if (shown && `${[shown.channels, shown.height, shown.width]}` === `${model.image_shape}`) {
    return pictureOf(imageAt(shown, seed % shown.n), texts.pictures.example);
  }
  const sameShape = models.filter((each) => `${each.image_shape}` === `${model.image_shape}`);
  const source = [model, ...sameShape].find((each) => each.priors.length > 0);
  const answer = source
    ? await api.sample({ model: source.model, n: 1, seed, temperature: TEMPERATURE }, lane)
    : await api.decode({ model: model.model, z: [gaussians(seed, model.latent_size)] }, lane);
  return answer && pictureOf(answer.images, texts.pictures.example);
}

/** An element with its caption. @param {Element} element @param {string | Element} caption */
export const captioned = (element, caption) =>
  el("figure", {}, element, typeof caption === "string" ? el("figcaption", {}, caption) : caption);

/** The picture of the state, shown, with buttons that choose another one. */
export class PictureChoice {
  /**
   * @param {Context} context
   * @param {string} lane
   */
  constructor(context, lane) {
    this.context = context;
    this.lane = lane;
    const { texts } = context;
    this.digit = new Digit(texts.pictures.title, "medium");
    this.name = el("figcaption");
    this.element = el(
      "div",
      { class: "row" },
      captioned(this.digit.element, this.name),
      el(
        "div",
        { class: "stack tight" },
        button(texts.pictures.another, () => void this.another()),
        button(texts.pictures.draw, () => context.open("draw")),
        fileButton(texts.pictures.file, (file) => this.take(pictureOfFile(file, context.state.values.model))),
      ),
    );
  }

  /** The picture of the state; an example if it has none of the model's shape. @returns {Promise<Picture | null>} */
  async ensure() {
    const { state } = this.context;
    if (!fits(state.values.picture, state.values.model)) await this.another();
    const { picture, model } = state.values;
    if (!picture || !fits(picture, model)) return null;
    await showPicture(this.digit, picture, model);
    this.name.textContent = picture.name;
    return picture;
  }

  async another() {
    const picture = await examplePicture(this.context, this.lane);
    if (picture) this.take(picture);
  }

  /** @param {Picture} picture */
  take(picture) {
    this.context.state.set({ picture });
  }
}

/**
 * @param {Digit} digit
 * @param {Picture} picture
 * @param {ModelSummary} model
 */
export async function showPicture(digit, picture, { image_shape: [, height = 28, width = 28] }) {
  if (picture.x) return digit.show(picture.x);
  const bitmap = await createImageBitmap(picture.file).catch(() => null);
  if (!bitmap) return digit.clear();
  const canvas = new OffscreenCanvas(2 * width, 2 * height);
  const context = canvas.getContext("2d");
  const scale = Math.min(canvas.width / bitmap.width, canvas.height / bitmap.height);
  const [across, down] = [bitmap.width * scale, bitmap.height * scale];
  context?.drawImage(bitmap, (canvas.width - across) / 2, (canvas.height - down) / 2, across, down);
  if (context) digit.put(context.getImageData(0, 0, canvas.width, canvas.height));
  return undefined;
}

/**
 * A button that asks for a picture file.
 * @param {string} text
 * @param {(file: File) => void} chosen
 */
export function fileButton(text, chosen) {
  const id = newId("file");
  const input = el("input", { id, type: "file", class: "unseen", accept: "image/png,image/jpeg,image/webp" });
  input.addEventListener("change", () => {
    const [file] = input.files ?? [];
    if (file) chosen(file);
    input.value = ""; // The same file may be chosen again.
  });
  return el("span", { class: "file" }, input, el("label", { for: id, class: "button" }, text));
}
