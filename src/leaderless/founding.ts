import { LockstepError } from '../model/errors.ts';
import { addressIn } from './core/address.ts';
import { judgeMembership } from './core/membership.ts';
import type { Membership, NodeIdentity, SeenNode } from './core/membership.ts';
import { confirmMembers, inspectNode, installSchema, proposeMembers } from './nodes/identity.ts';
import type { PgNode } from './nodes/pg-node.ts';

/** A node with what it said of itself last. */
export interface NodeLink {
  readonly name: string;
  readonly url: string;
  readonly node: PgNode;
  identity: NodeIdentity | null;
}

/**
 * Finds out who belongs to the quorum; founds it when nobody knows. In two steps: each node gets the list, and is valid only when every
 * node is known to have it, so that a node without one, beside a valid one, has lost it.
 */
export async function found(links: readonly NodeLink[]): Promise<Membership> {
  const seen = await look(links);
  const judged = judgeMembership(seen);
  switch (judged.kind) {
    case 'refused':
      throw judged.isRetryable
        ? new LockstepError('QUORUM_NOT_REACHED', judged.problem, { retryable: true })
        : new LockstepError('CONFIG_INVALID', judged.problem);
    case 'known':
      // A newer release may have brought functions.
      await Promise.allSettled(
        links
          .filter((_, index) => seen[index]?.identity?.isFounded === true)
          .map(({ node }) => node.withConnection(installSchema)),
      );
      return judged.membership;
    case 'to-be-founded':
      break;
  }
  const { members } = judged;
  await Promise.all(links.map(({ node }) => node.withConnection(installSchema)));
  await Promise.all(
    links.map(({ node }) => node.withConnection((client) => proposeMembers(client, members))),
  );
  const lists = await look(links);
  const other = lists.find(({ identity }) => identity?.members?.join() !== members.join());
  if (other !== undefined) {
    throw new LockstepError(
      'CONFIG_INVALID',
      `${other.name} was given to another quorum meanwhile; name the servers of one.`,
    );
  }
  await Promise.all(
    links.map(({ node }) => node.withConnection((client) => confirmMembers(client, members))),
  );
  const [first] = lists;
  const cluster = first?.identity?.cluster ?? null;
  return { epoch: 1, cluster, members, next: null, addresses: {} };
}

async function look(links: readonly NodeLink[]): Promise<readonly SeenNode[]> {
  return Promise.all(
    links.map(async (link): Promise<SeenNode> => {
      const { name, node } = link;
      const address = addressIn(link.url);
      try {
        link.identity = await node.withConnection(inspectNode);
        return { name, address, identity: link.identity };
      } catch (error) {
        return { name, address, identity: null, problem: (error as Error).message };
      }
    }),
  );
}
