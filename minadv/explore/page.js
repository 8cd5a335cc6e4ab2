"use strict";
const SIDE = 28, BRUSH = 1.6, WAIT = 120;  // pixels; ms between the last change and the attack
const find = id => document.getElementById(id);
let image = new Array(SIDE * SIDE).fill(0);
let setup, running, timer, chosenImages = 0, cursor = [14, 14];

// Drawing.

function paint(canvas, color) {
  const context = canvas.getContext("2d"), pixels = context.createImageData(SIDE, SIDE);
  for (let i = 0; i < SIDE * SIDE; i++) pixels.data.set([...color(i), 255], 4 * i);
  context.putImageData(pixels, 0, 0);
}

const gray = values => i => new Array(3).fill(Math.round(255 * values[i]));

function diverging(share) {  // −1 blue, 0 white, 1 red, the same colors as the scale's
  const end = share < 0 ? [33, 102, 172] : [178, 24, 43];
  return end.map(c => Math.round(247 + (c - 247) * Math.min(Math.abs(share), 1)));
}

function showDrawing(withCursor) {
  paint(find("drawing"), gray(image));
  if (!withCursor) return;
  const context = find("drawing").getContext("2d");
  context.fillStyle = "#e8710a";
  context.fillRect(...cursor, 1, 1);
}

function change(values, soon = true) {
  image = values;
  chosenImages += 1;
  find("unread").textContent = "";
  for (const button of find("samples").children) button.setAttribute("aria-pressed", "false");
  showDrawing(false);
  if (soon) later();
}

function brush(from, to) {  // a stroke of soft dots, as a pen makes them
  const steps = Math.max(1, Math.ceil(2 * Math.hypot(to[0] - from[0], to[1] - from[1])));
  const values = image.slice();
  for (let s = 0; s <= steps; s++) {
    const x = from[0] + (to[0] - from[0]) * s / steps, y = from[1] + (to[1] - from[1]) * s / steps;
    for (let i = 0; i < SIDE * SIDE; i++) {
      const away = Math.hypot(i % SIDE + 0.5 - x, Math.floor(i / SIDE) + 0.5 - y);
      values[i] = Math.max(values[i], Math.min(1, Math.max(0, BRUSH - away)));
    }
  }
  change(values);
}

function place(event) {
  const box = find("drawing").getBoundingClientRect();
  return [(event.clientX - box.left) / box.width * SIDE, (event.clientY - box.top) / box.height * SIDE];
}

let last = null;
find("drawing").addEventListener("pointerdown", event => {
  find("drawing").setPointerCapture(event.pointerId);
  last = place(event);
  brush(last, last);
});
find("drawing").addEventListener("pointermove", event => {
  if (last) brush(last, last = place(event));
});
for (const end of ["pointerup", "pointercancel"]) find("drawing").addEventListener(end, () => last = null);

find("drawing").addEventListener("keydown", event => {
  const move = {ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1]}[event.key];
  const value = {" ": 1, Enter: 1, Backspace: 0, Delete: 0}[event.key];
  if (!move && value === undefined) return;
  event.preventDefault();
  if (move) cursor = cursor.map((c, k) => Math.min(SIDE - 1, Math.max(0, c + move[k])));
  else if (value) { const here = cursor.map(c => c + 0.5); brush(here, here); }
  else change(image.map((v, i) => Math.hypot(i % SIDE - cursor[0], Math.floor(i / SIDE) - cursor[1]) < 1.5 ? 0 : v));
  showDrawing(true);
  const bright = Math.round(100 * image[cursor[1] * SIDE + cursor[0]]);
  find("cursor").textContent = `Row ${cursor[1] + 1}, column ${cursor[0] + 1}: ${bright} %`;
});
find("drawing").addEventListener("blur", () => showDrawing(false));

find("clear").addEventListener("click", () => change(new Array(SIDE * SIDE).fill(0)));
find("invert").addEventListener("click", () => change(image.map(v => 1 - v)));
find("center").addEventListener("click", () => {  // the center of mass goes to the middle, as in MNIST
  let sum = 0, x = 0, y = 0;
  image.forEach((v, i) => { sum += v; x += v * (i % SIDE); y += v * Math.floor(i / SIDE); });
  if (!sum) return;
  const dx = Math.round(13.5 - x / sum), dy = Math.round(13.5 - y / sum);
  change(image.map((_, i) => {
    const column = i % SIDE - dx, row = Math.floor(i / SIDE) - dy;
    const inside = column >= 0 && column < SIDE && row >= 0 && row < SIDE;
    return inside ? image[row * SIDE + column] : 0;
  }));
});

// Image files: decoded here; 28 x 28 numbers are all that the server gets.

async function read(file) {
  if (!file) return;
  const mine = chosenImages += 1;  // an image that is chosen while this one is read stays
  try {
    if (file.size > 2e7) throw new Error("larger than 20 MB");
    let from = await createImageBitmap(file);
    const cut = Math.min(from.width, from.height);
    let x = (from.width - cut) / 2, y = (from.height - cut) / 2, size = cut, canvas, context;
    while (true) {  // halved again and again: each pixel counts
      const next = Math.max(SIDE, Math.ceil(size / 2));
      canvas = new OffscreenCanvas(next, next);
      context = canvas.getContext("2d");
      context.fillRect(0, 0, next, next);
      context.imageSmoothingQuality = "high";
      context.drawImage(from, x, y, size, size, 0, 0, next, next);
      if (next === SIDE) break;
      [from, x, y, size] = [canvas, 0, 0, next];
    }
    if (mine !== chosenImages) return;
    const bytes = context.getImageData(0, 0, SIDE, SIDE).data;
    change(image.map((_, i) => Math.round(
      0.299 * bytes[4 * i] + 0.587 * bytes[4 * i + 1] + 0.114 * bytes[4 * i + 2]) / 255));
  } catch (error) {
    find("unread").textContent = `${file.name} is not an image that this browser reads: ${error.message}`;
  }
}

find("file").addEventListener("change", event => read(event.target.files[0]));
for (const name of ["dragover", "dragleave", "drop"]) document.addEventListener(name, event => {
  event.preventDefault();  // a file that misses the box does not replace the page
  find("drop").classList.toggle("over", name === "dragover");
  if (name === "drop") read(event.dataTransfer.files[0]);
});

// The form, made from what the attacks take.

function element(tag, properties = {}, ...inside) {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...inside);
  return made;
}

const chosen = () => setup.attacks.find(attack => attack.name === find("attack").value);

function field(setting) {
  const id = `setting-${setting.name}`, shown = setting.value ?? "";
  const box = element("div", {}, element("label", {htmlFor: id, textContent: setting.name}));
  let input;
  if (setting.choices) {
    input = element("select", {id}, ...setting.choices.map(c => element("option", {value: c, textContent: c})));
    input.value = shown;
  } else if (setting.kind === "bool") {
    input = element("input", {id, type: "checkbox", checked: shown});
  } else {
    input = element("input", {id, type: "text", value: shown, autocomplete: "off",
      inputMode: setting.kind === "int" ? "numeric" : "text",
      placeholder: setting.value === null ? "default" : ""});
  }
  input.dataset.setting = setting.name;
  box.append(input);
  if (setting.name === "eps") {
    const slide = element("input", {type: "range", min: 0, max: 0.5, step: 0.01, value: shown, id: "slide"});
    slide.setAttribute("aria-label", "eps, from 0 to 0.5");
    slide.addEventListener("input", () => { input.value = slide.value; });
    input.addEventListener("input", () => { if (+input.value >= 0) slide.value = input.value; });
    box.append(slide);
    box.className = "wide";
  }
  return box;
}

function showForm() {
  const attack = chosen();
  find("about").textContent = attack.about;
  find("goal").hidden = !attack.goals.length;
  const before = find("target").value;
  find("target").replaceChildren(
    ...(attack.goals.includes("y") ? [element("option", {value: "", textContent: "any other digit"})] : []),
    ...(attack.goals.includes("target") ? [...Array(10).keys()].map(
      k => element("option", {value: k, textContent: `towards ${k}`})) : []));
  find("target").value = before;
  if (find("target").selectedIndex < 0) find("target").selectedIndex = 0;
  find("settings").replaceChildren(...attack.settings.map(field));
}

find("attack").addEventListener("change", showForm);
find("form").addEventListener("input", later);
find("form").addEventListener("submit", event => { event.preventDefault(); run(); });

// The attack. Leaving the page or changing something hangs up, which ends the attack before: what is
// shown is busy until the answer to these very settings is there.

function stop() {
  running?.abort();
  clearTimeout(timer);
  find("shown").setAttribute("aria-busy", true);
}

function later() {
  stop();
  timer = setTimeout(run, WAIT);
}

async function run() {
  stop();
  const mine = running = new AbortController(), target = find("target").value;
  const settings = Object.fromEntries([...document.querySelectorAll("[data-setting]")].map(
    input => [input.dataset.setting, input.type === "checkbox" ? input.checked : input.value]));
  const asked = {attack: find("attack").value, image, settings, target: target === "" ? null : +target};
  const slow = setTimeout(() => say("Searching."), 600);
  try {
    const response = await fetch("attack", {method: "POST", signal: mine.signal,
      headers: {"Content-Type": "application/json"}, body: JSON.stringify(asked)});
    const answer = await response.json();
    if (mine.signal.aborted) return;
    if (response.ok) show(answer, asked); else fail(answer.error);
  } catch (error) {
    if (!mine.signal.aborted) fail("The server does not answer: is it still running?");
  } finally {
    clearTimeout(slow);
  }
}

function say(sentence, kind = "") {
  find("says").textContent = sentence;
  find("says").className = kind;
}

function fail(message) {
  say(message, "error");
  find("shown").setAttribute("aria-busy", false);
}

const short = value => value === 0 ? "0" : value < 0.001 ? value.toExponential(1) : String(+value.toPrecision(3));
const percent = p => `${(100 * p).toFixed(1)} %`;

function show(answer, asked) {
  paint(find("adversarial"), gray(answer.image));
  paint(find("change"), i => diverging(answer.linf ? answer.change[i] / answer.linf : 0));
  find("low").textContent = `−${short(answer.linf)}`;
  find("high").textContent = `+${short(answer.linf)}`;
  const first = answer.before.indexOf(Math.max(...answer.before));
  const now = answer.after.indexOf(Math.max(...answer.after));
  const seen = first === now
    ? `The model still sees ${now} (${percent(answer.before[first])}, now ${percent(answer.after[now])}).`
    : `The model saw ${first} (${percent(answer.before[first])}) and now sees ${now} (${percent(answer.after[now])}).`;
  const goal = asked.target === null ? "another digit" : asked.target;
  say([seen,
    answer.success ? "The attack succeeds." : `It wanted ${goal}: the attack fails.`, ...answer.warnings].join(" "));
  find("adversarial").setAttribute("aria-label", `The attacked image: the model sees ${now}`);
  find("change").setAttribute("aria-label", `The change: ${answer.l0} pixels, by at most ${short(answer.linf)}`);
  find("probabilities").replaceChildren(...answer.before.map((p, k) => {
    const cell = (share, kind, most) => {
      const bar = element("i");
      bar.style.width = `${100 * share}%`;
      return element("td", {className: `${kind} ${most ? "most" : ""}`},
        element("span", {textContent: percent(share)}), element("span", {className: "bar"}, bar));
    };
    return element("tr", {}, element("th", {scope: "row", textContent: k}),
      cell(p, "before", k === first), cell(answer.after[k], "after", k === now));
  }));
  const queries = answer.queries === null ? "" : `, ${answer.queries} queries`;
  find("numbers").textContent = `Changed pixels: ${answer.l0} of 784; largest change ${short(answer.linf)}, `
    + `Euclidean ${short(answer.l2)}. ${answer.steps} step${answer.steps === 1 ? "" : "s"}${queries}, ${Math.round(1000 * answer.seconds)} ms.`;
  find("shown").setAttribute("aria-busy", false);
}

async function start() {
  setup = await (await fetch("setup.json")).json();
  find("model").textContent = `The network here is ${setup.model}, trained on 10,000 digits of MNIST.`;
  find("attack").append(...setup.attacks.map(a => element("option", {value: a.name, textContent: a.name})));
  for (const sample of setup.samples) {
    const canvas = element("canvas", {width: SIDE, height: SIDE}), values = sample.pixels.map(b => b / 255);
    const button = element("button", {type: "button"}, canvas);
    button.setAttribute("aria-label", `A ${sample.label} of MNIST`);
    button.setAttribute("aria-pressed", "false");
    paint(canvas, gray(values));
    button.addEventListener("click", () => { change(values); button.setAttribute("aria-pressed", "true"); });
    find("samples").append(button);
  }
  showForm();
  find("samples").children[0].click();
}

start().catch(() => fail("The server does not answer: is it still running?"));
