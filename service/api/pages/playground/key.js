/** The key of a server that asks for one. Knows a dialog and the storage of the tab. Knows no HTTP. */

import { keep, kept } from "./storage.js";
import { button, el, newId } from "./widgets/dom.js";

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
