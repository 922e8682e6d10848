import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmod, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import pg from 'pg';
import { describe, expect, it } from 'vitest';
import { until } from './fixture.ts';

const run = promisify(execFile);
const main = join(import.meta.dirname, '../../src/cli/main.ts');
const prepare = `"${process.execPath}" "${join(import.meta.dirname, 'regions-prepare-program.ts')}"`;

function wordsFor(names: string): string[] {
  const definition = join(import.meta.dirname, 'regions-definition.ts');
  const words = ['--regions', names, '--regions-definition', definition, '--prepare', prepare];
  return [main, 'dev', ...words, '--state', 'state'];
}

/** `lockstep dev --regions` in a folder of its own; process and folder are gone afterwards. */
class RegionsRun implements AsyncDisposable {
  readonly #folder: string;
  #child: ReturnType<typeof spawn> | null = null;
  #output = '';

  private constructor(folder: string) {
    this.#folder = folder;
  }

  static async create(): Promise<RegionsRun> {
    const folder = await mkdtemp(join(tmpdir(), 'lockstep-regions-'));
    await chmod(folder, 0o755);
    return new RegionsRun(folder);
  }

  async start(names: string): Promise<void> {
    this.#output = '';
    const child = spawn(process.execPath, wordsFor(names), {
      cwd: this.#folder,
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    this.#child = child;
    for (const stream of [child.stdout, child.stderr]) stream.on('data', (text) => (this.#output += text));
    await until(
      `regions are ready\n${this.#output}`,
      () => {
        if (child.exitCode !== null) throw new Error(`it ended: ${this.#output}`);
        return this.#output.includes('regions ready');
      },
      240_000,
    );
  }

  async stop(): Promise<void> {
    const child = this.#child;
    if (child === null || child.exitCode !== null) return;
    const closed = once(child, 'close');
    child.kill('SIGTERM');
    await closed;
  }

  async json<T>(...words: string[]): Promise<T> {
    const all = [main, 'regions', ...words, '--state', 'state', '--json'];
    const { stdout } = await run(process.execPath, all, { cwd: this.#folder });
    return JSON.parse(stdout) as T;
  }

  /** Rejects with what it says where it refuses to start. */
  async runToEnd(names: string): Promise<void> {
    await run(process.execPath, wordsFor(names), { cwd: this.#folder });
  }

  async addElsewhere(name: string): Promise<void> {
    const path = join(this.#folder, 'state/regions.json');
    const config = JSON.parse(await readFile(path, 'utf8')) as { regions: unknown[] };
    const place = { name, url: 'postgresql://10.0.0.1/shop', host: '10.0.0.1', apiPort: 7_451 };
    await writeFile(path, JSON.stringify({ ...config, regions: [...config.regions, place] }));
  }

  async query(region: string, text: string): Promise<Record<string, unknown>[]> {
    const file = await readFile(join(this.#folder, 'state/regions.json'), 'utf8');
    const { regions } = JSON.parse(file) as { regions: { name: string; url: string }[] };
    const client = new pg.Client({ connectionString: regions.find(({ name }) => name === region)?.url });
    await client.connect();
    try {
      return (await client.query(text)).rows as Record<string, unknown>[];
    } finally {
      await client.end();
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop();
    await rm(this.#folder, { recursive: true, force: true, maxRetries: 5 });
  }
}

interface Comparison {
  readonly isEqual: boolean;
  readonly tables: readonly { readonly table: string; readonly rows: Readonly<Record<string, number>> }[];
}

describe('lockstep dev --regions', () => {
  it('runs regions that agree after a cut and after a restart, and logs what met', async () => {
    await using regions = await RegionsRun.create();
    await regions.start('eu,us');
    await regions.query(
      'eu',
      `INSERT INTO things VALUES (1, 'one'); INSERT INTO notes (note) VALUES ('hello')`,
    );
    await until(
      'us has it',
      async () => (await regions.query('us', 'SELECT FROM things, notes')).length === 1,
    );
    await regions.json('cut', 'eu', 'us');
    await regions.query('eu', `UPDATE things SET name = 'eu', seen = seen + 2`);
    await regions.query('us', `UPDATE things SET name = 'us', seen = seen + 3`);
    const { regions: cut } = await regions.json<{ regions: { status: { links: { state: string }[] } }[] }>(
      'status',
    );
    expect(cut.map(({ status }) => status.links.map(({ state }) => state))).toEqual([['cut'], ['cut']]);
    // A cut outlasts the processes.
    await regions.stop();
    await regions.start('eu,us');
    expect(await regions.query('eu', 'SELECT name, seen FROM things')).toEqual([{ name: 'eu', seen: 2 }]);
    await regions.json('heal', 'eu', 'us');
    const compared = await regions.json<Comparison>('compare');
    expect(compared.isEqual).toBe(true);
    expect(compared.tables.map(({ table, rows }) => [table, rows])).toEqual([
      ['public.notes', { eu: 1, us: 1 }],
      ['public.things', { eu: 1, us: 1 }],
    ]);
    expect(await regions.query('eu', 'SELECT name, seen FROM things')).toEqual([{ name: 'us', seen: 5 }]);
    const { conflicts } = await until('the conflict is logged', async () => {
      const log = await regions.json<{ conflicts: { key: string; kind: string; decision: string }[] }>(
        'conflicts',
      );
      return log.conflicts.length > 0 ? log : false;
    });
    expect(conflicts).toMatchObject([{ key: '1', kind: 'update/update', decision: 'later-wins' }]);
    await regions.query('us', `INSERT INTO notes (note) VALUES ('after')`);
    await until('eu has it', async () => (await regions.query('eu', 'SELECT FROM notes')).length === 2);
    // One more is named, and joins.
    await regions.stop();
    await regions.start('eu,us,ap');
    await regions.query(
      'ap',
      `INSERT INTO notes (note) VALUES ('from the third'); UPDATE things SET seen = seen + 1`,
    );
    await until('eu has it', async () => (await regions.query('eu', 'SELECT FROM notes')).length === 3);
    expect((await regions.json<Comparison>('compare')).isEqual).toBe(true);
    expect(await regions.query('us', 'SELECT name, seen FROM things')).toEqual([{ name: 'us', seen: 6 }]);
    expect(await regions.query('ap', 'SELECT count(*)::int AS n FROM lockstep_regions.conflicts')).toEqual([
      { n: 1 },
    ]);
    // One that was added from elsewhere is not put in place by an empty server.
    await regions.stop();
    await regions.addElsewhere('sa');
    await expect(regions.runToEnd('eu,us,ap,sa')).rejects.toThrow(
      'sa of state/regions.json has its server elsewhere',
    );
  }, 900_000);
});
