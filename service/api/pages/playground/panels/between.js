/** @type {import("./panel.js").Panel} */
export const between = {
  id: "between",
  mount(element, { texts }) {
    element.append(texts.between.lead);
    return { shown() {}, hidden() {} };
  },
};
