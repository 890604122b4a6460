/** Equations in MathML, which browsers draw by themselves. Knows tokens. Knows nothing of the tour. */

const MATHML = "http://www.w3.org/1998/Math/MathML";

/** @typedef {string | Element} Part  tokens with spaces between them, or an element of MathML */

/** An equation. @param {...Part} parts */
export function equation(...parts) {
  const math = made("math", ...row(parts));
  math.setAttribute("display", "block");
  return math;
}

/** @param {Part} base @param {Part} index */
export const sub = (base, index) => made("msub", one(base), one(index));
/** @param {Part} base @param {Part} power */
export const sup = (base, power) => made("msup", one(base), one(power));
/** @param {Part} base @param {Part} below */
export const under = (base, below) => made("munder", one(base), one(below));
/** @param {Part} base */
export const hat = (base) => made("mover", one(base), made("mo", "^"));

/** @param {Part} part */
const one = (part) => made("mrow", ...row([part]));

/** @param {Part[]} parts @returns {Element[]} */
function row(parts) {
  return parts.flatMap((part) => (part instanceof Element ? [part] : part.split(/\s+/).filter(Boolean).map(token)));
}

/** @param {string} text */
function token(text) {
  if (/^[\d½]+$/.test(text)) return made("mn", text);
  return made(/^[\p{L}*]+$/u.test(text) ? "mi" : "mo", text);
}

/** @param {string} tag @param {...(Element | string)} children */
function made(tag, ...children) {
  const element = document.createElementNS(MATHML, tag);
  element.append(...children);
  return element;
}
