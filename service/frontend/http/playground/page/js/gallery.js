// All pictures: the bundled ones, and the user's own. Embeddings come in batches, a few at a time.
//
//   waiting ─▶ under way ─▶ vector            one that the server refuses leaves the gallery, with its reason
//      ▲──────────┘ no answer: everything waits until somebody tries again

import { embed, inParallel } from "./api.js";
import { dataUri, isHeic, isImage, prepare } from "./files.js";
import { currentLanguage, t } from "./i18n.js";
import { show } from "./messages.js";
import { limits } from "./model.js";
import { changed } from "./state.js";

export const MOST_OWN = 2000;
const BATCH = 10;
const LANES = 2;
/** From so many on, one's own pictures are bulk work, which lets the searches of others pass. */
const BULK = 20;

/** {id, name, names, own, src, blob, vector}. names: in nine languages, of bundled ones. */
export const pictures = [];
export const refused = [];

/** How far it is: {done, all}. */
export const progress = () => ({
  done: pictures.filter((picture) => picture.vector).length,
  all: pictures.length + preparing,
});

const byId = new Map();
let preparing = 0;
let waiting = [];
let lanes = 0;
let next = 0;
let generation = 0;

export const find = (id) => byId.get(id);
export const nameOf = (picture) => picture.names?.[currentLanguage()] ?? picture.name;
/** The user's own first, then the bundled ones. */
export const ownFirst = () => [...pictures.filter((picture) => picture.own), ...pictures.filter((picture) => !picture.own)];

/** Loads the list of bundled pictures; they themselves come when they are embedded (`pump`) or seen. */
export async function loadBundled() {
  const folder = new URL("playground/pictures/", document.baseURI);
  const answer = await fetch(new URL("names.json", folder));
  if (!answer.ok) throw new Error(`names.json: ${answer.status}`);
  for (const entry of await answer.json()) {
    const src = new URL(entry.file, folder).href;
    add({ id: `bundled:${entry.concept}`, name: entry.file, concept: entry.concept, names: entry.names, own: false, src });
  }
  changed("pictures");
}

/** Takes files of the user's. Each is scaled, then embedded; what is no image is refused by name. */
export async function addFiles(files) {
  const images = files.filter(isImage);
  for (const file of files) if (!isImage(file)) refuse(t("add.notImage", { name: file.name }));
  if (!files.length) refuse(t("add.nothing"));
  const room = MOST_OWN - pictures.filter((picture) => picture.own).length - preparing;
  const taken = images.slice(0, Math.max(0, room));
  if (taken.length < images.length) refuse(t("add.tooMany", { n: images.length - taken.length, most: MOST_OWN }));
  preparing += taken.length;
  changed("pictures");
  await inParallel(taken, LANES, async (file) => {
    try {
      await take(file);
    } catch (error) {
      refuse(t("add.undecodable", { name: file.name, message: error.message }));
    }
    preparing -= 1;
    changed("pictures");
  });
}

async function take(file) {
  const { blob, thumb } = await prepare(file);
  if (blob.size > limits().max_image_bytes) {
    if (thumb) URL.revokeObjectURL(thumb);
    refuse(t("add.tooLarge", { name: file.name, n: Math.floor(limits().max_image_bytes / 1e6) }));
    return;
  }
  next += 1;
  add({ id: `own:${next}`, name: file.name || `${next}`, own: true, src: thumb, blob });
  pump();
}

function add(picture) {
  const added = { vector: null, ...picture };
  pictures.push(added);
  byId.set(added.id, added);
  waiting.push(added);
}

/** Embeds what waits. Called again after a failure, it goes on where it stopped. */
export function pump() {
  while (lanes < LANES && waiting.length) {
    lanes += 1;
    lane(generation);
  }
}

async function lane(mine) {
  try {
    while (waiting.length && mine === generation) {
      // What was added last is what the user waits for.
      waiting.sort((a, b) => b.own - a.own);
      const batch = waiting.splice(0, BATCH);
      try {
        await embedBatch(batch, mine);
      } catch (error) {
        if (mine === generation) waiting.unshift(...batch);
        show(error);
        return;
      }
      if (mine === generation) changed("vectors");
    }
  } finally {
    lanes -= 1;
    if (mine !== generation) pump();
  }
}

async function embedBatch(batch, mine) {
  const items = await Promise.all(batch.map(async (picture) => ({ image: await dataUri(await blobOf(picture)) })));
  const priority = waiting.length > BULK && batch[0].own ? "bulk" : "interactive";
  const { rows } = await embed(items, { priority, tries: 8 });
  if (mine !== generation) return;
  batch.forEach((picture, at) => {
    if (rows[at].error) drop(picture, rows[at].error);
    else picture.vector = rows[at].vector;
  });
}

/** The file of a picture; a bundled one is fetched, once. */
export async function blobOf(picture) {
  if (!picture.blob) {
    const answer = await fetch(picture.src);
    if (!answer.ok) throw new Error(`${picture.name}: ${answer.status}`);
    picture.blob = await answer.blob();
  }
  return picture.blob;
}

function drop(picture, error) {
  const at = pictures.indexOf(picture);
  if (at < 0) return;
  pictures.splice(at, 1);
  byId.delete(picture.id);
  if (picture.own && picture.src) URL.revokeObjectURL(picture.src);
  refuse(reason(picture, error));
  changed("pictures");
}

/** Why the server does not take a picture, and what to do. Which item of a request it was says nothing here. */
function reason({ name, blob }, { code, message }) {
  if (code === "image_too_large") return t("add.tooLarge", { name, n: Math.floor(limits().max_image_bytes / 1e6) });
  if (code === "unsupported_image" && isHeic(name, blob)) return t("add.heic", { name });
  return t("add.undecodable", { name, message: `${message.replace(/^[\w.[\]]+: /, "").replace(/\.$/, "")}.` });
}

function refuse(sentence) {
  refused.push(sentence);
  changed("refused");
}

/** Embeds everything anew: another model answers now. */
export function embedAgain() {
  generation += 1;
  for (const picture of pictures) picture.vector = null;
  waiting = [...pictures];
  pump();
  changed("vectors");
}

/** Removes the user's own pictures. */
export function removeOwn() {
  for (const picture of pictures) {
    if (picture.own && picture.src) URL.revokeObjectURL(picture.src);
    if (picture.own) byId.delete(picture.id);
  }
  const kept = pictures.filter((picture) => !picture.own);
  pictures.splice(0, pictures.length, ...kept);
  waiting = waiting.filter((picture) => !picture.own);
  changed("pictures");
  changed("vectors");
}
