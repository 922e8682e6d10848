import { parseEvent } from '../../news/event.ts';

/** One message of a server-sent event stream. */
export interface SseMessage {
  /** `message` when the stream named none. */
  readonly event: string;
  readonly data: string;
  /** Of an agent's; see news/signature.ts. */
  readonly signature?: string;
}

/** What is left of a stream after the messages that were complete. */
export interface SseRemainder {
  readonly messages: readonly SseMessage[];
  /** Text of the message that is still arriving; goes in front of the next chunk. */
  readonly rest: string;
}

/**
 * Cuts the complete messages off the front of `text`. Comments and messages without data (heartbeats)
 * yield nothing. Source: WHATWG HTML, "Parsing an event stream"; `id` and `retry` are not used here.
 */
export function parseSse(text: string): SseRemainder {
  // A lone \r at the very end may be the first half of \r\n: leave it for the next chunk.
  const holdsBack = text.endsWith('\r');
  const lines = (holdsBack ? text.slice(0, -1) : text).split(/\r\n|\n|\r/);
  const unfinished = lines.pop() ?? '';
  const messages: SseMessage[] = [];
  let blockStart = 0;
  for (const [index, line] of lines.entries()) {
    if (line !== '') continue;
    const message = parseBlock(lines.slice(blockStart, index));
    if (message !== null) messages.push(message);
    blockStart = index + 1;
  }
  const rest = [...lines.slice(blockStart), unfinished].join('\n');
  return { messages, rest: holdsBack ? `${rest}\r` : rest };
}

/** The text of one message as a server sends it. `data` is split over lines as the format demands. */
export function formatSse(message: SseMessage): string {
  const data = message.data
    .split(/\r\n|\n|\r/)
    .map((line) => `data: ${line}\n`)
    .join('');
  return `event: ${message.event}\n${data}\n`;
}

function parseBlock(lines: readonly string[]): SseMessage | null {
  if (!lines.some((line) => /^data(?::|$)/.test(line))) return null;
  const { event, data, signature } = parseEvent(lines);
  return signature === '' ? { event, data } : { event, data, signature };
}
