// All pictures: the bundled ones, and the user's own. Embeddings come in batches, a few at a time.
//
//   waiting ─▶ under way ─▶ vector            one that the server refuses leaves the gallery, with its reason
//      ▲──────────┘ no answer: everything waits until somebody tries again, or the server answers something else.
//                   A server that is busy or away is asked again without that.

import { ApiError, embed, inParallel } from "./api.js";
import { address } from "./dom.js";
import { dataUri, isHeic, isImage, prepare } from "./files.js";
import { currentLanguage, t } from "./i18n.js";
import { show, solved } from "./messages.js";
import { isKnown, limits, serverFacts } from "./model.js";
import { changed } from "./state.js";

export const MOST_OWN = 2000;
const BATCH = 10;
/** Bytes of a batch in base64: a slow connection, too, sends them within the time that a call has. */
const BATCH_BYTES = 4 << 20;
/** Of a request's body, what is no picture. */
const FRAME = 1000;
const LANES = 2;
/** From so many on, one's own pictures are bulk work, which lets the searches of others pass. */
const BULK = 20;
/** Milliseconds. Pictures wait as long as this without a word where the server says so, as a key with a quota makes it do. */
const PATIENCE = 30_000;
/** Milliseconds after which they go on by themselves. Doubled each time, as they may be large and a server starts for long. */
const PAUSE = 3_000;
const LONGEST_PAUSE = 60_000;
/** The longest wait that a server is believed. Milliseconds. */
const LONGEST_WAIT = 3_600_000;

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
let loading = null;
let timer = 0;
let pause = PAUSE;
/** How often the user has removed the pictures. */
let removals = 0;

export const find = (id) => byId.get(id);
export const nameOf = (picture) => picture.names?.[currentLanguage()] ?? picture.name;
/** The user's own first, then the bundled ones. */
export const ownFirst = () => [...pictures.filter((picture) => picture.own), ...pictures.filter((picture) => !picture.own)];

/**
 * Loads the list of bundled pictures, once; after a failure it is tried again. They themselves come when they are embedded
 * (`pump`) or seen.
 */
export function loadBundled() {
  loading ??= readBundled().then(
    () => solved("bundled"),
    (error) => {
      loading = null;
      show(error, "bundled");
    },
  );
  return loading;
}

async function readBundled() {
  const folder = address("playground/pictures/");
  for (const entry of await fetched(new URL("names.json", folder), (answer) => answer.json())) {
    const src = new URL(entry.file, folder).href;
    add({ id: `bundled:${entry.concept}`, name: entry.file, concept: entry.concept, names: entry.names, own: false, src });
  }
  changed("pictures");
  changed("typed"); // the nine words stand in the list
  pump();
}

/** What `read` makes of a file of the page. */
async function fetched(place, read) {
  try {
    const answer = await fetch(place);
    if (!answer.ok) throw new Error(`${answer.status}`);
    return await read(answer);
  } catch (error) {
    throw new ApiError("offline", `${place}: ${error.message}`);
  }
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
  const before = removals;
  const wanted = () => before === removals;
  await inParallel(taken, LANES, async (file) => {
    try {
      if (wanted()) await take(file, wanted);
    } catch (error) {
      if (wanted()) refuse(t("add.undecodable", { name: file.name, message: error.message }));
    }
    preparing -= 1;
    changed("pictures");
  });
}

async function take(file, wanted) {
  const { blob, thumb } = await prepare(file);
  const large = blob.size > mostBytes();
  if (large || !wanted()) {
    if (thumb) URL.revokeObjectURL(thumb);
    if (wanted()) refuse(tooLarge(file.name, mostBytes()));
    return;
  }
  next += 1;
  add({ id: `own:${next}`, name: file.name || `${next}`, own: true, src: thumb, blob });
  pump();
}

const bodyBytes = () => (serverFacts().max_body_bytes ?? Infinity) - FRAME;
const inBase64 = (bytes) => 4 * Math.ceil(bytes / 3);
/** Bytes of the largest file that the server takes. */
const mostBytes = () => Math.min(limits().max_image_bytes, 0.75 * bodyBytes());
const tooLarge = (name, most) => t("add.tooLarge", { name, n: Math.floor(most / 1e4) / 100 });

function add(picture) {
  const added = { vector: null, ...picture };
  pictures.push(added);
  byId.set(added.id, added);
  waiting.push(added);
}

/** Embeds what waits, once the models are known. Called again after a failure, it goes on where it stopped. */
export function pump() {
  if (!lanes && !waiting.length) solved("pictures");
  while (isKnown() && lanes < LANES && waiting.length) {
    lanes += 1;
    lane(generation);
  }
}

async function lane(mine) {
  try {
    while (waiting.length && mine === generation) {
      // What was added last is what the user waits for.
      waiting.sort((a, b) => b.own - a.own);
      const batch = nextBatch();
      try {
        await embedBatch(batch, mine);
      } catch (error) {
        if (mine === generation) waiting.unshift(...batch.filter((picture) => find(picture.id) && !picture.vector));
        if (waiting.length) show(error, "pictures");
        goOnLater(error);
        return;
      }
      if (mine !== generation) return;
      pause = PAUSE;
      solved("pictures");
      changed("vectors");
    }
  } finally {
    lanes -= 1;
    if (mine !== generation) pump();
  }
}

/** Whoever has added two thousand pictures does not stay to try again. */
function goOnLater({ kind, wait }) {
  if (kind !== "busy" && kind !== "draining" && kind !== "offline") return;
  clearTimeout(timer);
  timer = setTimeout(() => {
    pause = Math.min(LONGEST_PAUSE, 2 * pause);
    pump();
  }, Math.max(pause, Math.min(LONGEST_WAIT, wait)));
}

/** The next ones to send: as many as the server takes in a request. A picture that is too large for a batch goes alone. */
function nextBatch() {
  const room = Math.min(BATCH_BYTES, bodyBytes());
  const most = Math.min(BATCH, limits().max_images);
  let bytes = 0;
  let count = 0;
  while (count < most && count < waiting.length) {
    bytes += inBase64(waiting[count].blob?.size ?? 0); // a bundled one is small
    if (count && bytes > room) break;
    count += 1;
  }
  return waiting.splice(0, count);
}

async function embedBatch(batch, mine) {
  const items = await Promise.all(batch.map(itemOf));
  const readable = batch.filter((_, at) => items[at]);
  if (!readable.length) return;
  const priority = waiting.length > BULK && batch[0].own ? "bulk" : "interactive";
  let rows;
  try {
    ({ rows } = await embed(items.filter(Boolean), { priority, tries: 8, patience: PATIENCE }));
  } catch (error) {
    if (error.status !== 400 && error.status !== 413) throw error;
    // The whole request is refused. One of the pictures may be why: the others must not wait for it.
    if (readable.length === 1) drop(readable[0], error);
    else for (const picture of readable) if (find(picture.id)) await embedBatch([picture], mine);
    return;
  }
  if (mine !== generation) return;
  readable.forEach((picture, at) => {
    if (rows[at].error) drop(picture, rows[at].error);
    else picture.vector = rows[at].vector;
  });
}

/** What is sent of a picture; null where its file is gone, or not what it was when it was chosen. */
async function itemOf(picture) {
  const blob = await blobOf(picture);
  try {
    return { image: await dataUri(blob) };
  } catch (error) {
    drop(picture, error);
    return null;
  }
}

/** The file of a picture; a bundled one is fetched, once. */
export async function blobOf(picture) {
  picture.blob ??= await fetched(picture.src, (answer) => answer.blob());
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
function reason({ name, blob }, { kind, code, status, message, requestId }) {
  if (kind === "failed") return `${name}: ${t("error.failed", { id: requestId })}`;
  if (code === "image_too_large") return tooLarge(name, mostBytes());
  if (status === 413) return tooLarge(name, Math.min(blob.size, mostBytes())); // a proxy may take less than the server
  if (code === "unsupported_image" && isHeic(name, blob)) return t("add.heic", { name });
  return t("add.undecodable", { name, message: `${message.replace(/^[\w.[\]]+: /, "").replace(/\.$/, "")}.` });
}

/** Tells why something is not taken. */
export function refuse(sentence) {
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

/** Removes the user's own pictures, those too that are still being read. */
export function removeOwn() {
  removals += 1;
  for (const picture of pictures) {
    if (picture.own && picture.src) URL.revokeObjectURL(picture.src);
    if (picture.own) byId.delete(picture.id);
  }
  const kept = pictures.filter((picture) => !picture.own);
  pictures.splice(0, pictures.length, ...kept);
  waiting = waiting.filter((picture) => !picture.own);
  pump();
  changed("pictures");
  changed("vectors");
}
