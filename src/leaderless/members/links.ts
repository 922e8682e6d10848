import type pg from 'pg';
import { LockstepError } from '../../model/errors.ts';
import { addressIn, urlAt } from '../core/address.ts';
import { allMembers, believable, findMismatch, isSuccessor } from '../core/membership.ts';
import type { Membership, NodeIdentity } from '../core/membership.ts';
import type { NodeLink } from '../founding.ts';
import { inspectNode, installSchema } from '../nodes/identity.ts';
import { adoptStatement } from '../nodes/member-statements.ts';
import { NodeQueue } from '../nodes/node-queue.ts';
import { PgNode } from '../nodes/pg-node.ts';
import { SCHEMA_VERSION } from '../nodes/schema.ts';
import type { NamedNode, Settings } from '../options.ts';
import { Roster } from '../roster.ts';
import type { KnownNode } from '../roster.ts';
import type { Runtime } from '../runtime.ts';

const CONNECTIONS = 2;
const MAX_KEYS = 256;

/** A link with what waits for it. */
interface Link extends NodeLink, KnownNode {
  /** What it said of itself last, whether it may be used or not. */
  told: NodeIdentity | null;
}

/**
 * Which connections lead to which members. Later members that this process was not told of are believed when more than half of the
 * members tell the same of them, and are then looked for where they say, with the user and password of the others.
 */
export class Links {
  readonly #settings: Settings;
  readonly #runtime: Runtime;
  #links: readonly Link[];
  #membership: Membership | null = null;
  #roster: Roster | null = null;
  /** Servers that are to join, by their names among the members. */
  readonly #joining = new Map<string, Link>();

  constructor(settings: Settings, runtime: Runtime) {
    this.#settings = settings;
    this.#runtime = runtime;
    this.#links = settings.nodes.map((node) => this.#open(node));
  }

  get all(): readonly Link[] {
    return [...new Set([...this.#links, ...this.#joining.values()])];
  }

  get membership(): Membership {
    if (this.#membership === null) throw new TypeError('The members are not known yet.');
    return this.#membership;
  }

  /** What the process goes by, from its first membership on. */
  start(membership: Membership): Roster {
    this.#membership = membership;
    this.#roster = new Roster(membership.epoch, this.#assign(membership));
    for (const { node } of this.all) node.useEpoch(membership.epoch);
    return this.#roster;
  }

  follow(membership: Membership): void {
    if (this.#roster === null || membership.epoch <= this.membership.epoch) return;
    this.#membership = membership;
    this.#roster.change(membership.epoch, this.#assign(membership));
    for (const { node } of this.all) node.useEpoch(membership.epoch);
  }

  nodeOf(id: string): KnownNode | null {
    return this.all.find((link) => link.id() === id) ?? null;
  }

  /** A connection to a server that is to join under this name. */
  async join(named: NamedNode, id: string): Promise<void> {
    const link = this.#open({ ...named, name: this.#freeName(named.name) });
    this.#joining.set(id, link);
    await link.node.connect();
    if (!link.node.isUp)
      throw new LockstepError('CONFIG_INVALID', `${named.name} cannot be reached; see whether it runs.`);
  }

  async close(): Promise<void> {
    await Promise.all(this.all.map(({ node }) => node.close()));
  }

  #open({ name, url }: NamedNode): Link {
    const { connectTimeoutMs, statementTimeoutMs, maxClockAheadMs, maxQueueBytes } = this.#settings;
    const node = new PgNode(
      {
        name,
        url,
        connections: CONNECTIONS,
        connectTimeoutMs,
        statementTimeoutMs,
        maxClockAheadMs,
        admit: (identity, client) => this.#admit(link, identity, client),
      },
      this.#runtime,
    );
    const limits = { maxInFlight: CONNECTIONS, maxKeys: MAX_KEYS, maxBytes: maxQueueBytes };
    const link: Link = {
      name,
      url,
      node,
      queue: new NodeQueue(name, node, this.#runtime, limits),
      identity: null,
      told: null,
      id: () => link.identity?.id ?? null,
    };
    return link;
  }

  /** Looks at a node before it is used, and tells it of the members when it was away while they changed. */
  async #admit(link: Link, identity: NodeIdentity, client: pg.ClientBase): Promise<void> {
    link.told = identity;
    if (this.#membership === null) return;
    if (isSuccessor(identity, this.#membership)) await this.#learn(link);
    const membership = this.#membership;
    if (this.#joining.get(identity.id) === link && !identity.isFounded) {
      link.identity = identity;
      return;
    }
    const problem =
      findMismatch(link.name, identity, membership) ??
      (this.#roster?.nodes.some((node) => node !== link && node.id() === identity.id) === true
        ? `${link.name} is the same server as another one that was named.`
        : null) ??
      (isSuccessor(identity, membership)
        ? `${link.name} tells of members of epoch ${identity.epoch} that were not named, and no majority of those of epoch ${membership.epoch} does; start more of them, or name the new ones.`
        : null);
    if (problem !== null) throw new LockstepError('CONFIG_INVALID', problem);
    link.identity = identity;
    // It was away while a newer release brought functions.
    if (identity.schemaVersion !== null && identity.schemaVersion < SCHEMA_VERSION)
      await installSchema(client);
    if (identity.epoch >= membership.epoch) return;
    const marks = { sealed: 0, floor: 0, slotFloor: 0 };
    const { text, values } = adoptStatement({ kind: 'adopt', membership, marks });
    await client.query(text, values as unknown[]);
  }

  /** Asks the other members too, until later members are to be believed, or all were asked. */
  async #learn(from: Link): Promise<void> {
    const believed = await new Promise<Membership | null>((resolve) => {
      const look = (): Membership | null => {
        const found = this.#believed();
        if (found !== null && found.epoch > this.membership.epoch) resolve(found);
        return found;
      };
      look();
      const asked = this.all
        .filter((link) => link !== from)
        .map(async (link) => {
          link.told = await link.node.withConnection(inspectNode).catch(() => link.told);
          look();
        });
      void Promise.all(asked).then(() => resolve(null));
    });
    if (believed === null) return;
    // Whoever told it is known by name, so that its connection is found again among the new members.
    for (const link of this.all)
      if (link.told !== null && allMembers(believed).includes(link.told.id)) link.identity = link.told;
    this.follow(believed);
  }

  /** While members change, a majority of the old or of the new ones is enough. */
  #believed(): Membership | null {
    const { members, next } = this.membership;
    const found = [members, ...(next === null ? [] : [next])].map((set) =>
      believable(
        set.map((id) => this.all.find(({ told }) => told?.id === id)?.told ?? null),
        set.length,
        new Set(this.all.map(({ url }) => addressIn(url))),
      ),
    );
    return found.toSorted((a, b) => (b?.epoch ?? 0) - (a?.epoch ?? 0))[0] ?? null;
  }

  /** For the old and, while members change, the new members: a link for each. */
  #assign(membership: Membership): readonly (readonly Link[])[] {
    const found = new Map<string, Link>();
    for (const [id, link] of this.#joining) found.set(id, link);
    for (const id of allMembers(membership)) {
      const known = this.#links.find((link) => link.identity?.id === id);
      if (known !== undefined) found.set(id, known);
    }
    const taken = new Set(found.values());
    for (const id of allMembers(membership)) {
      if (found.has(id)) continue;
      const address = membership.addresses[id];
      const free = this.#links.filter(
        (link) => !taken.has(link) && (link.identity === null || address === undefined),
      );
      // A member that was there at the founding is one of those that were named and did not answer yet.
      const link =
        address === undefined
          ? free[0]
          : (free.find(({ url }) => addressIn(url) === address) ?? this.#openAt(address));
      if (link === undefined) continue;
      found.set(id, link);
      taken.add(link);
    }
    const { members, next } = membership;
    const sets = [members, ...(next === null ? [] : [next])];
    const assigned = sets.map((set) =>
      set.map((id) => found.get(id) ?? this.#openAt(membership.addresses[id] ?? '')),
    );
    const before = this.#links;
    this.#links = [...new Set([...before, ...assigned.flat()])];
    for (const link of this.#links) if (!before.includes(link) && !link.node.isUp) void link.node.connect();
    return assigned;
  }

  /** Rounds count nodes by their names. */
  #freeName(name: string): string {
    const names = this.all.map((link) => link.name);
    return names.includes(name) ? this.#freeName(`${name}'`) : name;
  }

  /** A member that this process was not told of. */
  #openAt(address: string): Link {
    // One that was there at the founding and nobody named, or that is gone: it counts, and does not answer.
    const isUnknown = address === '';
    const url = urlAt(this.#settings.nodes[0]?.url ?? '', isUnknown ? 'unknown.invalid:1/none' : address);
    return this.#open({ name: this.#freeName(isUnknown ? 'a member that was not named' : address), url });
  }
}
