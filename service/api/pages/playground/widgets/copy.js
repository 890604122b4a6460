/**
 * "Copy as curl" and "Copy as Python" for the request that a panel just made.
 *
 * Knows what a call sent, and the two languages. Knows nothing of panels. A key never enters a line: curl and
 * Python read it from the environment.
 */

import { pathOf, ROOT } from "../api.js";
import { button, choice, el, fill } from "./dom.js";

/** @typedef {import("../api.js").Sent} Sent */
/** @typedef {import("../panels/panel.js").Context} Context */

/** A longer body is a file to save, and the line names it. */
const MAX_INLINE_BYTES = 3000;
/** Query parameters that belong to the picture of an answer: in Python, to saving it. */
const DRAWING = ["scale", "columns"];
const FILE_NAMES = { "application/x-npy": "images.npy", "image/png": "picture.png" };

export class CopyButtons {
  /** @param {Context} context */
  constructor({ api, texts, announce }) {
    this.api = api;
    this.texts = texts.copy;
    this.announce = announce;
    /** The latest request of each operation. @type {Map<string, Sent>} */
    this.requests = new Map();
    /** @type {Sent | null} */
    this.sent = null;
    /** @type {"curl" | "python"} */
    this.language = "curl";
    this.operations = choice(this.texts.which, [], (operation) => this.choose(operation));
    this.operations.element.hidden = true;
    this.code = el("code");
    this.shown = el(
      "pre",
      { class: "line", tabindex: 0, role: "region", "aria-label": this.texts.line },
      this.code,
    );
    this.save = el("a", { class: "button", hidden: true });
    this.buttons = [
      button(this.texts.curl, () => this.copy("curl"), { disabled: true }),
      button(this.texts.python, () => this.copy("python"), { disabled: true }),
    ];
    this.element = el(
      "details",
      { class: "copy", toggle: () => this.preview() },
      el("summary", {}, this.texts.title),
      el("div", { class: "row" }, this.operations.element, ...this.buttons, this.save),
      this.shown,
    );
  }

  /** A request that was made: it replaces the last one of its operation. @param {Sent} sent */
  show(sent) {
    const isNew = !this.requests.has(sent.operation);
    this.requests.set(sent.operation, sent);
    for (const each of this.buttons) each.disabled = false;
    if (isNew) {
      this.operations.setOptions([...this.requests.keys()].map((name) => [name, `/${name}`]));
      this.operations.select.value = this.sent?.operation ?? sent.operation;
      this.operations.element.hidden = false;
    }
    if (this.operations.select.value === sent.operation) this.choose(sent.operation);
  }

  /** @param {string} operation */
  choose(operation) {
    this.sent = this.requests.get(operation) ?? null;
    if (this.element.open) void this.preview();
  }

  async preview() {
    const { sent } = this;
    if (!sent) return;
    const text = await (this.language === "curl" ? curlOf : pythonOf)(sent, this.api.key !== "");
    if (sent === this.sent) fill(this.code, text);
    const isFile = sent.body !== null && !(await inlined(sent.body));
    this.save.hidden = !isFile;
    if (isFile && sent.body?.content instanceof Blob) {
      URL.revokeObjectURL(this.save.href);
      this.save.href = URL.createObjectURL(sent.body.content);
      this.save.download = fileName(sent.body);
      this.save.textContent = `${this.texts.save} ${this.save.download}`;
    }
  }

  /** @param {"curl" | "python"} language */
  async copy(language) {
    this.language = language;
    this.element.open = true;
    await this.preview();
    const text = this.code.textContent ?? "";
    const isCopied = await navigator.clipboard?.writeText(text).then(
      () => true,
      () => false,
    );
    // Without a secure connection there is no clipboard: the line is selected instead.
    if (!isCopied) getSelection()?.selectAllChildren(this.code);
    this.announce(isCopied ? this.texts.copied : this.texts.selected);
  }
}

/**
 * A line for a POSIX shell.
 * @param {Sent} sent
 * @param {boolean} hasKey
 */
export async function curlOf(sent, hasKey) {
  const parts = ["curl"];
  let before = "";
  if (hasKey) parts.push('-H "Authorization: Bearer $VAE_API_KEY"');
  if (sent.body) {
    const { type, content } = sent.body;
    parts.push(`-H ${quoted(`Content-Type: ${type}`)}`);
    if (typeof content === "string") {
      parts.push(`-d ${quoted(content)}`);
    } else {
      const text = await inlined(sent.body);
      if (text) before = `echo ${text} | base64 -d | `;
      parts.push(`--data-binary @${text ? "-" : fileName(sent.body)}`);
    }
  }
  if (sent.form !== "json") parts.push(`-o ${sent.operation}.${sent.form}`);
  parts.push(quoted(new URL(pathOf(sent), ROOT).href));
  return before + parts.join(" ");
}

/**
 * Lines for Python with this project's client, vae_client.
 * @param {Sent} sent
 * @param {boolean} hasKey
 */
export async function pythonOf(sent, hasKey) {
  const { model, ...query } = sent.query;
  const url = ROOT.href.replace(/\/$/, "");
  const key = hasKey ? ', api_key=os.environ["VAE_API_KEY"]' : "";
  const lines = [...(hasKey ? ["import os"] : [])];
  const call = [];
  if (sent.body && typeof sent.body.content !== "string") {
    const text = await inlined(sent.body);
    if (text) lines.push("import base64");
    const file = text ? `base64.b64decode("${text}")` : `"${fileName(sent.body)}"`;
    call.push(file);
  } else if (sent.body) {
    const rows = JSON.parse(/** @type {string} */ (sent.body.content)).z;
    if (sent.operation === "interpolate") {
      // Lists of numbers would be images for the client.
      lines.push("import numpy as np");
      call.push(...rows.map((/** @type {number[]} */ row) => `np.array(${JSON.stringify(row)})`));
    } else call.push(JSON.stringify(rows));
  }
  for (const [name, value] of Object.entries(query)) {
    if (!DRAWING.includes(name)) call.push(`${name}=${pythonValue(name, value)}`);
  }
  const drawing = DRAWING.filter((name) => name in query)
    .map((name) => `, ${name}=${query[name]}`)
    .join("");
  const save =
    sent.form === "json" ? "print(answer)" : `answer.save("${sent.operation}.${sent.form}"${drawing})`;
  return [
    ...lines,
    "from vae_client import Client",
    "",
    `with Client("${url}", model="${model}"${key}) as vae:`,
    `    answer = vae.${sent.operation}(${call.join(", ")})`,
    save,
  ].join("\n");
}

/** @param {string} name @param {string} value */
function pythonValue(name, value) {
  if (value === "true" || value === "false") return value === "true" ? "True" : "False";
  if (name === "dims") return `[${value.split(",").join(", ")}]`;
  return name !== "label" && value.trim() !== "" && Number.isFinite(Number(value))
    ? value
    : JSON.stringify(value);
}

/** The body in base64 if it is short enough for a line. @param {NonNullable<Sent["body"]>} body */
async function inlined({ content }) {
  if (typeof content === "string" || content.size > MAX_INLINE_BYTES)
    return typeof content === "string" ? content : "";
  const bytes = new Uint8Array(await content.arrayBuffer());
  return btoa(String.fromCharCode(...bytes));
}

/** @param {NonNullable<Sent["body"]>} body */
const fileName = ({ type }) => FILE_NAMES[/** @type {keyof typeof FILE_NAMES} */ (type)] ?? "picture";

/** @param {string} text */
const quoted = (text) => `'${text.replaceAll("'", "'\\''")}'`;
