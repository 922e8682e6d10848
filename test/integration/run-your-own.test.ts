import { spawnSync } from 'node:child_process';
import { randomInt } from 'node:crypto';
import { chmod, mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { connect } from '../../src/index.ts';
import { resolveAccount } from '../../src/postgres/account.ts';
import type { Topology } from '../../src/model/topology.ts';
import { freePort, until } from './fixture.ts';
import { NotifySocket } from './notify-socket.ts';
import { CLI, Running } from './server-machine.ts';

const NAMES = ['n1', 'n2', 'n3'];
/** What systemd gives to a service. */
const PATH = '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin';

/** The commands of docs/run-your-own.md, by the heading that they stand under. */
async function readSteps(): Promise<ReadonlyMap<string, readonly string[]>> {
  const text = await readFile(join(import.meta.dirname, '../../docs/run-your-own.md'), 'utf8');
  const sections = text.split(/^## /m).slice(1);
  return new Map(
    sections.map((section) => [
      section.slice(0, section.indexOf('\n')),
      [...section.matchAll(/^```sh\n(.*?)^```/gms)].flatMap(([, block = '']) => block.trim().split('\n')),
    ]),
  );
}

/** The first three numbers of addresses of this machine on which nobody uses the ports of the page. */
async function freeNetwork(): Promise<string> {
  for (;;) {
    const network = `127.${randomInt(1, 250)}.${randomInt(1, 250)}`;
    const isFree = await Promise.all(
      [1, 2, 3].flatMap((host) => [5432, 7411].map((port) => canListen(`${network}.${host}`, port))),
    );
    if (isFree.every(Boolean)) return network;
  }
}

function canListen(host: string, port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const server = createServer();
    server.once('error', () => resolve(false));
    server.listen(port, host, () => server.close(() => resolve(true)));
  });
}

/** Whom the unit names: `postgres`, where that user can read this repository; else whoever runs the test. */
async function unitUser(): Promise<{ readonly name: string; readonly uid?: number; readonly gid?: number }> {
  const account = await resolveAccount();
  if (account === null) return { name: spawnSync('id', ['-un'], { encoding: 'utf8' }).stdout.trim() };
  const { name, uid, gid } = account;
  const { status } = spawnSync(process.execPath, [CLI, '--version'], { uid, gid, cwd: '/' });
  return status === 0 ? { name, uid, gid } : { name: 'root' };
}

/** Three folders in place of three machines. */
class Machines implements AsyncDisposable {
  readonly folder: string;
  readonly network: string;
  readonly user: Awaited<ReturnType<typeof unitUser>>;
  readonly services = new Map<string, { readonly running: Running; readonly socket: NotifySocket }>();
  readonly #others: Running[] = [];

  private constructor(folder: string, network: string, user: Awaited<ReturnType<typeof unitUser>>) {
    this.folder = folder;
    this.network = network;
    this.user = user;
  }

  static async create(): Promise<Machines> {
    const folder = await mkdtemp(join(tmpdir(), 'lockstep-own-'));
    await chmod(folder, 0o755);
    const machines = new Machines(folder, await freeNetwork(), await unitUser());
    for (const name of ['admin', 'bin', ...NAMES]) await mkdir(join(folder, name), { mode: 0o755 });
    const program = `#!/bin/sh\nexec '${process.execPath}' '${CLI}' "$@"\n`;
    await writeFile(join(folder, 'bin', 'lockstep'), program, { mode: 0o755 });
    // What systemctl is asked for, the test does itself.
    await writeFile(join(folder, 'bin', 'systemctl'), '#!/bin/sh\nexit 0\n', { mode: 0o755 });
    return machines;
  }

  /** A command of the page, on a machine: with that machine's folder for /, and addresses of this one. */
  localized(command: string, machine: string): string {
    const isRoot = process.getuid?.() === 0;
    return command
      .replaceAll('10.0.0.', `${this.network}.`)
      .replaceAll(/(?<=\s)\/(etc|var)\//g, `${join(this.folder, machine)}/$1/`)
      .replaceAll('lockstep@n1', `lockstep@${machine}`)
      .replaceAll('-o postgres', isRoot ? `-o ${this.user.name}` : '');
  }

  async run(command: string, machine: string): Promise<string> {
    const { status, stdout, stderr } = spawnSync('sh', ['-c', this.localized(command, machine)], {
      cwd: join(this.folder, 'admin'),
      encoding: 'utf8',
      env: { ...process.env, PATH: `${join(this.folder, 'bin')}:${process.env['PATH']}` },
    });
    expect({ command, status, stderr }).toEqual({ command, status: 0, stderr: '' });
    return stdout;
  }

  /** As a service manager would: by the unit that lies there. */
  async startService(machine: string): Promise<void> {
    const unit = await readFile(join(this.folder, machine, 'etc/systemd/system/lockstep@.service'), 'utf8');
    const [, command = ''] = /^ExecStart=(.*)$/m.exec(unit) ?? [];
    expect(unit).toMatch(/^Type=notify$/m);
    expect(unit).toMatch(/^NotifyAccess=all$/m);
    const [, watchdogSeconds] = /^WatchdogSec=(\d+)$/m.exec(unit) ?? [];
    const words = this.localized(` ${command.replaceAll('%i', machine)}`, machine)
      .trim()
      .split(' ');
    expect(words.slice(0, 2)).toEqual([process.execPath, join(import.meta.dirname, '../../bin/lockstep.js')]);
    const path = join(this.folder, machine, `notify-${Date.now()}`);
    const socket = await NotifySocket.open(path);
    const environment = { PATH, NOTIFY_SOCKET: path, WATCHDOG_USEC: `${watchdogSeconds}000000` };
    const running = new Running(words.slice(2), 'ignore', { environment, ...this.user, cwd: '/' });
    this.services.set(machine, { running, socket });
  }

  /** Kills what the service runs, as a lost machine ends it. */
  async killService(machine: string): Promise<void> {
    const service = this.services.get(machine);
    await service?.running.kill();
    await service?.socket[Symbol.asyncDispose]();
    this.services.delete(machine);
  }

  runOther(command: string, machine: string): Running {
    const [, ...words] = this.localized(command, machine).split(' ');
    const running = new Running(words);
    this.#others.push(running);
    return running;
  }

  /** For a failure's report. */
  printed(): string {
    return [...this.services].map(([name, { running }]) => `--- ${name}\n${running.printed}`).join('\n');
  }

  async ask(machine: string, path: string): Promise<{ readonly status: number; readonly text: string }> {
    const response = await fetch(`http://${this.network}.${NAMES.indexOf(machine) + 1}:7411${path}`);
    return { status: response.status, text: await response.text() };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const running of this.#others) await running.kill();
    for (const machine of this.services.keys()) await this.killService(machine);
    await rm(this.folder, { recursive: true, force: true, maxRetries: 5 });
  }
}

describe('docs/run-your-own.md', () => {
  it('leads, step by step, to a cluster that survives the loss of a machine', async () => {
    const steps = await readSteps();
    await using machines = await Machines.create();
    const [init = ''] = steps.get('2. Name the servers') ?? [];
    const printed = await machines.run(`${init} --user ${machines.user.name} --database shop`, 'admin');
    await chmod(join(machines.folder, 'admin/lockstep@.service'), 0o644);
    for (const machine of NAMES) {
      for (const command of steps.get('3. Start each server') ?? []) await machines.run(command, machine);
    }
    await Promise.all(NAMES.map((machine) => machines.startService(machine)));
    for (const { socket } of machines.services.values())
      await until('the service is ready', () => socket.messages.includes('READY=1'), 60_000);

    const [look = '', dashboard = ''] = steps.get('4. Look') ?? [];
    await until(
      'it may lose a machine',
      async () => (await machines.run(look, 'n2')).includes('failover ready'),
      90_000,
    );
    const status = JSON.parse(await machines.run(`${look} --json`, 'n2')) as Topology & {
      nodes: { dsn: string }[];
    };
    const secrets = JSON.parse(await readFile(join(machines.folder, 'admin/cluster.json'), 'utf8')) as {
      secrets: { app: string };
    };
    expect(JSON.stringify(status)).not.toContain(secrets.secrets.app);
    expect(await machines.run(`${look} --json --with-password`, 'n2')).toContain(secrets.secrets.app);

    await expectProbes(machines, status.leader ?? '');
    const { messages } = machines.services.get(status.leader ?? '')?.socket ?? { messages: [] };
    await until('systemctl status says who leads', () =>
      messages.some((text) => /^STATUS=n\d is running; it leads/.test(text)),
    );

    const [, url = ''] = /(postgresql:\S+)/.exec(printed) ?? [];
    const pool = connect(url.replace('PASSWORD', encodeURIComponent(secrets.secrets.app)));
    try {
      await pool.query('CREATE TABLE kept (id int PRIMARY KEY)');
      await pool.query('INSERT INTO kept VALUES (1)');
      await machines.killService(status.leader ?? '');
      await pool.query('INSERT INTO kept VALUES (2)');
      expect((await pool.query('SELECT id FROM kept ORDER BY id')).rows).toEqual([{ id: 1 }, { id: 2 }]);
    } finally {
      await pool.end();
    }

    // systemd starts it again, and the page shows a cluster that nobody runs with `lockstep dev`.
    const port = await freePort();
    const page = machines.runOther(`${dashboard} --port ${port}`, 'n3');
    await until('the dashboard is there', () => page.printed.includes(`http://127.0.0.1:${port}`));
    await machines.startService(status.leader ?? '');
    await until(
      'all of them run again',
      async () => {
        const seen = (await (await fetch(`http://127.0.0.1:${port}/api/topology`)).json()) as Topology;
        if (seen.isFailoverReady && seen.nodes.every(({ state }) => state === 'running')) return true;
        throw new Error(`${JSON.stringify(seen)}\n${machines.printed()}`);
      },
      90_000,
    );
    expect(await page.stop('SIGINT')).toBe(0);

    for (const { running, socket } of machines.services.values()) {
      expect(await running.stop()).toBe(0);
      expect(socket.messages).toContain('STOPPING=1');
    }
  }, 300_000);
});

/** What load balancers, monitors and Prometheus are told. */
async function expectProbes(machines: Machines, leader: string): Promise<void> {
  for (const machine of NAMES) {
    const isLeader = machine === leader;
    expect(await machines.ask(machine, '/primary')).toMatchObject({ status: isLeader ? 200 : 503 });
    expect(await machines.ask(machine, '/replica')).toMatchObject({ status: isLeader ? 503 : 200 });
    expect(await machines.ask(machine, '/replica?lag=1GB')).toMatchObject({ status: isLeader ? 503 : 200 });
    expect(await machines.ask(machine, '/replica?lag=soon')).toMatchObject({ status: 400 });
    await until(`${machine} is well`, async () => (await machines.ask(machine, '/health')).status === 200);
    const { text } = await machines.ask(machine, '/metrics');
    expect(text).toContain(`lockstep_leader{cluster="shop",node="${machine}"} ${Number(isLeader)}\n`);
    expect(text).toContain(`lockstep_cluster_failover_ready{cluster="shop",node="${machine}"} 1\n`);
  }
}
