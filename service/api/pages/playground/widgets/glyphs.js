/** A colour and a shape for each class, on the dark sky of a map. Knows canvases. */

/** Told apart in pairs by people who see few colours, too: neighbours differ in shape. */
export const COLOURS = [
  "#ff8080", "#ffb347", "#f5e663", "#a8e05f", "#4ddba6", "#57d3f2", "#7fb0ff", "#bb9bff", "#ff93de", "#e8e2d6",
];

/** @type {((path: Path2D, r: number) => void)[]} */
const SHAPES = [
  (path, r) => path.arc(0, 0, r, 0, 2 * Math.PI),
  (path, r) => polygon(path, 3, r * 1.25, -Math.PI / 2),
  (path, r) => polygon(path, 4, r * 1.2, Math.PI / 4),
  (path, r) => polygon(path, 4, r * 1.3, 0),
  (path, r) => cross(path, r * 1.15, 0),
  (path, r) => cross(path, r * 1.15, Math.PI / 4),
  (path, r) => polygon(path, 3, r * 1.25, Math.PI / 2),
  (path, r) => star(path, r * 1.45),
  (path, r) => polygon(path, 6, r * 1.15, 0),
  (path, r) => path.rect(-r * 0.4, -r * 1.2, r * 0.8, r * 2.4),
];

/**
 * Draw the glyph of a class.
 * @param {CanvasRenderingContext2D} context
 * @param {number} kind
 * @param {number} x
 * @param {number} y
 * @param {number} r
 */
export function drawGlyph(context, kind, x, y, r) {
  const path = new Path2D();
  SHAPES[kind % SHAPES.length](path, r);
  context.save();
  context.translate(x, y);
  context.lineWidth = r * 0.45;
  context.strokeStyle = "#0b0e1c";
  context.fillStyle = COLOURS[kind % COLOURS.length];
  context.stroke(path);
  context.fill(path);
  context.restore();
}

/** A glyph as a small picture, for a legend. @param {number} kind */
export function glyphCanvas(kind) {
  const canvas = document.createElement("canvas");
  canvas.width = canvas.height = 36;
  canvas.className = "glyph";
  canvas.setAttribute("aria-hidden", "true");
  const context = canvas.getContext("2d");
  if (context) drawGlyph(context, kind, 18, 18, 9);
  return canvas;
}

/** @param {Path2D} path @param {number} sides @param {number} r @param {number} turn */
function polygon(path, sides, r, turn) {
  for (let at = 0; at < sides; at++) {
    const angle = turn + (2 * Math.PI * at) / sides;
    path.lineTo(r * Math.cos(angle), r * Math.sin(angle));
  }
  path.closePath();
}

/** @param {Path2D} path @param {number} r @param {number} turn */
function cross(path, r, turn) {
  const w = 0.32;
  const corners = [[-w, -1], [w, -1], [w, -w], [1, -w], [1, w], [w, w], [w, 1], [-w, 1], [-w, w], [-1, w], [-1, -w], [-w, -w]];
  const [cos, sin] = [Math.cos(turn), Math.sin(turn)];
  for (const [x, y] of corners) path.lineTo(r * (x * cos - y * sin), r * (x * sin + y * cos));
  path.closePath();
}

/** @param {Path2D} path @param {number} r */
function star(path, r) {
  for (let at = 0; at < 10; at++) {
    const angle = -Math.PI / 2 + (Math.PI * at) / 5;
    const reach = at % 2 ? r * 0.45 : r;
    path.lineTo(reach * Math.cos(angle), reach * Math.sin(angle));
  }
  path.closePath();
}
