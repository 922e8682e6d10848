import { availableParallelism, loadavg } from 'node:os';
import type { NodeTopology, Topology } from '../../model/topology.ts';
import { LockstepError } from '../../model/errors.ts';

/** A start may take long on a busy machine; what ends it is that nothing comes of it any more. */
const STILL_TIMEOUT_MS = 180_000;

/** How often a start that takes long says how far it is. */
const TELL_EVERY_MS = 10_000;

/** Runnable programs per processor from which on a machine is called busy. */
const BUSY_LOAD = 2;

/** How far a start is, for people: `n1 leads, n2: cloning 42%, n3: its agent starts`. */
export function describeStart(topology: Topology): string {
  return topology.nodes.map((node) => describeNode(node, topology)).join(', ');
}

function describeNode({ name, role, state, detail }: NodeTopology, { leader }: Topology): string {
  if (name === leader && role === 'leader') return `${name} leads`;
  if (state === 'unreachable') return `${name}: its agent starts`;
  return `${name}: ${detail ?? (state === 'running' ? 'runs' : state)}`;
}

/** Watches a start: tells how far it is, and gives it up when nothing has changed for long. */
export class StartWatch {
  readonly #dataRoot: string;
  readonly #tell: (message: string) => void;
  #seen = '';
  #changedAtMs: number;
  #toldAtMs: number;
  #told = '';

  constructor(dataRoot: string, nowMs: number, tell: (message: string) => void) {
    this.#dataRoot = dataRoot;
    this.#tell = tell;
    this.#changedAtMs = nowMs;
    this.#toldAtMs = nowMs;
  }

  /** To be called again and again. Throws NO_LEADER when nothing comes of the start any more. */
  look(topology: Topology | null, nowMs: number): void {
    const now = topology === null ? 'the agents start' : describeStart(topology);
    if (now !== this.#seen) {
      this.#seen = now;
      this.#changedAtMs = nowMs;
    }
    if (now !== this.#told && nowMs - this.#toldAtMs >= TELL_EVERY_MS) {
      this.#told = now;
      this.#toldAtMs = nowMs;
      this.#tell(now);
    }
    if (nowMs - this.#changedAtMs > STILL_TIMEOUT_MS) throw this.#givenUp(now);
  }

  #givenUp(now: string): LockstepError {
    const seconds = STILL_TIMEOUT_MS / 1_000;
    return new LockstepError(
      'NO_LEADER',
      `Run it again, it goes on from here: nothing changed for ${seconds} s (${now}).${busyHint()} See ${this.#dataRoot}/nodes/*/agent.log and postgres.log.`,
    );
  }
}

function busyHint(): string {
  const [load = 0] = loadavg();
  const processors = availableParallelism();
  return load < BUSY_LOAD * processors
    ? ''
    : ` This machine is busy: a load of ${load.toFixed(0)} on ${processors} processors.`;
}
