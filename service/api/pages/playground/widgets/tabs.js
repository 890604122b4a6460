/** A row of tabs with arrow keys. Knows the pattern of ARIA. Knows nothing of panels. */

import { el } from "./dom.js";

export class Tabs {
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
      const step = { ArrowRight: at + 1, ArrowLeft: at - 1 + ids.length, Home: 0, End: ids.length - 1 }[event.key];
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
