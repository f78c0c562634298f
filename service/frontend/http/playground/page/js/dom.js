// Making elements. What comes from people or the server becomes text, never markup.

export const $ = (id) => document.getElementById(id);

/** Writes a text that a screen reader reads, unless it stands there. */
export function say(id, text) {
  if ($(id).textContent !== text) $(id).textContent = text;
}

/** An address below that of the page. Without a name and password in it: `fetch` takes none, and nobody shall copy them. */
export function address(path) {
  const made = new URL(path, document.baseURI);
  made.username = "";
  made.password = "";
  return made;
}

/** An element. props: attributes, or properties and `on…` listeners; children: elements and texts. */
export function h(tag, props = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(props)) {
    if (value === undefined || value === null || value === false) continue;
    if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else if (name === "class") made.className = value;
    else if (value === true) made.setAttribute(name, "");
    else made.setAttribute(name, value);
  }
  made.append(...children.flat().filter((child) => child !== null && child !== undefined));
  return made;
}

/**
 * Puts these elements, and no others, into a list. Those that stand where they belong are not touched: a click that
 * has begun on one of them goes on, and the focus stays. heir: gets the focus of one that leaves, else the first button.
 */
export function place(list, elements, heir = null) {
  const focused = list.contains(document.activeElement) ? document.activeElement : null;
  const kept = new Set(elements);
  for (const child of [...list.children]) if (!kept.has(child)) child.remove();
  let next = list.firstElementChild;
  for (const element of elements) {
    if (element === next) next = next.nextElementSibling;
    else list.insertBefore(element, next);
  }
  if (focused && focused !== document.activeElement) (focused.isConnected ? focused : heir ?? list.querySelector("button"))?.focus({ preventScroll: true });
}

/** Fills a select with [value, label] pairs. What is as it was stays: a list that is open is not closed. */
export function fillSelect(select, pairs, chosen) {
  const same = ([value, label], at) => select.options[at].value === value && select.options[at].label === label;
  if (select.options.length !== pairs.length || !pairs.every(same)) select.replaceChildren(...pairs.map(([value, label]) => h("option", { value }, label)));
  if (select.value !== chosen) select.value = chosen;
}

/** Calls `run` once, when nothing has asked for it for so many milliseconds. */
export function settled(run, milliseconds) {
  let timer = 0;
  return (...given) => {
    clearTimeout(timer);
    timer = setTimeout(() => run(...given), milliseconds);
  };
}

/** Calls `run` once before the next frame, however often it is asked for. */
export function onceAFrame(run) {
  let waiting = false;
  return () => {
    if (waiting) return;
    waiting = true;
    requestAnimationFrame(() => {
      waiting = false;
      run();
    });
  };
}

/** Whether a key is the browser's: Alt and an arrow go back, Ctrl and a minus make the page smaller. */
export const isShortcut = (event) => event.ctrlKey || event.metaKey || event.altKey;

/** Moves the focus within a tablist as its keys do, and chooses what it lands on. */
export function tabKeys(list, choose) {
  list.addEventListener("keydown", (event) => {
    if (isShortcut(event)) return;
    const tabs = [...list.querySelectorAll("[role=tab], [role=radio]")];
    const at = tabs.indexOf(document.activeElement);
    const forward = getComputedStyle(list).direction === "rtl" ? "ArrowLeft" : "ArrowRight";
    const steps = { [forward]: 1, ArrowDown: 1, ArrowUp: -1 };
    steps[forward === "ArrowLeft" ? "ArrowRight" : "ArrowLeft"] = -1;
    let next = null;
    if (event.key in steps) next = (at + steps[event.key] + tabs.length) % tabs.length;
    if (event.key === "Home") next = 0;
    if (event.key === "End") next = tabs.length - 1;
    if (next === null || at < 0) return;
    event.preventDefault();
    tabs[next].focus();
    choose(tabs[next]);
  });
}

/** Puts a text on the clipboard; false where the browser does not let us. */
export async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    // A page that came over plain http has no clipboard.
    const focused = document.activeElement;
    const area = h("textarea", { class: "hidden", "aria-hidden": "true" });
    area.value = text;
    document.body.append(area);
    area.focus({ preventScroll: true });
    area.select();
    const done = document.execCommand("copy");
    area.remove();
    focused?.focus({ preventScroll: true });
    return done;
  }
}
