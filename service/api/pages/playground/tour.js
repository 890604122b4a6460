/**
 * The tour: a card that leads through the study notes while the page moves behind it.
 *
 * Knows its card. Knows nothing of what a step does.
 */

import { keep, kept } from "./storage.js";
import { STEPS } from "./tour_steps.js";
import { button, el, fill } from "./widgets/dom.js";

/** @typedef {import("./api.js").ModelSummary} ModelSummary */
/** @typedef {import("./panels/panel.js").Context} Context */

export class Tour {
  /**
   * @param {Context} context
   * @param {(model: ModelSummary) => Promise<void>} choose
   */
  constructor(context, choose) {
    this.context = context;
    this.choose = choose;
    this.texts = context.texts.tour;
    /** The step that is shown; -1: none. */
    this.at = -1;
    this.step = new AbortController();
    this.title = el("h2", { id: "tour-title", tabindex: -1 });
    this.text = el("p");
    this.maths = el("div", { class: "maths", tabindex: 0 });
    this.count = el("span", { class: "note" });
    this.last = button(this.texts.back, () => this.go(this.at - 1));
    this.next = button(
      this.texts.next,
      () => (this.at === STEPS.length - 1 ? this.close() : this.go(this.at + 1)),
      { class: "primary" },
    );
    this.element = el(
      "div",
      { class: "tour", role: "dialog", "aria-labelledby": "tour-title", hidden: true },
      this.title,
      this.text,
      this.maths,
      el(
        "div",
        { class: "row ends" },
        button("✕", () => this.close(), { "aria-label": this.texts.close }),
        this.count,
        this.last,
        this.next,
      ),
    );
    this.element.addEventListener("keydown", (event) => event.key === "Escape" && this.close());
    context.signal.addEventListener("abort", () => this.step.abort(), { once: true });
  }

  /** A line for people who come for the first time; null for the others. */
  invitation() {
    if (kept("localStorage", "tour")) return null;
    const element = el(
      "div",
      { class: "invitation row", role: "note" },
      el("span", {}, this.texts.invitation),
    );
    const dismiss = () => {
      keep("localStorage", "tour", "seen");
      element.remove();
    };
    const begin = () => {
      dismiss();
      this.go(0);
    };
    element.append(button(this.texts.start, begin, { class: "primary" }), button(this.texts.no, dismiss));
    return element;
  }

  /** @param {number} at */
  go(at) {
    this.step.abort();
    this.step = new AbortController();
    this.at = Math.max(0, Math.min(STEPS.length - 1, at));
    const { name, equation, go } = STEPS[this.at];
    this.title.textContent = this.texts.steps[name].title;
    this.text.textContent = this.texts.steps[name].text;
    fill(this.maths, equation());
    this.count.textContent = `${this.at + 1} / ${STEPS.length}`;
    this.last.disabled = this.at === 0;
    this.next.textContent = this.at === STEPS.length - 1 ? this.texts.end : this.texts.next;
    this.element.hidden = false;
    this.title.focus({ preventScroll: true });
    void go({ context: this.context, choose: this.choose, signal: this.step.signal });
  }

  close() {
    this.step.abort();
    this.at = -1;
    this.element.hidden = true;
    keep("localStorage", "tour", "seen");
    document.getElementById("tour-start")?.focus();
  }
}
