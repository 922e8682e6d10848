import { randomUUID } from 'node:crypto';
import { execFile, spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { accessSync, constants, openSync } from 'node:fs';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { delimiter, dirname, join } from 'node:path';
import { promisify } from 'node:util';
import { createEtcdCoordination } from '../../src/coordination/etcd/etcd.ts';
import type { EtcdCoordinationOptions } from '../../src/coordination/etcd/etcd.ts';
import type { Coordination } from '../../src/coordination/contract.ts';
import { makeCertificates } from './certificates.ts';
import type { Certificates } from './certificates.ts';
import { systemClock } from '../../src/clock/system-clock.ts';
import { freePort, until } from './fixture.ts';

/** LOCKSTEP_TEST_ETCD (its `etcdctl` lies beside it), or `etcd` on the PATH; null when there is none. */
export const ETCD: string | null = findEtcd();

export const NEEDS_ETCD = 'etcd (needs the program etcd: apt-get install etcd-server etcd-client)';

/** Keys that no other test touches begin with it. */
export function newPrefix(): string {
  return `/lockstep/${randomUUID()}/`;
}

export interface EtcdClusterOptions {
  /** Default 1. */
  readonly members?: number;
  /** TLS with client certificates, and users with passwords (root and app). */
  readonly isSecure?: boolean;
  /** How long a token lives without use. */
  readonly tokenTtlSeconds?: number;
}

interface Member {
  readonly name: string;
  readonly url: string;
  readonly peerUrl: string;
  process: ChildProcess | null;
}

const START_ATTEMPTS = 3;

/** Real etcd processes on ports and in a folder of their own; all end with it, also when a test fails. */
export class EtcdCluster implements AsyncDisposable {
  readonly #binary: string;
  readonly #options: EtcdClusterOptions;
  readonly #folder: string;
  readonly #members: Member[] = [];
  readonly #opened: Coordination[] = [];
  readonly certificates: Certificates | null;

  private constructor(
    binary: string,
    options: EtcdClusterOptions,
    folder: string,
    certificates: Certificates | null,
  ) {
    this.#binary = binary;
    this.#options = options;
    this.#folder = folder;
    this.certificates = certificates;
  }

  static async start(options: EtcdClusterOptions = {}): Promise<EtcdCluster> {
    if (ETCD === null) throw new Error('there is no etcd');
    const folder = await mkdtemp(join(tmpdir(), 'lockstep-etcd-'));
    const certificates = options.isSecure === true ? makeCertificates(folder) : null;
    const cluster = new EtcdCluster(ETCD, options, folder, certificates);
    try {
      await cluster.#startAll();
      return cluster;
    } catch (error) {
      await cluster[Symbol.asyncDispose]();
      throw error;
    }
  }

  get endpoints(): readonly string[] {
    return this.#members.map((member) => member.url);
  }

  /** Of the members that run. */
  get pids(): readonly number[] {
    return this.#members.flatMap(({ process }) => process?.pid ?? []);
  }

  /** A participant as another process would be. It is closed with the cluster. */
  participant(options: Partial<EtcdCoordinationOptions> & { readonly prefix: string }): Coordination {
    const coordination = createEtcdCoordination({
      clock: systemClock,
      endpoints: this.endpoints,
      ...(this.certificates === null
        ? {}
        : { username: 'app', password: PASSWORD, tls: this.certificates.client }),
      ...options,
    });
    this.#opened.push(coordination);
    return coordination;
  }

  /** SIGKILL; the port refuses afterwards. */
  async kill(index: number): Promise<void> {
    const { process } = this.#member(index);
    if (process === null) return;
    this.#member(index).process = null;
    if (hasEnded(process)) return;
    process.kill('SIGKILL');
    process.kill('SIGCONT');
    await once(process, 'exit');
  }

  pause(index: number): void {
    this.#member(index).process?.kill('SIGSTOP');
  }

  resume(index: number): void {
    this.#member(index).process?.kill('SIGCONT');
  }

  /** Starts a killed member again on its data, or on none. */
  async restart(index: number, isEmpty = false): Promise<void> {
    const member = this.#member(index);
    if (isEmpty) await rm(join(this.#folder, member.name), { recursive: true });
    this.#spawn(member);
    if (!(await this.#untilHealthy())) throw new Error(`${member.name} ended: ${await this.log(index)}`);
  }

  /** The index of the member that leads etcd itself. */
  async leader(): Promise<number> {
    return until('etcd has a leader', async () => {
      for (const [index, member] of this.#members.entries()) {
        if (member.process === null) continue;
        const status = await this.etcdctl(index, 'endpoint', 'status', '--write-out', 'json').catch(
          () => '[]',
        );
        const [entry] = JSON.parse(status) as {
          Status: { leader: number; header: { member_id: number } };
        }[];
        if (entry !== undefined && entry.Status.leader === entry.Status.header.member_id) return { index };
      }
      return null;
    }).then(({ index }) => index);
  }

  /** Runs etcdctl as root against one member. */
  async etcdctl(index: number, ...args: string[]): Promise<string> {
    const secure =
      this.certificates === null
        ? []
        : [
            `--cacert=${this.certificates.ca}`,
            `--cert=${this.certificates.client.cert}`,
            `--key=${this.certificates.client.key}`,
            ...(this.#hasUsers ? [`--user=root:${PASSWORD}`] : []),
          ];
    const { url } = this.#member(index);
    const { stdout } = await promisify(execFile)(
      join(dirname(this.#binary), 'etcdctl'),
      [`--endpoints=${url}`, '--command-timeout=5s', ...secure, ...args],
      { encoding: 'utf8', env: { ...process.env, ETCDCTL_API: '3' } },
    );
    return stdout;
  }

  /** Forgets all revisions before the present one. */
  async compact(): Promise<void> {
    const status = JSON.parse(await this.etcdctl(0, 'endpoint', 'status', '--write-out', 'json')) as {
      Status: { header: { revision: number } };
    }[];
    await this.etcdctl(0, 'compaction', String(status[0]?.Status.header.revision));
  }

  async log(index: number): Promise<string> {
    return readFile(join(this.#folder, `${this.#member(index).name}.log`), 'utf8');
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all(this.#opened.map((coordination) => coordination.close()));
    await Promise.all(this.#members.map((_, index) => this.kill(index)));
    await rm(this.#folder, { recursive: true, force: true });
  }

  #hasUsers = false;

  async #startAll(): Promise<void> {
    for (let attempt = 1; !(await this.#startMembers()); attempt++) {
      if (attempt === START_ATTEMPTS) throw new Error(`etcd ended at once: ${await this.log(0)}`);
      // Somebody took a port that was free a moment ago.
      await Promise.all(this.#members.map((_, index) => this.kill(index)));
      for (const { name } of this.#members.splice(0))
        await rm(join(this.#folder, name), { recursive: true, force: true });
    }
    await this.#makeUsers();
  }

  async #startMembers(): Promise<boolean> {
    const scheme = this.certificates === null ? 'http' : 'https';
    for (let index = 0; index < (this.#options.members ?? 1); index++) {
      this.#members.push({
        name: `e${index + 1}`,
        url: `${scheme}://127.0.0.1:${await freePort()}`,
        peerUrl: `http://127.0.0.1:${await freePort()}`,
        process: null,
      });
    }
    for (const member of this.#members) this.#spawn(member);
    return this.#untilHealthy();
  }

  async #makeUsers(): Promise<void> {
    if (this.certificates === null) return;
    for (const command of [
      ['user', 'add', `root:${PASSWORD}`],
      ['user', 'grant-role', 'root', 'root'],
      ['role', 'add', 'lockstep'],
      ['role', 'grant-permission', 'lockstep', 'readwrite', '--prefix=true', '/lockstep/'],
      ['user', 'add', `app:${PASSWORD}`],
      ['user', 'grant-role', 'app', 'lockstep'],
      ['auth', 'enable'],
    ]) {
      await this.etcdctl(0, ...command);
    }
    this.#hasUsers = true;
  }

  #spawn(member: Member): void {
    const { certificates } = this;
    const secure =
      certificates === null
        ? []
        : [
            '--client-cert-auth',
            `--trusted-ca-file=${certificates.ca}`,
            `--cert-file=${certificates.server.cert}`,
            `--key-file=${certificates.server.key}`,
          ];
    const log = openSync(join(this.#folder, `${member.name}.log`), 'a');
    member.process = spawn(
      this.#binary,
      [
        `--name=${member.name}`,
        `--data-dir=${join(this.#folder, member.name)}`,
        `--listen-client-urls=${member.url}`,
        `--advertise-client-urls=${member.url}`,
        `--listen-peer-urls=${member.peerUrl}`,
        `--initial-advertise-peer-urls=${member.peerUrl}`,
        `--initial-cluster=${this.#members.map(({ name, peerUrl }) => `${name}=${peerUrl}`).join(',')}`,
        `--auth-token-ttl=${this.#options.tokenTtlSeconds ?? 300}`,
        '--logger=zap',
        ...secure,
      ],
      { stdio: ['ignore', log, log] },
    );
  }

  /** False when one of them ended instead. */
  async #untilHealthy(): Promise<boolean> {
    for (const [index, member] of this.#members.entries()) {
      const { process } = member;
      if (process === null) continue;
      await until(`etcd member ${member.name} is healthy`, async () => {
        if (hasEnded(process)) return true;
        await this.etcdctl(index, 'endpoint', 'health');
        return true;
      });
    }
    return this.#members.every(({ process }) => process === null || !hasEnded(process));
  }

  #member(index: number): Member {
    const member = this.#members[index];
    if (member === undefined) throw new Error(`there is no member ${index}`);
    return member;
  }
}

function hasEnded({ exitCode, signalCode }: ChildProcess): boolean {
  return exitCode !== null || signalCode !== null;
}

export const PASSWORD = 'for-this-test-only';

function findEtcd(): string | null {
  const folders = (process.env['PATH'] ?? '').split(delimiter);
  const paths = [
    process.env['LOCKSTEP_TEST_ETCD'] ?? '',
    ...folders.filter((folder) => folder !== '').map((folder) => join(folder, 'etcd')),
  ];
  const found = paths.find(
    (path) => path !== '' && isExecutable(path) && isExecutable(join(dirname(path), 'etcdctl')),
  );
  if (found !== undefined) return found;
  console.warn('There is no etcd with etcdctl: tests that need it are skipped. See scripts/toolchain.mjs.');
  return null;
}

function isExecutable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}
