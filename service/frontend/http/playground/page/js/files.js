// From a file of the user's to what is uploaded and shown.
//
// Large photographs are scaled down here: the model sees far fewer pixels anyway, and 60 million of them would
// take long to upload. What this browser cannot draw (HEIC, TIFF) goes to the server as it is.

/** Longest side of what is uploaded, in pixels, and the size from which a file is scaled. */
const SIDE = 768;
const LARGE = 1 << 20;
const THUMB = 160;
const SENT_AS_IS = new Set(["image/png", "image/jpeg", "image/webp", "image/gif", "image/bmp", "image/avif"]);
const BY_NAME = /\.(avif|bmp|gif|heic|heif|jpe?g|png|tiff?|webp)$/i;

export const isImage = (file) => file.type.startsWith("image/") || BY_NAME.test(file.name);

/** An iPhone's photographs, which most browsers cannot draw, nor all servers read. */
export const isHeic = (name, blob) => /^image\/hei[cf]/.test(blob?.type ?? "") || /\.hei[cf]$/i.test(name);

/** {blob, thumb}: what to upload, and an object URL of a small picture, "" where it cannot be drawn. */
export async function prepare(file) {
  let bitmap = null;
  try {
    bitmap = await createImageBitmap(file);
  } catch {
    return { blob: file, thumb: "" };
  }
  try {
    const { width, height } = bitmap;
    const sendable = SENT_AS_IS.has(file.type) && file.size <= LARGE && Math.max(width, height) <= 2 * SIDE;
    const blob = sendable ? file : await scaled(bitmap, SIDE, file.type === "image/jpeg" ? "image/jpeg" : "image/png");
    const thumb = URL.createObjectURL(await scaled(bitmap, THUMB, "image/webp"));
    return { blob, thumb };
  } finally {
    bitmap.close();
  }
}

/** Drawn no larger than `side`, never enlarged. Halved step by step, so that no detail is skipped. */
async function scaled(bitmap, side, type) {
  const factor = Math.min(1, side / Math.max(bitmap.width, bitmap.height));
  const width = Math.max(1, Math.round(bitmap.width * factor));
  const height = Math.max(1, Math.round(bitmap.height * factor));
  const small = await createImageBitmap(bitmap, { resizeWidth: width, resizeHeight: height, resizeQuality: "high" });
  const canvas = document.createElement("canvas");
  canvas.width = width;
  canvas.height = height;
  canvas.getContext("2d").drawImage(small, 0, 0);
  small.close();
  return new Promise((resolve, reject) => {
    canvas.toBlob((blob) => (blob ? resolve(blob) : reject(new Error("The picture could not be drawn."))), type, 0.92);
  });
}

/** A blob as a data: URI. */
export function dataUri(blob) {
  return new Promise((resolve, reject) => {
    const reader = new FileReader();
    reader.onload = () => resolve(String(reader.result));
    reader.onerror = () => reject(reader.error);
    reader.readAsDataURL(blob);
  });
}

/**
 * Whether a paste is a text. Word and Excel give a picture of it besides; and a copied picture may come with its
 * name, or with its address.
 */
export function holdsText(transfer) {
  const names = [...transfer.files].map((file) => file.name).filter(Boolean);
  const isName = (line) => /^(https?|file|data|blob):\S*$/i.test(line) || names.some((name) => line.endsWith(name));
  return transfer.getData("text/plain").split(/[\r\n]+/).some((line) => line.trim() && !isName(line.trim()));
}

/** What systems and archives keep in a folder for themselves. */
const isHidden = (name) => /^(\..*|__MACOSX|desktop\.ini|thumbs\.db)$/i.test(name);

/** The files of a drop, with those in its folders, and the names of those that cannot be opened. */
export async function filesOf(transfer) {
  const entries = [...(transfer.items ?? [])].map((item) => item.webkitGetAsEntry?.()).filter(Boolean);
  if (!entries.some((entry) => entry.isDirectory)) return { files: [...transfer.files], unreadable: [] };
  const files = [];
  const unreadable = [];
  const walk = async (entry) => {
    try {
      if (entry.isFile) files.push(await new Promise((resolve, reject) => entry.file(resolve, reject)));
      else for await (const each of listed(entry)) if (!isHidden(each.name)) await walk(each);
    } catch {
      unreadable.push(entry.name);
    }
  };
  for (const entry of entries) await walk(entry);
  return { files, unreadable };
}

/** The entries of a folder, which come some at a time. */
async function* listed(folder) {
  const reader = folder.createReader();
  for (;;) {
    const some = await new Promise((resolve, reject) => reader.readEntries(resolve, reject));
    if (!some.length) return;
    yield* some;
  }
}
