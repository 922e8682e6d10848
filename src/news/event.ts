/** One event of an agent's stream: server-sent events with a field `signature`, which readers that know none skip. */
export interface SignedEvent {
  readonly event: string;
  readonly data: string;
  readonly signature: string;
}

/** `data` is JSON, and so has no line break in it. */
export function formatEvent({ event, data, signature }: SignedEvent): string {
  return `event: ${event}\nsignature: ${signature}\ndata: ${data}\n\n`;
}

/** The event that one block of a stream is, its lines without the blank one that ends it. */
export function parseEvent(lines: readonly string[]): SignedEvent {
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
  return { event, signature, data: data.join('\n') };
}
