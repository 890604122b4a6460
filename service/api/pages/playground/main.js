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

/** @typedef {import("./api.js").ModelSummary} ModelSummary */
/** @typedef {import("./panels/panel.js").Context} Context */
/** @typedef {import("./panels/panel.js").Mounted} Mounted */
/** @typedef {import("./state.js").PanelId} PanelId */
/** @typedef {import("./texts/en.js").Texts} Texts */

const PANEL_MODULES = [map, draw, noise, dimensions, samples, between, kinds, loss];
const ANNOUNCE_DELAY_MS = 400;
const NO_MODEL_POLL_MS = 2000;

const byId = (/** @type {string} */ id) => /** @type {HTMLElement} */ (document.getElementById(id));

/** A row of tabs with arrow keys, as the pattern of ARIA has it. */
class Tabs {
  /**
   * @param {string} name
   * @param {[id: string, text: string][]} tabs
   * @param {(id: string) => void} chosen
   */
  constructor(name, tabs, chosen) {
    this.tabs = new Map(
      tabs.map(([id, text]) => {
        const press = () => chosen(id);
        return [id, el("button", { type: "button", role: "tab", id: `tab-${id}`, click: press }, text)];
      }),
    );
    this.element = el("div", { class: "tabs", role: "tablist", "aria-label": name }, ...this.tabs.values());
    this.element.addEventListener("keydown", (event) => {
      const ids = [...this.tabs.keys()];
      const at = ids.findIndex((id) => this.tabs.get(id) === document.activeElement);
      const step = { ArrowRight: at + 1, ArrowLeft: at - 1 + ids.length, Home: 0, End: ids.length - 1 }[
        event.key
      ];
      if (step === undefined || at < 0) return;
      event.preventDefault();
      const id = ids[step % ids.length];
      chosen(id);
      this.tabs.get(id)?.focus();
    });
  }

  /** Its panel has the id `panel-` and its own. @param {string} chosen */
  select(chosen) {
    for (const [id, tab] of this.tabs) {
      tab.setAttribute("aria-selected", `${id === chosen}`);
      tab.tabIndex = id === chosen ? 0 : -1;
      if (id === chosen) tab.setAttribute("aria-controls", `panel-${id}`);
    }
  }
}

class Page {
  /**
   * @param {Api} api
   * @param {TroubleBanner} banner
   * @param {State} state
   * @param {string} language
   * @param {Texts} texts
   */
  constructor(api, banner, state, language, texts) {
    this.api = api;
    this.banner = banner;
    this.state = state;
    this.language = language;
    this.texts = texts;
    this.mounting = new AbortController();
    /** @type {Map<PanelId, {element: HTMLElement, mounted: Mounted}>} */
    this.mounted = new Map();
    /** @type {PanelId | null} */
    this.shown = null;
    /** Points of models that were left, to find them again. @type {Map<string, number[]>} */
    this.points = new Map();
    this.wanted = state.values.model;
    this.announcing = 0;
    this.build();
    const forEver = new AbortController().signal;
    state.on(["panel"], () => this.show(), forEver);
    state.on(["model", "models"], () => this.writeModels(), forEver);
    addEventListener("hashchange", () => void this.follow(readFragment(location.hash)));
    document.addEventListener("visibilitychange", () => {
      if (document.visibilityState === "visible") void this.refreshModels("");
    });
  }

  /** The list again, and another version in place of one that is gone. @param {string} gone */
  async refreshModels(gone) {
    const list = await this.api.models();
    if (!list?.models.length) return false;
    this.state.set({ models: list.models });
    const { name, model } = this.state.values.model;
    if (gone !== model || list.models.some((each) => each.model === gone)) return gone !== model;
    const next = list.models.find((each) => each.name === name) ?? preferred(list);
    await this.choose(next);
    this.banner.say(this.texts.page.changed(next.model));
    return true;
  }

  /** Model, point and preview change together. @param {ModelSummary} model */
  async choose(model) {
    this.wanted = model;
    const preview = await previewOf(this.api, model);
    // Another one was chosen meanwhile.
    if (this.wanted !== model) return;
    const { values } = this.state;
    this.points.set(values.model.model, values.z);
    this.state.set({ model, z: this.points.get(model.model) ?? originOf(model), preview });
  }

  /** An address that a person edited or went back to. @param {import("./state.js").Fragment} asked */
  async follow(asked) {
    const { values } = this.state;
    const model = await named(this.api, asked.model, values.models);
    if (model && model.model !== values.model.model) await this.choose(model);
    const fits = asked.z?.length === this.state.values.z.length;
    this.state.set({
      panel: asked.panel ?? values.panel,
      z: fits && asked.z ? asked.z : this.state.values.z,
      seed: asked.seed ?? values.seed,
    });
  }

  /** Header, tabs, tour and panel; again after a change of language. */
  build() {
    const { state, texts } = this;
    const { page } = texts;
    this.mounting.abort();
    this.mounting = new AbortController();
    this.mounted.clear();
    this.shown = null;
    write(this.language, texts, this.banner);
    this.models = choice(page.model, [], (label) => {
      const chosen = state.values.models.find((each) => each.model === label);
      if (chosen) void this.choose(chosen);
    });
    this.writeModels();
    this.languages = choice(page.languages, LANGUAGES, (to) => void this.speak(to));
    this.languages.select.value = this.language;
    const step = this.tour?.at ?? -1;
    this.tour?.element.remove();
    const tour = new Tour(this.context(), (model) => this.choose(model));
    this.tour = tour;
    document.body.append(tour.element);
    const start = button(page.tour, () => tour.go(0), { id: "tour-start" });
    const header = byId("header");
    fill(header, header.querySelector(".brand"), this.models.element, this.languages.element, start);
    const tabs = PANELS.map((id) => /** @type {[string, string]} */ ([id, page.tabs[id]]));
    this.tabs = new Tabs(page.panels, tabs, (id) => state.set({ panel: /** @type {PanelId} */ (id) }));
    fill(byId("tabs"), this.tabs.element, step < 0 && tour.invitation());
    fill(byId("panel"));
    this.show();
    if (step >= 0) tour.go(step);
  }

  writeModels() {
    const { model, models } = this.state.values;
    const labels = new Set([...models.map((each) => each.model), model.model]);
    this.models?.setOptions([...labels].map((label) => [label, label]));
    if (this.models) this.models.select.value = model.model;
  }

  /** @param {string} language */
  async speak(language) {
    keepLanguage(language);
    try {
      this.texts = await textsOf(language);
    } catch {
      // The server has another release of the page by now.
      return location.reload();
    }
    this.language = language;
    this.build();
    this.languages?.select.focus();
  }

  /** Bring the panel of the state to the front; mount it if it is new. */
  show() {
    const { panel } = this.state.values;
    if (this.shown === panel) return;
    const last = this.shown && this.mounted.get(this.shown);
    if (last) {
      last.element.hidden = true;
      last.mounted.hidden();
    }
    this.shown = panel;
    this.banner.forgive();
    this.tabs?.select(panel);
    const { element, mounted } = this.mounted.get(panel) ?? this.mount(panel);
    element.hidden = false;
    mounted.shown();
  }

  /** @param {PanelId} id */
  mount(id) {
    const module = PANEL_MODULES.find((each) => each.id === id) ?? map;
    const body = el("div");
    const title = el("h2", {}, this.texts.page.tabs[id]);
    const element = el(
      "section",
      { id: `panel-${id}`, role: "tabpanel", "aria-labelledby": `tab-${id}` },
      title,
      body,
    );
    byId("panel").append(element);
    const entry = { element, mounted: module.mount(body, this.context()) };
    this.mounted.set(id, entry);
    return entry;
  }

  /** @returns {Context} */
  context() {
    const { api, state, texts, mounting } = this;
    return {
      api,
      state,
      texts,
      announce: (sentence) => this.announce(sentence),
      open: (panel) => state.set({ panel }),
      signal: mounting.signal,
    };
  }

  /** The last sentence of a quick succession, in the live region. @param {string} sentence */
  announce(sentence) {
    clearTimeout(this.announcing);
    this.announcing = window.setTimeout(() => (byId("status").textContent = sentence), ANNOUNCE_DELAY_MS);
  }
}

/** Texts of the document. @param {string} language @param {Texts} texts @param {TroubleBanner} banner */
function write(language, texts, banner) {
  const { brand, skip, title } = texts.page;
  document.documentElement.lang = language;
  document.title = `${brand}: ${title}`;
  byId("skip").textContent = skip;
  byId("brand").textContent = brand;
  banner.speak(texts);
}

/** @param {ModelSummary} model */
const originOf = (model) => new Array(model.latent_size).fill(0);

/** @param {Api} api @param {ModelSummary} model */
const previewOf = async (api, model) => (model.preview ? api.preview(model.model, "preview") : null);

/** A plane is best for a first look: a model of two dimensions if there is one. @param {import("./api.js").ModelList} list */
function preferred({ default: name, models }) {
  const isPlane = (/** @type {ModelSummary} */ each) => each.latent_size === 2 && each.kind === "vae";
  return (
    models.find(isPlane) ?? models.find((each) => each.model === name || each.name === name) ?? models[0]
  );
}

/**
 * The summary of a label or name; a version that is not in memory is loaded.
 * @param {Api} api
 * @param {string | null} name
 * @param {ModelSummary[]} models
 */
async function named(api, name, models) {
  const found = models.find((each) => each.model === name) ?? models.find((each) => each.name === name);
  if (found || !/^[\w.@-]{1,129}$/.test(name ?? "")) return found ?? null;
  const loaded = /** @type {ModelSummary | null} */ (await api.facts(`${name}`, "named"));
  return loaded ?? models.find((each) => each.name === name?.split("@")[0]) ?? null;
}

/** The list, as soon as it has a model. @param {Api} api @param {Texts} texts */
async function firstModels(api, texts) {
  for (;;) {
    const list = await api.models();
    if (list?.models.length) return list;
    byId("waiting").textContent = texts.page.none;
    await new Promise((go) => setTimeout(go, NO_MODEL_POLL_MS));
  }
}

async function start() {
  const language = chosenLanguage();
  const texts = await textsOf(language);
  const banner = new TroubleBanner(byId("trouble"));
  write(language, texts, banner);
  /** @type {Page | null} */
  let page = null;
  const hooks = {
    trouble: banner.set.bind(banner),
    back: () => void page?.refreshModels(""),
    gone: async (/** @type {string} */ model) => page !== null && page.refreshModels(model),
    askKey: (/** @type {boolean} */ wasRefused) => askForKey((page?.texts ?? texts).key, wasRefused),
  };
  const api = new Api(hooks, keptKey());
  const list = await firstModels(api, texts);
  const asked = readFragment(location.hash);
  const model = (await named(api, asked.model, list.models)) ?? preferred(list);
  const state = new State({
    panel: asked.panel ?? "map",
    model,
    models: list.models,
    preview: await previewOf(api, model),
    z: asked.z?.length === model.latent_size ? asked.z : originOf(model),
    seed: asked.seed ?? newSeed(),
    picture: null,
  });
  byId("skip").addEventListener("click", (event) => {
    // The fragment is the state's.
    event.preventDefault();
    byId("panel").focus();
  });
  page = new Page(api, banner, state, language, texts);
  const isOther = asked.model !== null && ![model.model, model.name].includes(asked.model);
  banner.set("named", null);
  if (isOther) banner.say(texts.page.moved(`${asked.model}`, model.model));
}

void start();
