/** One event of an agent's stream: server-sent events with a field `signature`, which readers that know none skip. */
export interface SignedEvent {
  /** `message` when the stream named none. */
  readonly event: string;
  readonly data: string;
  /** Empty when there was none; see signature.ts. */
  readonly signature: string;
}

/** What is left of a stream after the events that were complete. */
export interface EventsRead {
  readonly events: readonly SignedEvent[];
  /** Text of the event that is still arriving; goes in front of the next chunk. */
  readonly rest: string;
}

/** `data` is JSON, and so has no line break in it. */
export function formatEvent({ event, data, signature }: SignedEvent): string {
  return `event: ${event}\nsignature: ${signature}\ndata: ${data}\n\n`;
}

/**
 * Cuts the complete events off the front of `text`. Comments and events without data (heartbeats) yield nothing.
 * Source: WHATWG HTML, "Parsing an event stream"; `id` and `retry` are not used here.
 */
export function readEvents(text: string): EventsRead {
  // A lone \r at the very end may be the first half of \r\n: leave it for the next chunk.
  const holdsBack = text.endsWith('\r');
  const lines = (holdsBack ? text.slice(0, -1) : text).split(/\r\n|\n|\r/);
  const unfinished = lines.pop() ?? '';
  const events: SignedEvent[] = [];
  let blockStart = 0;
  for (const [index, line] of lines.entries()) {
    if (line !== '') continue;
    const event = readBlock(lines.slice(blockStart, index));
    if (event !== null) events.push(event);
    blockStart = index + 1;
  }
  const rest = [...lines.slice(blockStart), unfinished].join('\n');
  return { events, rest: holdsBack ? `${rest}\r` : rest };
}

function readBlock(lines: readonly string[]): SignedEvent | null {
  let event = 'message';
  let signature = '';
  const data: string[] = [];
  for (const line of lines) {
    const colon = line.indexOf(':');
    const field = colon === -1 ? line : line.slice(0, colon);
    const value = colon === -1 ? '' : line.slice(colon + 1).replace(/^ /, '');
    if (field === 'event') event = value === '' ? 'message' : value;
    if (field === 'signature') signature = value;
    if (field === 'data') data.push(value);
  }
  return data.length === 0 ? null : { event, signature, data: data.join('\n') };
}
