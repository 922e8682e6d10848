import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { createServer } from 'node:net';
import { chmod, cp, mkdtemp, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import pg from 'pg';
import { describe, expect, it } from 'vitest';
import { connect } from '../../src/index.ts';
import { connectToLeader } from '../../src/logical/endpoints.ts';
import { freePort, until } from './fixture.ts';

const run = promisify(execFile);
const main = join(import.meta.dirname, '../../src/cli/main.ts');

interface Failure {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

async function lockstep(cwd: string, ...args: string[]): Promise<string> {
  const { stdout } = await run(process.execPath, [main, ...args], { cwd });
  return stdout;
}

async function failing(cwd: string, ...args: string[]): Promise<Failure> {
  return run(process.execPath, [main, ...args], { cwd, timeout: 60_000 }).then(
    () => {
      throw new Error(`lockstep ${args.join(' ')} did not fail`);
    },
    (error: unknown) => error as Failure,
  );
}

/** One sentence with a remedy, and nothing like a stack. */
function expectClear(failure: Failure, pattern: RegExp): void {
  expect(failure.stderr).toMatch(pattern);
  expect(failure.stderr).not.toMatch(/\n\s+at /);
  expect(failure.code).toBe(1);
}

interface Status {
  readonly leader: string | null;
  readonly isFailoverReady: boolean;
  readonly isSwitchoverReady: boolean;
  readonly nodes: readonly {
    readonly name: string;
    readonly role: string;
    readonly dsn: string;
    readonly sync: boolean;
    readonly voter: boolean;
  }[];
}

/** A folder for one `lockstep dev` and the process itself; both are gone afterwards. */
class DevRun implements AsyncDisposable {
  readonly folder: string;
  #child: ReturnType<typeof spawn> | null = null;
  output = '';

  private constructor(folder: string) {
    this.folder = folder;
  }

  static async create(): Promise<DevRun> {
    const folder = await mkdtemp(join(tmpdir(), 'lockstep-cli-'));
    await chmod(folder, 0o755);
    return new DevRun(folder);
  }

  async start(...args: string[]): Promise<void> {
    this.output = '';
    this.#child = spawn(process.execPath, [main, 'dev', ...args], {
      cwd: this.folder,
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    for (const stream of [this.#child.stdout, this.#child.stderr]) {
      stream?.on('data', (chunk: Buffer) => (this.output += chunk.toString()));
    }
    await until(`the cluster is ready\n${this.output}`, () => this.output.includes('cluster ready'), 60_000);
  }

  /** Ctrl-C, and the exit code. */
  async stop(): Promise<number | null> {
    const child = this.#child;
    this.#child = null;
    if (child === null) return null;
    const ended = new Promise<number | null>((resolve) => child.on('exit', (code) => resolve(code)));
    child.kill('SIGINT');
    return ended;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop();
    await rm(this.folder, { recursive: true, force: true, maxRetries: 5 });
  }
}

describe('the commands', () => {
  it('run a cluster, show it, break and mend it, keep its data and stop cleanly', async () => {
    await using dev = await DevRun.create();
    const dashboard = String(await freePort());
    await dev.start('--dashboard-port', dashboard);
    const status = JSON.parse(await lockstep(dev.folder, 'status', '--json', '--with-password')) as {
      topology: string;
      term: number;
      nodes: { name: string; role: string; dsn: string; sync: boolean; kind: string }[];
    };
    expect(status.topology).toBe('leader-follower');
    expect(status.nodes.map((node) => node.role).toSorted()).toEqual(['follower', 'follower', 'leader']);
    const leader = status.nodes.find((node) => node.role === 'leader');
    const client = new pg.Client({ connectionString: leader?.dsn ?? '' });
    client.on('error', () => undefined);
    await client.connect();
    await client.query('CREATE TABLE kept (id int); INSERT INTO kept VALUES (42)');
    await client.end();
    // What a superuser makes in psql is the app's to find, though a schema has the superuser's name.
    const { secrets } = JSON.parse(await readFile(join(dev.folder, '.lockstep/cluster.json'), 'utf8')) as {
      secrets: { superuser: string };
    };
    const asSuperuser = new URL(leader?.dsn ?? '');
    Object.assign(asSuperuser, { username: 'lockstep', password: secrets.superuser });
    const psql = new pg.Client({ connectionString: asSuperuser.href });
    await psql.connect();
    await psql.query('CREATE SCHEMA lockstep; CREATE TABLE found (id int)');
    const place = await psql.query(
      `SELECT relnamespace::regnamespace::text AS schema FROM pg_class WHERE relname = 'found'`,
    );
    expect(place.rows).toEqual([{ schema: 'public' }]);
    await psql.end();
    // Without the password it names a file that has it, which all here take.
    const { nodes } = JSON.parse(await lockstep(dev.folder, 'status', '--json')) as typeof status;
    const plain = nodes.find((node) => node.role === 'leader')?.dsn ?? '';
    expect(plain).toContain('?passfile=');
    const pool = connect(plain);
    try {
      expect((await pool.query('SELECT id FROM kept')).rows).toEqual([{ id: 42 }]);
    } finally {
      await pool.end();
    }
    const session = await connectToLeader(plain, { applicationName: 'test' });
    await session.end();
    expect(await lockstep(dev.folder, 'status')).toContain('★');
    expect((await fetch(`http://127.0.0.1:${dashboard}/`)).status).toBe(200);

    const moved = JSON.parse(await lockstep(dev.folder, 'switchover', '--json')) as {
      from: string;
      to: string;
    };
    expect(moved.from).toBe(leader?.name);
    await until('the new leader may die', async () => {
      const now = JSON.parse(await lockstep(dev.folder, 'status', '--json', '--with-password')) as {
        isFailoverReady: boolean;
      };
      return now.isFailoverReady;
    });
    await lockstep(dev.folder, 'kill', moved.to);
    await until('another leads', async () => {
      const now = JSON.parse(await lockstep(dev.folder, 'status', '--json', '--with-password')) as {
        leader: string | null;
      };
      return now.leader !== null && now.leader !== moved.to;
    });
    await lockstep(dev.folder, 'start', moved.to);
    expect((await stat(join(dev.folder, '.lockstep/cluster.json'))).mode & 0o777).toBe(0o600);
    expectClear(await failing(dev.folder, 'dev'), /runs already .* Stop it with Ctrl-C there/);
    expectClear(
      await failing(dev.folder, 'kill', 'n9'),
      /There is no node "n9" in cluster dev; it has n1, n2, n3/,
    );
    expectClear(await failing(dev.folder, 'switchover', 'n9'), /There is no node "n9"/);

    expect(await dev.stop()).toBe(0);
    await dev.start('--dashboard-port', dashboard);
    const again = JSON.parse(
      await lockstep(dev.folder, 'status', '--json', '--with-password'),
    ) as typeof status;
    const now = new pg.Client({
      connectionString: again.nodes.find((node) => node.role === 'leader')?.dsn ?? '',
    });
    await now.connect();
    expect((await now.query('SELECT id FROM kept')).rows).toEqual([{ id: 42 }]);
    await now.end();
    expect(await dev.stop()).toBe(0);
    expectClear(await failing(dev.folder, 'kill', 'n1'), /No cluster runs on .*\. Start it with/);
    expectClear(await failing(dev.folder, 'dev', '--nodes', '5'), /has 3 nodes, not 5/);

    // A node's data replaced by that of another cluster: refused, and left as it is.
    const other = await DevRun.create();
    await using _other = other;
    await other.start('--dashboard-port', String(await freePort()));
    expect(await other.stop()).toBe(0);
    const foreign = join(other.folder, '.lockstep/nodes/n2/data');
    const target = join(dev.folder, '.lockstep/nodes/n2/data');
    await rm(target, { recursive: true });
    await cp(foreign, target, { recursive: true, preserveTimestamps: true });
    const before = await readFile(join(target, 'global/pg_control'));
    expectClear(
      await failing(dev.folder, 'dev', '--dashboard-port', dashboard),
      /n2 could not start: .*belongs to another cluster/,
    );
    expect(await readFile(join(target, 'global/pg_control'))).toEqual(before);
    // The whole folder of another cluster's node.
    await rm(join(dev.folder, '.lockstep/nodes/n2'), { recursive: true });
    await cp(join(other.folder, '.lockstep/nodes/n2'), join(dev.folder, '.lockstep/nodes/n2'), {
      recursive: true,
    });
    expectClear(
      await failing(dev.folder, 'dev', '--dashboard-port', dashboard),
      /belongs to node n2 of another cluster/,
    );
  });

  it('add a node to a running cluster of one, keep it, and remove it', async () => {
    await using dev = await DevRun.create();
    const dashboard = String(await freePort());
    await dev.start('--nodes', '1', '--dashboard-port', dashboard);
    const status = async (): Promise<Status> =>
      JSON.parse(await lockstep(dev.folder, 'status', '--json', '--with-password')) as Status;
    const write = async (id: number): Promise<void> => {
      const client = new pg.Client({ connectionString: (await status()).nodes[0]?.dsn ?? '' });
      await client.connect();
      await client.query('CREATE TABLE IF NOT EXISTS kept (id int)');
      await client.query('INSERT INTO kept VALUES ($1)', [id]);
      await client.end();
    };
    await write(1);
    const added = await lockstep(dev.folder, 'node', 'add', 'n2');
    expect(added).toMatch(/n2 was added at 127\.0\.0\.1:\d+; "lockstep dev" starts it\.\nn2 follows\./);
    await until('commits wait for n2', async () => (await status()).nodes[1]?.sync === true);
    expect((await status()).nodes[1]).toMatchObject({ name: 'n2', role: 'follower', voter: false });
    expect(await readFile(join(dev.folder, '.lockstep', 'pg_service.conf'), 'utf8')).toMatch(
      /^port=\d+,\d+$/m,
    );
    expect(await lockstep(dev.folder, 'node', 'list')).toMatch(/n1 .* votes\nn2 .* does not vote/);
    await write(2);

    for (const [args, pattern] of [
      [['add', 'n2'], /n2 is a node already, at 127\.0\.0\.1\. Choose another name/],
      [['add', 'N 3'], /"N 3" is not a node name/],
      [['add', 'n3', '--host', '10.0.0.3'], /runs all its nodes on 127\.0\.0\.1, not on 10\.0\.0\.3/],
      [['add', 'n3', '--port', dashboard], /Port \d+ is in use\..*--port/],
      [['add', 'n3', '--port', '0'], /A port is a number from 1 to 65535/],
      [['add', 'n3', '--priority', '-1'], /A priority is a number from 0 to 1000/],
      [['remove', 'n9'], /There is no node "n9"; there are n1, n2/],
      [['remove', 'n1'], /n1 leads\. Hand the leadership over first/],
    ] as const) {
      expectClear(await failing(dev.folder, 'node', ...args), pattern);
    }

    // It is one of the cluster's nodes also after all of them stopped.
    expect(await dev.stop()).toBe(0);
    await dev.start('--dashboard-port', dashboard);
    // Each has all there is, so that either may lead now.
    if ((await status()).leader === 'n2') {
      await lockstep(dev.folder, 'switchover', 'n1');
      await until('n2 may lead', async () => {
        const now = await status();
        return now.isSwitchoverReady && now.nodes[1]?.sync === true;
      });
    }
    expect(await lockstep(dev.folder, 'switchover', 'n2')).toContain('n2 leads now');
    expectClear(
      await failing(dev.folder, 'node', 'remove', 'n2'),
      /n2 leads\. Hand the leadership over first/,
    );
    expectClear(await failing(dev.folder, 'node', 'remove', 'n1'), /without n1, none may lead/);
    expect(await lockstep(dev.folder, 'node', 'grant-vote', 'n2')).toContain(
      'n2 votes now. The voters are n1, n2: 0 of them may fail at a time.',
    );
    expect(await lockstep(dev.folder, 'node', 'revoke-vote', 'n1')).toContain('The voters are n2:');
    expectClear(await failing(dev.folder, 'node', 'revoke-vote', 'n1'), /n1 does not vote/);
    expect(await lockstep(dev.folder, 'node', 'grant-vote', 'n1')).toContain('The voters are n1, n2:');
    await until('n1 may lead', async () => {
      const now = await status();
      return now.isSwitchoverReady && now.nodes[0]?.sync === true;
    });
    await lockstep(dev.folder, 'switchover', 'n1');
    await until('commits wait for n2', async () => (await status()).nodes[1]?.sync === true);
    expect(await lockstep(dev.folder, 'node', 'remove', 'n2')).toContain(
      'n2 was removed. Its data folder stays',
    );
    await until('n2 ends', () => dev.output.includes('n2 was removed from the cluster'));
    expect((await stat(join(dev.folder, '.lockstep/nodes/n2/data/PG_VERSION'))).isFile()).toBe(true);
    await write(3);
    expect((await status()).nodes.map((node) => node.name)).toEqual(['n1']);
    expectClear(await failing(dev.folder, 'node', 'add', 'n2'), /n2 was a node of this cluster before/);
    expectClear(
      await failing(
        dev.folder,
        'agent',
        '--config',
        '.lockstep/cluster.json',
        '--data',
        '.lockstep',
        '--node',
        'n2',
      ),
      /There is no node "n2" in cluster dev; it has n1\. Add it first/,
    );
    expect(await dev.stop()).toBe(0);
    // Votes were changed: n1 is looked for where it was.
    const config = JSON.parse(await readFile(join(dev.folder, '.lockstep/cluster.json'), 'utf8')) as {
      nodes: { port: number }[];
    };
    const other = createServer().listen(config.nodes[0]?.port, '127.0.0.1');
    await once(other, 'listening');
    expectClear(
      await failing(dev.folder, 'dev'),
      /Port \d+ of node n1 is in use, and the nodes .* cannot move/,
    );
    other.close();
    expectClear(await failing(dev.folder, 'node', 'list', '--state', 'nowhere'), /cannot be read/);
    expectClear(
      await failing(dev.folder, 'node', 'add', 'n3'),
      /None of n1, n2(, n3)? answers for cluster dev|--host, --port/,
    );
  });

  it('answer bad input with one clear sentence and damage nothing', async () => {
    await using dev = await DevRun.create();
    const taken = createServer();
    const port = await freePort();
    await new Promise<void>((resolve) => taken.listen(port, '127.0.0.1', resolve));
    try {
      expectClear(
        await failing(dev.folder, 'dev', '--pg-port', String(port)),
        /Port \d+ is in use\. Stop what listens there, or choose another with --pg-port/,
      );
      expectClear(
        await failing(dev.folder, 'dev', '--dashboard-port', String(port)),
        /Port \d+ is in use\..*--dashboard-port/,
      );
    } finally {
      taken.close();
    }
    expectClear(await failing(dev.folder, 'dev', '--pg-port', 'abc'), /A port is a number from 1 to 65535/);
    expectClear(await failing(dev.folder, 'dev', '--nodse', '3'), /unknown option '--nodse'/);
    expectClear(
      await failing(dev.folder, 'dev', '--postgres', '/nowhere'),
      /holds no postgres and initdb|Name the folder/,
    );
    expectClear(
      await failing(dev.folder, 'status', '--state', 'nowhere'),
      /cannot be read \(ENOENT\)\. Start a cluster with/,
    );
    expectClear(
      await failing(dev.folder, 'dev', '--etcd', 'http://127.0.0.1:2379'),
      /is coordinated by its agents\. Leave --etcd out/,
    );
    expectClear(
      await failing(dev.folder, 'dev', '--state', 'other', '--etcd', '127.0.0.1:2379'),
      /"coordination\.endpoints\.0": an etcd endpoint is http:\/\/host:port/,
    );
    const config = join(dev.folder, '.lockstep/cluster.json');
    const text = await readFile(config, 'utf8');
    await writeFile(config, text.replace('"leaseTtlMs"', '"leaseTtlMS"'));
    expectClear(
      await failing(dev.folder, 'dev'),
      /cluster\.json is not valid.*leaseTtlMS.*Correct it and start again/,
    );
    await writeFile(config, text.slice(0, -20));
    expectClear(await failing(dev.folder, 'status'), /is not JSON/);
  });

  it.skipIf(process.getuid?.() !== 0 || process.platform !== 'linux')(
    'refuse a disk that is too small',
    async () => {
      await using dev = await DevRun.create();
      const disk = join(dev.folder, '.lockstep');
      await run('mkdir', [disk]);
      await run('mount', ['-t', 'tmpfs', '-o', 'size=64m', 'tmpfs', disk]);
      try {
        expectClear(
          await failing(dev.folder, 'dev'),
          /has \d+ MB free and \d+ MB are needed\. Free some space, or put the data elsewhere with --state/,
        );
      } finally {
        await run('umount', [disk]);
      }
    },
  );
});
