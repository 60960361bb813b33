// The page's number moves by itself. Without this file the page works as it is.
"use strict";

(() => {
  const value = document.querySelector(".value");
  const name = document.getElementById("name").textContent;
  const lamp = document.querySelector(".lamp");
  const soFar = document.querySelector(".so-far");
  const WIDEST = [4, 6, 8, 11, 14, 17];
  const FALL_BACK_MS = 15000; // when there is no stream to be had: one look now and then

  let version = Number(value.dataset.version);
  let stream = null;
  let timer = 0;

  function show(reading) {
    version = reading.version;
    const text = String(reading.value);
    if (value.textContent === text) return;
    value.textContent = text;
    value.dataset.version = version;
    value.dataset.widest = WIDEST.find((width) => width >= text.length) ?? 17;
    document.title = document.title.replace(/^-?\d+/, text);
    if (soFar) soFar.textContent = ["not one change", "1 change"][version] ?? `${version} changes`;
    value.classList.remove("moved");
    void value.offsetWidth; // so that the animation starts anew
    value.classList.add("moved");
  }

  function say(state, words) {
    lamp.hidden = false;
    lamp.dataset.state = state;
    lamp.title = words;
    lamp.setAttribute("aria-label", words);
  }

  function on() {
    say("on", "live: the number moves by itself");
  }

  function open() {
    clearTimeout(timer);
    stream = new EventSource("/events");
    stream.onopen = on;
    stream.onmessage = (event) => {
      on();
      const reading = JSON.parse(event.data);
      if (reading.version > version) show(reading);
    };
    stream.addEventListener("again", (event) => show(JSON.parse(event.data)));
    stream.addEventListener("away", () => say("off", "the store does not answer"));
    stream.onerror = () => {
      say("off", "not live: looking for the service");
      if (stream.readyState === EventSource.CLOSED) fallBack();
    };
  }

  async function fallBack() {
    timer = setTimeout(open, FALL_BACK_MS);
    try {
      const answer = await fetch(`/counters/${name}`, { headers: { Accept: "application/json" } });
      const reading = await answer.json();
      if (answer.ok && reading.version > version) show(reading);
    } catch {
      // the service is away; the timer asks again
    }
  }

  function close() {
    clearTimeout(timer);
    if (stream) stream.close();
  }

  // A browser has about six connections to one host: a page that nobody looks at must not keep one.
  document.addEventListener("visibilitychange", () => {
    close();
    if (!document.hidden) open();
  });
  if (!document.hidden) open();
})();
