import { setTimeout as delay } from 'node:timers/promises';
import type { FaultProxy } from '../../src/testing/fault-proxy.ts';
import type { TestCluster } from '../../src/testing/cluster.ts';
import { draw } from '../../src/testing/simulation/random.ts';

export type FaultName = 'kill-leader' | 'pause-leader' | 'kill-postgres' | 'switchover' | 'cut-connections';

const WEIGHTS: Readonly<Record<FaultName, number>> = {
  'kill-leader': 4,
  'pause-leader': 2,
  'kill-postgres': 2,
  switchover: 3,
  'cut-connections': 1,
};

/** What a fault is done to. */
export interface FaultTarget {
  readonly cluster: TestCluster;
  readonly proxy: FaultProxy;
  readonly random: () => number;
}

export function drawFault(random: () => number): FaultName {
  return draw(WEIGHTS, random());
}

/** Strikes, and heals what the cluster does not heal by itself. Resolves when every node runs or starts. */
export async function injectFault(name: FaultName, target: FaultTarget): Promise<void> {
  const { cluster, proxy, random } = target;
  const leader = await cluster.leader();
  switch (name) {
    case 'kill-leader':
      await cluster.kill(leader);
      await untilAnotherLeads(cluster, leader);
      return cluster.start(leader);
    case 'pause-leader':
      await cluster.pause(leader);
      await untilAnotherLeads(cluster, leader);
      // The longer it sleeps, the further it is behind when it wakes and believes that it leads.
      await delay(random() * 2000);
      return cluster.resume(leader);
    case 'kill-postgres':
      return cluster.killPostgres(leader);
    case 'switchover':
      await cluster.switchover();
      return;
    case 'cut-connections':
      for (let times = 0; times < 10; times += 1) {
        proxy.cutConnections();
        await delay(random() * 200);
      }
  }
}

async function untilAnotherLeads(cluster: TestCluster, former: string): Promise<void> {
  const deadlineMs = performance.now() + 60_000;
  for (;;) {
    const leader = await cluster.status().then(
      (topology) => topology.leader,
      () => null,
    );
    if (leader !== null && leader !== former) return;
    if (performance.now() > deadlineMs)
      throw new Error(`Nobody took over from ${former} within 60 s.\n${await cluster.logs()}`);
    await delay(20);
  }
}
