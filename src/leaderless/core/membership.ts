import { majority } from '../../consensus/proposer.ts';

/** What a node says of itself. */
export interface NodeIdentity {
  /** Of the PostgreSQL instance; the same for its followers and copies. */
  readonly systemIdentifier: string;
  /** What it is called among the members: the system identifier, and a suffix for one that joined after the founding. */
  readonly id: string;
  /** A follower cannot be a node. */
  readonly isInRecovery: boolean;
  /** PostgreSQL's `fsync`: without it a crash of the machine loses what was acknowledged. */
  readonly isDurable: boolean;
  /** The timeline that it writes, as in the names of log files; null for a follower. */
  readonly timeline: string | null;
  /** The timeline that it was founded on; null before, and for tables of an older release. */
  readonly foundedOn: string | null;
  /** Null before the schema was made. */
  readonly schemaVersion: number | null;
  readonly epoch: number;
  /** The same at all nodes that were ever members together. */
  readonly cluster: string | null;
  /** Names of all members, sorted; null when this node has no list. */
  readonly members: readonly string[] | null;
  /** Those that are to be the members next, while they change. */
  readonly next: readonly string[] | null;
  readonly addresses: Readonly<Record<string, string>>;
  readonly isFounded: boolean;
}

/** The servers that hold the collections, by their names, sorted. */
export interface Membership {
  readonly epoch: number;
  readonly cluster: string | null;
  readonly members: readonly string[];
  /** While members change: those that come after. A majority is needed of both then. */
  readonly next: readonly string[] | null;
  /** `host:port/database` of members that joined later, so that a process which was not told finds them. */
  readonly addresses: Readonly<Record<string, string>>;
}

/** What a founded node says of the members. */
export function membershipOf({ epoch, cluster, members, next, addresses }: NodeIdentity): Membership {
  return { epoch, cluster, members: members ?? [], next, addresses };
}

/** Everybody who holds data now. */
export function allMembers({ members, next }: Membership): readonly string[] {
  return [...new Set([...members, ...(next ?? [])])];
}

/** Whether a node tells of later members of the same quorum. */
export function isSuccessor(identity: NodeIdentity, membership: Membership): boolean {
  return (
    identity.isFounded &&
    identity.members !== null &&
    identity.cluster === membership.cluster &&
    identity.epoch > membership.epoch
  );
}

/**
 * The newest membership, of those that were told, to go by; null when there is none. One that names only servers which this process was
 * told of is taken from any of the `asked` servers. One that leads to others is believed when more than half of them tell the same: the
 * server that tells it alone may be restored, damaged, or in wrong hands.
 */
export function believable(
  told: readonly (NodeIdentity | null)[],
  asked: number,
  named: ReadonlySet<string>,
): Membership | null {
  const counts = new Map<string, { readonly membership: Membership; count: number }>();
  for (const identity of told) {
    if (identity?.isFounded !== true || identity.members === null) continue;
    const membership = membershipOf(identity);
    const known = counts.get(textOf(membership)) ?? { membership, count: 0 };
    known.count += 1;
    counts.set(textOf(membership), known);
  }
  const believed = [...counts.values()].filter(
    ({ membership, count }) => count >= majority(asked) || leadsTo(membership).every((at) => named.has(at)),
  );
  return believed.toSorted((a, b) => b.membership.epoch - a.membership.epoch)[0]?.membership ?? null;
}

/** Addresses of members that came after the founding. */
function leadsTo(membership: Membership): readonly string[] {
  return allMembers(membership).flatMap((id) => membership.addresses[id] ?? []);
}

/** Equal for equal memberships. */
function textOf({ epoch, cluster, members, next, addresses }: Membership): string {
  const sorted = Object.entries(addresses).toSorted(([a], [b]) => (a < b ? -1 : 1));
  return JSON.stringify([epoch, cluster, members, next, sorted]);
}

/** Sizes that a quorum may have: with an even number no more nodes may fail. */
export const QUORUM_SIZES: readonly number[] = [3, 5, 7];

/** Whoever was named, and what it said. */
interface Seen {
  readonly name: string;
  /** Null when it did not answer. */
  readonly identity: NodeIdentity | null;
}

export interface SeenNode extends Seen {
  /** `host:port/database` by which it was asked. */
  readonly address: string;
  /** Why it did not. */
  readonly problem?: string;
}

export type MembershipJudgement =
  | { readonly kind: 'known'; readonly membership: Membership }
  /** No node has a list, or all have the same and are not done: every one of them must answer. */
  | { readonly kind: 'to-be-founded'; readonly members: readonly string[] }
  /** `problem`: one sentence with its remedy. */
  | { readonly kind: 'refused'; readonly problem: string; readonly isRetryable: boolean };

/** Why a server cannot be a node at all, whatever the others say; null when it can. */
export function findFlaw({ name, identity }: Seen): string | null {
  if (identity === null) return null;
  if (identity.isInRecovery)
    return `${name} is a follower of another PostgreSQL; name a server that takes writes.`;
  return null;
}

/** Why a node does not belong to the membership, or must not be used; null when it may. */
export function findMismatch(name: string, identity: NodeIdentity, membership: Membership): string | null {
  const flaw = findFlaw({ name, identity });
  if (flaw !== null) return flaw;
  const hasTables = identity.members !== null && identity.isFounded;
  if (!allMembers(membership).includes(identity.id))
    return hasTables
      ? `${name} is none of the servers of this quorum${membership.epoch > 1 ? ' any more' : ''}; name its members, or bring it in with "lockstep leaderless node replace".`
      : `${name} is none of the servers of this quorum; name the server that was there when it was founded.`;
  if (!hasTables)
    return `${name} has lost its data: its system identifier is a member's, and its tables are not there. Nothing may be read from it; refill it with "lockstep leaderless node replace ${name}".`;
  if (
    identity.cluster !== membership.cluster ||
    (identity.epoch === membership.epoch && identity.members?.join() !== membership.members.join())
  )
    return `${name} belongs to another quorum.`;
  if (identity.foundedOn !== null && identity.timeline !== identity.foundedOn)
    return `${name} was restored from a backup, or promoted from a follower (timeline ${identity.timeline}, founded on ${identity.foundedOn}): it has forgotten what it acknowledged and promised. Bring back the server that it was made from, or refill this one with "lockstep leaderless node replace ${name}".`;
  return null;
}

/** Which servers form the quorum, from what those that answered say. */
export function judgeMembership(nodes: readonly SeenNode[]): MembershipJudgement {
  const refuse = (problem: string, isRetryable = false): MembershipJudgement => ({
    kind: 'refused',
    problem,
    isRetryable,
  });
  const answered = nodes.flatMap(({ name, identity }) => (identity === null ? [] : [{ name, identity }]));
  const silent = nodes.flatMap(({ name, identity, problem }) =>
    identity === null ? [`${name} (${problem ?? 'no answer'})`] : [],
  );
  if (answered.length === 0)
    return refuse(`None of the servers answered; see whether they run: ${silent.join(', ')}.`, true);
  for (const node of answered) {
    const flaw = findFlaw(node);
    if (flaw !== null) return refuse(flaw);
  }
  const twice = answered.find(
    ({ identity }, index) =>
      answered.findIndex((other) => other.identity.systemIdentifier === identity.systemIdentifier) < index,
  );
  if (twice !== undefined)
    return refuse(
      `${twice.name} is named twice, or is a copy of another of the servers: each needs an initdb of its own.`,
    );
  const founded = answered.filter(({ identity }) => identity.isFounded);
  if (new Set(founded.map(({ identity }) => identity.cluster)).size > 1)
    return refuse('The servers belong to different quorums; name those of one.');
  const told = founded.map(({ identity }) => identity);
  const believed = believable(told, nodes.length, new Set(nodes.map(({ address }) => address)));
  if (believed !== null && believed.members.length > 0) {
    const { members } = believed;
    // Whoever goes by an older list finds the members that came later by their addresses.
    if (believed.epoch > 1) return { kind: 'known', membership: believed };
    if (members.length !== nodes.length)
      return refuse(
        `The quorum has ${members.length} servers and ${nodes.length} were named; name all of them.`,
      );
    const unfinished = answered.some(({ identity }) => !identity.isFounded && identity.members !== null);
    if (unfinished && answered.length === nodes.length) return { kind: 'to-be-founded', members };
    return { kind: 'known', membership: believed };
  }
  if (told.some(({ members }) => members !== null))
    return refuse(
      `The servers tell of members that were not named, and fewer than ${majority(nodes.length)} of the ${nodes.length} that were tell the same; name those that are the members now, or start more of them.`,
      true,
    );
  if (answered.length < nodes.length) {
    return refuse(
      `The quorum is not founded yet, for which every server must answer, and these did not: ${silent.join(', ')}.`,
      true,
    );
  }
  return {
    kind: 'to-be-founded',
    members: answered.map(({ identity }) => identity.id).toSorted(),
  };
}

export function isSame(a: Membership, b: Membership): boolean {
  return a.members.join() === b.members.join() && a.next?.join() === b.next?.join();
}

/**
 * What is to stand as the plan, where `stands` was agreed on last; null leaves that. `epoch` is what the proposer goes by. Two memberships
 * never have one epoch, and a change ends only from the plan that it carried the keys for.
 */
export function decidePlan(
  stands: Membership | null,
  proposed: Membership,
  epoch: number,
): Membership | null {
  // Somebody goes on with what stands.
  if (stands !== null && proposed.next !== null && stands.epoch >= epoch && isSame(stands, proposed))
    return null;
  if (stands === null || stands.epoch <= epoch) return { ...proposed, epoch: epoch + 1 };
  const isUnderWay = stands.next !== null && stands.members.join() === proposed.members.join();
  if (!isUnderWay || proposed.next === null) return null;
  return { ...proposed, epoch: stands.epoch + 1 };
}
