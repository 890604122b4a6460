/** @type {import("./panel.js").Panel} */
export const dimensions = {
  id: "dimensions",
  mount(element, { texts }) {
    element.append(texts.dimensions.lead);
    return { shown() {}, hidden() {} };
  },
};
