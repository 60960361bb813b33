// Watches the races: cells fill as the answers come. Without this file the form answers a page with the finished grid.
"use strict";

(() => {
  const main = document.querySelector("main.demo");
  const form = document.querySelector("form.choice");
  const button = form.querySelector("button");
  const notNow = form.querySelector(".not-now");
  const gap = document.getElementById("gap");
  const output = form.querySelector("output");
  const grid = document.querySelector(".grid");
  const sheet = document.querySelector(".dispenser");
  const stub = document.querySelector(".stub");
  const raced = document.querySelector(".raced");
  const cells = [...grid.children];
  const STEP_MS = 11; // slower than it was: a hundred answers come within a moment
  const MOST_MARKS = 12;

  const calm = window.matchMedia("(prefers-reduced-motion: reduce)");
  let queue = [];
  let timer = 0;
  let stream = null;
  let seen = main.dataset.race;

  function gapShown() {
    const gapless = "gapless" in form.querySelector("[name=way]:checked").dataset;
    output.hidden = false;
    output.textContent = gapless ? "no gap" : `${gap.value} ms`;
    gap.parentElement.classList.toggle("idle", gapless); // not disabled: a form leaves out what is
  }

  // The steps of a race, in the order of the events.

  function start(told) {
    raced.textContent = told.title;
    grid.classList.toggle("in-colours", told.workers > 1);
    stub.replaceChildren(said("The clients connect …"));
    for (const cell of cells) {
      cell.className = "hollow";
      cell.replaceChildren(cell.firstChild);
      delete cell.dataset.times;
    }
  }

  function fill(told) {
    const cell = cells[told.value - 1];
    if (!cell || told.outcome !== "ok") return;
    const marks = cell.querySelector("i") ?? cell.appendChild(document.createElement("i"));
    const times = Number(cell.dataset.times ?? marks.children.length) + 1;
    if (marks.children.length < MOST_MARKS) {
      marks.appendChild(document.createElement("b")).className = `w${told.worker % 2}`;
    }
    cell.className = times === 1 ? "once" : "twice";
    if (times > 1) cell.dataset.times = times;
    cell.classList.add("now");
  }

  function end(told) {
    stub.innerHTML = told.html;
    seen = told.race;
    busy(false);
  }

  const steps = { start, go: () => stub.replaceChildren(said("All at once!")), answer: fill, end };

  function said(words) {
    const line = document.createElement("p");
    line.className = "hint";
    line.textContent = words;
    return line;
  }

  function busy(is) {
    button.setAttribute("aria-disabled", is); // not disabled: whoever pressed it by keyboard would lose their place
  }

  function step() {
    timer = 0;
    while (queue.length) {
      const [kind, told] = queue.shift();
      steps[kind](told);
      if (kind === "answer" && !calm.matches && !document.hidden) break;
    }
    if (queue.length) timer = setTimeout(step, STEP_MS);
  }

  function open() {
    stream = new EventSource(`/demo/events?seen=${seen}`);
    for (const kind of Object.keys(steps)) {
      stream.addEventListener(kind, (event) => {
        if (kind === "start") {
          busy(true);
          notNow.textContent = "";
        }
        queue.push([kind, JSON.parse(event.data)]);
        if (!timer) step();
      });
    }
    stream.onerror = () => {
      if (stream.readyState === EventSource.CLOSED) stream = null; // the form works without it
    };
  }

  async function press(event) {
    if (!stream) return; // as a plain form
    event.preventDefault();
    if (button.ariaDisabled === "true") return;
    busy(true);
    notNow.textContent = "";
    try {
      const answer = await fetch("/demo", {
        method: "POST",
        body: new URLSearchParams(new FormData(form)),
        headers: { Accept: "application/json" },
      });
      if (answer.ok) return sheet.scrollIntoView({ block: "nearest", behavior: calm.matches ? "auto" : "smooth" });
      notNow.textContent = (await answer.json()).detail;
    } catch {
      notNow.textContent = "The server does not answer.";
    }
    busy(false);
  }

  form.addEventListener("submit", press);
  form.addEventListener("input", gapShown);
  gapShown();
  // A browser has about six connections to one host: a page that nobody looks at must not keep one.
  document.addEventListener("visibilitychange", () => {
    if (stream) stream.close();
    stream = null;
    if (!document.hidden) open();
  });
  open();
})();
