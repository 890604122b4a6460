/** @type {import("./panel.js").Panel} */
export const noise = {
  id: "noise",
  mount(element, { texts }) {
    element.append(texts.noise.lead);
    return { shown() {}, hidden() {} };
  },
};
