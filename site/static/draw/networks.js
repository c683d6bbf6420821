// The networks in the browser: loads ONNX Runtime and the ONNX files from this site, answers, and times the answers.

import { SIDE } from "./image.js";

const RUNTIME = new URL("../onnxruntime/", import.meta.url);
const WASM = new URL("ort-wasm-simd-threaded.wasm.gz", RUNTIME);
const FILES = new URL("../../networks/", import.meta.url);
const [BLOCKS, CALLS] = [7, 10];

async function fetched(address) {
  const response = await fetch(address);
  if (!response.ok) throw new Error(`${response.status} for ${address.pathname}`);
  return response.arrayBuffer();
}

export async function about() {
  return JSON.parse(new TextDecoder().decode(await fetched(new URL("about.json", FILES))));
}

// A server may have unpacked the file on the way; what is still packed begins with the mark of gzip.
async function unpacked(content) {
  const [first, second] = new Uint8Array(content, 0, 2);
  if (first !== 0x1f || second !== 0x8b) return content;
  return new Response(new Blob([content]).stream().pipeThrough(new DecompressionStream("gzip"))).arrayBuffer();
}

// Return functions `answer` and `time` for each network by its name, and the bytes that were loaded.
export async function load(networks) {
  const [ort, wasm, ...files] = await Promise.all([
    import(new URL("ort.min.js", RUNTIME)),
    fetched(WASM),
    ...networks.map(({ name }) => fetched(new URL(`${name}.onnx`, FILES))),
  ]);
  const bytes = [wasm, ...files].reduce((sum, file) => sum + file.byteLength, 0);
  ort.env.wasm.numThreads = 1;
  ort.env.wasm.wasmBinary = await unpacked(wasm);
  const loaded = new Map();
  for (const [index, { name }] of networks.entries()) {
    const session = await ort.InferenceSession.create(new Uint8Array(files[index]), { executionProviders: ["wasm"] });
    const run = async (image) => {
      const input = new ort.Tensor("float32", image, [1, 1, SIDE, SIDE]);
      const outputs = await session.run({ [session.inputNames[0]]: input });
      return Array.from(outputs[session.outputNames[0]].data);
    };
    loaded.set(name, run);
  }
  return { loaded, bytes };
}

// Return the median microseconds of a call for each network, measured in turn.
export async function time(loaded, image) {
  const blocks = new Map([...loaded.keys()].map((name) => [name, []]));
  for (let block = 0; block < BLOCKS; block++)
    for (const [name, run] of loaded) {
      const begun = performance.now();
      for (let call = 0; call < CALLS; call++) await run(image);
      blocks.get(name).push((1000 * (performance.now() - begun)) / CALLS);
    }
  const median = (values) => values.sort((a, b) => a - b)[(values.length - 1) / 2];
  return new Map([...blocks].map(([name, values]) => [name, median(values)]));
}
