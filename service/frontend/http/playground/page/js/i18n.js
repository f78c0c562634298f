// The interface in nine languages. A table is loaded when its language is chosen; English stands in for what
// it lacks.

import en from "./i18n/en.js";

/** Each language by its own name. */
export const LANGUAGES = {
  en: "English",
  zh: "中文",
  es: "Español",
  fr: "Français",
  ru: "Русский",
  ja: "日本語",
  ko: "한국어",
  ar: "العربية",
  it: "Italiano",
};

let language = "en";
let table = en;
/** The language that was asked for last. */
let asked = "en";

export const currentLanguage = () => language;

/** A sentence of the table, with {name} replaced. */
export function t(key, values = {}) {
  const sentence = table[key] ?? en[key] ?? key;
  return sentence.replace(/\{(\w+)\}/g, (whole, name) => (name in values ? format(values[name]) : whole));
}

/** Kept: every card asks for two. */
const formats = new Map();

function numbers(kind, options) {
  const key = `${language} ${kind}`;
  if (!formats.has(key)) formats.set(key, new Intl.NumberFormat(language, options));
  return formats.get(key);
}

/** A number as this language writes it. */
export function format(value, digits) {
  if (typeof value !== "number") return value;
  return numbers(digits, { minimumFractionDigits: digits, maximumFractionDigits: digits ?? 2 }).format(value);
}

export const percent = (value) => numbers("percent", { style: "percent", maximumFractionDigits: 1 }).format(value);

/** The language to begin with: what was chosen before, or the browser's. */
export function preferredLanguage() {
  let kept = "";
  try {
    kept = localStorage.getItem("language") ?? "";
  } catch {
    // No storage: the choice lasts as long as the page.
  }
  const wished = [kept, ...navigator.languages.map((tag) => tag.split("-")[0].toLowerCase())];
  return wished.find((tag) => tag in LANGUAGES) ?? "en";
}

/** Shows the page in a language, unless another is asked for before its table has come. */
export async function useLanguage(wanted) {
  asked = wanted;
  const loaded = wanted === "en" ? en : (await import(`./i18n/${wanted}.js`)).default;
  if (asked !== wanted) return;
  language = wanted;
  table = loaded;
  document.documentElement.lang = wanted;
  document.documentElement.dir = wanted === "ar" ? "rtl" : "ltr";
  for (const element of document.querySelectorAll("[data-i18n]")) {
    const sentence = t(element.dataset.i18n);
    if (element.textContent !== sentence) element.textContent = sentence; // the page comes in English
  }
  for (const element of document.querySelectorAll("[data-i18n-label]")) {
    element.setAttribute("aria-label", t(element.dataset.i18nLabel));
  }
}

export function keepLanguage(wanted) {
  try {
    localStorage.setItem("language", wanted);
  } catch {
    // As above.
  }
}
