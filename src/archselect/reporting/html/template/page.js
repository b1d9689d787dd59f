"use strict";

// Sorting: numbers as numbers, text as text, what is missing last in both directions.
const tables = [...document.querySelectorAll("table.wide")];

function compare(index, numeric, sign) {
  return (first, second) => {
    const [a, b] = [first, second].map((row) => row.cells[index].dataset.key);
    if (a === undefined || b === undefined) return (a === undefined) - (b === undefined);
    return sign * (numeric ? Number(a) - Number(b) : a.localeCompare(b));
  };
}

for (const table of tables) {
  const headers = [...table.tHead.rows[0].cells];
  headers.forEach((header, index) => {
    header.querySelector("button").addEventListener("click", () => {
      const ascending = header.getAttribute("aria-sort") !== "ascending";
      for (const other of headers) other.setAttribute("aria-sort", "none");
      header.setAttribute("aria-sort", ascending ? "ascending" : "descending");
      const body = table.tBodies[0];
      body.append(...[...body.rows].sort(compare(index, header.classList.contains("number"), ascending ? 1 : -1)));
    });
  });
}

// Filtering: all words, in any order, in the choices and the seed.
const filter = document.getElementById("filter");
const rows = tables.flatMap((table) => [...table.tBodies[0].rows]);
const runs = [...document.querySelectorAll("details.run")];

function applyFilter() {
  const words = filter.value.toLowerCase().split(/\s+/).filter(Boolean);
  const shown = (elements) => {
    for (const element of elements) {
      const text = element.dataset.words.toLowerCase();
      element.hidden = !words.every((word) => text.includes(word));
    }
    return elements.filter((element) => !element.hidden).length;
  };
  const [lines, details] = [shown(rows), shown(runs)];
  document.getElementById("shown").textContent = words.length
    ? `${lines} of ${rows.length} rows, ${details} of ${runs.length} runs`
    : "";
}
filter.addEventListener("input", applyFilter);
applyFilter(); // a browser may have kept the words over a reload

// Costs: of the pictures and fronts of a task, those of the chosen cost are shown.
for (const chooser of document.querySelectorAll("select.cost")) {
  const choose = () => {
    for (const part of chooser.closest(".tradeoffs").querySelectorAll("[data-cost]")) {
      part.hidden = part.dataset.cost !== chooser.value;
    }
  };
  chooser.addEventListener("change", choose);
  choose();
}

// Pictures: each is on the page once, and decoded when what shows it is opened.
const pictures = JSON.parse(document.getElementById("pictures").textContent);
function show(place) {
  for (const image of place.querySelectorAll("img:not([src])")) image.src = pictures[image.dataset.picture];
}
show(document.getElementById("summary"));
for (const details of document.querySelectorAll("details")) {
  details.addEventListener("toggle", () => {
    if (details.open) show(details);
  });
}

// Links to a run open it; a filter that hides it is cleared.
function openTarget() {
  const target = document.getElementById(location.hash.slice(1));
  if (!target || target.tagName !== "DETAILS") return;
  if (target.hidden) {
    filter.value = "";
    applyFilter();
  }
  target.open = true;
  target.scrollIntoView();
}
window.addEventListener("hashchange", openTarget);
document.addEventListener("click", (event) => {
  const link = event.target.closest('a[href^="#run-"]');
  if (link && link.hash === location.hash) openTarget(); // the same link again changes no hash
});
openTarget();

const openAll = document.getElementById("open-all");
openAll.addEventListener("click", () => {
  const open = openAll.getAttribute("aria-pressed") === "false";
  openAll.setAttribute("aria-pressed", String(open));
  openAll.textContent = open ? "Close all shown" : "Open all shown";
  for (const run of runs) if (!run.hidden) run.open = open;
});

// Copying: the clipboard where the browser offers it, otherwise the text is left selected for Ctrl-C.
for (const button of document.querySelectorAll(".copy-button")) {
  button.addEventListener("click", async () => {
    const text = button.parentElement.querySelector("pre");
    try {
      await navigator.clipboard.writeText(text.textContent);
      button.firstChild.textContent = "Copied";
    } catch {
      getSelection().selectAllChildren(text);
      button.firstChild.textContent = "Selected: Ctrl-C copies";
    }
  });
}
