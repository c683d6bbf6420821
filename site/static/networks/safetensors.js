// Reads a safetensors file: eight bytes of length, a header in JSON, and the numbers, little-endian.

const KINDS = { F32: Float32Array, I32: Int32Array, I8: Int8Array, U8: Uint8Array };

// Return, by name, each tensor's shape and values.
export function readSafetensors(buffer) {
  const size = Number(new DataView(buffer).getBigUint64(0, true));
  const { __metadata__, ...header } = JSON.parse(new TextDecoder().decode(new Uint8Array(buffer, 8, size)));
  return Object.fromEntries(
    Object.entries(header).map(([name, { dtype, shape, data_offsets: [from, to] }]) => {
      if (!(dtype in KINDS)) throw new Error(`${name} holds ${dtype}, which is not read here`);
      const content = buffer.slice(8 + size + from, 8 + size + to); // a copy begins where its type wants it
      return [name, { shape, values: new KINDS[dtype](content) }];
    }),
  );
}

// Return the integers that utils/bit_packing.py packed, 8, 4, 2 or 1 bits each, the lowest first, in two's complement.
export function unpack(bytes, count) {
  const bits = Math.floor((8 * bytes.length) / count);
  if (![1, 2, 4, 8].includes(bits)) throw new Error(`${count} integers in ${bytes.length} bytes are not read here`);
  const [inByte, half] = [8 / bits, 2 ** (bits - 1)];
  return Float32Array.from({ length: count }, (_, i) => {
    const code = (bytes[Math.floor(i / inByte)] >> (bits * (i % inByte))) & (2 * half - 1);
    return code < half ? code : code - 2 * half;
  });
}
