/** The tour. */

/** @typedef {import("./panels/panel.js").Context} Context */

export class Tour {
  /** @param {Context} context */
  constructor(context) {
    this.context = context;
  }

  start() {}
}
