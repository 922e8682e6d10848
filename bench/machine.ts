import { cpus, totalmem } from 'node:os';

/** What the figures depend on: processors, memory, system, Node.js and PostgreSQL. */
export function describeMachine(postgresVersion: string): string {
  const processors = cpus();
  const model = (processors[0]?.model ?? 'unknown processor').trim();
  const memoryGb = Math.round(totalmem() / 2 ** 30);
  return `${processors.length} x ${model}, ${memoryGb} GB, ${process.platform} ${process.arch}, Node.js ${process.versions.node}, PostgreSQL ${postgresVersion}`;
}
