// Nothing here is needed to read the page: details at a glance, arrow keys among the marks, open details on paper.
"use strict";

const told = (mark) => mark.getAttribute("aria-label") || mark.getAttribute("title") || "";

for (const field of document.querySelectorAll("[data-rove]")) {
  const readout = field.parentElement.querySelector(".readout");
  const marks = [...field.querySelectorAll("li[tabindex], .bar")];
  const show = (event) => {
    const mark = event.target.closest("li[title], .bar");
    if (mark) readout.textContent = told(mark);
  };
  readout.textContent = "Point at a mark, or move among them with the arrow keys.";
  field.addEventListener("mouseover", show);
  field.addEventListener("focusin", show);
  field.addEventListener("click", show);
  field.addEventListener("keydown", (event) => {
    const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
    const next = { Home: 0, End: marks.length - 1 }[event.key] ?? marks.indexOf(event.target) + step;
    if (!marks.includes(event.target) || !marks[next]) return;
    event.preventDefault();
    event.target.tabIndex = event.target.classList.contains("seen") ? 0 : -1;
    marks[next].tabIndex = 0;
    marks[next].focus();
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
