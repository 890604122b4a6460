/** What a browser keeps for the page, if it may. Knows the two storages. Knows nothing of what is kept. */

const PREFIX = "vae-playground-";

/** @param {"localStorage" | "sessionStorage"} storage @param {string} name */
export function kept(storage, name) {
  try {
    return window[storage].getItem(PREFIX + name);
  } catch {
    // Storage is switched off.
    return null;
  }
}

/** Keep a value; null forgets it. @param {"localStorage" | "sessionStorage"} storage @param {string} name @param {string | null} value */
export function keep(storage, name, value) {
  try {
    if (value === null) window[storage].removeItem(PREFIX + name);
    else window[storage].setItem(PREFIX + name, value);
  } catch {
    // Storage is switched off: it lasts as long as the page.
  }
}
