/** What a page is told. */
export interface PageMessage {
  readonly event: string;
  readonly data: string;
}

/**
 * What one slow reader has not been sent yet, never more than `limit` messages: a newer topology replaces
 * the one that waits, and beyond the limit the oldest message goes.
 */
export interface Outbox {
  put(message: PageMessage): void;
  /** Everything that waits, in order, and forgets it. */
  take(): readonly PageMessage[];
}

/** An empty outbox. */
export function createOutbox(limit: number): Outbox {
  let waiting: PageMessage[] = [];
  return {
    put(message) {
      if (message.event === 'topology') waiting = waiting.filter((other) => other.event !== 'topology');
      waiting.push(message);
      if (waiting.length > limit) waiting.shift();
    },
    take() {
      const taken = waiting;
      waiting = [];
      return taken;
    },
  };
}
