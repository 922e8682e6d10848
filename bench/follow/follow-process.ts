import { spawn, spawnSync } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { ensureOwnSchema, OWN_SCHEMA } from '../../src/logical/apply/own-schema.ts';
import { insertFollow } from '../../src/logical/follow/registry.ts';
import { firstSlot } from '../../src/logical/follow/core/slot-name.ts';
import { readSource } from '../../src/logical/follow/source.ts';
import { createSlot } from '../../src/logical/slots.ts';
import { formatLsn } from '../../src/model/lsn.ts';
import type { Side } from '../apply/servers.ts';

const ROOT = join(import.meta.dirname, '../..');
const MAIN = join(ROOT, 'dist/cli/main.js');
const POLL_MS = 50;

/** What `lockstep follow --json` prints at its end, as far as it counts here. */
interface Summary {
  readonly changes: number;
  readonly missingRows: number;
  readonly quarantined: number;
}

interface Ends {
  readonly source: Side;
  readonly target: Side;
}

/** `lockstep follow` as a process of its own, between tables that are the same already. */
export class FollowProcess implements AsyncDisposable {
  readonly #ends: Ends;
  readonly #name: string;
  readonly #child: ChildProcess;
  #printed = '';
  #said = '';

  private constructor(ends: Ends, name: string, child: ChildProcess) {
    this.#ends = ends;
    this.#name = name;
    this.#child = child;
    child.stdout?.on('data', (chunk: Buffer) => (this.#printed += chunk.toString()));
    child.stderr?.on('data', (chunk: Buffer) => (this.#said = (this.#said + chunk.toString()).slice(-2_000)));
  }

  static async start(
    { source, target }: Ends,
    name: string,
    tables: readonly string[],
  ): Promise<FollowProcess> {
    await ensureOwnSchema(target.client);
    const slot = firstSlot(name);
    const created = await createSlot({ from: source.url, slot });
    await created.release();
    const { system } = await readSource(source.client);
    const position = created.consistentLsn;
    await insertFollow(target.client, {
      name,
      sourceSystem: system,
      slot,
      publication: slot,
      position,
      history: null,
    });
    await target.client.query(
      `INSERT INTO ${OWN_SCHEMA}.follow_table SELECT $1, 'public', unnest($2::text[]), $3::pg_lsn, 0`,
      [name, tables, formatLsn(position)],
    );
    return FollowProcess.spawn({ source, target }, name, tables);
  }

  static spawn(
    { source, target }: Ends,
    name: string,
    tables: readonly string[],
    more: readonly string[] = [],
  ): FollowProcess {
    const ends = ['--from', source.url, '--to', target.url];
    const args = [MAIN, 'follow', ...ends, '--tables', tables.join(), '--name', name, '--json', ...more];
    const child = spawn(process.execPath, args, { stdio: ['ignore', 'pipe', 'pipe'] });
    return new FollowProcess({ source, target }, name, child);
  }

  /** Resolves when it has ended by itself; rejects where that was no success. */
  async ended(): Promise<void> {
    if (this.#child.exitCode === null) await once(this.#child, 'close');
    if (this.#child.exitCode !== 0) throw new Error(`The follow did not succeed: ${this.#said}`);
  }

  get pid(): number {
    return this.#child.pid ?? 0;
  }

  /** Resolves when all that the source has committed is at the target. */
  async caughtUp(signal: AbortSignal): Promise<void> {
    const { source, target } = this.#ends;
    const { rows } = await source.client.query(
      `SELECT pg_logical_emit_message(true, 'bench', '')::text AS lsn`,
    );
    for (;;) {
      signal.throwIfAborted();
      if (this.#child.exitCode !== null) throw new Error(`The follow has ended: ${this.#said}`);
      const reached = await target.client.query(
        `SELECT position >= $2::pg_lsn AS reached FROM ${OWN_SCHEMA}.follow WHERE name = $1`,
        [this.#name, rows[0].lsn],
      );
      if (reached.rows[0]?.reached === true) return;
      await delay(POLL_MS);
    }
  }

  /** The most memory that it has had at once; null where the system does not tell. Source: proc(5), VmHWM. */
  get peakMemoryMb(): number | null {
    try {
      const match = /^VmHWM:\s+(\d+) kB/m.exec(readFileSync(`/proc/${this.pid}/status`, 'utf8'));
      return match === null ? null : Number(match[1]) / 1_024;
    } catch {
      return null;
    }
  }

  /** Ends it as Ctrl-C does. */
  async stop(): Promise<Summary> {
    const exit = once(this.#child, 'close');
    this.#child.kill('SIGINT');
    await exit;
    return JSON.parse(this.#printed) as Summary;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) return;
    const exit = once(this.#child, 'exit');
    this.#child.kill('SIGKILL');
    await exit;
  }
}

/** The program as it ships: from its sources it takes a third more memory before it begins. */
export function buildProgram(): void {
  const { status } = spawnSync(process.execPath, [join(ROOT, 'scripts/build.mjs')], { stdio: 'ignore' });
  if (status !== 0) throw new Error('npm run build did not succeed.');
}

/** Which of the tables have other rows at the target, by count and a sum of hashes. */
export async function differing({ source, target }: Ends, tables: readonly string[]): Promise<string[]> {
  const found: string[] = [];
  for (const table of tables) {
    const sql = `SELECT count(*)::text || ' ' || coalesce(sum(hashtextextended(t::text, 0)), 0)::text AS sum FROM ${table} t`;
    const [here, there] = await Promise.all([source, target].map(({ client }) => client.query(sql)));
    if (here?.rows[0].sum !== there?.rows[0].sum) found.push(table);
  }
  return found;
}
