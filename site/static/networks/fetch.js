// Loads files of the site and counts their bytes.

export async function fetched(address) {
  const response = await fetch(address);
  if (!response.ok) throw new Error(`${response.status} for ${address.pathname}`);
  return response.arrayBuffer();
}

export async function fetchedJson(address) {
  return JSON.parse(new TextDecoder().decode(await fetched(address)));
}

export const kilobytes = (bytes) => `${Math.round(bytes / 1000).toLocaleString("en")} kB`;
