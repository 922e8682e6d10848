import type { Context } from 'hono';
import { streamSSE } from 'hono/streaming';
import type { SSEStreamingApi } from 'hono/streaming';

import { createOutbox } from './core/outbox.ts';
import type { PageMessage } from './core/outbox.ts';

const OUTBOX_LIMIT = 600;
const RECONNECT_MS = 1000;

/** All open event streams of one server. */
export interface EventStreams {
  /** Answers with a stream that starts with `first`. */
  open(context: Context, first: PageMessage): Response;
  /** Sends to every open stream; one that does not read loses its oldest messages, nothing else. */
  broadcast(message: PageMessage): void;
  /** Ends every stream. */
  close(): void;
}

interface OpenStream {
  put(message: PageMessage): void;
  end(): void;
}

/** No stream open yet. */
export function createEventStreams(): EventStreams {
  const open = new Set<OpenStream>();
  return {
    open: (context, first) => streamSSE(context, (stream) => serveStream(stream, first, open)),
    broadcast(message) {
      for (const stream of open) stream.put(message);
    },
    close() {
      for (const stream of open) stream.end();
    },
  };
}

async function serveStream(
  stream: SSEStreamingApi,
  first: PageMessage,
  open: Set<OpenStream>,
): Promise<void> {
  const outbox = createOutbox(OUTBOX_LIMIT);
  let isEnding = false;
  let wake = (): void => {};
  const self: OpenStream = {
    put(message) {
      outbox.put(message);
      wake();
    },
    end() {
      isEnding = true;
      wake();
    },
  };
  open.add(self);
  stream.onAbort(() => self.end());
  try {
    await stream.writeSSE({ ...first, retry: RECONNECT_MS });
    while (!isEnding && !stream.aborted) {
      const messages = outbox.take();
      for (const message of messages) await stream.writeSSE(message);
      if (messages.length > 0 || isEnding) continue;
      await new Promise<void>((resolve) => {
        wake = resolve;
      });
    }
  } finally {
    open.delete(self);
  }
}
