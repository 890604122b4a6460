/** The language of the page: the person's choice, or that of the browser. Knows no sentence. */

import { keep, kept } from "../storage.js";

/** A file of texts for each. @type {[code: string, name: string][]} */
export const LANGUAGES = [
  ["en", "English"],
  ["ko", "한국어"],
];

/** The texts of a language: only one file is loaded. @param {string} language @returns {Promise<import("./en.js").Texts>} */
export const textsOf = async (language) => (await import(`./${language}.js`)).texts;

/** The code of the language to begin with. */
export function chosenLanguage() {
  const wanted = [kept("localStorage", "language"), ...navigator.languages].map(
    (each) => each?.split("-")[0],
  );
  return wanted.find((each) => LANGUAGES.some(([code]) => code === each)) ?? "en";
}

/** @param {string} language */
export const keepLanguage = (language) => keep("localStorage", "language", language);
