/** @type {import("./panel.js").Panel} */
export const map = {
  id: "map",
  mount(element, { texts }) {
    element.append(texts.map.lead);
    return { shown() {}, hidden() {} };
  },
};
