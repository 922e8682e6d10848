import { namePrefix } from './claim.ts';
import { runTool } from './command.ts';

/** Nobody has it: a packet to it is flooded by the bridge and dropped by all. */
const NOBODY = '02:00:00:00:00:01';
const CLIENTS = 'clients';

/** One end of a way: a host by its name, or this machine on the bridge, where clients run. */
export type Place = string;

/** A host's network namespace. */
export interface Namespace {
  readonly host: string;
  readonly name: string;
  readonly address: string;
}

/** A bridge with one namespace for each host; the machine itself, with the clients, is on the bridge too. */
export class Network {
  readonly #bridge: string;
  readonly #lost = new Set<string>();
  readonly namespaces: readonly Namespace[];
  /** Of hosts and clients, as CIDR. */
  readonly cidr: string;
  readonly #clientAddress: string;

  constructor(number: number, hosts: readonly string[]) {
    this.#bridge = namePrefix(number);
    this.cidr = `10.213.${number}.0/24`;
    this.#clientAddress = `10.213.${number}.254`;
    this.namespaces = hosts.map((host, index) => ({
      host,
      name: `${this.#bridge}-${host}`,
      address: `10.213.${number}.${index + 1}`,
    }));
  }

  async create(): Promise<void> {
    await runTool('ip', 'link', 'add', this.#bridge, 'type', 'bridge');
    await runTool('ip', 'addr', 'add', `${this.#clientAddress}/24`, 'dev', this.#bridge);
    await runTool('ip', 'link', 'set', this.#bridge, 'up');
    for (const { host, name, address } of this.namespaces) {
      const port = this.#port(host);
      await runTool('ip', 'netns', 'add', name);
      await runTool('ip', 'link', 'add', port, 'type', 'veth', 'peer', 'name', 'eth0', 'netns', name);
      await runTool('ip', '-n', name, 'addr', 'add', `${address}/24`, 'dev', 'eth0');
      await runTool('ip', '-n', name, 'link', 'set', 'lo', 'up');
      await runTool('ip', '-n', name, 'link', 'set', 'eth0', 'up');
      await runTool('ip', 'link', 'set', port, 'master', this.#bridge, 'up');
    }
  }

  /** Pulls the host's cable: nobody reaches it, it reaches nobody. */
  async unplug(host: string): Promise<void> {
    await runTool('ip', 'link', 'set', this.#port(host), 'down');
  }

  async plugIn(host: string): Promise<void> {
    await runTool('ip', 'link', 'set', this.#port(host), 'up');
  }

  /**
   * Packets from one place to the other vanish, silently; those of the other direction arrive. By a wrong
   * hardware address at the sender: this works on every kernel, also where netem and nftables are missing.
   */
  async lose(from: Place, to: Place): Promise<void> {
    const { words, device } = this.#at(from);
    await runTool(
      'ip',
      ...words,
      'neigh',
      'replace',
      this.#addressOf(to),
      'lladdr',
      NOBODY,
      'dev',
      device,
      'nud',
      'permanent',
    );
    this.#lost.add(`${from} ${to}`);
  }

  /** Loses everything that a host sends to the given places, or gets from them. */
  async loseAll(host: string, direction: 'sent' | 'received', others: readonly Place[]): Promise<void> {
    for (const other of others)
      await (direction === 'sent' ? this.lose(host, other) : this.lose(other, host));
  }

  /** Every packet arrives again. */
  async restore(): Promise<void> {
    for (const way of this.#lost) {
      const [from = '', to = ''] = way.split(' ');
      const { words, device } = this.#at(from);
      await runTool('ip', ...words, 'neigh', 'del', this.#addressOf(to), 'dev', device);
    }
    this.#lost.clear();
  }

  /** Everyone but the host: the other hosts, and the clients. */
  othersOf(host: string): { readonly hosts: readonly string[]; readonly all: readonly Place[] } {
    const hosts = this.namespaces.map((entry) => entry.host).filter((other) => other !== host);
    return { hosts, all: [...hosts, CLIENTS] };
  }

  namespaceOf(host: string): Namespace {
    const found = this.namespaces.find((entry) => entry.host === host);
    if (found === undefined) throw new Error(`There is no host ${host}.`);
    return found;
  }

  #port(host: string): string {
    return `${this.#bridge}${host}`;
  }

  #addressOf(place: Place): string {
    return place === CLIENTS ? this.#clientAddress : this.namespaceOf(place).address;
  }

  #at(place: Place): { readonly words: readonly string[]; readonly device: string } {
    if (place === CLIENTS) return { words: [], device: this.#bridge };
    return { words: ['-n', this.namespaceOf(place).name], device: 'eth0' };
  }
}
