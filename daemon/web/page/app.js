// The page: live status, what is in work, folders, and logging in.
import { $, make, call, tell, act, onLoginNeeded, thumbnail, baseName, bytes, span } from "./api.js";
import { refresh, onQueue } from "./list.js";
import { setFolders } from "./upload.js";
import "./detail.js";

const stages = { plan: "reading", analyse: "looking for faces", render: "restoring", join: "putting together" };
let paused = false;
let events;

function showQueue(q) {
  paused = q.paused;
  const text = [`${q.running} in work`, `${q.queued} queued`, `${q.done} done`, `${q.failed} failed`].join(", ");
  $("summary").textContent = paused ? `Paused: nothing new is begun. ${text}` : text;
  document.title = (paused ? "paused" : q.running + q.queued ? `${q.running + q.queued} to do` : "idle") + " · restored";
  $("pause").textContent = paused ? "Resume" : "Pause";
  $("pause").hidden = false;
}

// showWork changes the items that are there, so that a focused button stays.
function showWork(work) {
  const list = $("work");
  const old = new Map([...list.children].map(li => [li.dataset.id, li]));
  for (const w of work) {
    const li = old.get(String(w.id)) || workItem(w);
    old.delete(String(w.id));
    const bar = li.querySelector("progress");
    if (w.total) {
      bar.max = w.total;
      bar.value = w.frames || 0;
    } else {
      bar.removeAttribute("value");
    }
    const said = [];
    if (w.stage) said.push(stages[w.stage] || w.stage);
    if (w.total && w.segments) said.push(`${w.frames || 0} of ${w.total} frames`);
    if (w.segments) said.push(`segment ${Math.min((w.segments_done || 0) + 1, w.segments)} of ${w.segments}`);
    if (w.fps) said.push(`${w.fps.toFixed(1)} frames a second`);
    if (w.eta) said.push(`about ${span(w.eta)} left`);
    if (w.faces) said.push(`${w.faces} faces`);
    li.querySelector(".dim").textContent = said.join(" · ") || "being restored";
    list.append(li);
  }
  for (const li of old.values()) li.remove();
  $("idle").hidden = work.length > 0;
}

function workItem(w) {
  const name = baseName(w.path);
  const cancel = make("button", { type: "button", className: "quiet", textContent: "Cancel" });
  cancel.setAttribute("aria-label", `Cancel ${name}`);
  cancel.addEventListener("click", () => act(cancel, () => call("POST", `/v1/jobs/${w.id}/cancel`)));
  const bar = make("progress");
  bar.setAttribute("aria-label", `Progress of ${name}`);
  const li = make("li", {}, make("span", { className: "name", textContent: name, title: w.path }), cancel, bar, make("span", { className: "dim" }));
  li.dataset.id = w.id;
  li.prepend(thumbnail(w.id, ""));
  return li;
}

function listen() {
  if (events) events.close();
  events = new EventSource("/v1/events");
  events.addEventListener("status", e => {
    const { queue, work } = JSON.parse(e.data);
    showQueue(queue);
    showWork(work);
    onQueue(queue);
  });
  events.addEventListener("error", () => {
    $("summary").textContent = "The connection is lost; trying again …";
    if (events.readyState !== EventSource.CLOSED) return; // the browser tries by itself
    events.close();
    setTimeout(start, 5000);
  });
}

async function showAbout() {
  const about = await call("GET", "/v1/about");
  const entries = { Model: about.model, Provider: about.provider, Version: about.version, "Largest upload": bytes(about.upload_limit) };
  $("about").replaceChildren(...Object.entries(entries).filter(([, v]) => v).flatMap(([k, v]) =>
    [make("dt", { textContent: k }), make("dd", { textContent: v })]));
  $("folders").replaceChildren(...about.folders.map(f => make("li", {},
    make("span", { className: "name", textContent: f.in }), ` → ${f.out}`, make("br"),
    f.problem ? make("span", { className: "bad", textContent: `✕ ${f.problem}` })
      : make("span", { className: "good", textContent: `✓ watched, ${bytes(f.free)} free` }))));
  $("logout").hidden = !about.login;
  setFolders(about.folders, about.upload_limit);
}

let waiting; // for the login that is shown
async function start() {
  try {
    showQueue(await call("GET", "/v1/queue"));
    await Promise.all([showAbout(), refresh()]);
    listen();
    tell("");
  } catch (err) {
    if (err.status === 401) return; // the login goes on
    tell(err.message);
    setTimeout(start, 5000);
  }
}

onLoginNeeded(() => {
  if (events) events.close();
  if (!$("login").open) $("login").showModal();
});
$("login").addEventListener("cancel", e => e.preventDefault());
$("login-form").addEventListener("submit", async e => {
  e.preventDefault();
  if (waiting) return;
  waiting = true;
  try {
    await call("POST", "/v1/session", new URLSearchParams({ token: $("token").value }));
    $("login").close();
    $("token").value = "";
    $("login-problem").textContent = "";
    start();
  } catch (err) {
    $("login-problem").textContent = err.message;
  } finally {
    waiting = false;
  }
});
$("logout").addEventListener("click", () => act($("logout"), async () => {
  await call("DELETE", "/v1/session");
  location.reload();
}));
$("pause").addEventListener("click", () => act($("pause"), async () => showQueue(await call("POST", paused ? "/v1/queue/resume" : "/v1/queue/pause"))));
setInterval(() => { if (!document.hidden && events && events.readyState === EventSource.OPEN) showAbout().catch(() => {}); }, 30000);
start();
