/**
 * The picture that panels work on: the one that a person drew, an example, or a file.
 *
 * Knows the state, the API and the figures around pictures. Knows nothing of what a panel does with them.
 */

import { filePicture, imageAt, pictureOf, TYPES } from "./images.js";
import { gaussians } from "./plane.js";
import { newSeed } from "./state.js";
import { Digit } from "./widgets/digit.js";
import { button, el, newId } from "./widgets/dom.js";

/** @typedef {import("./images.js").Images} Images */
/** @typedef {import("./images.js").Picture} Picture */
/** @typedef {import("./api.js").ModelSummary} ModelSummary */
/** @typedef {import("./panels/panel.js").Context} Context */

const TEMPERATURE = 0.8;

/** Whether a picture can go to a model. @param {Picture | null} picture @param {ModelSummary} model */
export const fits = (picture, model) =>
  picture !== null && (picture.x === null || isOfShape(picture.x, model));

/**
 * A real image of the preview, or a new one of the prior, or where there is no prior any image of the decoder.
 * @param {Context} context
 * @param {string} lane
 * @returns {Promise<Picture | null>}
 */
export async function exampleOf({ api, state, texts }, lane) {
  const { model, models, preview } = state.values;
  const seed = newSeed();
  const isKnown = (/** @type {Images} */ images) => isOfShape(images, model);
  if (preview?.model === model.model && preview.thumbnails && isKnown(preview.thumbnails)) {
    return pictureOf(imageAt(preview.thumbnails, seed % preview.thumbnails.n), texts.pictures.example);
  }
  const sameShape = models.filter((each) => `${each.image_shape}` === `${model.image_shape}`);
  const source = [model, ...sameShape].find((each) => each.priors.length > 0);
  const answer = source
    ? await api.sample({ model: source.model, n: 1, seed, temperature: TEMPERATURE }, lane)
    : await api.decode({ model: model.model, z: [gaussians(seed, model.latent_size)] }, lane);
  return answer && pictureOf(answer.images, texts.pictures.example);
}

/** @param {Images} images @param {ModelSummary} model */
const isOfShape = ({ channels, height, width }, { image_shape }) =>
  [channels, height, width].every((side, at) => side === image_shape[at]);

/** An element with its caption. @param {Element} element @param {string | Element} caption */
export const captioned = (element, caption) =>
  el("figure", {}, element, typeof caption === "string" ? el("figcaption", {}, caption) : caption);

/**
 * A part of a panel with a title and a note.
 * @param {string} title
 * @param {string} note
 * @param {...Element} parts
 */
export const titled = (title, note, ...parts) =>
  el(
    "section",
    { class: "card stack", "aria-label": title },
    el("h3", {}, title),
    note && el("p", { class: "note" }, note),
    ...parts,
  );

/** The picture of the state, shown, with buttons that choose another one. */
export class PictureChoice {
  /**
   * @param {Context} context
   * @param {string} lane
   */
  constructor(context, lane) {
    this.context = context;
    this.lane = lane;
    /** Whether `ensure` is about to change the picture of the state itself. */
    this.isChoosing = false;
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
        fileButton(texts.pictures.file, (file) => void this.open(file)),
      ),
    );
  }

  /** The picture of the state; an example if it has none of the model's shape. @returns {Promise<Picture | null>} */
  async ensure() {
    const { state } = this.context;
    if (!fits(state.values.picture, state.values.model)) {
      this.isChoosing = true;
      await this.another();
      this.isChoosing = false;
    }
    const { picture, model } = state.values;
    if (!picture || !fits(picture, model)) return null;
    if (picture.x) this.digit.show(picture.x);
    this.name.textContent = picture.name;
    return picture;
  }

  async another() {
    const picture = await exampleOf(this.context, this.lane);
    if (picture) this.context.state.set({ picture });
  }

  /** @param {File} file */
  async open(file) {
    const { state, texts } = this.context;
    const picture = await readable(file, state.values.model);
    if (picture) state.set({ picture });
    else this.name.textContent = texts.draw.unreadable(file.name);
  }
}

/** A file as a picture for a model; null if it shows nothing. @param {File} file @param {ModelSummary} model */
export const readable = (file, model) => filePicture(file, file.name, model).catch(() => null);

/**
 * A button that asks for a picture file.
 * @param {string} text
 * @param {(file: File) => void} chosen
 * @param {string} [id]
 */
export function fileButton(text, chosen, id = newId("file")) {
  const input = el("input", { id, type: "file", class: "unseen", accept: TYPES.join(",") });
  input.addEventListener("change", () => {
    const [file] = input.files ?? [];
    if (file) chosen(file);
    input.value = ""; // The same file may be chosen again.
  });
  return el("span", { class: "file" }, input, el("label", { for: id, class: "button" }, text));
}
