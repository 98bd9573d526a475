// The rating widget's half in the browser. It shows what Python's `state` says and sends each click as one message; it keeps nothing.

const LEVELS = [[0, "low"], [0.5, "middle"], [1, "high"]];
const PATIENCE = 3000; // milliseconds until a click that Python has not answered is called unsaved

function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

function button(label, key, keys, act) {
  const element = make("button", { type: "button", "aria-keyshortcuts": keys }, label, make("kbd", { "aria-hidden": "true" }, key));
  element.addEventListener("click", act);
  return element;
}

function render({ model, el }) {
  let state = model.get("state");
  let shown = null; // the item on the screen, and since when
  let since = 0;
  let waiting = null; // the timer of a click that Python has not answered yet

  const send = (message) => {
    if (waiting) return; // one click at a time: a second would be about something the rater has not seen yet
    waiting = setTimeout(() => (problem.textContent = "Waiting for Python. Your last click is not saved yet."), PATIENCE);
    root.classList.add("ftl-waiting");
    model.send(message);
  };
  const choose = (choice) => state.item && send({ event: "choose", item: state.item, choice, seconds: (performance.now() - since) / 1000 });
  const chooseResponse = (place) => state.item && choose(state.responses[place].name);
  const undo = () => state.done && send({ event: "undo" });

  const progress = make("p", { role: "status", class: "ftl-progress" });
  const bar = make("progress", { "aria-hidden": "true" });
  const prompt = make("p", { class: "ftl-prompt" });
  const sides = [0, 1].map((place) => {
    const text = make("p", { class: "ftl-text" });
    const scales = make("div", { class: "ftl-scales" });
    const better = button(`Response ${place + 1} is better`, `${place + 1}`, `${place + 1} ${place ? "ArrowRight" : "ArrowLeft"}`, () => chooseResponse(place));
    better.classList.add("ftl-better");
    return { text, scales, part: make("section", { "aria-label": `Response ${place + 1}` }, make("h4", {}, `Response ${place + 1}`), text, scales, better) };
  });
  const task = make(
    "div", { class: "ftl-task" }, make("h4", {}, "Request"), prompt, make("div", { class: "ftl-pair" }, ...sides.map((side) => side.part)),
  );
  const tie = button("About the same", "0", "0", () => choose("tie"));
  const skip = button("Skip", "s", "s", () => choose("skip"));
  const back = button("Undo", "u", "u", undo);
  const problem = make("p", { role: "alert", class: "ftl-problem" });
  const root = make(
    // Without the second attribute JupyterLab takes the keys: 0 0 would restart the kernel.
    "div", { class: "ftl-rating", "data-lm-suppress-shortcuts": "true", tabindex: "0", role: "group", "aria-label": "Which response is better?" },
    make("div", { class: "ftl-top" }, progress, bar), task, make("div", { class: "ftl-more" }, tie, skip, back), problem,
  );

  const drawScales = (side, response, place) => {
    const grade = (scale, value) => send({ event: "grade", item: state.item, response: response.name, scale, value });
    const rows = state.scales.map((scale) => {
      const buttons = LEVELS.map(([value, label]) => {
        const pressed = response.grades[scale] === value;
        const element = make("button", { type: "button", "aria-pressed": String(pressed), "data-grade": `${place} ${scale} ${value}` }, label);
        element.addEventListener("click", () => grade(scale, pressed ? null : value)); // a second click takes a grade back
        return element;
      });
      const name = make("span", {}, scale);
      return make("div", { role: "group", "aria-label": `${scale} of response ${place + 1}` }, name, make("span", { class: "ftl-levels" }, ...buttons));
    });
    side.scales.replaceChildren(...rows);
  };

  const draw = () => {
    state = model.get("state");
    clearTimeout(waiting);
    waiting = null;
    root.classList.remove("ftl-waiting");
    const focused = root.contains(document.activeElement) ? document.activeElement : null;
    const grade = focused?.dataset.grade;
    const finished = state.item === null;
    const skipped = state.skipped ? `, ${state.skipped} skipped` : "";
    progress.textContent = finished ? `All ${state.total} are rated${skipped}. Thank you, ${state.rater}.` : `${state.done + 1} of ${state.total}${skipped}`;
    bar.max = state.total;
    bar.value = state.done;
    task.hidden = tie.hidden = skip.hidden = finished;
    back.setAttribute("aria-disabled", String(!state.done));
    problem.textContent = state.problem;
    if (!finished) {
      prompt.textContent = state.prompt;
      sides.forEach((side, place) => {
        side.text.textContent = state.responses[place].text;
        drawScales(side, state.responses[place], place);
      });
    }
    if (state.item !== shown) [shown, since] = [state.item, performance.now()];
    // What had the focus may be gone or hidden; the keys work wherever in the widget it is.
    if (grade) (root.querySelector(`[data-grade="${grade}"]`) ?? root).focus();
    else if (focused && focused.closest("[hidden]")) root.focus();
  };

  const KEYS = {
    ArrowLeft: () => chooseResponse(0), 1: () => chooseResponse(0), ArrowRight: () => chooseResponse(1), 2: () => chooseResponse(1),
    0: () => choose("tie"), s: () => choose("skip"), u: undo,
  };
  root.addEventListener("keydown", (event) => {
    const act = KEYS[event.key.length === 1 ? event.key.toLowerCase() : event.key];
    if (event.ctrlKey || event.metaKey || event.altKey || !act) return;
    event.preventDefault();
    event.stopPropagation();
    if (!event.repeat) act(); // a key held down rates one comparison
  });

  model.on("change:state", draw);
  draw();
  el.append(root);
  return () => {
    clearTimeout(waiting);
    model.off("change:state", draw);
  };
}

export default { render };
