// Reads the small coded networks of notebook 15 as the files are: what utils/entropy_coding.py writes, bit for bit.
//
// A file holds, for each tensor, how many weights are kept and the few values (centroids) they share, and then one
// range-coded stream: which weights are kept, and which value each of them has. All probabilities are computed anew
// here, from what was decoded before; one bit of difference in one of them, and everything behind it would be noise.

const MAGIC = "NNZ2";
const EVENLY_SPACED = 128;
const MAXIMUM_NEIGHBOURS = 3;
const OUTPUT_BOUNDS = [0.7, 1.4];
const LINE_BOUNDS = [0.1, 0.4, 0.8, 1.3, 2.0];
const PRIOR_WEIGHT = 8;

// --- the range decoder ------------------------------------------------------------------------------------------------

const PRECISION = 24; // bits of a probability
const ONE = 2 ** PRECISION;
const [WORD, STATE] = [32n, 64n]; // bits
const wrapped = (number) => BigInt.asUintN(64, number);

// The decoder of constriction's queue: words of 32 bits, a state of 64 (Bamler, 2022). `lower` and `range` are the
// interval that the symbols so far have left; `point`, a number inside it, is what the file says.
class RangeDecoder {
  constructor(words) {
    this.words = words;
    this.next = 0;
    this.lower = 0n;
    this.range = wrapped(-1n);
    this.point = (this.word() << WORD) | this.word();
  }

  word() {
    return BigInt(this.words[this.next++] ?? 0); // behind the end there are zeros
  }

  // Return the symbol. `find` takes a quantile, from 0 to 2^24 - 1, and returns [symbol, left, right]: which symbol's
  // share of these numbers it falls into, and where that share begins and ends.
  decode(find) {
    const scale = this.range >> BigInt(PRECISION);
    const quantile = wrapped(this.point - this.lower) / scale;
    if (quantile >= BigInt(ONE)) throw new Error("the stream is damaged");
    const [symbol, left, right] = find(Number(quantile));
    this.lower = wrapped(this.lower + scale * BigInt(left));
    this.range = scale * BigInt(right - left);
    if (this.range < 1n << (STATE - WORD)) {
      this.lower = wrapped(this.lower << WORD);
      this.range <<= WORD;
      this.point = wrapped((this.point << WORD) | this.word());
    }
    return symbol;
  }
}

// Return the `find` of one bit that is 1 with `probability`, in float64.
function bernoulli(probability) {
  const zero = 1 - probability;
  const left = Math.trunc(zero * ((ONE - 2) / (zero + probability))) + 1;
  return (quantile) => (quantile < left ? [0, 0, left] : [1, left, ONE]);
}

// Return the `find` of symbols with these probabilities, in float32.
function categorical(probabilities) {
  const last = probabilities.length - 1;
  const total = probabilities.reduce((sum, each) => Math.fround(sum + each), 0);
  const scale = Math.fround((ONE - probabilities.length) / total);
  return (quantile) => {
    for (let symbol = 0, sum = 0, left = 0; ; symbol++) {
      sum = Math.fround(sum + probabilities[symbol]);
      const right = symbol === last ? ONE : Math.trunc(Math.fround(sum * scale)) + symbol + 1;
      if (right > quantile) return [symbol, left, right];
      left = right;
    }
  };
}

// --- which weights are kept -------------------------------------------------------------------------------------------

const below = (bounds, unit, value) => bounds.filter((bound) => bound * unit < value).length;

// Decode a mask line by line, a line for each input of the layer; return 0s and 1s, shape (lines, outputs). The
// contexts are those of `_ContextModel` in Python, where they are explained.
function decodeMask(decoder, lines, outputs, density) {
  const width = Math.max(2, Math.floor(Math.sqrt(lines)));
  const margin = width + 1; // empty lines above the first, so that it has neighbours too
  const mask = new Uint8Array((margin + lines) * outputs);
  const distances = [1, width - 1, width, width + 1];
  const keptByOutput = new Float64Array(outputs);
  const contexts = (MAXIMUM_NEIGHBOURS + 1) * (OUTPUT_BOUNDS.length + 1) * (LINE_BOUNDS.length + 1);
  const [keptCounts, counts] = [new Float64Array(contexts), new Float64Array(contexts)];
  for (let line = 0; line < lines; line++) {
    const start = (margin + line) * outputs;
    const neighbours = new Float64Array(outputs);
    for (const distance of distances)
      for (let output = 0; output < outputs; output++) neighbours[output] += mask[start - distance * outputs + output];
    const expected = density * outputs * distances.length;
    const byLine = below(LINE_BOUNDS, expected, neighbours.reduce((a, b) => a + b, 0));
    const context = Array.from(neighbours, (kept, output) => {
      const byOutput = below(OUTPUT_BOUNDS, density, (keptByOutput[output] + 5 * density) / (line + 5));
      const cell = Math.min(kept, MAXIMUM_NEIGHBOURS) * (OUTPUT_BOUNDS.length + 1) + byOutput;
      return cell * (LINE_BOUNDS.length + 1) + byLine;
    });
    for (let output = 0; output < outputs; output++) {
      const cell = context[output]; // counted only behind the line
      const chance = (keptCounts[cell] + PRIOR_WEIGHT * density) / (counts[cell] + PRIOR_WEIGHT);
      mask[start + output] = decoder.decode(bernoulli(Math.min(Math.max(chance, 1e-4), 1 - 1e-4)));
    }
    for (let output = 0; output < outputs; output++) {
      const bit = mask[start + output];
      keptCounts[context[output]] += bit;
      counts[context[output]] += 1;
      keptByOutput[output] += bit;
    }
  }
  return mask.subarray(margin * outputs);
}

// Return the tensor's codes in its own order: 0 for zero, k for the k-th centroid.
function decodeTensor(decoder, shape, kept, centroids) {
  const size = shape.reduce((a, b) => a * b, 1);
  const outputs = shape.length > 1 ? shape[0] : size;
  const lines = shape.length > 1 ? size / outputs : 1;
  const density = kept / Math.max(1, size);
  let laid = new Uint8Array(size).fill(density === 1 ? 1 : 0); // shape (lines, outputs)
  if (density > 0 && density < 1) laid = decodeMask(decoder, lines, outputs, density);
  const found = laid.reduce((a, b) => a + b, 0);
  if (found !== kept) throw new Error(`${found} weights came out where the file says ${kept}`);
  if (centroids.length > 1) {
    const counts = new Float64Array(centroids.length).fill(1);
    let seen = centroids.length;
    for (let place = 0; place < size; place++) {
      if (!laid[place]) continue;
      const code = decoder.decode(categorical(Float32Array.from(counts, (count) => count / seen)));
      laid[place] = code + 1;
      counts[code] += 1;
      seen += 1;
    }
  }
  if (shape.length <= 1) return laid;
  return Uint8Array.from({ length: size }, (_, i) => laid[(i % lines) * outputs + Math.floor(i / lines)]);
}

// --- the file ---------------------------------------------------------------------------------------------------------

// The float32 that two bytes of float16 stand for.
function fromHalf(bits) {
  const sign = bits & 0x8000 ? -1 : 1;
  const [exponent, fraction] = [(bits >> 10) & 31, bits & 1023];
  if (exponent === 31) return fraction ? NaN : sign * Infinity;
  return sign * (exponent ? (1024 + fraction) * 2 ** (exponent - 25) : fraction * 2 ** -24);
}

// Round to the nearest float16, halves to even. The numbers here are products of few bits, so all of this is exact.
function roundToHalf(number) {
  const exponent = Math.max(-14, Math.floor(Math.log2(Math.abs(number) || 1)));
  const unit = 2 ** (exponent - 10);
  const floor = Math.floor(number / unit);
  const rest = number / unit - floor;
  const rounded = (floor + (rest > 0.5 || (rest === 0.5 && floor % 2 !== 0) ? 1 : 0)) * unit;
  return Math.abs(rounded) > 65504 ? Math.sign(rounded) * Infinity : rounded;
}

function crc32(bytes) {
  let crc = -1;
  for (const byte of bytes) {
    crc ^= byte;
    for (let bit = 0; bit < 8; bit++) crc = (crc >>> 1) ^ (crc & 1 ? 0xedb88320 : 0);
  }
  return ~crc >>> 0;
}

class Reader {
  constructor(buffer, offset) {
    this.view = new DataView(buffer);
    this.offset = offset;
  }

  byte() {
    return this.view.getUint8(this.offset++);
  }

  half() {
    this.offset += 2;
    return fromHalf(this.view.getUint16(this.offset - 2, true));
  }

  // Seven bits a byte, the lowest first; the eighth says that more follow.
  varint() {
    for (let number = 0, unit = 1; ; unit *= 128) {
      const byte = this.byte();
      number += (byte & 127) * unit;
      if (byte < 128) return number;
    }
  }

  centroids() {
    const count = this.byte();
    if (!(count & EVENLY_SPACED)) return Float32Array.from({ length: count }, () => this.half());
    const [most, step] = [count & ~EVENLY_SPACED, this.half()];
    const levels = Array.from({ length: 2 * most + 1 }, (_, i) => i - most).filter(Boolean);
    return Float32Array.from(levels, (level) => roundToHalf(level * step));
  }
}

// The shapes of a network's tensors, which the file does not hold: they follow from the class and its arguments.
const SHAPES = {
  LeNet5: ({ channels: [first, second] = [20, 50], hidden = 500 }) => ({
    "conv1.weight": [first, 1, 5, 5],
    "conv1.bias": [first],
    "conv2.weight": [second, first, 5, 5],
    "conv2.bias": [second],
    "fc1.weight": [hidden, 16 * second],
    "fc1.bias": [hidden],
    "fc2.weight": [10, hidden],
    "fc2.bias": [10],
  }),
  LeNet300100: ({ hidden: [first, second] = [300, 100] }) => ({
    "fc1.weight": [first, 784],
    "fc1.bias": [first],
    "fc2.weight": [second, first],
    "fc2.bias": [second],
    "fc3.weight": [10, second],
    "fc3.bias": [10],
  }),
};

// Return the network of a file: the name of its class, the class's arguments and, by name, each tensor's shape, codes
// (Uint8Array) and values (Float32Array). Throws if the file is damaged, foreign or of a class that is not known here.
export function decodeNetwork(buffer) {
  const bytes = new Uint8Array(buffer);
  const text = (from, to) => new TextDecoder().decode(bytes.subarray(from, to));
  if (text(0, 4) !== MAGIC) throw new Error(`this is no coded network: it does not begin with ${MAGIC}`);
  const view = new DataView(buffer);
  if (bytes.length < 10 || crc32(bytes.subarray(8)) !== view.getUint32(4, true))
    throw new Error("the file is truncated or damaged: its checksum is not the one it names");
  const reader = new Reader(buffer, 10 + view.getUint16(8, true));
  const { model, arguments: given } = JSON.parse(text(10, reader.offset));
  if (!(model in SHAPES)) throw new Error(`this page knows no network ${model}`);
  const shapes = Object.entries(SHAPES[model](given));
  const tables = shapes.map(() => ({ kept: reader.varint(), centroids: reader.centroids() }));
  const stream = bytes.slice(reader.offset);
  if (stream.length % 4) throw new Error("the stream is no whole number of words");
  const words = new DataView(stream.buffer);
  const decoder = new RangeDecoder(Array.from({ length: stream.length / 4 }, (_, i) => words.getUint32(4 * i, true)));
  const tensors = {};
  for (const [index, [name, shape]] of shapes.entries()) {
    const { kept, centroids } = tables[index];
    const codes = decodeTensor(decoder, shape, kept, centroids);
    tensors[name] = { shape, codes, values: Float32Array.from(codes, (code) => (code ? centroids[code - 1] : 0)) };
  }
  return { model, arguments: given, tensors };
}
