/**
 * A process of its own that runs one PostgreSQL as an agent does, for tests that kill or suspend agents.
 * Its argument: the server's options, `leaseMs`, and `supportMs`, which is renewed until the agent gets
 * SIGUSR2 and again after the next. It prints PostgreSQL's process id when it accepts writes, what the
 * watchdog does, and the reason when PostgreSQL ends unasked.
 */
import { machineClock } from '../../src/clock/machine-clock.ts';
import { PostgresServer } from '../../src/postgres/server.ts';
import type { PostgresServerOptions } from '../../src/postgres/server.ts';

const { leaseMs, supportMs, ...options } = JSON.parse(process.argv[2] ?? '{}') as Omit<
  PostgresServerOptions,
  'onUnexpectedExit' | 'onFrozen'
> & {
  readonly leaseMs: number;
  readonly supportMs: number;
};

function print(line: Readonly<Record<string, unknown>>): void {
  process.stdout.write(`${JSON.stringify(line)}\n`);
}

process.on('SIGINT', () => print({ interrupted: true }));
let isSupported = true;
process.on('SIGUSR2', () => (isSupported = !isSupported));
const server = new PostgresServer({
  ...options,
  onUnexpectedExit: (ended) => print({ ended }),
  onFrozen: (frozen) => print({ frozen }),
});
await server.startAsFollower();
await server.promote(10_000);
let supportedAtMs = 0;
const renew = (): void => {
  if (isSupported) supportedAtMs = machineClock.nowMs();
  server.setDeadlines({ freezeAtMs: supportedAtMs + supportMs, killAtMs: machineClock.nowMs() + leaseMs });
};
renew();
setInterval(renew, Math.min(leaseMs, supportMs) / 4);
print({ pid: server.pid });
