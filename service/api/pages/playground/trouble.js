/** One sentence about what is wrong, as long as it is. Knows troubles and texts. Knows no HTTP. */

/** @typedef {import("./api.js").Trouble} Trouble */
/** @typedef {import("./texts/en.js").Texts} Texts */

const ORDER = ["offline", "busy", "failed", "gone", "refused"];
const SAID_MS = 6000;

export class TroubleBanner {
  /** @param {HTMLElement} element */
  constructor(element) {
    this.element = element;
    /** @type {Map<string, Trouble>} */
    this.troubles = new Map();
    /** @type {Texts | null} */
    this.texts = null;
    this.said = "";
  }

  /** @param {Texts} texts */
  speak(texts) {
    this.texts = texts;
    this.write();
  }

  /** The trouble of a lane; null ends it. @param {string} lane @param {Trouble | null} trouble */
  set(lane, trouble) {
    if (!trouble && !this.troubles.has(lane)) return;
    const wasOffline = [...this.troubles.values()].some(({ kind }) => kind === "offline");
    if (trouble) this.troubles.set(lane, trouble);
    else this.troubles.delete(lane);
    const isOffline = [...this.troubles.values()].some(({ kind }) => kind === "offline");
    if (wasOffline && !isOffline && this.texts) this.say(this.texts.trouble.back);
    this.write();
  }

  /** Refusals belong to the panel that asked: a new panel begins without them. */
  forgive() {
    for (const [lane, { kind }] of this.troubles)
      if (kind !== "offline" && kind !== "busy") this.troubles.delete(lane);
    this.write();
  }

  /** A sentence that passes by itself. @param {string} sentence */
  say(sentence) {
    this.said = sentence;
    this.write();
    clearTimeout(this.timer);
    this.timer = setTimeout(() => {
      this.said = "";
      this.write();
    }, SAID_MS);
  }

  write() {
    const worst = [...this.troubles.values()].sort(
      (a, b) => ORDER.indexOf(a.kind) - ORDER.indexOf(b.kind),
    )[0];
    const sentence = worst ? this.sentence(worst) : this.said;
    if (this.element.textContent !== sentence) this.element.textContent = sentence;
    this.element.hidden = !sentence;
  }

  /** @param {Trouble} trouble */
  sentence({ kind, seconds = 0, detail = "", remedy = "" }) {
    const texts = this.texts?.trouble;
    if (!texts) return "";
    if (kind === "busy") return texts.busy(seconds);
    if (kind === "refused") return texts.refused(`${detail} ${remedy}`.trim());
    if (kind === "failed") return texts.failed(detail);
    return kind === "gone" ? texts.gone : texts.offline;
  }
}
