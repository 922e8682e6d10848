import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { isProcessAlive } from '../../src/cli/dev/process-tree.ts';
import { signalAll } from './signals.ts';

const execute = promisify(execFile);

/** Of bridge, links and namespaces; the bench's process id follows, so that leftovers are known as such. */
const PREFIX = 'lsf';

/** A network namespace for each host, all on one bridge, where the bench's clients are too. */
export class HostNetwork implements AsyncDisposable {
  readonly #bridge: string = `${PREFIX}${process.pid}`;
  readonly #subnet: string = `10.214.${process.pid % 250}`;
  readonly #hosts: readonly string[];

  private constructor(hosts: readonly string[]) {
    this.#hosts = hosts;
  }

  /** Why this process can make none; null when it can. */
  static async missing(): Promise<string | null> {
    if (process.platform !== 'linux' || process.getuid?.() !== 0)
      return 'network namespaces need Linux and root.';
    const probe = `${PREFIX}${process.pid}p`;
    try {
      await ip('netns', 'add', probe);
      await ip('link', 'add', probe, 'type', 'bridge');
      return null;
    } catch (error) {
      return `network namespaces cannot be made here (${(error as Error).message.trim().split('\n').at(-1)}).`;
    } finally {
      await attempt('link', 'del', probe);
      await attempt('netns', 'del', probe);
    }
  }

  static async create(hosts: readonly string[]): Promise<HostNetwork> {
    await removeLeftovers();
    const network = new HostNetwork(hosts);
    try {
      await network.#create();
      return network;
    } catch (error) {
      await network[Symbol.asyncDispose]();
      throw error;
    }
  }

  get cidr(): string {
    return `${this.#subnet}.0/24`;
  }

  addressOf(host: string): string {
    return `${this.#subnet}.${this.#hosts.indexOf(host) + 1}`;
  }

  /** A command that runs another on a host; it becomes that process. */
  commandOn(host: string): readonly string[] {
    return ['ip', 'netns', 'exec', this.#namespace(host)];
  }

  async setLink(host: string, state: 'down' | 'up'): Promise<void> {
    await ip('link', 'set', this.#link(host), state);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const host of this.#hosts) await removeNamespace(this.#namespace(host));
    for (const host of this.#hosts) await attempt('link', 'del', this.#link(host));
    await attempt('link', 'del', this.#bridge);
  }

  async #create(): Promise<void> {
    await ip('link', 'add', this.#bridge, 'type', 'bridge');
    await ip('addr', 'add', `${this.#subnet}.254/24`, 'dev', this.#bridge);
    await ip('link', 'set', this.#bridge, 'up');
    for (const host of this.#hosts) {
      const namespace = this.#namespace(host);
      const link = this.#link(host);
      await ip('netns', 'add', namespace);
      await ip('link', 'add', link, 'type', 'veth', 'peer', 'name', 'eth0', 'netns', namespace);
      await ip('-n', namespace, 'addr', 'add', `${this.addressOf(host)}/24`, 'dev', 'eth0');
      await ip('-n', namespace, 'link', 'set', 'lo', 'up');
      await ip('-n', namespace, 'link', 'set', 'eth0', 'up');
      await ip('link', 'set', link, 'master', this.#bridge, 'up');
    }
  }

  #namespace(host: string): string {
    return `${this.#bridge}-${host}`;
  }

  /** Interface names have 15 characters at most. */
  #link(host: string): string {
    return `${this.#bridge}${host}`;
  }
}

async function ip(...words: string[]): Promise<string> {
  return (await execute('ip', words)).stdout;
}

/** What is gone already needs no removing. */
async function attempt(...words: string[]): Promise<string> {
  return ip(...words).catch(() => '');
}

/** SIGKILL for what runs there until nothing does, then the namespace itself. */
async function removeNamespace(namespace: string): Promise<void> {
  for (;;) {
    const pids = (await attempt('netns', 'pids', namespace)).split('\n').filter(Boolean).map(Number);
    if (pids.length === 0) break;
    signalAll(pids, 'SIGKILL');
  }
  await attempt('netns', 'del', namespace);
}

/** Of benches that were killed. */
async function removeLeftovers(): Promise<void> {
  const isLeft = (name: string): boolean => {
    const pid = new RegExp(`^${PREFIX}(\\d+)`).exec(name)?.[1];
    return pid !== undefined && Number(pid) !== process.pid && !isProcessAlive(Number(pid));
  };
  const namespaces = (await attempt('netns', 'list')).split('\n').map((line) => line.split(' ', 1)[0] ?? '');
  for (const namespace of namespaces.filter(isLeft)) await removeNamespace(namespace);
  const links = [...(await attempt('-o', 'link', 'show')).matchAll(/^\d+: ([^:@]+)/gm)];
  for (const [, link = ''] of links) if (isLeft(link)) await attempt('link', 'del', link);
}
