// The service as the page asks it: every address, and what becomes of refusals.

/** @typedef {import("./state.js").Rle} Rle */

const PATIENCE = 4;
const MOST_WAIT = 5000;
const KEY = "promptseg-key";

let known = null;

/** Why the service did not do what it was asked; without `status` it could not be reached. */
export class ServiceError extends Error {
  constructor(message, { kind = "ConnectionError", hint = null, status = null } = {}) {
    super(hint ? `${message}. ${hint}` : message);
    this.name = "ServiceError";
    this.kind = kind;
    this.status = status;
  }

  /** Whether there is no service at all, or one that is about to end. */
  get isLost() {
    return this.status === null || this.status === 502;
  }

  /** Whether the same may be asked again later, with another answer. */
  get passes() {
    return this.isLost || [429, 500, 503, 504].includes(this.status);
  }

  /** Whether it has forgotten the session that was asked, as after a restart. */
  get isForgotten() {
    return this.kind === "SessionError";
  }
}

/** Tells an abort that was wanted from an error. */
export function isAbort(error) {
  return error?.name === "AbortError";
}

/** Keeps the key that a service may want, for as long as the page's tab is open. */
export function rememberKey(key) {
  known = key;
  try {
    sessionStorage.setItem(KEY, key);
  } catch {
    // Where a browser keeps nothing, the page itself does.
  }
}

/** Asks, waits where the service says so, and returns the answer if it is a good one. */
export async function ask(path, options = {}) {
  for (let turn = 1; ; turn += 1) {
    const response = await sent(path, options);
    if (response.ok) return response;
    const wait = waitOf(response);
    if (wait === null || turn === PATIENCE) throw await refusal(response);
    await pause(wait, options.signal);
  }
}

export async function askJson(path, options = {}) {
  return (await ask(path, options)).json();
}

export function post(path, body, options = {}) {
  const headers = { "Content-Type": "application/json", ...options.headers };
  return ask(path, { ...options, method: "POST", headers, body: JSON.stringify(body) });
}

/** Returns whether requests are taken. */
export async function isReady() {
  try {
    return (await sent("health/ready", { cache: "no-store" })).ok;
  } catch {
    return false;
  }
}

/** Returns the model's name and what it can be asked. */
export async function models() {
  const { models: list } = await askJson("v1/models");
  return { model: list[0].name, verbs: list[0].verbs };
}

/** Returns the folder that the service was started with; null where there is none. */
export function folder() {
  return askJson("v1/folder");
}

/** Returns a small picture of an image of the folder. @returns {Promise<Blob>} */
export async function folderThumbnail(name) {
  return (await ask(`v1/folder/thumbnail?${new URLSearchParams({ name })}`)).blob();
}

/** Returns the bytes of an image of the folder. @returns {Promise<Blob>} */
export async function folderImage(name, signal) {
  return (await ask(`v1/folder/image?${new URLSearchParams({ name })}`, { signal })).blob();
}

/**
 * Has an image looked at: one of the folder by its name, or the bytes of one.
 * @param {{name: string}|{blob: Blob}} source
 */
export async function openSession(source, signal) {
  const said = source.blob
    ? await ask("v1/sessions", { method: "POST", body: formOf(source.blob), signal })
    : await post("v1/sessions", { folder_image: source.name }, { signal });
  const { id, size, pyramid } = await said.json();
  return { id, width: size.width, height: size.height, pyramid };
}

export async function closeSession(id) {
  await ask(`v1/sessions/${id}`, { method: "DELETE", keepalive: true });
}

/** Returns the candidates for what was said of an object, the best first. */
export async function masks(session, question, signal) {
  const body = { ...question, all_candidates: true };
  const response = await post(`v1/sessions/${session}/masks`, body, { signal });
  return listed(await response.json());
}

/** Returns masks cleaned of holes and specks, which may leave none. */
export async function tidied(rle, tidy, signal) {
  const [height, width] = rle.size;
  const response = await post("v1/tidy", { size: { height, width }, rle, tidy }, { signal });
  return listed(await response.json());
}

/** Returns a square of the picture. @returns {Promise<Blob>} */
export async function tile(session, level, x, y, signal) {
  const place = new URLSearchParams({ level, x, y });
  return (await ask(`v1/sessions/${session}/tile?${place}`, { signal })).blob();
}

/** Looks for all regions; `tell(done, total)` hears how far it is. */
export async function everything(session, options, tell, signal) {
  const headers = { Accept: "text/event-stream" };
  const response = await post("v1/everything", { session, ...options }, { headers, signal });
  let result = null;
  for await (const { name, data } of events(response.body)) {
    if (name === "progress") tell(data.done, data.total);
    if (name === "result") result = listed(data);
    // What it refuses after it has begun has no status of its own; it is there all the same.
    if (name === "error") {
      throw new ServiceError(data.error.message, { ...data.error, status: 500 });
    }
  }
  if (!result) throw new ServiceError("the service broke off");
  return result;
}

/** Looks for all things of a kind. @param {{text?: string, include: [], exclude: []}} concept */
export async function find(session, concept, signal) {
  return listed(await (await post("v1/find", { session, ...concept }, { signal })).json());
}

/** Reads a stream of server-sent events. */
export async function* events(stream) {
  let rest = "";
  const reader = stream.pipeThrough(new TextDecoderStream()).getReader();
  try {
    for (;;) {
      const { value, done } = await reader.read().catch(brokenOff);
      if (done) return;
      const blocks = (rest + value).split("\n\n");
      rest = blocks.pop();
      for (const event of blocks.map(eventOf)) if (event) yield event;
    }
  } finally {
    await reader.cancel().catch(() => {});
  }
}

function brokenOff(error) {
  throw isAbort(error) ? error : new ServiceError("the service broke off");
}

function eventOf(block) {
  const said = { event: "", data: "" };
  for (const line of block.split("\n")) {
    const [name, value] = [line.slice(0, line.indexOf(":")), line.slice(line.indexOf(":") + 2)];
    if (name in said) said[name] += value;
  }
  return said.event ? { name: said.event, data: JSON.parse(said.data) } : null;
}

function listed({ masks: list }) {
  return list.map(({ rle, score, label }) => ({ rle, score, label: label ?? null }));
}

function formOf(blob) {
  const form = new FormData();
  form.append("image", blob, "image");
  form.append("query", "{}");
  return form;
}

async function sent(path, options) {
  const key = keptKey();
  const headers = { ...options.headers, ...(key ? { "X-API-Key": key } : {}) };
  try {
    return await fetch(new URL(path, document.baseURI), { ...options, headers });
  } catch (error) {
    if (isAbort(error)) throw error;
    throw new ServiceError("the service cannot be reached");
  }
}

function keptKey() {
  try {
    return known ?? sessionStorage.getItem(KEY);
  } catch {
    return known;
  }
}

async function refusal(response) {
  const { status } = response;
  try {
    const { error } = await response.json();
    return new ServiceError(error.message, { ...error, status });
  } catch {
    return new ServiceError(`the service answered ${status}`, { status, kind: "HTTPError" });
  }
}

/** Returns the milliseconds after which to ask again; null where that would not help. */
function waitOf(response) {
  if (response.status !== 429 && response.status !== 503) return null;
  const seconds = Number(response.headers.get("Retry-After"));
  return seconds > 0 ? Math.min(seconds * 1000, MOST_WAIT) : null;
}

function pause(milliseconds, signal) {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(resolve, milliseconds);
    signal?.addEventListener("abort", () => {
      clearTimeout(timer);
      reject(signal.reason);
    });
  });
}
