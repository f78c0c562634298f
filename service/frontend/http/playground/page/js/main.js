// Puts the page together. Who wants to know it starts here, then reads `state.js` and `gallery.js`.

import { forgetTexts } from "./api.js";
import { startClassify } from "./classify.js";
import { startCode } from "./code.js";
import { startCompare } from "./compare.js";
import { $, address, copy, fillSelect, h, place, settled, tabKeys } from "./dom.js";
import { filesOf, holdsText } from "./files.js";
import { addFiles, embedAgain, loadBundled, pictures, progress, pump, refuse, refused, removeOwn } from "./gallery.js";
import { currentLanguage, keepLanguage, LANGUAGES, preferredLanguage, t, useLanguage } from "./i18n.js";
import { watchKeyDialog } from "./keys.js";
import { fragment, readFragment } from "./link.js";
import { drawLive, look, startLive } from "./live.js";
import { startMap } from "./map.js";
import { onTryAgain, show } from "./messages.js";
import { allModels, choose, limits } from "./model.js";
import { download, forgetResults } from "./results.js";
import { drawParts, startSearch } from "./search.js";
import { changed, on, state, TABS } from "./state.js";
import { startWords } from "./words.js";

function drawModel() {
  const model = limits();
  $("models").hidden = allModels().length < 2;
  fillSelect($("models"), allModels().map(({ name }) => [name, name]), model.name);
  if (!model.name) {
    $("model-facts").textContent = t("model.none");
    return;
  }
  const kinds = { bundled: "model.bundled", stub: "model.stub" };
  const names = new Intl.DisplayNames(currentLanguage(), { type: "language" });
  const languages = new Intl.ListFormat(currentLanguage()).format(model.languages.map((each) => names.of(each)));
  const facts = t("model.answers", { model: model.name, dimension: model.dimension, device: model.device, dtype: model.dtype });
  $("model-facts").replaceChildren(facts, " ", t(kinds[model.kind] ?? "model.real", { languages }));
}

function newWeights() {
  forgetTexts();
  forgetResults();
  changed("weights");
  drawModel();
  embedAgain();
  changed("typed");
}

/** Whether pictures are on their way. That is said when it begins and when it ends: a screen reader would read each step. */
let busy = false;

function drawPictures() {
  const own = pictures.filter((picture) => picture.own).length;
  const { done, all } = progress();
  $("count").textContent = t("add.count", { bundled: pictures.length, own });
  $("progress").textContent = done < all ? t("add.progress", { done, all }) : "";
  $("clear").hidden = own === 0;
  if (busy === done < all) return;
  busy = done < all;
  $("progress-said").textContent = (busy ? $("progress") : $("count")).textContent;
}

const MOST_TOLD = 5;
/** What stands for the first of them. They stay: a screen reader reads what is new. */
const told = [];
const others = h("li");
const hide = h("button", { type: "button", class: "quiet", onclick: () => {
  refused.length = 0;
  told.length = 0;
  drawRefused();
  $("pick").focus();
} });
const last = h("li", {}, hide);

function drawRefused() {
  for (const sentence of refused.slice(told.length, MOST_TOLD)) told.push(h("li", {}, h("bdi", {}, sentence)));
  others.textContent = `+ ${refused.length - told.length}`;
  hide.textContent = t("add.dismiss");
  place($("refused"), [...told, ...(refused.length > told.length ? [others] : []), ...(told.length ? [last] : [])]);
}

function chooseTab(name) {
  state.tab = name;
  for (const tab of TABS) {
    const button = $(`tab-${tab}`);
    button.setAttribute("aria-selected", String(tab === name));
    button.tabIndex = tab === name ? 0 : -1;
    $(tab).hidden = tab !== name;
  }
  changed("tab");
}

function watchPictures() {
  $("pick").addEventListener("click", () => $("files").click());
  $("shoot").addEventListener("click", () => $("camera").click());
  $("clear").addEventListener("click", () => {
    removeOwn();
    $("pick").focus(); // the button is gone
  });
  for (const id of ["files", "camera"]) {
    $(id).addEventListener("change", (event) => {
      const files = [...event.target.files];
      event.target.value = "";
      if (files.length) addFiles(files);
    });
  }
  const inField = (event) => Boolean(event.target.closest?.("input, textarea"));
  const holdsFiles = (event) => Boolean(event.dataTransfer?.types.includes("Files"));
  // A browser leaves the page for a link, or a picture of another page, that is dropped on it.
  const isOurs = (event) => holdsFiles(event) || !inField(event);
  document.addEventListener("dragstart", (event) => {
    if (event.target.closest?.("img")) event.preventDefault(); // it would be dropped as one more file
  });
  document.addEventListener("dragover", (event) => {
    if (!isOurs(event)) return;
    event.preventDefault();
    if (holdsFiles(event)) document.body.classList.add("dragging");
  });
  document.addEventListener("dragleave", (event) => {
    if (!event.relatedTarget) document.body.classList.remove("dragging");
  });
  document.addEventListener("drop", async (event) => {
    document.body.classList.remove("dragging");
    if (!isOurs(event)) return;
    event.preventDefault();
    const { files, unreadable } = await filesOf(event.dataTransfer);
    for (const name of unreadable) refuse(t("add.unreadable", { name }));
    if (files.length || !unreadable.length) addFiles(files);
  });
  document.addEventListener("paste", (event) => {
    const files = [...(event.clipboardData?.files ?? [])];
    if (!files.length || (inField(event) && holdsText(event.clipboardData))) return; // a text, which goes where the cursor is
    event.preventDefault();
    addFiles(files);
  });
}

function watchSettings() {
  const select = $("language");
  select.replaceChildren(...Object.entries(LANGUAGES).map(([tag, name]) => h("option", { value: tag, lang: tag }, name)));
  select.addEventListener("change", async () => {
    const wanted = select.value;
    try {
      await useLanguage(wanted);
    } catch (error) {
      show(error);
    }
    if (select.value !== wanted) return; // another was chosen meanwhile
    if (currentLanguage() === wanted) keepLanguage(wanted);
    redraw();
  });
  $("models").addEventListener("change", () => {
    choose($("models").value);
    newWeights();
  });
  $("theme").addEventListener("click", () => {
    const dark = document.documentElement.dataset.theme ?? (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light");
    document.documentElement.dataset.theme = dark === "dark" ? "light" : "dark";
    changed("theme");
  });
  for (const query of ["(prefers-color-scheme: dark)", "(forced-colors: active)"]) matchMedia(query).addEventListener("change", () => changed("theme"));
}

function redraw() {
  $("language").value = currentLanguage();
  drawModel();
  drawLive();
  drawPictures();
  changed("language");
}

function watchLink() {
  const keep = settled(() => {
    const made = fragment();
    if (made) history.replaceState(null, "", `#${made}`);
  }, 300);
  on("typed tab", keep);
  window.addEventListener("hashchange", (event) => {
    readFragment(new URL(event.newURL).hash); // what was typed just before may have been written over it
    chooseTab(state.tab);
    drawParts();
    changed("link");
    changed("typed");
  });
  $("copy-link").addEventListener("click", async () => {
    const made = fragment();
    const link = address(`#${made}`).href;
    $("said").textContent = !made ? t("link.long") : t((await copy(link)) ? "link.copied" : "code.failed");
  });
}

async function start() {
  window.addEventListener("error", (event) => show(event.error ?? event));
  window.addEventListener("unhandledrejection", (event) => show(event.reason));
  readFragment(location.hash);
  watchKeyDialog();
  watchSettings();
  watchPictures();
  watchLink();
  const list = document.querySelector(".tabs");
  tabKeys(list, (tab) => chooseTab(tab.id.slice(4)));
  for (const tab of TABS) $(`tab-${tab}`).addEventListener("click", () => chooseTab(tab));
  document.querySelector(".skip").addEventListener("click", (event) => {
    event.preventDefault(); // what stands behind the # is what was typed
    $("main").focus();
  });
  $("download").addEventListener("click", download);
  for (const begin of [startSearch, startCompare, startClassify, startWords, startMap, startCode]) begin();
  on("pictures", drawPictures);
  on("vectors", drawPictures);
  on("refused", drawRefused);
  onTryAgain(() => {
    loadBundled();
    look();
    pump();
    changed("typed");
  });
  try {
    await useLanguage(preferredLanguage());
  } catch (error) {
    show(error);
  }
  redraw();
  chooseTab(state.tab);
  if (state.tab === "search" && document.activeElement === document.body) $("part-0")?.focus({ preventScroll: true });
  const again = () => {
    drawModel();
    loadBundled();
    pump();
    changed("typed");
    changed("server");
  };
  await loadBundled();
  // Seen and typed into first: what asks the server, and embeds fifty pictures, comes a frame later.
  requestAnimationFrame(() => setTimeout(() => {
    startLive({ first: again, back: again, newWeights });
    pump();
  }));
  document.documentElement.dataset.ready = "";
}

start().catch(show);
