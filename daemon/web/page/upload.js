// Files that are dropped or chosen go to a watched folder, one after the other.
import { $, make, bytes } from "./api.js";

let limit = Infinity;
let last = Promise.resolve();
const shown = 20; // uploads that stay in the list

export function setFolders(folders, most) {
  limit = most;
  const writable = folders.filter(f => f.writable && !f.problem);
  $("folder-choice").hidden = writable.length === 0;
  $("no-folder").hidden = writable.length > 0;
  $("files").disabled = writable.length === 0;
  const chosen = $("folder").value;
  $("folder").replaceChildren(...writable.map(f => make("option", { value: f.id, textContent: f.in })));
  if (writable.some(f => f.id === chosen)) $("folder").value = chosen;
}

function add(files) {
  const folder = $("folder").value;
  if (!folder) return;
  for (const file of files) {
    const bar = make("progress", { max: 1, value: 0 });
    bar.setAttribute("aria-label", `Upload of ${file.name}`);
    const result = make("span", { className: "dim", textContent: "waits" });
    const li = make("li", {}, make("span", { className: "name", textContent: file.name }), " ", result, bar);
    $("uploads").prepend(li);
    while ($("uploads").children.length > shown && $("uploads").lastChild.dataset.ended) $("uploads").lastChild.remove();
    last = last.then(() => send(folder, file, bar)).then(
      () => { result.textContent = "is in the folder"; result.className = "good"; },
      err => { result.textContent = err.message; result.className = "bad"; },
    ).finally(() => { bar.remove(); li.dataset.ended = true; });
  }
}

// send is XMLHttpRequest's, since fetch doesn't tell how far it is.
function send(folder, file, bar) {
  if (file.size > limit) return Promise.reject(new Error(`has ${bytes(file.size)}, and ${bytes(limit)} are allowed (http.upload)`));
  return new Promise((done, fail) => {
    const x = new XMLHttpRequest();
    x.open("POST", `/v1/folders/${folder}/files?name=${encodeURIComponent(file.name)}`);
    x.upload.onprogress = e => { bar.value = e.loaded / file.size; };
    x.onerror = () => fail(new Error("the connection was lost"));
    x.onload = () => {
      if (x.status === 201) return done();
      let text = `the daemon answers ${x.status}`;
      try { text = JSON.parse(x.responseText).error || text; } catch { /* not the API's */ }
      fail(new Error(text));
    };
    x.send(file);
  });
}

$("files").addEventListener("change", () => { add([...$("files").files]); $("files").value = ""; });
const drop = $("drop");
for (const kind of ["dragenter", "dragover"]) {
  drop.addEventListener(kind, e => { e.preventDefault(); drop.classList.add("over"); });
}
drop.addEventListener("dragleave", () => drop.classList.remove("over"));
drop.addEventListener("drop", e => { e.preventDefault(); drop.classList.remove("over"); add([...e.dataTransfer.files]); });
// A file that misses the field must not replace the page.
for (const kind of ["dragover", "drop"]) addEventListener(kind, e => e.preventDefault());
