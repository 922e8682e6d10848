import type pg from 'pg';
import { SCRAM_ONLY } from '../wire/core/auth-guard.ts';
import { GuardedClient } from '../wire/guarded-client.ts';
import type { GuardedClientConfig } from '../wire/guarded-client.ts';

/** How to reach a PostgreSQL over the network. */
export interface ServerAddress {
  readonly host: string;
  readonly port: number;
  readonly user: string;
  readonly password: string;
}

/**
 * Opens a walsender connection, which takes replication commands instead of SQL.
 * Source: PostgreSQL documentation, "Streaming Replication Protocol".
 */
export async function openReplicationConnection(address: ServerAddress): Promise<pg.Client> {
  const options: GuardedClientConfig & { replication: string } = {
    requireAuth: SCRAM_ONLY,
    ...address,
    database: 'postgres',
    application_name: 'lockstep agent',
    connectionTimeoutMillis: 5_000,
    // A source that vanished without a word must not hold a long copy for ever.
    keepAlive: true,
    keepAliveInitialDelayMillis: 5_000,
    replication: 'true',
  };
  const client = new GuardedClient(options);
  client.on('error', () => undefined);
  await client.connect();
  return client;
}

/** Ends a connection at once, whatever the other side does. What runs on it rejects. */
export function dropConnection(client: pg.Client): void {
  (client as unknown as { connection: WireConnection }).connection.stream.destroy();
}

/** Receives the parts of a copy-out; a returned promise holds the server back until it resolves. */
export interface CopyOutHandler {
  onRow(values: readonly (string | null)[]): void;
  onData(chunk: Buffer): Promise<void> | void;
}

interface WireConnection {
  readonly stream: { pause(): void; resume(): void; destroy(error?: Error): void };
  query(text: string): void;
}

/**
 * Runs one command whose answer is a copy-out stream (BASE_BACKUP), with backpressure down to the socket.
 * Rejects with PostgreSQL's error or the handler's.
 */
export function copyOut(client: pg.Client, text: string, handler: CopyOutHandler): Promise<void> {
  return new Promise((resolve, reject) => {
    let failure: unknown = null;
    let pending: Promise<void> = Promise.resolve();
    let queued = 0;
    const settle = (): void => {
      void pending.then(() => (failure === null ? resolve() : reject(failure as Error)));
    };
    const query = {
      submit(connection: WireConnection): void {
        connection.query(text);
      },
      handleRowDescription(): void {},
      handleDataRow(message: { fields: readonly (string | null)[] }): void {
        handler.onRow(message.fields);
      },
      handleCopyData(message: { chunk: Buffer }, connection: WireConnection): void {
        // The parser reuses its buffer as soon as this returns.
        const chunk = Buffer.from(message.chunk);
        connection.stream.pause();
        queued++;
        pending = pending
          .then(() => (failure === null ? handler.onData(chunk) : undefined))
          .catch((error: unknown) => {
            failure ??= error;
            connection.stream.destroy();
          })
          .then(() => {
            // One read of the socket brings several messages; read on only after the last of them.
            queued--;
            if (queued === 0) connection.stream.resume();
          });
      },
      handleCommandComplete(): void {},
      handleEmptyQuery(): void {},
      handleError(error: Error): void {
        failure ??= error;
        settle();
      },
      handleReadyForQuery(): void {
        settle();
      },
    };
    client.query(query as unknown as pg.Submittable);
  });
}
