import type { Buffer } from 'node:buffer';
import { connect } from 'node:net';

/** The documentation's SSLRequest: any PostgreSQL answers it with one byte before it asks who is there. */
const SSL_REQUEST = Uint8Array.of(0, 0, 0, 8, 4, 210, 22, 47);

/**
 * Resolves when PostgreSQL has made a process for a new connection, which it closes again without a login. PostgreSQL does one
 * thing after the other: what it had begun before, such as telling each session of new settings, is done then.
 * Rejects when there is no answer in `timeoutMs`.
 * Source: PostgreSQL documentation, "Message Formats" (SSLRequest).
 */
export function untilNewProcess(
  { host, port }: { readonly host: string; readonly port: number },
  timeoutMs: number,
): Promise<void> {
  return new Promise((resolve, reject) => {
    const socket = connect({ host, port, timeout: timeoutMs });
    const fail = (error: Error): void => {
      socket.destroy();
      reject(error);
    };
    socket.once('connect', () => socket.write(SSL_REQUEST));
    socket.once('data', (answer: Buffer) => {
      socket.destroy();
      if (answer.length > 0) resolve();
    });
    socket.once('timeout', () => fail(new Error(`PostgreSQL at ${host}:${port} did not answer.`)));
    socket.once('error', fail);
    socket.once('close', () => reject(new Error(`PostgreSQL at ${host}:${port} closed the connection.`)));
  });
}
