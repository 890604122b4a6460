/** @type {import("./panel.js").Panel} */
export const draw = {
  id: "draw",
  mount(element, { texts }) {
    element.append(texts.draw.lead);
    return { shown() {}, hidden() {} };
  },
};
