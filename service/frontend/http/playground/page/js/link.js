// The permalink: what was typed, in the fragment, which browsers send to no server. Pictures stay here.

import { state, TABS } from "./state.js";

export const LONGEST = 8_000;

/** The fragment of what was typed now; "" where it would be too long. */
export function fragment() {
  const fields = new URLSearchParams();
  fields.set("tab", state.tab);
  for (const part of state.parts) if (!part.picture && part.text) fields.append("q", `${part.weight} ${part.text}`);
  for (const name of ["texts", "labels"]) if (state[name]) fields.set(name, state[name]);
  fields.set("ll", state.labelsLanguage);
  fields.set("concept", state.concept);
  for (const [language, word] of Object.entries(state.words)) fields.set(`w.${language}`, word);
  const made = fields.toString();
  return made.length <= LONGEST ? made : "";
}

/** Takes over what a link says. What it does not say stays as it is. */
export function readFragment(text) {
  const fields = new URLSearchParams(text.replace(/^#/, ""));
  if (TABS.includes(fields.get("tab"))) state.tab = fields.get("tab");
  const parts = fields.getAll("q").map((each) => {
    const [, weight, words] = /^(-?[\d.]+(?:e[-+]?\d+)?) (.*)$/s.exec(each) ?? [null, "1", each];
    return { text: words, weight: Number.isFinite(Number(weight)) ? Number(weight) : 1 };
  });
  if (parts.length) state.parts = parts;
  for (const name of ["texts", "labels", "concept"]) if (fields.has(name)) state[name] = fields.get(name);
  if (fields.has("ll")) state.labelsLanguage = fields.get("ll");
  const words = [...fields].filter(([name]) => name.startsWith("w."));
  if (words.length || fields.has("concept")) state.words = Object.fromEntries(words.map(([name, word]) => [name.slice(2), word]));
}
