/**
 * A process of its own that runs one PostgreSQL as an agent does, for tests that kill or suspend agents.
 * Its argument: the server's options and `leaseMs`. It prints PostgreSQL's process id when it accepts
 * writes, then the reason when PostgreSQL ends unasked.
 */
import { monotonicMs } from '../../src/postgres/monotonic-clock.ts';
import { PostgresServer } from '../../src/postgres/server.ts';
import type { PostgresServerOptions } from '../../src/postgres/server.ts';

const { leaseMs, ...options } = JSON.parse(process.argv[2] ?? '{}') as Omit<
  PostgresServerOptions,
  'onUnexpectedExit'
> & {
  readonly leaseMs: number;
};

function print(line: Readonly<Record<string, unknown>>): void {
  process.stdout.write(`${JSON.stringify(line)}\n`);
}

process.on('SIGINT', () => print({ interrupted: true }));
const server = new PostgresServer({ ...options, onUnexpectedExit: (ended) => print({ ended }) });
await server.startAsFollower();
await server.promote(10_000);
const renew = (): void => server.setDeadline(monotonicMs() + leaseMs);
renew();
setInterval(renew, leaseMs / 4);
print({ pid: server.pid });
