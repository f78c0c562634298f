// The models that this server has for us, and which of them answers.

const UNKNOWN = { name: "", max_tokens: 77, max_images: 64, max_labels: 1000, max_text_bytes: 32_768, max_image_bytes: 32 << 20 };

let models = [];
let chosen = "";
let server = {};

/** From /playground/status. Returns whether other weights answer than before. */
export function learn(status) {
  const before = limits();
  server = status;
  models = status.models;
  const now = limits();
  return before.revision !== undefined && before.revision !== "" && (before.name !== now.name || before.revision !== now.revision);
}

export const allModels = () => models;
export const serverFacts = () => server;

/** The model that answers, with its limits. */
export const limits = () => models.find((model) => model.name === chosen) ?? models[0] ?? UNKNOWN;

export function choose(name) {
  chosen = name;
}

/** The field of a request that names the model; nothing for the server's first. */
export const modelField = () => (chosen ? { model: chosen } : {});
