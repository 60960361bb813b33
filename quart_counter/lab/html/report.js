// Nothing here is needed to read the page: details at a glance, arrow keys among the marks, open details on paper.
"use strict";

const told = (mark) => mark.getAttribute("aria-label") || mark.getAttribute("title") || "";

// The nearest mark above or below.
const beyond = (marks, mark, way) => {
  const from = mark.getBoundingClientRect();
  const far = (other) => {
    const at = other.getBoundingClientRect();
    const down = (at.top - from.top) * way;
    return down > 4 ? down * 1e4 + Math.abs(at.left - from.left) : Infinity;
  };
  const best = marks.reduce((one, other) => (far(other) < far(one) ? other : one));
  return far(best) < Infinity ? best : null;
};

for (const field of document.querySelectorAll("[data-rove]")) {
  const readout = field.parentElement.querySelector(".readout");
  const marks = [...field.querySelectorAll("li[tabindex], .bar")];
  if (!marks.length) continue;
  const show = (event) => {
    const mark = event.target.closest("li[title], .bar");
    if (mark) readout.textContent = told(mark);
  };
  const next = (key, mark) => {
    const i = marks.indexOf(mark);
    switch (key) {
      case "ArrowRight": return marks[i + 1];
      case "ArrowLeft": return marks[i - 1];
      case "ArrowDown": return beyond(marks, mark, 1);
      case "ArrowUp": return beyond(marks, mark, -1);
      case "Home": return marks[0];
      case "End": return marks.at(-1);
    }
  };
  readout.textContent = "Point at a mark, or move among them with the arrow keys.";
  field.addEventListener("mouseover", show);
  field.addEventListener("focusin", show);
  field.addEventListener("click", show);
  field.addEventListener("keydown", (event) => {
    const mark = event.target;
    const goal = marks.includes(mark) && next(event.key, mark);
    if (!goal) return;
    event.preventDefault();
    mark.tabIndex = mark.classList.contains("seen") ? 0 : -1;
    goal.tabIndex = 0;
    goal.focus();
  });
}

for (const zoom of document.querySelectorAll(".zoom")) {
  zoom.addEventListener("change", () => {
    const scroll = zoom.parentElement.querySelector(".scroll");
    const seen = scroll.querySelectorAll(".seen text, .bar text");
    const at = seen[0].getBoundingClientRect().left - scroll.getBoundingClientRect().left + scroll.scrollLeft;
    scroll.scrollLeft = at - scroll.clientWidth / 2;
  });
}

addEventListener("beforeprint", () => {
  for (const part of document.querySelectorAll("details")) part.open = true;
});
