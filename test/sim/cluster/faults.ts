import { supportersNeeded } from '../../../src/leader-follower/core/support.ts';
import type { ModelAgent } from './agent.ts';
import type { NodeId } from '../../../src/model/node.ts';
import type { Process } from './host.ts';
import { startMemberChanges } from './member-changes.ts';
import type { Cluster } from './world.ts';

/** Faults of one run; each ends by itself after a while, and all of them when the run heals. */
export class Faults {
  readonly #cluster: Cluster;
  readonly #random: () => number;
  readonly #untilMs: number;
  /** Runs differ in how wild they are. */
  readonly #meanGapMs: number;
  /** Some runs show one fault by itself, for what takes seconds of it alone to come out. */
  readonly #starvesOnly: boolean;
  readonly #hasGuests: boolean;
  count = 0;

  constructor(cluster: Cluster, untilMs: number, changesMembers: boolean) {
    this.#cluster = cluster;
    this.#random = cluster.random;
    this.#untilMs = untilMs;
    this.#hasGuests = cluster.members.length < cluster.agents.length;
    this.#starvesOnly = (cluster.members.length === 5 || this.#hasGuests) && this.#random() < 0.3;
    const isQuiet = changesMembers && this.#random() < 0.7;
    this.#meanGapMs = this.#starvesOnly || isQuiet ? 4_000 : 150 + this.#random() ** 2 * 1_800;
    const { faults } = cluster.network;
    faults.lostShare = this.#random() < 0.6 ? this.#random() * 0.08 : 0;
    faults.doubledShare = faults.lostShare;
    faults.slowShare = this.#random() < 0.6 ? this.#random() * 0.15 : 0;
    if (this.#random() < 0.5) this.#setWallClocks();
    this.#next();
    if (changesMembers) startMemberChanges(cluster, untilMs);
  }

  /** Nothing may go by them. */
  #setWallClocks(): void {
    for (const { host } of this.#cluster.agents) host.wallJumpMs += (this.#random() - 0.7) * 8_000;
    this.#cluster.time.after(400, () => this.#setWallClocks());
  }

  #next(): void {
    this.#cluster.time.after(this.#random() * 2 * this.#meanGapMs, () => {
      if (this.#cluster.time.nowMs() >= this.#untilMs) return;
      this.count++;
      this.#inject();
      this.#next();
    });
  }

  #inject(): void {
    const { agents } = this.#cluster;
    const holder = this.#cluster.checker.state?.leadership.holder;
    const leader = agents.find(({ host }) => host.name === holder);
    const agent =
      leader !== undefined && this.#random() < 0.5
        ? leader
        : agents[Math.floor(this.#random() * agents.length)]!;
    const dice = this.#random();
    if (this.#starvesOnly) return this.#starve(leader ?? agent);
    if (dice < 0.12) this.#crashAgent(agent);
    else if (dice < 0.2) this.#crashPostgres(agent);
    else if (dice < 0.32) this.#crashHost(agent);
    else if (dice < 0.4) this.#pause(agent, 'agent', [agent.host.agent]);
    else if (dice < 0.46) this.#pause(agent, 'PostgreSQL', [agent.host.postgres]);
    else if (dice < 0.54)
      this.#pause(agent, 'the host', [agent.host.agent, agent.host.watchdog, agent.host.postgres]);
    else if (dice < 0.68) this.#isolate(agent);
    else if (dice < 0.82) this.#cutOneWay(agent);
    else if (dice < 0.88) this.#harmDisk(agent, 'isDiskFull');
    else if (dice < 0.92) this.#harmDisk(agent, 'isDiskHung');
    else if (dice < 0.96) this.#starve(this.#hasGuests ? (leader ?? agent) : agent);
    else this.#switchover();
  }

  #note(agent: ModelAgent, text: string): void {
    this.#cluster.note(agent.host, () => `FAULT ${text}`);
  }

  #later(run: () => void): void {
    const ms = this.#random() < 0.7 ? this.#random() * 1_500 : this.#random() * 6_000;
    this.#cluster.time.after(ms, run);
  }

  #crashAgent(agent: ModelAgent): void {
    this.#note(agent, 'agent killed');
    agent.crash();
    // A supervisor starts it again at once; a person, later.
    if (this.#random() < 0.6) this.#cluster.time.after(5 + this.#random() * 150, () => agent.start());
    else this.#later(() => agent.start());
  }

  #crashPostgres(agent: ModelAgent): void {
    this.#note(agent, 'PostgreSQL killed');
    agent.server.kill('SIGKILL');
  }

  #crashHost(agent: ModelAgent): void {
    const { host } = agent;
    if (host.isDown) return;
    this.#note(agent, 'host down');
    host.isDown = true;
    agent.crash();
    agent.server.kill('its machine is down');
    host.watchdog.end();
    this.#later(() => {
      host.isDown = false;
      this.#note(agent, 'host up');
      agent.start();
    });
  }

  #pause(agent: ModelAgent, what: string, processes: readonly Process[]): void {
    this.#note(agent, `${what} suspended`);
    for (const process of processes) process.stop('fault');
    this.#later(() => {
      this.#note(agent, `${what} goes on`);
      // In which order they run again is the scheduler's choice.
      const order = this.#random() < 0.5 ? processes : processes.toReversed();
      for (const process of order) process.resume('fault');
    });
  }

  #isolate(agent: ModelAgent): void {
    this.#note(agent, 'cut off');
    const { network, agents } = this.#cluster;
    const others = agents.filter((other) => other !== agent);
    for (const { host } of others) {
      network.cut(agent.host, host);
      network.cut(host, agent.host);
    }
    this.#later(() => {
      this.#note(agent, 'connected again');
      for (const { host } of others) {
        network.mend(agent.host, host);
        network.mend(host, agent.host);
      }
    });
  }

  #cutOneWay(agent: ModelAgent): void {
    const { network, agents } = this.#cluster;
    const isOutgoing = this.#random() < 0.5;
    const others = agents.filter((other) => other !== agent && this.#random() < 0.6);
    const links = others.map(({ host }) =>
      isOutgoing ? ([agent.host, host] as const) : ([host, agent.host] as const),
    );
    this.#note(
      agent,
      `cut one way ${isOutgoing ? 'to' : 'from'} ${others.map(({ host }) => host.name).join(' ')}`,
    );
    for (const [from, to] of links) network.cut(from, to);
    this.#later(() => {
      for (const [from, to] of links) network.mend(from, to);
    });
  }

  #harmDisk(agent: ModelAgent, how: 'isDiskFull' | 'isDiskHung'): void {
    this.#note(agent, how);
    agent.host[how] = true;
    this.#later(() => (agent.host[how] = false));
  }

  #switchover(): void {
    const { agents } = this.#cluster;
    const target = agents[Math.floor(this.#random() * agents.length)]!;
    if (this.#cluster.delayed.includes(target.host.name)) return;
    for (const agent of agents)
      if (agent !== target && agent.host.agent.isRunning && agent.server.mode === 'leader')
        agent.requestSwitchover(target.host.name);
  }

  get #members(): readonly NodeId[] {
    return this.#cluster.membersOf(this.#cluster.checker.state);
  }

  /** Just enough members for support, and one of those has no disk: pings are answered, renewals are not. */
  #starve(agent: ModelAgent): void {
    const { network, agents } = this.#cluster;
    const others = agents.filter((other) => other !== agent).toSorted(() => this.#random() - 0.5);
    const members = this.#members;
    const isGuest = (other: ModelAgent): boolean => !members.includes(other.host.name);
    if (this.#hasGuests && this.#random() < 0.5) return this.#starveOfRegister(agent);
    others.sort((a, b) => Number(isGuest(a)) - Number(isGuest(b)));
    const near = others.splice(0, Math.max(1, supportersNeeded(members.length)));
    this.#note(agent, `reaches only ${near.map(({ host }) => host.name).join(' ')}`);
    const [first] = near;
    if (first !== undefined) first.host.isDiskHung = true;
    for (const { host } of others) {
      network.cut(agent.host, host);
      network.cut(host, agent.host);
    }
    this.#cluster.time.after(2_000 + this.#random() * 3_000, () => {
      if (first !== undefined) first.host.isDiskHung = false;
      for (const { host } of others) {
        network.mend(agent.host, host);
        network.mend(host, agent.host);
      }
    });
  }

  /** All members hear the leader, which cannot reach the register: the failsafe holds it up. Guests do not hear it. */
  #starveOfRegister(leader: ModelAgent): void {
    const { agents, time } = this.#cluster;
    const members = this.#members;
    const guests = agents.filter((other) => other !== leader && !members.includes(other.host.name));
    this.#note(leader, 'is heard by members, and by no guest, and cannot reach the register');
    leader.host.isUnregistered = true;
    for (const { host } of guests) host.isDeaf = true;
    time.after(3_000 + this.#random() * 2_000, () => {
      leader.host.isUnregistered = false;
      for (const { host } of guests) host.isDeaf = false;
    });
  }

  /** Everything is mended: whoever is down starts, whoever is suspended goes on. */
  heal(): void {
    const { network, agents } = this.#cluster;
    network.heal();
    for (const agent of agents) {
      const { host } = agent;
      host.isDiskFull = false;
      host.isDiskHung = false;
      host.isUnregistered = false;
      host.isDeaf = false;
      host.isDown = false;
      for (const process of [host.watchdog, host.agent, host.postgres]) process.resume('fault');
      agent.start();
    }
  }
}
