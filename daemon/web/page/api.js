// What the page asks of the daemon, and how it shows text.

export const $ = id => document.getElementById(id);

// make builds an element; what is text stays text.
export function make(tag, props = {}, ...children) {
  const e = Object.assign(document.createElement(tag), props);
  e.append(...children);
  return e;
}

export class ApiError extends Error {
  constructor(status, text) { super(text); this.status = status; }
}

let needLogin = () => {};
export function onLoginNeeded(f) { needLogin = f; }

// call asks the API and returns its answer. A page without a session logs in.
export async function call(method, path, body) {
  let resp;
  try {
    resp = await fetch(path, { method, body });
  } catch {
    throw new ApiError(0, "The daemon doesn't answer.");
  }
  if (resp.status === 204) return null;
  const answer = await resp.json().catch(() => ({}));
  if (resp.ok) return answer;
  if (resp.status === 401 && path !== "/v1/session") needLogin();
  throw new ApiError(resp.status, answer.error || `The daemon answers ${resp.status}.`);
}

// tell shows what went wrong until something goes well.
export function tell(text) {
  $("problem").textContent = text;
  $("problem").hidden = !text;
}

// act does what a button asks for, and shows an error.
export async function act(button, f) {
  button.disabled = true;
  try {
    await f();
    tell("");
  } catch (err) {
    if (err.status !== 401) tell(err.message);
  } finally {
    button.disabled = false;
  }
}

// thumbnail is the small picture of a file, or room for one. Another version has
// another picture.
export function thumbnail(id, version) {
  const img = make("img", { alt: "", loading: "lazy", src: `/v1/jobs/${id}/thumbnail?${version}` });
  img.addEventListener("error", () => { img.replaceWith(make("span", { className: "no-thumbnail" })); });
  return img;
}

export const baseName = path => path.slice(path.lastIndexOf("/") + 1);
export const dirName = path => path.slice(0, path.lastIndexOf("/")) || "/";

export function bytes(n) {
  const units = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];
  let i = 0;
  for (; n >= 1024 && i < units.length - 1; i++) n /= 1024;
  return `${n < 10 && i ? n.toFixed(1) : Math.round(n)} ${units[i]}`;
}

export function span(seconds) {
  const s = Math.round(seconds);
  if (s < 60) return `${s} s`;
  if (s < 3600) return `${Math.floor(s / 60)} min ${s % 60} s`;
  return `${Math.floor(s / 3600)} h ${Math.floor(s % 3600 / 60)} min`;
}

export const moment = text => new Date(text).toLocaleString();
