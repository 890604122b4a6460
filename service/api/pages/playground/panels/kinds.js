/** @type {import("./panel.js").Panel} */
export const kinds = {
  id: "kinds",
  mount(element, { texts }) {
    element.append(texts.kinds.lead);
    return { shown() {}, hidden() {} };
  },
};
