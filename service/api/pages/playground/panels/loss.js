/** @type {import("./panel.js").Panel} */
export const loss = {
  id: "loss",
  mount(element, { texts }) {
    element.append(texts.loss.lead);
    return { shown() {}, hidden() {} };
  },
};
