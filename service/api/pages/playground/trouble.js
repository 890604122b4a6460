/**
 * What calls to the server need of a person: one sentence about what is wrong, as long as it is, and the key.
 *
 * Knows troubles, texts and a dialog. Knows no HTTP.
 */

import { keep, kept } from "./state.js";
import { button, el, newId } from "./widgets/dom.js";

/** @typedef {import("./api.js").Trouble} Trouble */
/** @typedef {import("./texts/en.js").Texts} Texts */

const ORDER = ["offline", "busy", "failed", "gone", "refused"];
const SAID_MS = 6000;

export class TroubleBanner {
  /** @param {HTMLElement} element */
  constructor(element) {
    this.element = element;
    /** @type {Map<string, Trouble>} */
    this.troubles = new Map();
    /** @type {Texts | null} */
    this.texts = null;
    this.said = "";
  }

  /** @param {Texts} texts */
  speak(texts) {
    this.texts = texts;
    this.write();
  }

  /** The trouble of a lane; null ends it. @param {string} lane @param {Trouble | null} trouble */
  set(lane, trouble) {
    if (!trouble && !this.troubles.has(lane)) return;
    const wasOffline = [...this.troubles.values()].some(({ kind }) => kind === "offline");
    if (trouble) this.troubles.set(lane, trouble);
    else this.troubles.delete(lane);
    const isOffline = [...this.troubles.values()].some(({ kind }) => kind === "offline");
    if (wasOffline && !isOffline && this.texts) this.say(this.texts.trouble.back);
    this.write();
  }

  /** Refusals belong to the panel that asked: a new panel begins without them. */
  forgive() {
    for (const [lane, { kind }] of this.troubles)
      if (kind !== "offline" && kind !== "busy") this.troubles.delete(lane);
    this.write();
  }

  /** A sentence that passes by itself. @param {string} sentence */
  say(sentence) {
    this.said = sentence;
    this.write();
    clearTimeout(this.timer);
    this.timer = setTimeout(() => {
      this.said = "";
      this.write();
    }, SAID_MS);
  }

  write() {
    const worst = [...this.troubles.values()].sort(
      (a, b) => ORDER.indexOf(a.kind) - ORDER.indexOf(b.kind),
    )[0];
    const sentence = worst ? this.sentence(worst) : this.said;
    if (this.element.textContent !== sentence) this.element.textContent = sentence;
    this.element.hidden = !sentence;
  }

  /** @param {Trouble} trouble */
  sentence({ kind, seconds = 0, detail = "", remedy = "" }) {
    const texts = this.texts?.trouble;
    if (!texts) return "";
    if (kind === "busy") return texts.busy(seconds);
    if (kind === "refused") return texts.refused(`${detail} ${remedy}`.trim());
    if (kind === "failed") return texts.failed(detail);
    return kind === "gone" ? texts.gone : texts.offline;
  }
}

/** The key that a person let this tab keep. */
export const keptKey = () => kept("sessionStorage", "key") ?? "";

/**
 * Ask for the key, until there is one.
 * @param {import("./texts/en.js").Texts["key"]} texts
 * @param {boolean} wasRefused  whether a key was sent and the server did not know it
 * @returns {Promise<string>}
 */
export function askForKey(texts, wasRefused) {
  const id = newId("key");
  const input = el("input", {
    id,
    type: "password",
    autocomplete: "off",
    required: true,
    maxlength: 512,
    spellcheck: "false",
  });
  const stays = el("input", { type: "checkbox" });
  stays.checked = keptKey() !== "";
  const title = el("h2", { id: `${id}-title` }, texts.title);
  const form = el(
    "form",
    { class: "stack" },
    title,
    el("p", { class: "note" }, wasRefused ? texts.wrong : texts.lead),
    el("label", { for: id }, texts.label),
    input,
    el("label", { class: "check" }, stays, texts.keep),
    button(texts.send, () => {}, { class: "primary", type: "submit" }),
  );
  const dialog = el(
    "dialog",
    { "aria-labelledby": title.id, cancel: (event) => event.preventDefault() },
    form,
  );
  document.body.append(dialog);
  dialog.showModal();
  return new Promise((settle) => {
    form.addEventListener("submit", (event) => {
      // The policy of the page allows no form to be sent.
      event.preventDefault();
      const key = input.value.trim();
      if (!key) return;
      keep("sessionStorage", "key", stays.checked ? key : null);
      dialog.close();
      dialog.remove();
      settle(key);
    });
  });
}
