import type pg from 'pg';
import { copyOut } from '../replication-connection.ts';

interface WireConnection {
  readonly stream: {
    readonly writableNeedDrain: boolean;
    once(event: 'drain' | 'close', listener: () => void): void;
  };
  query(text: string): void;
  sendCopyFromChunk(chunk: Buffer): void;
  endCopyFrom(): void;
  sendCopyFail(reason: string): void;
}

/**
 * Moves rows from one server to another as they are, with `COPY … TO STDOUT` there and `COPY … FROM STDIN` here: no
 * value is ever read on the way. Returns how many came. Rejects with the error of whichever side failed; the copy is
 * then undone by its transaction. Source: PostgreSQL documentation, "Frontend/Backend Protocol", "COPY Operations".
 */
export async function pipeCopy(
  from: pg.Client,
  outText: string,
  to: pg.Client,
  inText: string,
): Promise<number> {
  const target = new CopyIn(to, inText);
  await target.ready;
  try {
    await copyOut(from, outText, { onRow: () => undefined, onData: (chunk) => target.write(chunk) });
  } catch (error) {
    await target.fail((error as Error).message).catch(() => undefined);
    throw error;
  }
  return target.end();
}

/** One `COPY … FROM STDIN`. */
class CopyIn {
  #connection: WireConnection | null = null;
  #rows = 0;
  readonly ready: Promise<void>;
  readonly #done: Promise<number>;

  constructor(client: pg.Client, text: string) {
    let begin: () => void = () => undefined;
    let refuse: (error: Error) => void = () => undefined;
    this.ready = new Promise((resolve, reject) => {
      begin = resolve;
      refuse = reject;
    });
    this.ready.catch(() => undefined);
    this.#done = new Promise((resolve, reject) => {
      let failure: Error | null = null;
      const query = {
        submit: (connection: WireConnection) => connection.query(text),
        handleCopyInResponse: (connection: WireConnection) => {
          this.#connection = connection;
          begin();
        },
        handleCommandComplete: (message: { text: string }) => {
          this.#rows = Number(/^COPY (\d+)/.exec(message.text)?.[1] ?? 0);
        },
        handleRowDescription: () => undefined,
        handleDataRow: () => undefined,
        handleEmptyQuery: () => undefined,
        handleError: (error: Error) => {
          failure ??= error;
          refuse(failure);
          reject(failure);
        },
        handleReadyForQuery: () => (failure === null ? resolve(this.#rows) : reject(failure)),
      };
      client.query(query as unknown as pg.Submittable);
    });
    this.#done.catch(() => undefined);
  }

  async write(chunk: Buffer): Promise<void> {
    const connection = this.#connection;
    if (connection === null) return;
    connection.sendCopyFromChunk(chunk);
    if (!connection.stream.writableNeedDrain) return;
    await Promise.race([
      new Promise<void>((resolve) => {
        connection.stream.once('drain', resolve);
        connection.stream.once('close', resolve);
      }),
      this.#done,
    ]);
  }

  end(): Promise<number> {
    this.#connection?.endCopyFrom();
    return this.#done;
  }

  async fail(reason: string): Promise<void> {
    this.#connection?.sendCopyFail(reason);
    await this.#done;
  }
}
