const LINE_END = /\r\n|\n|\r/;

/**
 * Lines out of a text that arrives in chunks, ended by \n, \r\n or \r. It looks at each character once, however small
 * the chunks are: whoever sends a long line byte by byte makes nobody read it anew with each of them.
 */
export class LineReader {
  #pieces: string[] = [];
  #pendingLength = 0;
  #endedInReturn = false;

  /** Characters of the line that is still arriving. Bounding them is for the caller. */
  get pendingLength(): number {
    return this.#pendingLength;
  }

  /** The lines that are complete with this chunk. */
  read(chunk: string): string[] {
    if (chunk === '') return [];
    // A \r that ended the last chunk has ended its line; this is its second half.
    const text = this.#endedInReturn && chunk.startsWith('\n') ? chunk.slice(1) : chunk;
    this.#endedInReturn = chunk.endsWith('\r');
    const lines = text.split(LINE_END);
    const unfinished = lines.pop() ?? '';
    if (lines.length > 0) {
      lines[0] = [...this.#pieces, lines[0]].join('');
      this.#pieces = [];
      this.#pendingLength = 0;
    }
    if (unfinished !== '') this.#pieces.push(unfinished);
    this.#pendingLength += unfinished.length;
    return lines;
  }
}
