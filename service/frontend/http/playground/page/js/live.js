// The strip at the top: asks the server how it is every few seconds while the page is seen.

import { ApiError, call } from "./api.js";
import { $, h } from "./dom.js";
import { format, t } from "./i18n.js";
import { show, solved } from "./messages.js";
import { learn, limits } from "./model.js";

const EVERY = 2_000;
const LONGEST = 30_000;

let last = { state: "starting", status: null };
let pause = EVERY;
let timer = 0;
let running = null;
let handlers = {};

/** given: {first, back, newWeights}, called for the first answer, when the server is back, and for other weights. */
export function startLive(given) {
  handlers = given;
  document.addEventListener("visibilitychange", () => {
    if (!document.hidden) look();
  });
  window.addEventListener("online", look);
  return look();
}

/** Asks now, and wants no answer to what was asked before: it may come late, and be an old one. */
export async function look() {
  clearTimeout(timer);
  running?.abort();
  running = new AbortController();
  const { signal } = running;
  const before = last.state;
  const first = last.status === null;
  try {
    const status = await call("playground/status", { tries: 1, ask: first, signal });
    const otherWeights = learn(status);
    // Other models may load for hours, or never.
    last = { state: (limits().ready ?? status.ready) ? "ready" : "starting", status };
    pause = EVERY;
    solved("server");
    if (otherWeights) handlers.newWeights();
    if (first) handlers.first();
    else if (before !== "ready" && before !== last.state) handlers.back();
  } catch (error) {
    if (signal.aborted) return;
    if (!(error instanceof ApiError)) throw error;
    last.state = error.kind === "key" ? "locked" : error.kind === "busy" ? before : error.kind === "draining" ? "starting" : "gone";
    if (error.kind !== "busy" && before !== last.state) show(error, "server");
    pause = last.state === "gone" ? EVERY : Math.min(LONGEST, 2 * pause);
  } finally {
    if (!signal.aborted) {
      drawLive();
      if (!document.hidden) timer = setTimeout(look, pause);
    }
  }
}

export function drawLive() {
  const { state, status } = last;
  const item = (text, kind = "") => h("li", { class: kind }, text);
  const items = [item(t(`live.${state}`), `health ${state}`)];
  if (status && state === "ready") {
    items.push(item(t("live.queue", { n: status.queue_depth })));
    if (status.batch_size !== null) items.push(item(t("live.batch", { n: format(status.batch_size, 1) })));
    if (status.p50 !== null) {
      items.push(item(t("live.p50", { n: Math.round(1000 * status.p50) })));
      items.push(item(t("live.p99", { n: Math.round(1000 * status.p99) })));
    }
  }
  $("live").replaceChildren(...items);
}
