// LeNet-5 in plain JavaScript, in float32 and in int8: two convolutions of 5 x 5, each with a pooling, two dense layers.
//
// Sums are collected in float64, where those of integers are exact. JavaScript has no other arithmetic: so integers
// are multiplied no faster here than other numbers.

import { unpack } from "./safetensors.js";

const [SIDE, KERNEL] = [28, 5];

// Return sum_c sum_k weight(o, c, k) input(c, . + k) for each output channel o, shape (outputs, width - 4, width - 4).
// One weight goes over a whole image at a time, so a weight of zero costs nothing.
function convolved(input, width, weight, outputs) {
  const narrow = width - KERNEL + 1;
  const channels = input.length / width ** 2;
  const sums = new Float64Array(outputs * narrow ** 2);
  for (let output = 0, w = 0; output < outputs; output++)
    for (let channel = 0; channel < channels; channel++)
      for (let row = 0; row < KERNEL; row++)
        for (let column = 0; column < KERNEL; column++, w++) {
          const factor = weight[w];
          if (factor === 0) continue;
          for (let y = 0; y < narrow; y++) {
            const to = (output * narrow + y) * narrow;
            const from = (channel * width + y + row) * width + column;
            for (let x = 0; x < narrow; x++) sums[to + x] += factor * input[from + x];
          }
        }
  return sums;
}

// Return sum_i weight(o, i) input(i) for each output o.
function multiplied(input, weight, outputs) {
  const sums = new Float64Array(outputs);
  for (let output = 0, w = 0; output < outputs; output++) {
    let sum = 0;
    for (let i = 0; i < input.length; i++, w++) sum += weight[w] * input[i];
    sums[output] = sum;
  }
  return sums;
}

// Return (sums + bias) factor, with a bias and a factor for each output channel, in float32.
function scaled(sums, bias, factor) {
  const y = new Float32Array(sums.length);
  const places = y.length / bias.length;
  for (let output = 0, i = 0; output < bias.length; output++)
    for (const end = i + places; i < end; i++) y[i] = (sums[i] + bias[output]) * (factor ? factor[output] : 1);
  return y;
}

function rectified(x) {
  for (let i = 0; i < x.length; i++) if (x[i] < 0) x[i] = 0;
  return x;
}

// Return the largest of each 2 x 2 pixels, shape (channels, width / 2, width / 2).
function pooled(x, width) {
  const narrow = width / 2;
  const largest = new Float32Array(x.length / 4);
  for (let i = 0; i < largest.length; i++) {
    const from = 2 * width * Math.floor(i / narrow) + 2 * (i % narrow); // rows of all channels lie behind each other
    largest[i] = Math.max(x[from], x[from + 1], x[from + width], x[from + width + 1]);
  }
  return largest;
}

// The network around its four layers, each a function of its input and of what multiplies it with the weight.
function network({ conv1, conv2, fc1, fc2 }) {
  return (image) => {
    let x = pooled(rectified(conv1(image, (input, weight, outputs) => convolved(input, SIDE, weight, outputs))), 24);
    x = pooled(rectified(conv2(x, (input, weight, outputs) => convolved(input, 12, weight, outputs))), 8);
    x = rectified(fc1(x, multiplied));
    return Array.from(fc2(x, multiplied));
  };
}

function floatLayer(weight, bias) {
  return (input, multiply) => scaled(multiply(input, weight.values, bias.values.length), bias.values);
}

const evenly = (x) => {
  const floor = Math.floor(x);
  const rest = x - floor;
  return floor + (rest > 0.5 || (rest === 0.5 && floor % 2 !== 0) ? 1 : 0); // halves to even
};

// A `ConvertedLayer` of utils/qat.py with 8 bits: the input is rounded to integers of 0 to 255, the products of
// integers are added to an integer bias, and one factor for each channel makes real numbers of the sums.
function int8Layer(tensors, name) {
  const [scale, bias, step, zero] = ["weight_scale", "bias", "input_scale", "input_zero_point"].map(
    (part) => tensors[`${name}.${part}`].values,
  );
  const packed = tensors[`${name}.packed`].values;
  const weight = unpack(packed, packed.length);
  const factor = scale.map((each) => each * step[0]); // a Float32Array: rounded to float32
  const [low, high] = [-zero[0], 255 - zero[0]];
  const rounded = (x) => Math.min(Math.max(evenly(Math.fround(x / step[0])), low), high);
  return (input, multiply) => scaled(multiply(input.map(rounded), weight, bias.length), bias, factor);
}

const LAYERS = ["conv1", "conv2", "fc1", "fc2"];

// Return the function that makes ten logits of 28 x 28 values in [0, 1], for a network's tensors by their names.
export function lenet5(tensors) {
  const layers = LAYERS.map((name) => {
    if (`${name}.packed` in tensors) return [name, int8Layer(tensors, name)];
    return [name, floatLayer(tensors[`${name}.weight`], tensors[`${name}.bias`])];
  });
  return network(Object.fromEntries(layers));
}
