import { createRandom } from '../../src/testing/simulation/random.ts';
import { VirtualTime } from '../../src/testing/simulation/virtual-time.ts';
import type { ModelAgent } from '../sim/cluster/agent.ts';
import { Cluster } from '../sim/cluster/world.ts';

/** One seed: what takes how long is no matter of a transcript. */
const SEED = 1;

/**
 * A cluster of the simulation in which nothing fails but what a transcript says, one command at a time. Time moves only by
 * {@link run}.
 */
export class World {
  /** What happened since it was last emptied, as a transcript shows it. */
  readonly trace: string[] = [];
  readonly #time = new VirtualTime();
  readonly #cluster: Cluster;
  /** What a commit is called, by its entry in the log. */
  readonly #names = new Map<number, string>();

  constructor(nodes: number) {
    this.#cluster = new Cluster({
      time: this.#time,
      random: createRandom(SEED),
      nodes,
      guests: 0,
      isLastDelayed: false,
      required: 1,
      handsOver: true,
      mutant: null,
      transcript: (line) => this.#tell(line),
    });
    for (const agent of this.#cluster.agents) agent.start();
  }

  /** Throws when a promise was broken meanwhile. */
  run(ms: number): void {
    const { checker } = this.#cluster;
    this.#time.runUntil(this.#time.nowMs() + ms);
    const [broken] = checker.violations;
    if (broken !== undefined) throw new Error(`${broken.invariant}: ${broken.what}`);
  }

  /** SIGKILL of agent and PostgreSQL: the log stays. */
  kill(name: string): void {
    const { agent } = this.#node(name);
    agent.crash();
    agent.server.kill('SIGKILL');
    this.trace.push(`${name} killed`);
  }

  start(name: string): void {
    this.#node(name).agent.start();
    this.trace.push(`${name} agent started`);
  }

  pause(name: string): void {
    for (const process of this.#node(name).processes) process.stop('transcript');
    this.trace.push(`${name} suspended`);
  }

  resume(name: string): void {
    for (const process of this.#node(name).processes) process.resume('transcript');
    this.trace.push(`${name} resumed`);
  }

  /** Its PostgreSQL is suspended, and its agent goes on. */
  pauseServer(name: string): void {
    this.#node(name).agent.host.postgres.stop('transcript');
    this.trace.push(`${name} PostgreSQL suspended`);
  }

  resumeServer(name: string): void {
    this.#node(name).agent.host.postgres.resume('transcript');
    this.trace.push(`${name} PostgreSQL resumed`);
  }

  /** Nothing gets from that node to the others, or from them to it. */
  cut(name: string): void {
    this.#eachLink(name, (from, to) => this.#cluster.network.cut(from.host, to.host));
    this.trace.push(`${name} cut off`);
  }

  mend(name: string): void {
    this.#eachLink(name, (from, to) => this.#cluster.network.mend(from.host, to.host));
    this.trace.push(`${name} connected again`);
  }

  switchover(from: string, to: string): void {
    this.#node(from).agent.requestSwitchover(this.#node(to).agent.host.name);
  }

  /** A synchronous commit of a client at that node, whether or not it still may; done when the node runs. */
  commit(name: string, commit: string): void {
    const { server, host } = this.#node(name).agent;
    host.postgres.deliver(host.postgres.life, () => {
      const isTaken = server.commit('sync');
      if (isTaken) this.#names.set(server.log.at(-1)!.id, commit);
      this.trace.push(`${name} ${isTaken ? 'takes' : 'refuses'} ${commit}`);
    });
  }

  /** Which node is what, whom it follows, and which commits it holds. */
  show(): void {
    for (const { host, server } of this.#cluster.agents) {
      const following = server.following === null ? '' : ` of ${server.following}`;
      const held = server.log.flatMap(({ id }) => this.#names.get(id) ?? []);
      this.trace.push(
        `${host.name}: ${host.agent.isUp ? server.mode : 'down'}${following}, timeline ${server.history.timeline}, holds ${held.join(' ') || '-'}`,
      );
    }
    this.trace.push(`sync set: ${this.#cluster.checker.state?.sync.members.join(' ') || '-'}`);
  }

  #node(name: string): {
    readonly agent: ModelAgent;
    readonly processes: readonly ModelAgent['host']['agent'][];
  } {
    const agent = this.#cluster.agents.find(({ host }) => host.name === name);
    if (agent === undefined) throw new Error(`no node ${name}`);
    return { agent, processes: [agent.host.agent, agent.host.watchdog, agent.host.postgres] };
  }

  #eachLink(name: string, change: (from: ModelAgent, to: ModelAgent) => void): void {
    const { agent } = this.#node(name);
    for (const other of this.#cluster.agents) {
      if (other === agent) continue;
      change(agent, other);
      change(other, agent);
    }
  }

  /** Without the time, commits by their name; what is tried again and again once. */
  #tell(line: string): void {
    const text = line
      .replace(/^\s*[\d.]+ /, '')
      .replace(/ +/, ' ')
      .replace(
        /acknowledges (\d+) \(sync\) at \d+/,
        (_, id) => `acknowledges ${this.#names.get(Number(id)) ?? id}`,
      );
    if (!this.trace.slice(-2).includes(text)) this.trace.push(text);
  }
}
