/**
 * Map: every point of a plane is an image, decoded as the pointer moves.
 *
 * The pointer's place is only looked at; a press, a tap or a key makes it the page's point.
 */

import { pictureOf, pixelsOf } from "../images.js";
import { defaultPlane, planeThrough, rankedDims } from "../plane.js";
import { kindsOf, mixed, showPlane } from "../sheet.js";
import { newSeed } from "../state.js";
import { Digit, glyphCanvas } from "../widgets/digit.js";
import { button, choice, el, fill, newId } from "../widgets/dom.js";
import { LatentPlot, subscript } from "../widgets/plot.js";
import { Panel } from "./panel.js";

/** @typedef {import("../plane.js").Plane} Plane */
/** @typedef {import("../plane.js").Position} Position */
/** @typedef {import("./panel.js").Context} Context */

/** Classes with a button of their own. */
const MOST_KINDS = 20;

/** @extends {Panel<import("../texts/en.js").Texts["map"]>} */
export class MapPanel extends Panel {
  /** @param {HTMLElement} element @param {Context} context */
  constructor(element, context) {
    const texts = context.texts.map;
    super(context, texts);
    /** @type {import("../images.js").Images | null} */
    this.images = null;
    /** The model that the map shows. */
    this.drawn = "";
    /** @type {Plane | null} */
    this.plane = null;
    /** @type {Position | null} */
    this.hovered = null;
    /** @type {[number, number] | null} */
    this.dims = null;
    const keys = el("p", { class: "note keys", id: newId("keys") }, texts.keys);
    this.plot = new LatentPlot(
      texts.plot,
      {
        hover: (at) => this.look(at),
        leave: () => this.look(null),
        choose: (at, isDone) => this.choose(at, isDone),
      },
      keys.id,
    );
    this.large = new Digit(texts.digit, "large");
    this.place = el("p", { class: "numbers" });
    // The sentence next to it describes it.
    this.neighbour = new Digit("", "small");
    this.neighbour.element.setAttribute("aria-hidden", "true");
    this.distance = el("span", { class: "note" });
    this.near = el("div", { class: "near", hidden: true }, this.neighbour.element, this.distance);
    this.legend = el("div", { class: "legend", role: "group", "aria-label": texts.legend });
    this.right = choice(texts.right, [], () => this.chooseDims());
    this.up = choice(texts.up, [], () => this.chooseDims());
    this.through = button(texts.through, () => void this.throughImages());
    this.back = button(texts.back, () => this.usePlane(this.planeOfDims()), { hidden: true });
    this.planes = el("div", { class: "row" }, this.right.element, this.up.element, this.through, this.back);
    this.about = el("p", { class: "note" });
    const toDraw = button(texts.toDraw, () => void this.send());
    this.build(
      element,
      el(
        "div",
        { class: "split" },
        el("div", { class: "stack" }, this.plot.element, this.legend, keys),
        el(
          "div",
          { class: "stack" },
          el(
            "div",
            { class: "card stack" },
            this.large.element,
            this.place,
            this.near,
            el(
              "div",
              { class: "row" },
              toDraw,
              button(texts.home, () => this.home()),
            ),
          ),
          this.planes,
          this.about,
        ),
      ),
    );
    this.on(["model"], () => this.restart());
    this.on(["z"], () => this.follow());
  }

  hidden() {
    super.hidden();
    this.hovered = null;
  }

  /** The plane of the model, its dots and its sheet, if the map does not show them already. */
  restart() {
    const { model } = this.context.state.values.model;
    if (this.drawn === model) return this.follow();
    this.drawn = model;
    this.dims = null;
    this.large.clear();
    this.writeDims();
    this.writeLegend();
    this.usePlane(this.planeOfDims());
  }

  /** The chosen two dimensions; the others keep the values of the point. @param {[number, number]} [dims] */
  planeOfDims(dims) {
    const { model, preview, z } = this.context.state.values;
    const plane = defaultPlane(model, preview, dims ?? this.dims ?? undefined);
    plane.center = z.map((value, at) => (plane.dims?.includes(at) ? plane.center[at] : value));
    this.dims = plane.dims;
    return plane;
  }

  /** @param {Plane} plane */
  usePlane(plane) {
    const { state } = this.context;
    this.plane = plane;
    this.plot.show({ marks: [] });
    void showPlane(this.plot, this.context, plane, "map-sheet");
    this.writeAbout();
    if (!plane.dims) state.set({ z: plane.center });
    this.follow();
  }

  /** The page's point, after a change from anywhere. */
  follow() {
    if (!this.plane || this.hovered) return;
    const { z } = this.context.state.values;
    if (z.length !== this.plane.center.length) return;
    const isOff = this.plane.distanceOf(z) > 1e-3;
    if (isOff) return this.usePlane(this.planeOfDims());
    this.plot.show({ point: this.plane.positionOf(z) });
    void this.decode(z);
  }

  /** Under the mouse; null: back to the page's point. @param {Position | null} at */
  look(at) {
    this.hovered = at;
    if (!at || !this.plane) return this.follow();
    this.plot.show({ point: at });
    void this.decode(this.plane.latentAt(at));
  }

  /** @param {Position} at @param {boolean} isDone */
  choose(at, isDone) {
    if (!this.plane) return;
    this.hovered = isDone ? null : at;
    this.plot.show({ point: at });
    if (isDone) this.context.state.set({ z: this.plane.latentAt(at) });
    else void this.decode(this.plane.latentAt(at));
  }

  home() {
    const { state } = this.context;
    state.set({ z: new Array(state.values.model.latent_size).fill(0) });
  }

  /** @param {number[]} z */
  async decode(z) {
    const { api, state, announce, texts } = this.context;
    const { model } = state.values;
    const answer = await api.decode({ model: model.model, z: [z] }, "map");
    if (!answer || !this.plane || answer.model !== state.values.model.model) return;
    this.images = answer.images;
    this.large.show(answer.images);
    this.plot.overlay.image = pixelsOf(answer.images);
    // Not at the next frame: the pointer has waited for the answer already.
    this.plot.drawNow();
    this.writePlace(z);
    this.copy.show(answer.sent);
    announce(this.words.at(texts.units.point(this.plane.positionOf(z)), this.nearest(z)?.label ?? ""));
  }

  /** The nearest of the real images on the map. @param {number[]} z */
  nearest(z) {
    const { preview } = this.context.state.values;
    if (!preview?.mu.length) return null;
    const distances = preview.mu.map((mu) => Math.hypot(...mu.map((value, at) => value - z[at])));
    const index = distances.indexOf(Math.min(...distances));
    return { index, distance: distances[index], label: preview.labels[index] };
  }

  /** @param {number[]} z */
  writePlace(z) {
    const { plane } = this;
    if (!plane) return;
    const [a, b] = plane.positionOf(z).map((value) => value.toFixed(2));
    const [c, d] = (plane.dims ?? [0, 0]).map((dim) => z[dim].toFixed(2));
    this.place.textContent = plane.dims
      ? `z${subscript(plane.dims[0])} = ${c}   z${subscript(plane.dims[1])} = ${d}`
      : `${a}, ${b}`;
    const near = this.nearest(z);
    const { preview } = this.context.state.values;
    this.near.hidden = !near || !preview?.thumbnails;
    if (!near || !preview?.thumbnails) return;
    this.neighbour.show(preview.thumbnails, near.index);
    this.distance.textContent = this.words.near(near.label, near.distance.toFixed(2));
  }

  writeDims() {
    const { model, preview } = this.context.state.values;
    const ranked = rankedDims(model, preview);
    const kl = preview?.kl ?? [];
    const options = /** @type {[string, string][]} */ (
      ranked.map((dim) => [
        `${dim}`,
        `z${subscript(dim)}${kl[dim] === undefined ? "" : ` · ${kl[dim].toFixed(1)} nats`}`,
      ])
    );
    const isPlane = model.latent_size <= 2;
    this.planes.hidden = isPlane;
    this.right.setOptions(options);
    this.up.setOptions(options);
    const { dims } = defaultPlane(model, preview);
    if (dims) [this.right.select.value, this.up.select.value] = dims.map(String);
    this.through.hidden = !preview && !model.priors.length;
  }

  chooseDims() {
    const dims = /** @type {[number, number]} */ ([
      Number(this.right.select.value),
      Number(this.up.select.value),
    ]);
    if (dims[0] !== dims[1]) this.usePlane(this.planeOfDims(dims));
  }

  /** A plane through three images of different classes; each press takes other ones. */
  async throughImages() {
    const { api, state } = this.context;
    const { preview, model } = state.values;
    let chosen = mixed(preview?.labels ?? [])
      .slice(0, 3)
      .map((at) => ({ z: preview?.mu[at] ?? [], text: preview?.labels[at] }));
    if (chosen.length < 3) {
      const answer = await api.sample({ model: model.model, n: 3, seed: newSeed() }, "map-three");
      if (!answer || answer.model !== state.values.model.model) return;
      chosen = answer.z.map((z) => ({ z, text: "" }));
    }
    const [one, two, three] = chosen.map(({ z }) => z);
    const plane = planeThrough(one, two, three);
    this.usePlane(plane);
    this.plot.show({ marks: chosen.map(({ z, text }) => ({ at: plane.positionOf(z), text })) });
  }

  writeAbout() {
    const { model, preview } = this.context.state.values;
    const isSlice = this.plane?.dims;
    this.back.hidden = Boolean(isSlice);
    const about = isSlice ? this.words.slice(model.latent_size) : this.words.throughAbout;
    this.about.textContent = `${model.latent_size > 2 ? about : ""} ${preview ? "" : this.words.noPreview}`;
  }

  /** One button for each class: its glyph, and its dots bright when pressed. */
  writeLegend() {
    const { preview } = this.context.state.values;
    const kinds = kindsOf(preview).slice(0, MOST_KINDS);
    this.legend.hidden = kinds.length < 2;
    const buttons = kinds.map((label, kind) => {
      const each = el("button", { type: "button", "aria-pressed": "false" }, glyphCanvas(kind), label);
      each.addEventListener("click", () => {
        const isOn = each.getAttribute("aria-pressed") !== "true";
        for (const other of buttons) other.setAttribute("aria-pressed", `${isOn && other === each}`);
        this.plot.set({ brightKind: isOn ? kind : null });
      });
      return each;
    });
    this.plot.set({ brightKind: null });
    fill(this.legend, ...buttons);
  }

  /** The image of the point as the picture of the other panels. */
  async send() {
    if (!this.images) return;
    const { state, open } = this.context;
    state.set({ picture: await pictureOf(this.images, this.words.name) });
    open("draw");
  }
}
