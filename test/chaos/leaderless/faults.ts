import { listProcesses } from '../../../src/postgres/watchdog/leftover.ts';
import { replaceNode } from '../../../src/leaderless/members/replace.ts';
import type { IndependentServers } from '../../integration/leaderless/servers.ts';
import type { Partition } from './partition.ts';

export const FAULTS = ['kill', 'suspend', 'cut', 'cut-all', 'replace'] as const;
export type FaultName = (typeof FAULTS)[number];

export interface FaultWorld {
  readonly servers: IndependentServers;
  /** By process and server. */
  readonly partitions: readonly (readonly Partition[])[];
  readonly random: () => number;
  readonly say: (what: string) => void;
  readonly sleep: (ms: number) => Promise<void>;
}

/** One fault from its begin to its end; at most one server is away at a time. */
export async function strike(name: FaultName, world: FaultWorld, forMs: number): Promise<void> {
  const { servers, partitions, random, say, sleep } = world;
  const chosen = Math.floor(random() * servers.servers.length);
  const server = servers.servers[chosen];
  const process = partitions[Math.floor(random() * partitions.length)] ?? [];
  if (server === undefined) return;
  switch (name) {
    case 'kill':
      say(`${server.name} is killed`);
      await servers.kill(server.name);
      await sleep(forMs);
      await servers.restart(server.name);
      return;
    case 'suspend':
      say(`${server.name} is suspended`);
      await suspended(servers.dataDir(server.name), () => sleep(forMs));
      return;
    case 'cut':
      say(`a process is cut from ${server.name}`);
      process[chosen]?.cut();
      await sleep(forMs);
      process[chosen]?.mend();
      return;
    case 'cut-all':
      say('a process is cut from all servers');
      for (const link of process) link.cut();
      await sleep(Math.min(forMs, 3_000));
      for (const link of process) link.mend();
      return;
    case 'replace':
      say(`${server.name} is emptied and refilled`);
      await replaceNode({
        nodes: servers.servers.map(({ name: each, url }) => ({ name: each, url })),
        leaving: server.name,
        deadlineMs: 60_000,
      }).catch((error: unknown) => say(`not done: ${(error as Error).message}`));
  }
}

/** Every process of a server is stopped by a signal meanwhile. */
export async function suspended(dataDir: string, during: () => Promise<void>): Promise<void> {
  const signal = (name: 'SIGSTOP' | 'SIGCONT'): void => {
    for (const pid of listProcesses(dataDir)) {
      try {
        process.kill(pid, name);
      } catch {
        // It ended meanwhile.
      }
    }
  };
  signal('SIGSTOP');
  try {
    await during();
  } finally {
    signal('SIGCONT');
  }
}
