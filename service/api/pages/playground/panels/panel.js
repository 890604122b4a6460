/**
 * What every panel is, and what it gets.
 *
 * A module panels/NAME.js exports one class. main.js makes one of it the first time that a person opens the panel
 * (and again, with a new element, after a change of language). Nothing is fetched before `shown`; then `restart`
 * brings the panel up to the state. A panel keeps nothing in variables of its module.
 */

import { CopyButtons } from "../widgets/copy.js";
import { el, fill } from "../widgets/dom.js";

/**
 * @typedef {object} Context
 * @property {import("../api.js").Api} api  every request; null means "superseded or refused, and reported"
 * @property {import("../state.js").State} state  values, set(changes), on(names, listener, signal)
 * @property {import("../texts/en.js").Texts} texts  sentences of the chosen language, a part for each panel
 * @property {(sentence: string) => void} announce  say it in the live region, for screen readers; late and seldom
 * @property {(panel: import("../state.js").PanelId) => void} open  bring another panel to the front
 * @property {AbortSignal} signal  aborts when the panel is unmounted: pass it to addEventListener
 */

/** @template {{lead: string}} Words  the texts of the panel */
export class Panel {
  /**
   * @param {Context} context
   * @param {Words} words
   */
  constructor(context, words) {
    this.context = context;
    this.words = words;
    this.isShown = false;
    this.lead = el("p", { class: "lead" }, words.lead);
    /** The requests of the panel: `this.copy.show(answer.sent)`. */
    this.copy = new CopyButtons(context);
  }

  /**
   * The lead, the parts, and the request behind them.
   * @param {HTMLElement} element
   * @param {...Element} parts
   */
  build(element, ...parts) {
    fill(element, this.lead, ...parts, this.copy.element);
  }

  /**
   * What to do after a change of the state while the panel is shown.
   * @param {(keyof import("../state.js").Values)[]} names
   * @param {() => unknown} listener
   */
  on(names, listener) {
    this.context.state.on(names, () => this.isShown && listener(), this.context.signal);
  }

  /** The panel comes to the front. */
  shown() {
    this.isShown = true;
    void this.restart();
  }

  /** The panel leaves the front. */
  hidden() {
    this.isShown = false;
  }

  /** A picture that a person dropped or pasted; only for panels that work on one. @param {File} _file @returns {unknown} */
  take(_file) {
    return undefined;
  }

  /** Show what the state has. @returns {unknown} */
  restart() {
    return undefined;
  }
}
