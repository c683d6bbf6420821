// The page "Let it write": the choices, the text that a small transformer writes, and how fast it writes it.

import { fetched, fetchedJson, kilobytes } from "../networks/fetch.js";
import { readSafetensors } from "../networks/safetensors.js";
import { draw, nextProbabilities, randomNumbers, Transformer } from "../networks/transformer.js";

const FILES = new URL("../../language/", import.meta.url);
const SLICE = 30; // milliseconds of writing between two looks at the page
const choices = document.getElementById("choices");
const [status, written, stop] = ["status", "written", "stop"].map((id) => document.getElementById(id));
const { characters, arguments: form, files } = await fetchedJson(new URL("about.json", FILES));
const number = new Map([...characters].map((character, index) => [character, index]));

// --- the table of files, the first of them chosen ----------------------------------------------------------------------

const body = document.querySelector("#files tbody");
const rows = files.map(({ title, bytes, nats }) => {
  const row = body.insertRow();
  row.append(Object.assign(document.createElement("th"), { scope: "row", textContent: title }));
  for (const text of [bytes.toLocaleString("en"), nats.toFixed(4), "", ""]) row.insertCell().textContent = text;
  return row;
});
files.forEach(({ title }, index) => choices.elements.file.add(new Option(title, index)));

const loaded = new Map();
let bytes = 0;
async function model(index) {
  if (!loaded.has(index)) {
    status.textContent = "Loading the network.";
    const content = await fetched(new URL(files[index].file, FILES));
    bytes += content.byteLength;
    loaded.set(index, new Transformer(readSafetensors(content), form));
  }
  return loaded.get(index);
}

// --- writing -----------------------------------------------------------------------------------------------------------

// Return the numbers of a text's characters; throws if the network does not know one of them.
function encoded(text) {
  return [...text].map((character) => {
    if (!number.has(character)) throw new Error(`the network knows no ${JSON.stringify(character)}`);
    return number.get(character);
  });
}

function chosen() {
  const { file, prompt, count, temperature, topk, seed, cached } = choices.elements;
  return {
    index: Number(file.value),
    prompt: prompt.value || "\n",
    count: Number(count.value),
    how: { temperature: Number(temperature.value), topK: Number(topk.value) },
    seed: Number(seed.value),
    cached: cached.checked,
  };
}

// Return a function that takes the text so far and returns the logits of its next character: one that reads what is
// new and remembers the rest, or one that reads all of the context again.
function reader(network, cached) {
  if (!cached) return (text) => network.afresh(text);
  const cache = network.cache();
  return (text) => {
    let x;
    while (cache.seen < text.length) x = network.read(text[cache.seen], cache);
    return network.logits(x);
  };
}

let current; // the text that is being written; a new one ends it

async function write(mine) {
  const { index, prompt, count, how, seed, cached } = chosen();
  const text = encoded(prompt);
  const network = await model(index);
  const [next, random] = [reader(network, cached), randomNumbers(seed)];
  const given = Object.assign(document.createElement("span"), { className: "given", textContent: prompt });
  const added = document.createTextNode("");
  written.replaceChildren(given, added);
  status.textContent = `Writing. (${kilobytes(bytes)} loaded)`;
  let logits = next(text); // the prompt is read before the clock starts
  let [milliseconds, made] = [0, 0];
  while (made < count && !mine.stopped) {
    const begun = performance.now();
    do {
      text.push(draw(nextProbabilities(logits, how), random));
      logits = next(text);
      made += 1;
    } while (made < count && performance.now() - begun < SLICE);
    milliseconds += performance.now() - begun;
    added.data = text.slice(-made).map((code) => characters[code]).join("");
    await new Promise((done) => setTimeout(done));
  }
  if (mine !== current) return;
  const rate = Math.round((1000 * made) / milliseconds).toLocaleString("en");
  rows[index].cells[cached ? 3 : 4].textContent = rate;
  const way = cached ? "with its cache" : "without a cache";
  status.textContent = `${made.toLocaleString("en")} characters, ${rate} a second ${way}. (${kilobytes(bytes)} loaded)`;
}

choices.addEventListener("submit", async (event) => {
  event.preventDefault();
  if (current) current.stopped = true;
  const mine = (current = { stopped: false });
  stop.disabled = false;
  try {
    await write(mine);
  } catch (error) {
    status.textContent = `Nothing was written: ${error.message}.`;
  }
  if (mine !== current) return;
  stop.disabled = true;
  written.dataset.texts = Number(written.dataset.texts ?? 0) + 1;
});
stop.addEventListener("click", () => (current.stopped = true));
document.documentElement.dataset.writing = "ready";
