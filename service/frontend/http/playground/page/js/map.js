// The map: pictures and texts in two dimensions, drawn on a canvas that can be moved and enlarged.

import { comparedTexts } from "./compare.js";
import { $, h, isShortcut, onceAFrame, settled } from "./dom.js";
import { find, nameOf, pictures } from "./gallery.js";
import { t } from "./i18n.js";
import { centred, mean, pca } from "./pca.js";
import { setResult } from "./results.js";
import { drawing } from "./search.js";
import { on, state } from "./state.js";
import { ranked } from "./vectors.js";
import { knownWords } from "./words.js";

const STEP = 1.3;
/** A wheel turns so many pixels for one step; a trackpad sends a few at a time. Pinching counts ten times. */
const WHEEL = 100;
const LINE = 33;
const PINCH = 10;
/** More pictures than this are drawn from small copies: to scale each of two thousand anew takes too long. */
const MANY = 200;
const COPY = 24;
/** So many copies are made in a frame; the others come in the next ones. */
const COPIES = 100;
const images = new Map();
const copies = new Map();

let points = [];
let view = { x: 0, y: 0, zoom: 1 };
let hovered = null;
/** What presses the canvas, the mouse or fingers: where each was last, in CSS pixels. */
const pressed = new Map();

/** Once, at the start. */
export function startMap() {
  on("vectors tab texts language", settled(update, 120));
  on("theme", () => {
    copies.clear(); // own pictures have a frame in the theme's colour
    drawSoon();
  });
  on("weights", () => {
    points = [];
    drawSoon();
  });
  const canvas = $("canvas");
  new ResizeObserver(drawSoon).observe(canvas);
  $("zoom-in").addEventListener("click", () => zoom(STEP));
  $("zoom-out").addEventListener("click", () => zoom(1 / STEP));
  $("zoom-reset").addEventListener("click", whole);
  canvas.addEventListener("wheel", (event) => {
    const turned = -event.deltaY * (event.deltaMode === WheelEvent.DOM_DELTA_PIXEL ? 1 : LINE) * (event.ctrlKey ? PINCH : 1);
    const wanted = event.ctrlKey || view.zoom > 1 || (turned > 0 && document.activeElement === canvas);
    if (!turned || !wanted) return; // the page scrolls on
    event.preventDefault();
    zoom(STEP ** (turned / WHEEL), event.offsetX, event.offsetY);
  }, { passive: false });
  canvas.addEventListener("pointerdown", (event) => {
    if (event.button !== 0) return;
    canvas.setPointerCapture(event.pointerId);
    pressed.set(event.pointerId, [event.offsetX, event.offsetY]);
    hover(event.offsetX, event.offsetY); // a finger does not come near before
  });
  canvas.addEventListener("pointermove", (event) => {
    if (!event.buttons) pressed.delete(event.pointerId); // let go where nobody told us
    if (pressed.has(event.pointerId)) drag(event);
    else hover(event.offsetX, event.offsetY);
  });
  for (const end of ["pointerup", "pointercancel"]) canvas.addEventListener(end, (event) => pressed.delete(event.pointerId));
  canvas.addEventListener("keydown", (event) => {
    if (isShortcut(event)) return;
    const moves = { ArrowLeft: [40, 0], ArrowRight: [-40, 0], ArrowUp: [0, 40], ArrowDown: [0, -40] };
    if (event.key in moves) move(...moves[event.key]);
    else if (event.key === "+") zoom(STEP);
    else if (event.key === "-") zoom(1 / STEP);
    else if (event.key === "0") whole();
    else return;
    event.preventDefault();
  });
}

function whole() {
  view = { x: 0, y: 0, zoom: 1 };
  drawSoon();
}

function zoom(factor, x = $("canvas").clientWidth / 2, y = $("canvas").clientHeight / 2) {
  const next = Math.max(1, Math.min(30, view.zoom * factor));
  const actual = next / view.zoom;
  view = { zoom: next, x: x - (x - view.x) * actual, y: y - (y - view.y) * actual };
  if (next === 1) view = { x: 0, y: 0, zoom: 1 };
  drawSoon();
}

/** The map follows what presses it; two fingers zoom as well. */
function drag({ pointerId, offsetX, offsetY }) {
  const before = [...pressed.values()];
  pressed.set(pointerId, [offsetX, offsetY]);
  const after = [...pressed.values()];
  const [from, to] = [centre(before), centre(after)];
  move(to[0] - from[0], to[1] - from[1]);
  if (after.length === 2) zoom(apart(after) / apart(before), ...to);
}

const centre = (places) => [0, 1].map((axis) => places.reduce((sum, place) => sum + place[axis], 0) / places.length);
const apart = ([a, b]) => Math.max(1, Math.hypot(a[0] - b[0], a[1] - b[1]));

function move(x, y) {
  view.x += x;
  view.y += y;
  drawSoon();
}

/** The texts of the other tabs, each once. */
function texts() {
  const parts = [...comparedTexts(), ...knownWords()];
  return [...new Map(parts.map((each) => [each.text, each])).values()];
}

function update() {
  if (state.tab !== "map") return;
  const seen = pictures.filter((picture) => picture.vector);
  const width = seen[0]?.vector.length;
  const said = texts().filter((each) => !width || each.vector.length === width);
  const enough = seen.length + said.length >= 3;
  $("map-hover").textContent = enough ? "" : t("map.few");
  // Texts and pictures lie in two cones of their own: without this the first axis would only tell which is which.
  const rows = [seen, said].flatMap((kind) => {
    const vectors = kind.map((each) => each.vector);
    return vectors.length ? centred(vectors, mean(vectors)) : [];
  });
  const places = enough ? pca(rows) : [];
  points = places.map(([x, y], at) => ({ x, y, ...(at < seen.length ? { picture: seen[at] } : { text: said[at - seen.length].text }) }));
  $("canvas").setAttribute("aria-label", t("map.label", { pictures: seen.length, texts: said.length }));
  $("nearest").replaceChildren(...said.map((each) => nearest(each, seen)));
  setResult("map", enough ? { points: points.map(({ x, y, picture, text }) => ({ x, y, ...(picture ? { picture: picture.name } : { text }) })) } : null);
  load(seen);
  draw();
}

function nearest({ text, vector }, seen) {
  const [first] = ranked(vector, seen);
  return h("li", {}, h("bdi", {}, text), document.documentElement.dir === "rtl" ? "←" : "→", ...(first ? [drawing(first.picture), h("bdi", {}, nameOf(first.picture))] : []));
}

function load(seen) {
  for (const { id, src } of seen) {
    if (images.has(id) || !src) continue;
    const image = new Image();
    image.src = src;
    image.decode().then(settledDraw, () => {});
    images.set(id, image);
  }
  for (const kept of [images, copies]) for (const id of kept.keys()) if (!find(id)) kept.delete(id);
}

const settledDraw = settled(() => draw(), 50);
const drawSoon = onceAFrame(() => draw());

function spread(canvas) {
  const edge = 56;
  const xs = points.map((point) => point.x);
  const ys = points.map((point) => point.y);
  const fit = (low, high, size) => (value) => edge + ((value - low) / (high - low || 1)) * (size - 2 * edge);
  const x = fit(Math.min(...xs), Math.max(...xs), canvas.clientWidth);
  const y = fit(Math.min(...ys), Math.max(...ys), canvas.clientHeight);
  return (point) => [x(point.x) * view.zoom + view.x, y(point.y) * view.zoom + view.y];
}

function draw() {
  const canvas = $("canvas");
  if (state.tab !== "map" || !canvas.clientWidth) return;
  canvas.style.touchAction = view.zoom > 1 ? "none" : ""; // a finger moves what is enlarged, and else scrolls the page
  const ratio = devicePixelRatio || 1;
  canvas.width = Math.round(canvas.clientWidth * ratio);
  canvas.height = Math.round(canvas.clientHeight * ratio);
  const pen = canvas.getContext("2d");
  pen.setTransform(ratio, 0, 0, ratio, 0, 0);
  pen.clearRect(0, 0, canvas.clientWidth, canvas.clientHeight);
  if (!points.length) return;
  const place = spread(canvas);
  const style = getComputedStyle(canvas);
  const size = Math.max(16, Math.min(44, 320 / Math.sqrt(points.length))) * Math.min(3, Math.sqrt(view.zoom));
  const { clientWidth: width, clientHeight: height } = canvas;
  const placed = points.map((point) => ({ ...point, at: place(point) }));
  const seen = placed.filter(({ at: [x, y] }) => x > -size && y > -size && x < width + size && y < height + size);
  const many = seen.length > MANY;
  let room = COPIES;
  for (const { picture, at } of seen) {
    if (!picture) continue;
    const image = images.get(picture.id);
    if (many && image?.complete && !copies.has(picture.id) && room-- > 0) copies.set(picture.id, copyOf(image, picture.own, ratio, style));
    const copy = many && copies.get(picture.id);
    if (copy) pen.drawImage(copy, at[0] - size / 2, at[1] - size / 2, size, size);
    else drawPicture(pen, many ? null : image, at, size, picture.own, style);
  }
  if (room < 0) drawSoon();
  pen.font = `600 13px ${style.fontFamily}`;
  pen.textAlign = "center";
  pen.textBaseline = "middle";
  for (const { text, at } of seen) if (text) drawText(pen, text, at, style);
}

/** A picture as it is drawn, small. */
function copyOf(image, own, ratio, style) {
  const side = Math.ceil(COPY * ratio);
  const sheet = new OffscreenCanvas(side, side);
  const pen = sheet.getContext("2d");
  pen.scale(ratio, ratio);
  drawPicture(pen, image, [COPY / 2, COPY / 2], COPY - 3, own, style); // its frame lies half outside
  return sheet.transferToImageBitmap();
}

function drawPicture(pen, image, [x, y], size, own, style) {
  pen.fillStyle = "#fff";
  pen.strokeStyle = own ? style.color : style.borderTopColor;
  pen.lineWidth = own ? 3 : 1;
  pen.beginPath();
  pen.roundRect(x - size / 2, y - size / 2, size, size, 6);
  pen.fill();
  pen.stroke();
  if (!image?.complete || !image.naturalWidth) return;
  const scale = (size - 6) / Math.max(image.naturalWidth, image.naturalHeight);
  pen.drawImage(image, x - (image.naturalWidth * scale) / 2, y - (image.naturalHeight * scale) / 2, image.naturalWidth * scale, image.naturalHeight * scale);
}

function drawText(pen, text, [x, y], style) {
  const shown = [...text].slice(0, 24).join("");
  const width = pen.measureText(shown).width + 14;
  pen.fillStyle = style.color;
  pen.beginPath();
  pen.roundRect(x - width / 2, y - 11, width, 22, 11);
  pen.fill();
  pen.fillStyle = style.textDecorationColor;
  pen.fillText(shown, x, y + 1);
}

function hover(x, y) {
  if (!points.length) return;
  const place = spread($("canvas"));
  let found = null;
  let closest = 24;
  for (const point of points) {
    const [left, top] = place(point);
    const far = Math.hypot(left - x, top - y);
    if (far < closest) [found, closest] = [point, far];
  }
  if (found === hovered) return;
  hovered = found;
  $("map-hover").textContent = found ? found.text ?? nameOf(found.picture) : "";
}
