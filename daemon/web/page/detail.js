// All that is known of one file: for a photo with the pictures before and after.
import { $, make, call, baseName, bytes, moment, span } from "./api.js";

export async function showDetail(id) {
  const j = await call("GET", `/v1/jobs/${id}`);
  const report = j.report || {};
  const faces = report.faces || [];
  $("detail-title").textContent = baseName(j.path);
  $("detail-state").className = j.state === "failed" ? "bad" : "";
  $("detail-state").textContent = j.state === "failed" ? `Failed: ${j.reason}` : j.reason ? `${j.state}: ${j.reason}` : j.state;
  const tracks = report.video?.tracks || [];
  showPictures(j, report, faces, tracks);
  showFaces(faces.length ? faces : tracks);
  showFacts(j, report);
  $("detail").showModal();
}

function showPictures(j, report, faces, tracks) {
  const shots = tracks.flatMap((t, i) => (t.shots || []).map(s => ({ ...s, face: i + 1, decision: t.decision })));
  const photo = j.state === "done" && j.out && !report.video;
  $("shot-choice").hidden = shots.length === 0;
  $("shot").replaceChildren(...shots.map((s, i) => make("option", { value: i, textContent: `face ${s.face} at ${clock(s.at)}: ${s.decision}` })));
  $("shot").onchange = () => showSides(side => `/v1/jobs/${j.id}/shot/${$("shot").value}/${side}?${j.completed}`, [shots[$("shot").value]]);
  $("compare").hidden = true;
  $("no-picture").hidden = true;
  $("before").removeAttribute("src");
  $("after").removeAttribute("src");
  if (photo) {
    const boxes = report.width && report.height ? faces : [];
    showSides(side => `/v1/jobs/${j.id}/picture/${side}?${j.completed}`, boxes.map((f, i) => ({
      face: i + 1, decision: f.decision, left: f.box.x / report.width, top: f.box.y / report.height,
      width: f.box.width / report.width, height: f.box.height / report.height,
    })));
  } else if (j.state === "done" && j.out && shots.length) {
    $("shot").onchange();
  }
}

// showSides shows the picture before and after, and where the faces are.
function showSides(address, boxes) {
  let loaded = 0;
  const none = () => {
    $("compare").hidden = true;
    $("no-picture").hidden = false;
    $("no-picture").textContent = "The pictures can't be shown here: a file is damaged or has gone.";
  };
  for (const side of ["before", "after"]) {
    const img = $(side);
    img.onload = () => { if (++loaded === 2) $("compare").hidden = false; };
    img.onerror = none;
    img.src = address(side);
  }
  $("boxes").replaceChildren(...boxes.map(b => {
    const li = make("li", {}, make("span", { textContent: `${b.face} ${b.decision}` }));
    for (const edge of ["left", "top", "width", "height"]) li.style[edge] = `${100 * b[edge]}%`;
    return li;
  }));
  slide(50);
}

// clock writes seconds as minutes and seconds.
const clock = s => `${Math.floor(s / 60)}:${(s % 60).toFixed(1).padStart(4, "0")}`;

function slide(percent) {
  $("slider").value = percent;
  $("slider").setAttribute("aria-valuetext", `${percent} % as it was, ${100 - percent} % restored`);
  $("pictures").style.setProperty("--at", `${percent}%`);
}

function showFaces(faces) {
  $("faces").hidden = $("legend").hidden = $("faces-scroll").hidden = faces.length === 0;
  const figure = n => n === undefined || n === null ? "–" : n.toFixed(2);
  $("faces").tBodies[0].replaceChildren(...faces.map((f, i) => make("tr", {},
    ...[i + 1, f.decision, figure(f.identity), figure(f.degradation), f.steps ?? "–", figure(f.blend), f.size ? `${f.size} px` : "–"]
      .map(text => make("td", { textContent: text })))));
}

function showFacts(j, report) {
  const facts = {
    Original: j.path, Result: j.out,
    Format: report.format && `${report.format}, ${report.width} × ${report.height}`,
    Size: j.size >= 0 && bytes(j.size),
    Model: report.model && `${report.model} on ${report.provider}`,
    Took: j.started && j.finished && span((new Date(j.finished) - new Date(j.started)) / 1000),
    Finished: j.finished && moment(j.finished),
    "Next try": j.next_try && moment(j.next_try),
    Tries: j.attempts > 1 && j.attempts,
    Notes: (report.notes || []).join("; "),
  };
  $("facts").replaceChildren(...Object.entries(facts).filter(([, v]) => v).flatMap(([k, v]) =>
    [make("dt", { textContent: k }), make("dd", { textContent: v })]));
}

$("slider").addEventListener("input", () => slide(Number($("slider").value)));
$("marks").addEventListener("change", () => { $("boxes").hidden = !$("marks").checked; });
$("close").addEventListener("click", () => $("detail").close());
