import { cpus, loadavg, totalmem } from 'node:os';

/** What the figures depend on: processors, memory, system, Node.js and PostgreSQL, and what else is going on. */
export function describeMachine(postgresVersion: string): string {
  const processors = cpus();
  const model = (processors[0]?.model ?? 'unknown processor').trim();
  const memoryGb = Math.round(totalmem() / 2 ** 30);
  const load = (loadavg()[0] ?? 0).toFixed(1);
  return `${processors.length} x ${model}, ${memoryGb} GB, ${process.platform} ${process.arch}, Node.js ${process.versions.node}, PostgreSQL ${postgresVersion}, load ${load} at the start`;
}
