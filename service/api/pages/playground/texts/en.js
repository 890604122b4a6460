/**
 * Every sentence of the page in English; texts/ko.js has the same names.
 *
 * One part for each panel, in the order of the tabs.
 */

/** @typedef {typeof en} Texts */

/** @param {number} value */
const two = (value) => value.toFixed(2);

export const en = {
  page: {
    language: "English",
    title: "Play with a variational autoencoder",
    brand: "Latent space",
    model: "Model",
    languages: "Language",
    tour: "Tour",
    key: "Key",
    skip: "Skip to the panel",
    panels: "Panels",
    tabs: {
      map: "Map",
      draw: "Draw",
      noise: "Noise",
      dimensions: "Dimensions",
      samples: "Samples",
      between: "Between",
      kinds: "AE and VAE",
      loss: "The loss",
    },
    none: "The server has no model yet. The page continues when one is loaded.",
    changed: /** @param {string} label */ (label) => `The server now has ${label}. The page uses it.`,
    moved: /** @param {string} asked @param {string} got */ (asked, got) => `The server has no ${asked}. The page shows ${got}.`,
  },
  trouble: {
    offline: "The server does not answer. The page tries again by itself.",
    back: "The server answers again.",
    busy: /** @param {number} seconds */ (seconds) => `The server is busy. Next try in ${seconds} s.`,
    gone: "The server no longer has this version. The page looks for another one.",
    refused: /** @param {string} detail */ (detail) => `The server refused this: ${detail}`,
    failed: /** @param {string} detail */ (detail) => `The server failed: ${detail}`,
  },
  key: {
    title: "This server asks for a key",
    lead: "It stays in the memory of this page, and is never part of an address.",
    wrong: "The server does not know that key. Enter another one.",
    label: "API key",
    keep: "Keep it until this tab is closed",
    send: "Use this key",
  },
  copy: {
    title: "The request behind this",
    curl: "Copy as curl",
    python: "Copy as Python",
    line: "Request",
    copied: "Copied.",
    selected: "The browser offers no clipboard here. The line is selected: copy it with Ctrl+C.",
    save: "Save",
  },
  map: {
    lead: "Every point of this plane is an image. Move over it.",
  },
  draw: {
    lead: "Draw a digit. The encoder answers with a region, the decoder with its version of your digit.",
  },
  noise: {
    lead: "z = μ + σ · ε",
  },
  dimensions: {
    lead: "One slider for each latent dimension.",
  },
  samples: {
    lead: "New images from the prior.",
  },
  between: {
    lead: "The path from one image to another.",
  },
  kinds: {
    lead: "An autoencoder and a variational autoencoder, side by side.",
  },
  loss: {
    lead: "Reconstruction and β · KL.",
  },
  tour: {},
  units: {
    nats: /** @param {number} value */ (value) => `${value.toFixed(1)} nats`,
    point: /** @param {number[]} z */ (z) => `(${z.map(two).join(", ")})`,
  },
};
