import type { ServerResponse } from 'node:http';

/** When an answer is held, and until when. */
export interface Holding {
  /** Asked when the answer is about to begin. */
  mustWait(): boolean;
  /** Must settle in any case. */
  untilReady(): Promise<void>;
}

type Method = 'writeHead' | 'write' | 'end' | 'flushHeaders';
type Send = (this: ServerResponse, ...args: unknown[]) => unknown;

/**
 * Holds back what begins an answer while it must wait, and sends it in the same order afterwards. To whoever
 * writes it looks like a slow reader: `write` says false, and `drain` follows.
 */
export function holdAnswer(response: ServerResponse, holding: Holding): void {
  // Whoever wrapped `write` before us does not pass through ours, and would find no headers behind `writeHead`.
  const isOutermost = !Object.hasOwn(response, 'write');
  const held: { readonly method: Method; send(): unknown }[] = [];
  let state: 'open' | 'holding' | 'released' = 'open';

  const release = async (): Promise<void> => {
    await holding.untilReady();
    state = 'released';
    try {
      for (const { send } of held.splice(0)) send();
      if (!response.writableEnded && !response.writableNeedDrain) response.emit('drain');
    } catch (error) {
      response.destroy(error as Error);
    }
  };

  const intercept = (method: Method, whenHeld: unknown): void => {
    const send = response[method] as Send;
    const instead: Send = (...args) => {
      if (state === 'open' && !response.headersSent && holding.mustWait()) {
        state = 'holding';
        void release();
      }
      if (state !== 'holding') return send.apply(response, args);
      const isRepeated = method === 'writeHead' && held.some((call) => call.method === method);
      if (!isRepeated) held.push({ method, send: () => send.apply(response, args) });
      return whenHeld;
    };
    response[method] = instead as never;
  };

  if (isOutermost) intercept('writeHead', response);
  intercept('write', false);
  intercept('end', response);
  intercept('flushHeaders', undefined);
}
