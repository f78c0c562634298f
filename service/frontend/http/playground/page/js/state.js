// What was typed and chosen. Everything that is shown follows from it and from the gallery.

export const TABS = ["search", "compare", "classify", "words", "map"];

export const state = {
  tab: "search",
  /** Of the query: {text} or {picture: id}, each with a weight. */
  parts: [{ text: "", weight: 1 }],
  texts: "",
  labels: "",
  labelsLanguage: "en",
  pictureId: null,
  show: "tp",
  words: {},
  concept: "cat",
};

const listeners = new Map();

/**
 * Calls `run` whenever one of these topics changes: typed, link, tab, language, theme, pictures, refused, vectors, texts,
 * server, weights. weights: those of another model answer, so that what was computed before compares with nothing.
 */
export function on(topics, run) {
  for (const topic of topics.split(" ")) {
    if (!listeners.has(topic)) listeners.set(topic, []);
    listeners.get(topic).push(run);
  }
}

/** Tells that something changed. */
export function changed(topic) {
  for (const run of listeners.get(topic) ?? []) run();
}

/** The lines of a text area that hold something. */
export const lines = (text) => text.split("\n").map((line) => line.trim()).filter(Boolean);
