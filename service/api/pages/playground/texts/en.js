/**
 * Every sentence of the page in English; texts/ko.js has the same names.
 *
 * One part for each panel, in the order of the tabs.
 */

/** @typedef {typeof texts} Texts */

/** @param {number} value */
const two = (value) => value.toFixed(2);

export const texts = {
  page: {
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
    which: "Request",
    copied: "Copied.",
    selected: "The browser offers no clipboard here. The line is selected: copy it with Ctrl+C.",
    save: "Save",
  },
  map: {
    lead: "Every point of this plane is an image. Move over it, and the decoder draws the point under your hand.",
    plot: "Map of the latent space",
    keys: "Arrow keys move the point by 0.05, with Shift by 0.5; Home returns to the origin. A click keeps the point.",
    digit: "The decoded image of the point",
    legend: "Classes of the real images on the map",
    right: "To the right",
    up: "Upwards",
    through: "Plane through three images",
    back: "Back to two dimensions",
    toDraw: "Encode this image",
    home: "To the origin",
    name: "from the map",
    at: /** @param {string} point @param {string} label */ (point, label) =>
      `Point ${point}${label ? `, the nearest real image is a ${label}` : ""}.`,
    near: /** @param {string} label @param {string} distance */ (label, distance) =>
      `The nearest real image${label ? ` is a ${label}` : ""}, ${distance} away.`,
    thumbnail: /** @param {string} label */ (label) => `Nearest real image${label ? `: ${label}` : ""}`,
    slice: /** @param {number} size */ (size) =>
      `A slice of ${size} dimensions: the others keep the values of the point. Dots are shadows of real images on it.`,
    throughAbout: "A plane through three real images: it passes through regions that the model uses.",
    noPreview: "This version has no preview, so the map shows no real images.",
  },
  draw: {
    lead: "Draw a digit. The encoder answers with a region of the map, and the decoder draws your digit from its middle.",
    other: "This model has another shape than a drawing of MNIST. Send a picture: the server brings it to the model's size.",
    board: "Canvas to draw on",
    keys: "With keys: arrows move the pen, Shift takes longer steps, Space lowers and lifts it, Backspace undoes.",
    width: "Thickness of the pen",
    undo: "Undo",
    clear: "Clear",
    choose: "Choose a picture…",
    drop: "or drop or paste one here",
    empty: "The picture shows no figure.",
    unreadable: /** @param {string} name */ (name) =>
      `${name} shows nothing that the page can read. Send a PNG, JPEG or WebP of one figure on an even ground.`,
    examples: "Or take one of these",
    others: "Others",
    example: /** @param {string} label */ (label) => `Example ${label}`,
    drawing: "drawing",
    seen: "what the model sees",
    again: "its reconstruction",
    error: "error: orange too light, blue too dark",
    plot: "Map with the region of the picture",
    region: "Where the picture lies.",
    zoomed: "Its region, enlarged: 1σ and 2σ of its Gaussian, and what the points in it decode to.",
    said: /** @param {string} place */ (place) => `The picture lies at ${place}.`,
    costs: "What it costs",
    reconstruction: "Reconstruction: −log p(x|z)",
    kl: "KL to the prior",
    usual: "an average image of the test set",
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
  tour: {
    invitation: "New here? The tour shows in a minute how a variational autoencoder works.",
    start: "Start the tour",
    no: "No, thanks",
    back: "Back",
    next: "Next",
    end: "Play",
    close: "Close the tour",
    picture: "picture of the tour",
    steps: {
      likelihood: {
        title: "Likelihood",
        text: "A model of images gives each image a probability. Training looks for the weights under which the images of the data are most probable. The map shows what such a model can draw.",
      },
      autoencoder: {
        title: "The autoencoder",
        text: "An encoder reduces an image to a few numbers z, the latent, and a decoder draws the image from them again. Each dot of this map is a real image.",
      },
      wrong: {
        title: "What is wrong with it",
        text: "No cost orders the latent space. Classes lie unevenly, with holes between them, and a point in a hole decodes to no digit. So its new images are poor.",
      },
      regions: {
        title: "From points to regions",
        text: "The variational autoencoder encodes an image as a region instead of a point. All points of the region decode to similar images.",
      },
      gaussian: {
        title: "A Gaussian",
        text: "The region is a Gaussian with a mean and a standard deviation in each dimension: four numbers in two dimensions. The ellipses show 1σ and 2σ.",
      },
      logvar: {
        title: "The log variance",
        text: "A standard deviation is positive. So the encoder returns log σ², which may be any number, and σ follows from it.",
      },
      loss: {
        title: "The loss",
        text: "Two costs in nats: how badly the decoder draws the image, and how far its region is from the prior. β weighs the second. Training makes the sum small.",
      },
      sampling: {
        title: "Sampling",
        text: "The regions fill the prior without holes. So a z from the prior lies in one of them, and the decoder makes a new image of it.",
      },
      trick: {
        title: "Reparameterisation",
        text: "A random draw has no gradient. So the noise ε comes from outside, and z follows from μ and σ by arithmetic. Draw another ε and see what changes.",
      },
    },
  },
  units: {
    nats: /** @param {number} value */ (value) => `${value.toFixed(1)} nats`,
    point: /** @param {number[]} z */ (z) => `(${z.map(two).join(", ")})`,
  },
};
