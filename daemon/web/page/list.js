// The list of files, the newest first.
import { $, make, call, act, tell, thumbnail, baseName, dirName, moment } from "./api.js";
import { showDetail } from "./detail.js";

const size = 50;
let next = 0;       // where the files go on that aren't shown; 0 = nowhere
let pages = 1;      // that are shown
let counts = "";    // of the files by state, when the list was asked for
let busy = false, again = false;

const stateOf = () => document.querySelector("#filter input:checked").value;
const names = { queued: "queued", running: "in work", done: "done", failed: "failed" };

async function load(before, limit) {
  const args = new URLSearchParams({ newest: 1, limit });
  if (stateOf()) args.set("state", stateOf());
  if (before) args.set("after", before);
  return call("GET", `/v1/jobs?${args}`);
}

// refresh shows the list as it is now; what is asked for meanwhile follows.
export async function refresh() {
  if (busy) { again = true; return; }
  busy = true;
  try {
    do {
      again = false;
      const page = await load(0, Math.min(size * pages, 1000));
      show(page.jobs, true);
      next = page.next || 0;
      $("more").hidden = !next;
    } while (again);
  } finally {
    busy = false;
  }
}

// onQueue looks again when the numbers have changed.
export function onQueue(q) {
  const now = JSON.stringify(q);
  if (now === counts) return;
  counts = now;
  refresh().catch(err => tell(err.message));
}

function show(jobs, anew) {
  const list = $("list");
  const old = new Map(anew ? [...list.children].map(li => [li.dataset.key, li]) : []);
  const focused = document.activeElement?.closest?.("#list li")?.dataset.id;
  const items = jobs.map(j => {
    const key = [j.id, j.state, j.reason, j.completed, j.finished].join(" ");
    return old.get(key) || item(j, key);
  });
  anew ? list.replaceChildren(...items) : list.append(...items);
  if (focused && document.activeElement === document.body) {
    list.querySelector(`li[data-id="${focused}"] button`)?.focus();
  }
  $("empty").hidden = list.children.length > 0;
}

function item(j, key) {
  const name = baseName(j.path);
  const actions = make("div", { className: "actions" });
  const button = (text, quiet, f) => {
    const b = make("button", { type: "button", textContent: text, className: quiet ? "quiet" : "" });
    b.setAttribute("aria-label", `${text} ${name}`);
    b.addEventListener("click", () => act(b, f));
    actions.append(b);
  };
  const post = what => async () => { await call("POST", `/v1/jobs/${j.id}/${what}`); await refresh(); };
  if (j.state === "failed" || j.state === "queued" && j.reason) button("Retry", false, post("retry"));
  if (j.state === "queued" || j.state === "running") button("Cancel", true, post("cancel"));
  button("Details", true, () => showDetail(j.id));
  const when = j.finished || j.started || j.queued;
  const li = make("li", {},
    thumbnail(j.id, j.queued),
    make("span", { className: `state ${j.state}`, textContent: names[j.state] || j.state }),
    make("div", { className: "what" },
      make("span", { className: "name", textContent: name }), " ",
      make("span", { className: "dim", textContent: `${dirName(j.path)} · ${moment(when)}` }),
      ...(j.reason ? [make("br"), make("span", { className: j.state === "failed" ? "bad" : "warn", textContent: j.reason })] : [])),
    actions);
  li.dataset.id = j.id;
  li.dataset.key = key;
  return li;
}

$("filter").addEventListener("change", () => { pages = 1; refresh().catch(err => tell(err.message)); });
$("more").addEventListener("click", () => act($("more"), async () => {
  const page = await load(next, size);
  show(page.jobs, false);
  pages++;
  next = page.next || 0;
  $("more").hidden = !next;
}));
