/** The language of the page: the person's choice, or that of the browser. Knows no sentence. */

import { en } from "./en.js";
import { ko } from "./ko.js";

const STORED = "vae-playground-language";
/** @type {Record<string, import("./en.js").Texts>} */
const TEXTS = { en, ko };

/** @type {[code: string, name: string][]} */
export const LANGUAGES = Object.entries(TEXTS).map(([code, texts]) => [code, texts.page.language]);

/** @param {string} language */
export const textsOf = (language) => TEXTS[language] ?? en;

/** The code of the language to begin with. */
export function chosenLanguage() {
  const wanted = [stored(), ...navigator.languages].map((each) => each?.split("-")[0] ?? "");
  return wanted.find((each) => each in TEXTS) ?? "en";
}

/** @param {string} language */
export function keepLanguage(language) {
  try {
    localStorage.setItem(STORED, language);
  } catch {
    // Storage is switched off: the choice lasts as long as the page.
  }
}

function stored() {
  try {
    return localStorage.getItem(STORED);
  } catch {
    return null;
  }
}
