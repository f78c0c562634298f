// Pictures ranked for a query: words, a picture, or a weighted sum of several of either.

import { ApiError, embedText } from "./api.js";
import { $, h, onceAFrame, place, say, settled } from "./dom.js";
import { find, nameOf, pictures, progress, pump } from "./gallery.js";
import { format, t } from "./i18n.js";
import { show, solved } from "./messages.js";
import { limits } from "./model.js";
import { setResult } from "./results.js";
import { changed, on, state } from "./state.js";
import { ranked, weighted } from "./vectors.js";

/** So many cards are shown at first, and so many more come in a frame while the end of the list is near. */
const PAGE = 24;
const STEP = 8;
/** Places in the ranking that are seen without scrolling. */
const SEEN = 3;
const EXAMPLES = ["strawberry", "猫", "fusée", "зонт", "ギター", "قطة"];

let vector = null;
let tokens = new Map();
let revision = "";
let shown = PAGE;
let rows = [];
let best = 1;
/** The query of which the best picture was said last. */
let told = null;
let running = null;
/** The query that is answered or under way, and the weights that answer it. */
let asked = "";
const cards = new Map();

/** Once, at the start. */
export function startSearch() {
  $("query").addEventListener("submit", (event) => event.preventDefault());
  $("add-part").addEventListener("click", () => {
    state.parts.push({ text: "", weight: 1 });
    drawParts();
    $("parts").querySelector("li:last-child input").focus();
  });
  on("typed", settled(run, 120));
  on("vectors", settled(() => (vector === null && picturesAreKnown() ? run() : drawRanking()), 60));
  on("weights", () => {
    asked = "";
    vector = null;
    tokens = new Map();
    drawTokens();
    drawRanking();
  });
  on("pictures", dropGone);
  on("pictures", settled(drawRanking, 60));
  on("language", () => {
    cards.clear();
    drawParts();
    drawExamples();
    drawRanking();
  });
  $("more").addEventListener("click", () => more(PAGE));
  $("own-best").addEventListener("click", () => {
    const at = firstOwn();
    while (shown <= at) more();
    const { element } = cards.get(rows[at].picture.id);
    element.querySelector("button").focus({ preventScroll: true });
    element.scrollIntoView({ block: "center" });
  });
  let near = false;
  const fill = onceAFrame(() => {
    if (!near) return;
    more();
    fill();
  });
  new IntersectionObserver((seen) => {
    near = seen.at(-1).isIntersecting;
    if (near) fill();
  }, { rootMargin: "1200px" }).observe($("more"));
}

/** Replaces the query by this picture. */
export function searchWith(id) {
  state.parts = [{ picture: id, weight: 1 }];
  queryChanged();
}

function addPicture(id, weight) {
  state.parts = state.parts.filter((part) => part.picture || part.text);
  state.parts.push({ picture: id, weight });
  queryChanged();
}

const isHere = (part) => !part.picture || find(part.picture) !== undefined;

function queryChanged() {
  state.parts = state.parts.filter(isHere);
  if (!state.parts.length) state.parts.push({ text: "", weight: 1 });
  drawParts();
  changed("typed");
}

/** Takes pictures out of the query that have left the gallery. */
function dropGone() {
  if (!state.parts.every(isHere)) queryChanged();
}

export function drawParts() {
  const [first, ...others] = state.parts;
  const summed = others.length > 0 || first.weight !== 1;
  const held = [...$("parts").children].findIndex((row) => row.contains(document.activeElement));
  $("formula").hidden = !summed;
  $("parts").replaceChildren(...state.parts.map((part, at) => drawPart(part, at, summed)));
  if (held >= 0) $("parts").children[Math.min(held, others.length)].querySelector("input, button").focus();
  drawTokens();
}

function drawPart(part, at, summed) {
  const row = h("li", { class: "part" });
  if (part.picture) {
    const picture = find(part.picture);
    row.append(h("span", { class: "part-picture" }, picture.src ? h("img", { src: picture.src, alt: "" }) : "", h("bdi", {}, nameOf(picture))));
  } else {
    const input = h("input", { type: "search", dir: "auto", enterkeyhint: "search", placeholder: t("search.placeholder"), "aria-label": t("search.what"), id: `part-${at}`, "aria-describedby": `tokens-${at}` });
    input.value = part.text;
    input.addEventListener("input", () => {
      part.text = input.value;
      changed("typed");
    });
    row.append(input);
  }
  if (summed) {
    const weight = h("input", { type: "number", step: "0.1", "aria-label": t("search.weight"), class: "weight" });
    weight.value = part.weight;
    weight.addEventListener("input", () => {
      part.weight = Number.isFinite(weight.valueAsNumber) ? weight.valueAsNumber : 0;
      changed("typed");
    });
    row.append(weight);
  }
  if (summed || part.picture) {
    const remove = () => {
      state.parts.splice(at, 1);
      queryChanged();
    };
    row.append(h("button", { type: "button", class: "quiet", "aria-label": t("search.remove"), onclick: remove }, "×"));
  }
  row.append(h("span", { class: "muted tokens", id: `tokens-${at}` }));
  return row;
}

function drawTokens() {
  state.parts.forEach((part, at) => {
    const place = $(`tokens-${at}`);
    const known = part.picture ? null : tokens.get(part.text);
    if (place) place.textContent = known ? tokenWords(known) : "";
    place?.classList.toggle("cut", Boolean(known?.truncated));
  });
}

/** How many tokens a text has, and whether it was cut. */
export function tokenWords({ tokens: n, truncated }) {
  const most = limits().max_tokens;
  return truncated ? t("tokens.cut", { most }) : t("tokens.one", { n, most });
}

function drawExamples() {
  const example = (text) =>
    h("button", { type: "button", class: "chip", dir: "auto", onclick: () => {
      state.parts = [{ text, weight: 1 }];
      queryChanged();
      $("part-0").focus();
    } }, text);
  $("examples").replaceChildren(h("span", { class: "muted" }, t("search.examples")), ...EXAMPLES.map(example));
}

/** Embeds the query and ranks, unless that is done. A later query stops an earlier one. */
export async function run() {
  const parts = state.parts.filter((part) => part.picture || part.text.trim());
  const { name, revision } = limits();
  const wanted = JSON.stringify([name, revision, parts]);
  if (wanted === asked) return;
  asked = wanted;
  running?.abort();
  running = new AbortController();
  const { signal } = running;
  shown = PAGE;
  try {
    const found = parts.length ? await query(parts, signal) : null;
    if (signal.aborted) return;
    vector = found;
    if (parts.length && !found) asked = "";
    solved("search");
    if (found) pump(); // the server answers: what has failed before may go on
  } catch (error) {
    if (signal.aborted) return;
    vector = null;
    asked = "";
    show(error, "search");
  }
  drawTokens();
  drawRanking();
}

/** The sum of the parts; null as long as a picture among them waits for its embedding. */
async function query(parts, signal) {
  const texts = parts.filter((part) => !part.picture).map((part) => part.text);
  const known = await Promise.all(texts.map((text) => embedText(text, signal)));
  if (signal.aborted) return null;
  tokens = new Map(texts.map((text, at) => [text, known[at]]));
  revision = known[0]?.revision ?? limits().revision;
  const vectors = parts.map((part) => (part.picture ? find(part.picture)?.vector : tokens.get(part.text).vector));
  if (!vectors.every(Boolean)) return null;
  const sum = weighted(vectors, parts.map((part) => part.weight));
  if (!sum) throw new ApiError("refused", "", { code: "zero_sum" });
  return sum;
}

/** Whether pictures are in the query, and all of them have their embeddings. */
function picturesAreKnown() {
  const ids = state.parts.flatMap((part) => part.picture ?? []);
  return ids.length > 0 && ids.every((id) => find(id)?.vector);
}

/** The ranked pictures, best first; none without a query. */
export const bestPictures = () => (vector ? ranked(vector, pictures).map((row) => row.picture) : []);

/** The next ones. Those above stay as they are: to place two thousand of them anew would hold up the scrolling. */
function more(step = STEP) {
  if (shown >= rows.length) return;
  const next = rows.slice(shown, shown + step);
  $("ranking").append(...next.map((row, at) => card(row, shown + at)));
  shown += step;
  $("more").hidden = shown >= rows.length;
}

const firstOwn = () => rows.findIndex((row) => row.picture.own);

/** Where the best of the user's own pictures stands, as it may be far down. */
function drawOwn() {
  const at = vector ? firstOwn() : -1;
  $("own-best").hidden = at < SEEN;
  if (at < SEEN) return;
  const { picture, score } = rows[at];
  $("own-best").textContent = t("search.own", { name: nameOf(picture), place: format(at + 1, 0), all: format(rows.length, 0), score: format(score, 2) });
}

function drawRanking() {
  rows = vector ? ranked(vector, pictures) : pictures.map((picture) => ({ picture, score: null }));
  if (!vector) rows.sort((a, b) => b.picture.own - a.picture.own);
  best = Math.max(0.01, rows[0]?.score ?? 1);
  place($("ranking"), rows.slice(0, shown).map(card));
  $("more").hidden = shown >= rows.length;
  $("more").textContent = t("search.more");
  drawOwn();
  for (const id of cards.keys()) if (!find(id)) cards.delete(id);
  if (!vector) {
    $("search-status").textContent = "";
    setResult("search", null);
    return;
  }
  sayBest();
  setResult("search", {
    query: state.parts.map((part) => ({ ...(part.picture ? { picture: find(part.picture)?.name } : { text: part.text }), weight: part.weight })),
    revision,
    ranking: rows.map(({ picture, score }) => ({ picture: picture.name, own: picture.own, score })),
  });
}

/** To a screen reader: of each query once, and again when all pictures are there. Hundreds may come in between. */
function sayBest() {
  const { done, all } = progress();
  if (vector === told && done < all) return;
  told = vector;
  const [first] = rows;
  say("search-status", first ? t("search.best", { n: rows.length, name: nameOf(first.picture), score: format(first.score, 2) }) : "");
}

function card({ picture, score }, at) {
  const made = cards.get(picture.id) ?? newCard(picture);
  cards.set(picture.id, made);
  const { element, number, bar, rank } = made;
  element.classList.toggle("first", at === 0 && score !== null);
  rank.textContent = score === null ? "" : format(at + 1, 0);
  number.textContent = score === null ? "" : format(score, 2);
  bar.style.inlineSize = score === null ? "0" : `${Math.max(0, Math.min(1, score / best)) * 100}%`;
  return element;
}

function newCard(picture) {
  const name = nameOf(picture);
  const action = (key, label, run) => h("button", { type: "button", class: "mini", "aria-label": t(key, { name }), title: t(key, { name }), onclick: run }, label);
  const rank = h("span", { class: "rank", "aria-hidden": "true" });
  const number = h("span", { class: "score" });
  const bar = h("span", { class: "bar" });
  const element = h(
    "li",
    { class: picture.own ? "card own" : "card" },
    h("button", { type: "button", class: "show", "aria-label": t("search.with", { name }), title: name, onclick: () => searchWith(picture.id) }, drawing(picture)),
    rank,
    h("p", { class: "name" }, h("bdi", {}, name), picture.own ? h("span", { class: "badge" }, t("picture.own")) : null),
    h("p", { class: "line" }, number, action("search.plus", "＋", () => addPicture(picture.id, 1)), action("search.minus", "－", () => addPicture(picture.id, -1))),
    h("span", { class: "track" }, bar),
  );
  return { element, number, bar, rank };
}

/** The picture itself, or a mark in place of one that this browser cannot draw. */
export function drawing(picture, alt = "") {
  return picture.src ? h("img", { src: picture.src, alt, loading: "lazy", decoding: "async", width: 128, height: 128 }) : h("span", { class: "unseen", role: "img", "aria-label": nameOf(picture) }, "▧");
}
