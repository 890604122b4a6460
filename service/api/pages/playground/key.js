/** The key of a server that asks for one. Knows a dialog and the storage of the tab. Knows no HTTP. */

import { button, el, newId } from "./widgets/dom.js";

const STORED = "vae-playground-key";

/** The key that a person let this tab keep. */
export function keptKey() {
  try {
    return sessionStorage.getItem(STORED) ?? "";
  } catch {
    return ""; // Storage is switched off.
  }
}

/**
 * Ask for the key, until there is one.
 * @param {import("./texts/en.js").Texts["key"]} texts
 * @param {boolean} wasRefused  whether a key was sent and the server did not know it
 * @returns {Promise<string>}
 */
export function askForKey(texts, wasRefused) {
  const id = newId("key");
  const input = el("input", { id, type: "password", autocomplete: "off", required: true, maxlength: 512, spellcheck: "false" });
  const keep = el("input", { type: "checkbox" });
  keep.checked = keptKey() !== "";
  const title = el("h2", { id: `${id}-title` }, texts.title);
  const form = el(
    "form",
    { class: "stack" },
    title,
    el("p", { class: "note" }, wasRefused ? texts.wrong : texts.lead),
    el("label", { for: id }, texts.label),
    input,
    el("label", { class: "check" }, keep, texts.keep),
    button(texts.send, () => {}, { class: "primary", type: "submit" }),
  );
  const dialog = el("dialog", { "aria-labelledby": title.id, cancel: (event) => event.preventDefault() }, form);
  document.body.append(dialog);
  dialog.showModal();
  return new Promise((settle) => {
    form.addEventListener("submit", (event) => {
      event.preventDefault(); // The policy of the page allows no form to be sent.
      const key = input.value.trim();
      if (!key) return;
      store(keep.checked ? key : null);
      dialog.close();
      dialog.remove();
      settle(key);
    });
  });
}

/** @param {string | null} key */
function store(key) {
  try {
    if (key === null) sessionStorage.removeItem(STORED);
    else sessionStorage.setItem(STORED, key);
  } catch {
    // Storage is switched off: the key stays in memory.
  }
}
