// The files in a zip archive, by APPNOTE.TXT 6.3.10: names and checksums from its directory, contents when asked for.

export interface ZipEntry {
  name: string;
  crc: number;
  /** Bytes, unpacked. */
  size: number;
  text(): Promise<string>;
}

const END = 0x06054b50;
const ENTRY = 0x02014b50;
const END_BYTES = 22;
const ENTRY_BYTES = 46;
const LOCAL_BYTES = 30;
const LONGEST_COMMENT = 65_535;
const STORED = 0;
const DEFLATED = 8;

/** Throws RangeError when the bytes are no zip archive, or one of a kind that is not read here. */
export function unzip(buffer: ArrayBuffer): ZipEntry[] {
  const view = new DataView(buffer);
  let end = buffer.byteLength - END_BYTES;
  while (end >= 0 && view.getUint32(end, true) !== END && end > buffer.byteLength - END_BYTES - LONGEST_COMMENT) end--;
  if (end < 0 || view.getUint32(end, true) !== END) throw new RangeError("This is no zip archive.");
  const entries: ZipEntry[] = [];
  const names = new TextDecoder();
  let at = view.getUint32(end + 16, true);
  for (let left = view.getUint16(end + 10, true); left > 0; left--) {
    if (view.getUint32(at, true) !== ENTRY) throw new RangeError("The directory of the zip archive is damaged.");
    const method = view.getUint16(at + 10, true);
    const [nameBytes, extraBytes, commentBytes] = [28, 30, 32].map((offset) => view.getUint16(at + offset, true)) as [number, number, number];
    const packed = view.getUint32(at + 20, true);
    const size = view.getUint32(at + 24, true);
    const local = view.getUint32(at + 42, true);
    entries.push({
      name: names.decode(new Uint8Array(buffer, at + ENTRY_BYTES, nameBytes)),
      crc: view.getUint32(at + 16, true),
      size,
      text: () => {
        const start = local + LOCAL_BYTES + view.getUint16(local + 26, true) + view.getUint16(local + 28, true);
        return unpacked(new Uint8Array(buffer, start, packed), method, size);
      },
    });
    at += ENTRY_BYTES + nameBytes + extraBytes + commentBytes;
  }
  return entries;
}

/** Never more than the directory says there is: a file that goes on beyond that was made to fill the memory. */
async function unpacked(bytes: Uint8Array<ArrayBuffer>, method: number, size: number): Promise<string> {
  if (method === STORED) return new TextDecoder().decode(bytes);
  if (method !== DEFLATED) throw new RangeError("The file is packed in a way that is not read here.");
  const reader = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate-raw")).getReader();
  const parts: Uint8Array<ArrayBuffer>[] = [];
  for (let left = size; ; ) {
    const { done, value } = await reader.read();
    if (done) return new Blob(parts).text();
    left -= value.byteLength;
    if (left < 0) {
      await reader.cancel();
      throw new RangeError("The file is longer than its archive says.");
    }
    parts.push(value);
  }
}
