import { LineReader } from '../model/line-reader.ts';

/** One event of an agent's stream: server-sent events with a field `signature`, which readers that know none skip. */
export interface SignedEvent {
  /** `message` when the stream named none. */
  readonly event: string;
  readonly data: string;
  /** Empty when there was none; see signature.ts. */
  readonly signature: string;
}

/** `data` is JSON, and so has no line break in it. */
export function formatEvent({ event, data, signature }: SignedEvent): string {
  return `event: ${event}\nsignature: ${signature}\ndata: ${data}\n\n`;
}

/**
 * The events of one stream, which arrives in chunks. Comments and events without data (heartbeats) yield nothing.
 * Source: WHATWG HTML, "Parsing an event stream"; `id` and `retry` are not used here.
 */
export class EventReader {
  readonly #lines = new LineReader();
  #event = 'message';
  #signature = '';
  #data: string[] = [];
  #length = 0;

  /** Characters of the event that is still arriving, also of fields that nobody reads. */
  get pendingLength(): number {
    return this.#length + this.#lines.pendingLength;
  }

  /** The events that are complete with this chunk. */
  read(chunk: string): SignedEvent[] {
    return this.#lines.read(chunk).flatMap((line) => this.#takeLine(line) ?? []);
  }

  #takeLine(line: string): SignedEvent | null {
    if (line === '') return this.#endEvent();
    this.#length += line.length;
    const colon = line.indexOf(':');
    const field = colon === -1 ? line : line.slice(0, colon);
    const value = colon === -1 ? '' : line.slice(colon + 1).replace(/^ /, '');
    if (field === 'event') this.#event = value === '' ? 'message' : value;
    if (field === 'signature') this.#signature = value;
    if (field === 'data') this.#data.push(value);
    return null;
  }

  #endEvent(): SignedEvent | null {
    const data = this.#data;
    const read = { event: this.#event, signature: this.#signature, data: data.join('\n') };
    this.#event = 'message';
    this.#signature = '';
    this.#data = [];
    this.#length = 0;
    return data.length === 0 ? null : read;
  }
}
