// The transformer of utils/transformer.py in plain JavaScript, one character at a time: RMSNorm, rotary positions,
// attention over a cache of keys and values, a gated feed-forward branch. Weights are float32, or integers that are
// multiplied by their rows' scales once, when they are read.

import { unpack } from "./safetensors.js";

const ROTARY_BASE = 10_000;
const EPSILON = 1e-5;

// A linear layer's matrix, row by row: as it is, or from packed integers and a scale for each row.
function matrix(tensors, name, inputs) {
  if (`${name}.weight` in tensors) return tensors[`${name}.weight`].values;
  const scale = tensors[`${name}.weight_scale`].values;
  const codes = unpack(tensors[`${name}.packed`].values, scale.length * inputs);
  return codes.map((code, i) => code * scale[Math.floor(i / inputs)]);
}

function multiplied(weight, x) {
  const inputs = x.length;
  const y = new Float32Array(weight.length / inputs);
  for (let output = 0, w = 0; output < y.length; output++) {
    let sum = 0;
    for (let i = 0; i < inputs; i++, w++) sum += weight[w] * x[i];
    y[output] = sum;
  }
  return y;
}

function normed(x, factor) {
  let squares = 0;
  for (let i = 0; i < x.length; i++) squares += x[i] * x[i];
  const scale = 1 / Math.sqrt(squares / x.length + EPSILON);
  return x.map((value, i) => value * scale * factor[i]);
}

function add(x, more) {
  for (let i = 0; i < x.length; i++) x[i] += more[i];
}

// Turn each pair (x_j, x_{j + size/2}) of each head by an angle that grows with the position, in place.
function rotate(x, position, size) {
  const pairs = size / 2;
  for (let pair = 0; pair < pairs; pair++) {
    const angle = position * ROTARY_BASE ** (-pair / pairs);
    const [cosine, sine] = [Math.cos(angle), Math.sin(angle)];
    for (let first = pair; first < x.length; first += size) {
      const [a, b] = [x[first], x[first + pairs]];
      x[first] = a * cosine - b * sine;
      x[first + pairs] = a * sine + b * cosine;
    }
  }
}

const silu = (x) => x / (1 + Math.exp(-x));

export class Transformer {
  // Takes the tensors by name and the arguments of the Python class.
  constructor(tensors, { width, blocks, heads, hidden, context }) {
    Object.assign(this, { width, heads, context });
    this.embedding = tensors["embedding.weight"].values;
    this.blocks = Array.from({ length: blocks }, (_, number) => {
      const name = `blocks.${number}`;
      const [query, key, value, output] = ["query", "key", "value", "output"].map((each) =>
        matrix(tensors, `${name}.attention.${each}`, width),
      );
      const [gate, up] = ["gate", "up"].map((each) => matrix(tensors, `${name}.feed_forward.${each}`, width));
      const down = matrix(tensors, `${name}.feed_forward.down`, hidden);
      const [norm1, norm2] = ["norm1", "norm2"].map((each) => tensors[`${name}.${each}.weight`].values);
      return { query, key, value, output, gate, up, down, norm1, norm2 };
    });
    this.norm = tensors["norm.weight"].values;
    this.head = matrix(tensors, "head", width);
  }

  // A new cache: for each block the keys and values of the last `context` characters, in a ring.
  cache() {
    const places = this.context * this.width;
    const stored = this.blocks.map(() => ({ keys: new Float32Array(places), values: new Float32Array(places) }));
    return { seen: 0, stored };
  }

  // Read one more character, given by its number; the cache then holds it, and forgets the oldest if it was full.
  // Returns what the last block makes of it, for `logits`.
  read(character, cache) {
    const x = this.embedding.slice(character * this.width, (character + 1) * this.width);
    for (const [number, block] of this.blocks.entries()) {
      add(x, this.#attention(block, normed(x, block.norm1), cache.stored[number], cache.seen));
      const y = normed(x, block.norm2);
      const up = multiplied(block.up, y);
      add(x, multiplied(block.down, multiplied(block.gate, y).map((value, i) => silu(value) * up[i])));
    }
    cache.seen += 1;
    return x;
  }

  // The logits of the character that follows.
  logits(x) {
    return multiplied(this.head, normed(x, this.norm));
  }

  // The logits behind a text, without a cache: its last `context` characters are read from the first one on.
  afresh(characters) {
    const cache = this.cache();
    let x;
    for (const character of characters.slice(-this.context)) x = this.read(character, cache);
    return this.logits(x);
  }

  #attention(block, x, { keys, values }, position) {
    const { width, heads, context } = this;
    const size = width / heads;
    const [query, key] = [multiplied(block.query, x), multiplied(block.key, x)];
    rotate(query, position, size);
    rotate(key, position, size);
    const place = position % context;
    keys.set(key, place * width);
    values.set(multiplied(block.value, x), place * width);
    const length = Math.min(position + 1, context);
    const mixed = new Float32Array(width);
    const scores = new Float64Array(length);
    for (let head = 0; head < heads; head++) {
      const start = head * size;
      for (let other = 0; other < length; other++) {
        let sum = 0;
        for (let i = 0; i < size; i++) sum += query[start + i] * keys[other * width + start + i];
        scores[other] = sum / Math.sqrt(size);
      }
      const largest = scores.reduce((a, b) => Math.max(a, b), -Infinity);
      let total = 0;
      for (let other = 0; other < length; other++) total += scores[other] = Math.exp(scores[other] - largest);
      for (let other = 0; other < length; other++)
        for (let i = 0; i < size; i++)
          mixed[start + i] += (scores[other] / total) * values[other * width + start + i];
    }
    return multiplied(block.output, mixed);
  }
}

// --- sampling -----------------------------------------------------------------------------------------------------------

// Return softmax(logits / temperature) over the `topK` largest; temperature 0 gives the likeliest probability 1.
export function nextProbabilities(logits, { temperature = 1, topK = logits.length } = {}) {
  const order = Array.from(logits, (_, i) => i).sort((a, b) => logits[b] - logits[a]);
  const chosen = order.slice(0, temperature === 0 ? 1 : topK);
  const largest = logits[order[0]];
  const probabilities = new Float64Array(logits.length);
  for (const i of chosen) probabilities[i] = Math.exp((logits[i] - largest) / (temperature || 1));
  const total = probabilities.reduce((a, b) => a + b, 0);
  return probabilities.map((each) => each / total);
}

// Return a function that draws numbers in [0, 1), the same for the same seed on every machine (mulberry32).
export function randomNumbers(seed) {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

// Return the number of a character drawn with these probabilities.
export function draw(probabilities, random) {
  const limit = random();
  for (let i = 0, sum = 0; i < probabilities.length; i++) if ((sum += probabilities[i]) > limit) return i;
  return probabilities.lastIndexOf(Math.max(...probabilities)); // rounding: the sum ended just below 1
}
