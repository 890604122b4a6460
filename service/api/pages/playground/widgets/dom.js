/** Elements in one line. Knows the DOM. Knows nothing of models or of the state. */

/** @typedef {Node | string | number | null | undefined | false} Child */
/**
 * @typedef {Record<string, string | number | boolean | undefined | ((event: any) => void)>} Properties
 *   `class`, attributes (true and false switch one), and functions for events such as `click`
 */

/**
 * An element with properties and children.
 * @template {keyof HTMLElementTagNameMap} T
 * @param {T} tag
 * @param {Properties} [properties]
 * @param {...Child} children
 * @returns {HTMLElementTagNameMap[T]}
 */
export function el(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (typeof value === "function") element.addEventListener(name, value);
    else if (typeof value === "boolean") element.toggleAttribute(name, value);
    else if (value !== undefined) element.setAttribute(name, `${value}`);
  }
  fill(element, ...children);
  return element;
}

/**
 * Replace the children of an element.
 * @param {Element} element
 * @param {...Child} children
 */
export function fill(element, ...children) {
  element.replaceChildren(
    ...children
      .filter((child) => child !== null && child !== undefined && child !== false)
      .map(
        (child) => /** @type {Node} */ (child instanceof Node ? child : document.createTextNode(`${child}`)),
      ),
  );
}

let count = 0;
/** An id that no other element has. @param {string} stem */
export const newId = (stem) => `${stem}-${++count}`;

/**
 * A slider with its name and its value as text.
 * @param {string} name
 * @param {{min: number, max: number, step: number, value: number, text?: (value: number) => string}} range
 * @param {(value: number) => void} changed
 */
export function slider(name, { min, max, step, value, text = (each) => each.toFixed(2) }, changed) {
  const id = newId("slider");
  const output = el("output", { for: id }, text(value));
  const input = el("input", { id, type: "range", min, max, step, value });
  input.addEventListener("input", () => {
    output.textContent = text(input.valueAsNumber);
    changed(input.valueAsNumber);
  });
  const element = el("div", { class: "slider" }, el("label", { for: id }, name), output, input);
  return {
    element,
    input,
    /** Set it without a call of `changed`. @param {number} to */
    show(to) {
      input.value = `${to}`;
      output.textContent = text(to);
    },
  };
}

/**
 * A choice from a list.
 * @param {string} name
 * @param {[value: string, text: string][]} options
 * @param {(value: string) => void} changed
 */
export function choice(name, options, changed) {
  const id = newId("choice");
  const select = el("select", { id, change: () => changed(select.value) });
  const element = el("div", { class: "choice" }, el("label", { for: id }, name), select);
  /** @param {[value: string, text: string][]} list */
  const setOptions = (list) => fill(select, ...list.map(([value, text]) => el("option", { value }, text)));
  setOptions(options);
  return { element, select, setOptions };
}

/** A button. @param {string} text @param {() => void} pressed @param {Properties} [properties] */
export const button = (text, pressed, properties = {}) =>
  el("button", { type: "button", click: pressed, ...properties }, text);
