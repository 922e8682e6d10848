/** What a node says of itself. */
export interface NodeIdentity {
  /** Of the PostgreSQL instance; the same for its followers and copies. */
  readonly systemIdentifier: string;
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
  /** System identifiers of all nodes, sorted; null when this node has no list. */
  readonly members: readonly string[] | null;
  readonly isFounded: boolean;
}

/** The servers that hold the collections: system identifiers, sorted. */
export interface Membership {
  readonly epoch: number;
  readonly members: readonly string[];
}

export interface SeenNode {
  readonly name: string;
  /** Null when it did not answer. */
  readonly identity: NodeIdentity | null;
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
export function findFlaw({ name, identity }: SeenNode): string | null {
  if (identity === null) return null;
  if (identity.isInRecovery)
    return `${name} is a follower of another PostgreSQL; name a server that takes writes.`;
  return null;
}

/** Why a node does not belong to the membership, or must not be used; null when it may. */
export function findMismatch(name: string, identity: NodeIdentity, membership: Membership): string | null {
  const flaw = findFlaw({ name, identity });
  if (flaw !== null) return flaw;
  if (!membership.members.includes(identity.systemIdentifier))
    return `${name} is none of the servers of this quorum; name the server that was there when it was founded.`;
  if (identity.members === null || !identity.isFounded)
    return `${name} has lost its data: its system identifier is a member's, and its tables are not there. Nothing may be read from it.`;
  if (identity.members.join() !== membership.members.join()) return `${name} belongs to another quorum.`;
  if (identity.foundedOn !== null && identity.timeline !== identity.foundedOn)
    return `${name} was restored from a backup, or promoted from a follower (timeline ${identity.timeline}, founded on ${identity.foundedOn}): it has forgotten what it acknowledged and promised. Keep it away from this quorum, and bring back the server that it was made from.`;
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
  const lists = new Set(founded.map(({ identity }) => identity.members?.join()));
  if (lists.size > 1) return refuse('The servers belong to different quorums; name those of one.');
  const { members, epoch } = founded[0]?.identity ?? { members: null, epoch: 0 };
  if (members !== null) {
    if (members.length !== nodes.length)
      return refuse(
        `The quorum has ${members.length} servers and ${nodes.length} were named; name all of them.`,
      );
    const unfinished = answered.some(({ identity }) => !identity.isFounded && identity.members !== null);
    if (unfinished && answered.length === nodes.length) return { kind: 'to-be-founded', members };
    return { kind: 'known', membership: { epoch, members } };
  }
  if (answered.length < nodes.length) {
    return refuse(
      `The quorum is not founded yet, for which every server must answer, and these did not: ${silent.join(', ')}.`,
      true,
    );
  }
  return {
    kind: 'to-be-founded',
    members: answered.map(({ identity }) => identity.systemIdentifier).toSorted(),
  };
}
