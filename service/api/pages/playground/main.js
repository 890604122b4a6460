/**
 * The composition root: language, models, header, tabs, and the panels in them.
 *
 * Knows every part, and joins them. Knows no HTTP and draws nothing of a panel.
 */

import { Api } from "./api.js";
import { fileIn } from "./images.js";
import { BetweenPanel } from "./panels/between.js";
import { DimensionsPanel } from "./panels/dimensions.js";
import { DrawPanel } from "./panels/draw.js";
import { KindsPanel } from "./panels/kinds.js";
import { LossPanel } from "./panels/loss.js";
import { MapPanel } from "./panels/map.js";
import { NoisePanel } from "./panels/noise.js";
import { SamplesPanel } from "./panels/samples.js";
import { firstPoint, startsAtImage } from "./plane.js";
import { keep, kept, newSeed, PANELS, readFragment, State } from "./state.js";
import { Tour } from "./tour.js";
import { askForKey, keptKey, TroubleBanner } from "./trouble.js";
import { button, choice, el, fill } from "./widgets/dom.js";

/** @typedef {import("./api.js").ModelSummary} ModelSummary */
/** @typedef {import("./panels/panel.js").Context} Context */
/** @typedef {import("./panels/panel.js").Panel<any>} Panel */
/** @typedef {import("./state.js").PanelId} PanelId */
/** @typedef {import("./texts/en.js").Texts} Texts */

/** @type {Record<PanelId, new (element: HTMLElement, context: Context) => Panel>} */
const CLASSES = {
  map: MapPanel,
  draw: DrawPanel,
  noise: NoisePanel,
  dimensions: DimensionsPanel,
  samples: SamplesPanel,
  between: BetweenPanel,
  kinds: KindsPanel,
  loss: LossPanel,
};
const ANNOUNCE_DELAY_MS = 400;
const NO_MODEL_POLL_MS = 2000;

/** A file of texts for each. @type {[code: string, name: string][]} */
const LANGUAGES = [
  ["en", "English"],
  ["ko", "한국어"],
];

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
    /** @type {Map<PanelId, {element: HTMLElement, mounted: Panel}>} */
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
    document.addEventListener("paste", (event) => this.take(event.clipboardData));
    for (const type of ["dragover", "drop"])
      document.addEventListener(type, (event) => {
        // The browser would leave the page for the file.
        event.preventDefault();
        if (type === "drop") this.take(/** @type {DragEvent} */ (event).dataTransfer);
      });
    document.addEventListener("visibilitychange", () => {
      if (document.visibilityState === "visible") void this.refreshModels("");
    });
  }

  /** A picture goes to the panel in front if it works on one, else to Draw. @param {DataTransfer | null} transfer */
  take(transfer) {
    const file = fileIn(transfer);
    if (!file) return;
    const { panel } = this.state.values;
    const taker = panel === "noise" || panel === "loss" ? panel : "draw";
    this.state.set({ panel: taker });
    void this.mounted.get(taker)?.mounted.take(file);
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
    this.state.set({ model, z: this.points.get(model.model) ?? firstPoint(model, preview), preview });
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
    fill(header, header.querySelector(".brand"), start, this.models.element, this.languages.element);
    const tabs = PANELS.map((id) => /** @type {[string, string]} */ ([id, page.tabs[id]]));
    this.tabs = new Tabs(page.panels, tabs, (id) => state.set({ panel: /** @type {PanelId} */ (id) }));
    fill(byId("tabs"), this.tabs.element, step < 0 && tour.invitation());
    fill(byId("panel"));
    this.show();
    if (step >= 0) tour.go(step);
  }

  writeModels() {
    const { model, models } = this.state.values;
    const all = models.some((each) => each.model === model.model) ? models : [...models, model];
    this.models?.setOptions(
      all.map((each) => [each.model, `${each.model} · ${each.kind.toUpperCase()} · ${each.latent_size}-D`]),
    );
    if (this.models) this.models.select.value = model.model;
  }

  /** @param {string} language */
  async speak(language) {
    keep("localStorage", "language", language);
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
    const body = el("div");
    const title = el("h2", {}, this.texts.page.tabs[id]);
    const element = el(
      "section",
      { id: `panel-${id}`, role: "tabpanel", "aria-labelledby": `tab-${id}` },
      title,
      body,
    );
    byId("panel").append(element);
    const entry = { element, mounted: new CLASSES[id](body, this.context()) };
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

/** The texts of a language: only one file is loaded. @param {string} language @returns {Promise<Texts>} */
const textsOf = async (language) => (await import(`./texts/${language}.js`)).texts;

/** The code of the language to begin with: the person's choice, or that of the browser. */
function chosenLanguage() {
  const wanted = [kept("localStorage", "language"), ...navigator.languages].map(
    (each) => each?.split("-")[0],
  );
  return wanted.find((each) => LANGUAGES.some(([code]) => code === each)) ?? "en";
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

/** The list, as soon as it has a model. @param {Api} api @param {Texts} texts @param {ReturnType<Api["models"]>} asked */
async function firstModels(api, texts, asked) {
  for (let list = await asked; ; list = await api.models()) {
    if (list?.models.length) return list;
    byId("waiting").textContent = texts.page.none;
    await new Promise((go) => setTimeout(go, NO_MODEL_POLL_MS));
  }
}

async function start() {
  const language = chosenLanguage();
  const loading = textsOf(language);
  const banner = new TroubleBanner(byId("trouble"));
  /** @type {Page | null} */
  let page = null;
  const hooks = {
    trouble: banner.set.bind(banner),
    back: () => void page?.refreshModels(""),
    gone: async (/** @type {string} */ model) => page !== null && page.refreshModels(model),
    askKey: async (/** @type {boolean} */ wasRefused) =>
      askForKey((page?.texts ?? (await loading)).key, wasRefused),
  };
  const api = new Api(hooks, keptKey());
  // While the texts are on their way.
  const models = api.models();
  const texts = await loading;
  write(language, texts, banner);
  const list = await firstModels(api, texts, models);
  const asked = readFragment(location.hash);
  const model = (await named(api, asked.model, list.models)) ?? preferred(list);
  const given = asked.z?.length === model.latent_size ? asked.z : null;
  const panel = asked.panel ?? "map";
  // While the preview is on its way, unless the point comes with it.
  if (panel === "map" && (given || !startsAtImage(model)))
    api.decodeEarly({ model: model.model, z: [given ?? firstPoint(model, null)] });
  const preview = await previewOf(api, model);
  const state = new State({
    panel,
    model,
    models: list.models,
    preview,
    z: given ?? firstPoint(model, preview),
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
