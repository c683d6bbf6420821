// The networks of the page: loads their files from this site as the course wrote them, and times their answers.

import { decodeNetwork } from "../networks/coded.js";
import { fetched, fetchedJson } from "../networks/fetch.js";
import { lenet5 } from "../networks/lenet5.js";
import { readSafetensors } from "../networks/safetensors.js";

const FILES = new URL("../../networks/", import.meta.url);
const [BLOCKS, CALLS] = [7, 5];

export const about = () => fetchedJson(new URL("about.json", FILES));

// Return, by name, each network as a function of an image, and the bytes that were loaded.
export async function load(networks) {
  const files = await Promise.all(networks.map(({ file }) => fetched(new URL(file, FILES))));
  const bytes = files.reduce((sum, file) => sum + file.byteLength, 0);
  const loaded = networks.map(({ name, file }, index) => {
    const tensors = file.endsWith(".nnz") ? decodeNetwork(files[index]).tensors : readSafetensors(files[index]);
    return [name, lenet5(tensors)];
  });
  return { loaded: new Map(loaded), bytes };
}

// Return the median microseconds of a call for each network, measured in turn.
export async function time(loaded, image) {
  const blocks = new Map([...loaded.keys()].map((name) => [name, []]));
  for (let block = 0; block < BLOCKS; block++)
    for (const [name, run] of loaded) {
      await new Promise((done) => setTimeout(done)); // the page stays alive
      const begun = performance.now();
      for (let call = 0; call < CALLS; call++) run(image);
      blocks.get(name).push((1000 * (performance.now() - begun)) / CALLS);
    }
  const median = (values) => values.sort((a, b) => a - b)[(values.length - 1) / 2];
  return new Map([...blocks].map(([name, values]) => [name, median(values)]));
}
