import { setTimeout as delay } from 'node:timers/promises';

import type { NewsVerifier } from '../news/signature.ts';
import { parseAgentMessage } from './core/agent-message.ts';
import { nextBackoffMs } from './core/backoff.ts';
import { parseSse } from './core/sse.ts';
import type { AdminLogger, ClusterChange } from './source.ts';

const CONNECT_TIMEOUT_MS = 2000;
/** A connection that brought nothing for so long is dropped and made again: its other end may be gone. */
const SILENCE_TIMEOUT_MS = 15_000;
const MAX_MESSAGE_CHARS = 4_000_000;

export interface AgentStreamOptions {
  readonly agentUrl: string;
  /** Whether an agent of the cluster said it; what none said is skipped. */
  readonly verify: NewsVerifier;
  readonly onChange: (change: ClusterChange) => void;
  /** Called when a connection ended or could not be made. */
  readonly onLost: () => void;
  readonly logger?: AdminLogger;
}

export interface AgentStream {
  close(): Promise<void>;
}

/** Follows one agent's event stream until closed. Reconnects at once after a stream that brought something, then ever slower up to two seconds. */
export function openAgentStream(options: AgentStreamOptions): AgentStream {
  const closing = new AbortController();
  const finished = follow(options, closing.signal);
  return {
    async close() {
      closing.abort();
      await finished;
    },
  };
}

async function follow(options: AgentStreamOptions, closing: AbortSignal): Promise<void> {
  let failures = 0;
  while (!closing.aborted) {
    const heard = await readOnce(options, closing);
    if (closing.aborted) return;
    options.onLost();
    failures = heard ? 0 : failures + 1;
    await delay(nextBackoffMs(failures, Math.random()), undefined, { signal: closing }).catch(() => {});
  }
}

/** One connection from its start to its end; whether it brought any message. */
async function readOnce(options: AgentStreamOptions, closing: AbortSignal): Promise<boolean> {
  const silence = new AbortController();
  let timer = setTimeout(() => silence.abort(), CONNECT_TIMEOUT_MS);
  let heard = false;
  let hasWarned = false;
  try {
    const response = await fetch(`${options.agentUrl}/v1/events`, {
      headers: { accept: 'text/event-stream' },
      signal: AbortSignal.any([closing, silence.signal]),
    });
    if (!response.ok || response.body === null) return false;
    let text = '';
    for await (const chunk of response.body.pipeThrough(new TextDecoderStream())) {
      clearTimeout(timer);
      timer = setTimeout(() => silence.abort(), SILENCE_TIMEOUT_MS);
      const { messages, rest } = parseSse(text + chunk);
      if (rest.length > MAX_MESSAGE_CHARS) return heard;
      text = rest;
      for (const message of messages) {
        const { event, data, signature = '' } = message;
        const change = options.verify(event, data, signature) ? parseAgentMessage(message) : null;
        if (change !== null) {
          heard = true;
          options.onChange(change);
        } else if (!hasWarned) {
          hasWarned = true;
          options.logger?.warn(
            { agentUrl: options.agentUrl, event: message.event },
            'an agent sends messages that are not signed, or not understood here; they are skipped',
          );
        }
      }
    }
    return heard;
  } catch {
    // Refused, reset or silent: all mean the same here, and the caller's onLost says it.
    return heard;
  } finally {
    clearTimeout(timer);
    silence.abort();
  }
}
