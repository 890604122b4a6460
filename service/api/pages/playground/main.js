/**
 * The composition root: language, models, header, tabs, and the panels in them.
 *
 * Knows every part, and joins them. Knows no HTTP and draws nothing of a panel.
 */

import { Api } from "./api.js";
import { askForKey, keptKey } from "./key.js";
import { between } from "./panels/between.js";
import { dimensions } from "./panels/dimensions.js";
import { draw } from "./panels/draw.js";
import { kinds } from "./panels/kinds.js";
import { loss } from "./panels/loss.js";
import { map } from "./panels/map.js";
import { noise } from "./panels/noise.js";
import { samples } from "./panels/samples.js";
import { newSeed, PANELS, readFragment, State } from "./state.js";
import { chosenLanguage, keepLanguage, LANGUAGES, textsOf } from "./texts/choice.js";
import { Tour } from "./tour.js";
import { TroubleBanner } from "./trouble.js";
import { button, choice, el, fill } from "./widgets/dom.js";
import { Tabs } from "./widgets/tabs.js";

/** @typedef {import("./api.js").ModelSummary} ModelSummary */
/** @typedef {import("./panels/panel.js").Context} Context */
/** @typedef {import("./panels/panel.js").Mounted} Mounted */
/** @typedef {import("./state.js").PanelId} PanelId */

const PANEL_MODULES = [map, draw, noise, dimensions, samples, between, kinds, loss];
const ANNOUNCE_DELAY_MS = 400;
const NO_MODEL_POLL_MS = 2000;

const byId = (/** @type {string} */ id) => /** @type {HTMLElement} */ (document.getElementById(id));

class Page {
  /** @param {string} language @param {import("./texts/en.js").Texts} texts */
  constructor(language, texts) {
    this.language = language;
    this.texts = texts;
    this.banner = new TroubleBanner(byId("trouble"));
    this.api = new Api(
      {
        trouble: (lane, trouble) => this.banner.set(lane, trouble),
        back: () => void this.refreshModels(""),
        gone: (model) => void this.refreshModels(model),
        askKey: (wasRefused) => askForKey(this.texts.key, wasRefused),
      },
      keptKey(),
    );
    /** @type {State | null} */
    this.state = null;
    this.mounting = new AbortController();
    /** @type {Map<PanelId, {element: HTMLElement, mounted: Mounted}>} */
    this.mounted = new Map();
    /** @type {PanelId | null} */
    this.shown = null;
    /** Points of models that were left, to find them again. @type {Map<string, number[]>} */
    this.points = new Map();
  }

  async start() {
    this.write();
    const list = await this.firstModels();
    const asked = readFragment(location.hash);
    const found = (await this.named(asked.model, list.models)) ?? preferred(list);
    const fits = asked.z?.length === found.latent_size;
    const isOther = asked.model !== null && asked.model !== found.model;
    if (isOther) this.banner.say(this.texts.page.moved(asked.model ?? "", found.model));
    this.state = new State({
      panel: asked.panel ?? "map",
      model: found,
      models: list.models,
      preview: await this.previewOf(found),
      z: fits && asked.z ? asked.z : new Array(found.latent_size).fill(0),
      seed: asked.seed ?? newSeed(),
      picture: null,
    });
    const { state } = this;
    const forEver = new AbortController().signal;
    state.on(["panel"], () => this.show(), forEver);
    state.on(["model", "models"], () => this.writeHeader(), forEver);
    addEventListener("hashchange", () => void this.follow(readFragment(location.hash)));
    document.addEventListener("visibilitychange", () => {
      if (document.visibilityState === "visible") void this.refreshModels("");
    });
    this.build();
  }

  /** The list, as soon as it has a model. */
  async firstModels() {
    for (;;) {
      const list = await this.api.models();
      if (list?.models.length) return list;
      byId("waiting").textContent = this.texts.page.none;
      await new Promise((go) => setTimeout(go, NO_MODEL_POLL_MS));
    }
  }

  /**
   * The summary of a label or name; a version that is not in memory is loaded.
   * @param {string | null} name
   * @param {ModelSummary[]} models
   */
  async named(name, models) {
    if (!name) return null;
    const found = models.find((each) => each.model === name) ?? models.find((each) => each.name === name);
    if (found || !/^[\w.@-]{1,129}$/.test(name)) return found ?? null;
    const loaded = /** @type {ModelSummary | null} */ (await this.api.facts(name, "named"));
    this.banner.set("named", null);
    return loaded ?? models.find((each) => each.name === name.split("@")[0]) ?? null;
  }

  /** The list again, and another version in place of one that is gone. @param {string} gone */
  async refreshModels(gone) {
    const { state } = this;
    const list = await this.api.models();
    if (!state || !list?.models.length) return;
    state.set({ models: list.models });
    const { name, model } = state.values.model;
    if (gone !== model) return;
    const others = list.models.filter((each) => each.model !== gone);
    const next = others.find((each) => each.name === name) ?? preferred({ ...list, models: others });
    if (!next) return;
    await this.choose(next);
    this.banner.say(this.texts.page.changed(next.model));
  }

  /** Model, point and preview change together. @param {ModelSummary} model */
  async choose(model) {
    const { state } = this;
    const preview = await this.previewOf(model);
    if (!state || this.wanted !== model) return; // Another one was chosen meanwhile.
    this.points.set(state.values.model.model, state.values.z);
    const z = this.points.get(model.model) ?? new Array(model.latent_size).fill(0);
    state.set({ model, z, preview });
  }

  /** @param {ModelSummary} model */
  async previewOf(model) {
    this.wanted = model;
    return model.preview ? this.api.preview(model.model, "preview") : null;
  }

  /** An address that a person edited or went back to. @param {import("./state.js").Fragment} asked */
  async follow(asked) {
    const { state } = this;
    if (!state) return;
    const model = await this.named(asked.model, state.values.models);
    if (model && model.model !== state.values.model.model) await this.choose(model);
    const fits = asked.z?.length === state.values.model.latent_size;
    state.set({
      panel: asked.panel ?? state.values.panel,
      z: fits && asked.z ? asked.z : state.values.z,
      seed: asked.seed ?? state.values.seed,
    });
  }

  /** Texts of the document that need no model. */
  write() {
    const { page } = this.texts;
    document.documentElement.lang = this.language;
    document.title = `${page.brand}: ${page.title}`;
    byId("skip").textContent = page.skip;
    byId("brand").textContent = page.brand;
    this.banner.speak(this.texts);
  }

  writeHeader() {
    const { state } = this;
    if (!state) return;
    const { model, models } = state.values;
    const labels = new Set([...models.map((each) => each.model), model.model]);
    this.models?.setOptions([...labels].map((label) => [label, label]));
    if (this.models) this.models.select.value = model.model;
  }

  /** Header, tabs, and the panel; again after a change of language. */
  build() {
    const { state, texts } = this;
    if (!state) return;
    this.mounting.abort();
    this.mounting = new AbortController();
    this.mounted.clear();
    this.shown = null;
    this.models = choice(texts.page.model, [], (label) => {
      const chosen = state.values.models.find((each) => each.model === label);
      if (chosen) void this.choose(chosen);
    });
    const languages = choice(texts.page.languages, LANGUAGES, (to) => void this.speak(to));
    languages.select.value = this.language;
    const step = this.tour?.at ?? -1;
    this.tour?.element.remove();
    const tour = new Tour(this.context(), (model) => this.choose(model));
    this.tour = tour;
    document.body.append(tour.element);
    const header = byId("header");
    fill(
      header,
      header.querySelector(".brand"),
      this.models.element,
      languages.element,
      button(texts.page.tour, () => tour.go(0), { id: "tour-start" }),
    );
    this.writeHeader();
    this.tabs = new Tabs(
      texts.page.panels,
      PANELS.map((id) => [id, texts.page.tabs[id]]),
      (id) => state.set({ panel: /** @type {PanelId} */ (id) }),
    );
    fill(byId("tabs"), this.tabs.element, step < 0 ? tour.invitation() : null);
    fill(byId("panel"));
    this.show();
    if (step >= 0) tour.go(step);
  }

  /** @param {string} language */
  async speak(language) {
    this.texts = await textsOf(language);
    this.language = language;
    keepLanguage(language);
    this.write();
    this.build();
    byId("header").querySelectorAll("select")[1]?.focus();
  }

  /** Bring the panel of the state to the front; mount it if it is new. */
  show() {
    const { state, texts } = this;
    if (!state || this.shown === state.values.panel) return;
    const { panel } = state.values;
    const last = this.shown && this.mounted.get(this.shown);
    if (last) {
      last.element.hidden = true;
      last.mounted.hidden();
    }
    this.shown = panel;
    this.banner.forgive();
    this.tabs?.select(panel);
    let entry = this.mounted.get(panel);
    if (!entry) {
      const module = PANEL_MODULES.find((each) => each.id === panel) ?? map;
      const body = el("div");
      const head = el("div", { class: "panel-head" }, el("h2", {}, texts.page.tabs[panel]));
      const element = el("section", { id: `panel-${panel}`, role: "tabpanel", "aria-labelledby": `tab-${panel}` }, head, body);
      byId("panel").append(element);
      entry = { element, mounted: module.mount(body, this.context()) };
      this.mounted.set(panel, entry);
    }
    entry.element.hidden = false;
    entry.mounted.shown();
  }

  /** @returns {Context} */
  context() {
    const state = /** @type {State} */ (this.state);
    return {
      api: this.api,
      state,
      texts: this.texts,
      announce: (sentence) => this.announce(sentence),
      open: (panel) => state.set({ panel }),
      signal: this.mounting.signal,
    };
  }

  /** The last sentence of a quick succession, in the live region. @param {string} sentence */
  announce(sentence) {
    clearTimeout(this.announcing);
    this.announcing = setTimeout(() => (byId("status").textContent = sentence), ANNOUNCE_DELAY_MS);
  }
}

/** A plane is best for a first look: a model of two dimensions if there is one. @param {import("./api.js").ModelList} list */
function preferred({ default: name, models }) {
  const isPlane = (/** @type {ModelSummary} */ each) => each.latent_size === 2 && each.kind === "vae";
  return models.find(isPlane) ?? models.find((each) => each.model === name || each.name === name) ?? models[0];
}

const language = chosenLanguage();
void textsOf(language).then((texts) => new Page(language, texts).start());
