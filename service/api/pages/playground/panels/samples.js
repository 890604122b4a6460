/** @type {import("./panel.js").Panel} */
export const samples = {
  id: "samples",
  mount(element, { texts }) {
    element.append(texts.samples.lead);
    return { shown() {}, hidden() {} };
  },
};
