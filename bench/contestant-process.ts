// The process of one contestant: `contestant.ts` starts it and tells it when to run.
import type { Workload } from './closed-loop.ts';
import type { Order, Reply } from './contestant.ts';

interface WorkloadModule {
  /** Throws an error named `Unsupported` when what is to be measured is not there. */
  createWorkload(options: unknown): Promise<Workload>;
}

let workload: Workload | null = null;

async function obey(order: Order): Promise<Reply> {
  switch (order.kind) {
    case 'prepare': {
      const module = (await import(order.workload)) as WorkloadModule;
      workload = await module.createWorkload(order.options);
      return { kind: 'done' };
    }
    case 'round': {
      if (workload === null) throw new Error('A round was ordered before a workload.');
      const before = process.cpuUsage();
      const report = await workload.round(order.durationMs);
      const { user, system } = process.cpuUsage(before);
      const memoryMb = process.memoryUsage().rss / 2 ** 20;
      return { kind: 'report', report, cpuMs: (user + system) / 1_000, memoryMb };
    }
    case 'end':
      await workload?.end();
      return { kind: 'done' };
  }
}

process.on('message', (order: Order) => {
  obey(order).then(
    (reply) => process.send?.(reply),
    (error: Error) =>
      process.send?.({ kind: 'failed', name: error.name, message: error.message } satisfies Reply),
  );
});
// The bench may be killed: its children must not stay.
process.on('disconnect', () => process.exit(1));
