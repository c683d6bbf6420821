// The page "Draw a digit": paper, test digits, and the table of what each network says.

import { kilobytes } from "../networks/fetch.js";
import { asMnist, SIDE } from "./image.js";
import { about, load, time } from "./networks.js";

const PEN = 24;
const [paper, seen] = ["paper", "seen"].map((id) => document.getElementById(id));
const verdict = document.getElementById("verdict");
const pen = paper.getContext("2d", { willReadFrequently: true });

function clear() {
  pen.fillStyle = "white";
  pen.fillRect(0, 0, paper.width, paper.height);
}

// Draw 28 x 28 values in [0, 1] on a canvas of that size, 1 as black.
function show(canvas, image) {
  const picture = new ImageData(SIDE, SIDE);
  image.forEach((ink, i) => picture.data.set([...Array(3).fill(255 * (1 - ink)), 255], 4 * i));
  canvas.getContext("2d").putImageData(picture, 0, 0);
}

function drawn() {
  const { width, height } = paper;
  const { data } = pen.getImageData(0, 0, width, height);
  return Array.from({ length: height }, (_, y) => Array.from({ length: width }, (_, x) => 1 - data[4 * (y * width + x)] / 255));
}

// --- answers ---------------------------------------------------------------------------------------------------------

const { networks, digits, of } = await about();
const body = document.querySelector("#answers tbody");
const rows = new Map(
  networks.map((network) => {
    const row = body.insertRow();
    const name = Object.assign(document.createElement("th"), { scope: "row", textContent: network.title });
    row.append(name);
    const size = network.bytes.toLocaleString("en");
    for (const text of [size, `${((100 * network.wrong) / of).toFixed(2)} %`, "", "", ""]) row.insertCell().textContent = text;
    return [network.name, row];
  }),
);

let loading;
function ready() {
  loading ??= load(networks);
  loading.catch(() => (loading = undefined)); // the next digit tries again
  return loading;
}

function softmax(logits) {
  const largest = Math.max(...logits);
  const powers = logits.map((logit) => Math.exp(logit - largest));
  const sum = powers.reduce((a, b) => a + b);
  return powers.map((power) => power / sum);
}

function sentence(said, label) {
  const different = [...new Set(said.values())];
  const truth = label === undefined ? "" : ` The label is ${label}.`;
  if (different.length === 1) return `All ${said.size} networks say ${different[0]}.${truth}`;
  const groups = different.map((digit) => {
    const names = networks.filter(({ name }) => said.get(name) === digit).map(({ title }) => title);
    return `${digit} (${names.join("; ")})`;
  });
  return `They disagree: ${groups.join(" against ")}.${truth}`;
}

async function answer({ image, label }) {
  if (!loading) verdict.textContent = "Loading the networks, once.";
  const { loaded, bytes } = await ready();
  const said = new Map();
  for (const [name, run] of loaded) {
    const logits = run(image);
    said.set(name, logits.indexOf(Math.max(...logits)));
    const row = rows.get(name);
    row.dataset.logits = JSON.stringify(logits);
    row.cells[3].textContent = said.get(name);
    row.cells[4].textContent = (100 * Math.max(...softmax(logits))).toFixed(1);
  }
  for (const [name, row] of rows) row.cells[3].className = said.get(name) === said.get("dense") ? "says" : "says alone";
  verdict.textContent = `${sentence(said, label)} (${kilobytes(bytes)} loaded)`;
  for (const [name, microseconds] of await time(loaded, image))
    rows.get(name).cells[5].textContent = Math.round(microseconds).toLocaleString("en");
  body.dataset.answered = Number(body.dataset.answered ?? 0) + 1;
}

// While the networks answer, and are timed, the newest digit waits and older ones are dropped.
let waiting, busy;
async function read(digit) {
  show(seen, digit.image);
  waiting = digit;
  if (busy) return;
  busy = true;
  try {
    for (let next; (next = waiting); ) {
      waiting = undefined;
      await answer(next);
    }
  } catch (error) {
    verdict.textContent = `The networks could not be loaded (${error.message}). Draw again to try again.`;
  } finally {
    busy = false;
  }
}

// --- paper -----------------------------------------------------------------------------------------------------------

let last;
const place = ({ offsetX, offsetY }) => [offsetX * (paper.width / paper.clientWidth), offsetY * (paper.height / paper.clientHeight)];

function stroke(event) {
  if (!last) return;
  const now = place(event);
  Object.assign(pen, { lineWidth: PEN, lineCap: "round", strokeStyle: "black" });
  pen.beginPath();
  pen.moveTo(...last);
  pen.lineTo(...now);
  pen.stroke();
  last = now;
}

function lift() {
  if (!last) return;
  last = undefined;
  const image = asMnist(drawn());
  if (image) read({ image });
}

paper.addEventListener("pointerdown", (event) => {
  paper.setPointerCapture(event.pointerId);
  last = place(event);
  stroke(event); // a dot
});
paper.addEventListener("pointermove", stroke);
paper.addEventListener("pointerup", lift);
paper.addEventListener("pointercancel", lift);
document.getElementById("clear").addEventListener("click", () => {
  clear();
  show(seen, new Float32Array(SIDE * SIDE));
  verdict.textContent = "Nothing is drawn yet.";
});

// --- test digits -----------------------------------------------------------------------------------------------------

function offer({ number, label, pixels }, index) {
  const image = Float32Array.from(atob(pixels), (byte) => byte.charCodeAt(0) / 255);
  const button = Object.assign(document.createElement("button"), { type: "button" });
  button.ariaLabel = `test digit number ${number}, a ${label}`;
  button.dataset.number = number;
  const thumbnail = Object.assign(document.createElement("canvas"), { width: SIDE, height: SIDE });
  show(thumbnail, image);
  button.append(thumbnail);
  button.addEventListener("click", () => {
    clear();
    read({ image, label });
  });
  document.getElementById(index < 10 ? "plain" : "disputed").append(button);
}

clear();
show(seen, new Float32Array(SIDE * SIDE));
digits.forEach(offer);
document.getElementById("disagreeing").hidden = digits.length <= 10;
document.documentElement.dataset.drawing = "ready";
