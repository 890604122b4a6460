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
    /** @param {string} label */
    changed: (label) => `The server now has ${label}. The page uses it.`,
    /** @param {string} asked @param {string} got */
    moved: (asked, got) => `The server has no ${asked}. The page shows ${got}.`,
  },
  trouble: {
    offline: "The server does not answer. The page tries again by itself.",
    back: "The server answers again.",
    /** @param {number} seconds */
    busy: (seconds) => `The server is busy. Next try in ${seconds} s.`,
    gone: "The server no longer has this version. The page looks for another one.",
    /** @param {string} detail */
    refused: (detail) => `The server refused this: ${detail}`,
    /** @param {string} detail */
    failed: (detail) => `The server failed: ${detail}`,
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
    /** @param {string} point @param {string} label */
    at: (point, label) => `Point ${point}${label ? `, the nearest real image is a ${label}` : ""}.`,
    /** @param {string} label @param {string} distance */
    near: (label, distance) => `The nearest real image${label ? ` is a ${label}` : ""}, ${distance} away.`,
    /** @param {number} size */
    slice: (size) =>
      `A slice of ${size} dimensions: the others keep the values of the point. Dots are shadows of real images on it.`,
    throughAbout: "A plane through three real images: it passes through regions that the model uses.",
    noPreview: "This version has no preview, so the map shows no real images.",
  },
  draw: {
    lead: "Draw a digit. The encoder answers with a region of the map, and the decoder draws your digit from its middle.",
    other:
      "This model has another shape than a drawing of MNIST. Send a picture: the server brings it to the model's size.",
    board: "Canvas to draw on",
    here: "Draw a digit here",
    keys: "With keys: arrows move the pen, Shift takes longer steps, Space lowers and lifts it, Backspace undoes.",
    width: "Thickness of the pen",
    undo: "Undo",
    clear: "Clear",
    drop: "or drop or paste one here",
    /** @param {string} name */
    unreadable: (name) =>
      `${name} shows nothing that the page can read. Send a PNG, JPEG or WebP of one figure on an even ground.`,
    examples: "Or take one of these",
    others: "Others",
    /** @param {string} label */
    example: (label) => `Example ${label}`,
    seen: "what the model sees",
    again: "its reconstruction",
    error: "error: orange too light, blue too dark",
    plot: "Map with the region of the picture",
    region: "Where the picture lies.",
    zoomed: "Its region, enlarged: 1σ and 2σ of its Gaussian, and what the points in it decode to.",
    /** @param {string} place */
    said: (place) => `The picture lies at ${place}.`,
    costs: "What it costs",
    reconstruction: "Reconstruction: −log p(x|z)",
    kl: "KL to the prior",
    usual: "the average of the test set",
  },
  pictures: {
    title: "The image",
    example: "An example",
    sample: "A new sample",
    another: "Another example",
    draw: "Draw one",
    drawn: "The drawn image",
    file: "From a file",
  },
  noise: {
    lead: "The encoder answers with a Gaussian, not with a point. A draw from it is z = μ + σ · ε. All chance is in ε, which comes from outside, so gradients pass through μ and σ.",
    another: "Draw another ε",
    scale: "Scale of ε",
    toMap: "Show z on the map",
    atMean: "Decoded at z = μ",
    atDraw: "Decoded at z = μ + σ · ε",
    draws: "Sixteen draws",
    average: "Mean of the draws",
    spread: "Spread of the draws",
    spreadNote: "Bright pixels of the spread differ from draw to draw: there, the posterior is unsure.",
    plane: "μ with 1σ and 2σ, z (ring) and the sixteen draws",
    numbers: "μ, σ, ε and z of each dimension",
    dimension: "Dimension",
    plain:
      "This model is an autoencoder. It maps the image to one point and has no σ, so there is nothing to draw. Choose a VAE above to see the noise.",
  },
  dimensions: {
    lead: "One slider for each latent dimension, the most used first. The images under a slider show what it does from here.",
    image: "The decoded point",
    reset: "Reset to 0",
    random: "Random from the prior",
    toMap: "Show on the map",
    vae: "KL says how many nats an image spends on a dimension. A dead dimension has none: its slider changes nothing.",
    ae: "An autoencoder has no prior and no KL, so its dimensions come in their own order.",
    dead: "dead",
    /** @param {number} nats */
    kl: (nats) => `KL ${two(nats)} nats`,
    /** @param {string} name */
    strip: (name) => `Images along ${name}`,
    /** @param {number} value */
    length: (value) => `Distance of z from the origin: ${two(value)}`,
  },
  samples: {
    lead: "Draw z from a prior, decode it, and get an image that the model has never seen.",
    n: "Images",
    temperature: "Temperature",
    prior: "Prior",
    /** @param {string} prior @returns {string} */
    priors: (prior) =>
      ({ fitted: "fitted to the training images", learned: "learned with the model" })[prior] ?? "N(0, I)",
    label: "Label",
    anyLabel: "any",
    seed: "Seed",
    again: "Draw again",
    chosen: "The chosen sample",
    /** @param {number} at */
    image: (at) => `Sample ${at}`,
    /** @param {number} at @param {number} length @param {number | null} usual */
    facts: (at, length, usual) =>
      `Sample ${at}: |z| = ${two(length)}${usual === null ? "" : `; N(0, I) has about ${two(usual)}`}`,
    toMap: "To the map",
    toSliders: "To the sliders",
    toNoise: "To Noise, as the image",
    png: "Save all as PNG",
    npy: "Save all as npy",
    note: "The same seed always draws the same images. A smaller temperature draws more usual ones, a larger one stranger ones.",
    none: "This model is an autoencoder. It has no distribution over z, so there is nothing to draw from. That is one of the reasons for the VAE.",
    compare: "Compare both kinds",
  },
  between: {
    lead: "Images on the way from A to B. A straight line (lerp) may pass near the origin, where few images are. An arc (slerp) keeps the length.",
    first: "Image A",
    last: "Image B",
    place: "Position on the path",
    /** @param {number} at @param {number} of */
    step: (at, of) => `${at} of ${of}`,
    play: "Play",
    pause: "Pause",
    methods: { lerp: "lerp: straight", slerp: "slerp: along an arc" },
    /** @param {string} name */
    strip: (name) => `Images of the path, ${name}`,
    chart: "Distance of z from the origin along both paths",
    axes: { x: "step", y: "|z|" },
    plane: "Both paths: lerp with the line, slerp with blue dots",
    note: "A draw of N(0, I) in n dimensions is about √n away from the origin. A straight line leaves this shell.",
  },
  kinds: {
    lead: "Both models have an encoder and a decoder. Only the VAE learned regions and a prior. Three complaints about the autoencoder become visible.",
    names: { ae: "Autoencoder", vae: "VAE" },
    missing:
      "This comparison needs an autoencoder and a VAE for images of the same shape. Load one of each: vae-train trains both kinds.",
    mapTitle: "1. Its space is hard to read",
    mapNote:
      "The same images on both maps, in the colours of their classes. Move over a map to decode a point. Nothing tells the autoencoder where to put its codes, and how far apart.",
    walkTitle: "2. It has holes",
    walkNote:
      "The straight way between the same two images. Where no code was, the autoencoder's decoder was never trained.",
    drawTitle: "3. Draws from it look poor",
    drawNote:
      "Both decoders get draws of N(0, I). The VAE was trained to expect them. The autoencoder never learned where its codes are, so the draws miss most of them.",
    /** @param {string} name */
    map: (name) =>
      `Map of the ${name}. Arrow keys move the point, Shift for larger steps, Home for the origin.`,
    /** @param {string} name */
    step: (name) => `Walk of the ${name}`,
    /** @param {string} name @param {number} at */
    draw: (name, at) => `Draw ${at} of the ${name}`,
    walk: "Images of the walk",
    first: "Image A",
    last: "Image B",
    others: "Two other images",
    place: "Position on the walk",
    again: "Draw again",
    /** @param {number} n @param {string} model */
    real: (n, model) => `${n} real images, published with ${model}.`,
    /** @param {number} n @param {string} model */
    drawn: (n, model) => `${n} images, drawn by ${model}.`,
  },
  loss: {
    lead: "The loss has two terms: what the reconstruction costs, and what it costs to describe the region. Every loaded VAE rates the same image.",
    termsTitle: "Reconstruction + β · KL",
    reconstruction: "Reconstruction",
    weighted: "β · KL",
    terms:
      /** @param {string} reconstruction @param {string} beta @param {string} kl @param {string} weighted */ (
        reconstruction,
        beta,
        kl,
        weighted,
      ) => `${reconstruction} + ${beta} · ${kl} (${weighted})`,
    beta: "β",
    betaNote:
      "With β = 1 the loss is −ELBO, a bound on −log p(x). A larger β asks for regions nearer to the prior and pays with blur.",
    boundTitle: "The bound tightens with K",
    boundNote:
      "The importance-weighted bound averages K draws of z. It rises towards log p(x) as K grows; K = 1 is the ELBO of one draw.",
    chart: "Bound on log p(x) by the number of draws K, for each VAE",
    /** @param {[model: string, nats: number][]} bounds */
    boundSaid: (bounds) =>
      `Bound on log p(x): ${bounds.map(([model, nats]) => `${model} ${nats.toFixed(1)} nats`).join(", ")}`,
    nats: "nats",
    again: "Another seed",
    drawsNote: "A Bernoulli model rates binary images, so grey pixels are drawn by the seed.",
    warning:
      "A good score does not make an image usual: simple images, even an empty one, often score better than real digits.",
    missing: "No VAE for images of this shape is loaded. An autoencoder gives images no probability.",
  },
  tour: {
    invitation: "New here? The tour shows in a minute how a variational autoencoder works.",
    start: "Start the tour",
    no: "No, thanks",
    back: "Back",
    next: "Next",
    end: "Play",
    close: "Close the tour",
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
    /** @param {number} value */
    nats: (value) => `${value.toFixed(1)} nats`,
    /** @param {number[]} z */
    point: (z) => `(${z.map(two).join(", ")})`,
  },
};
