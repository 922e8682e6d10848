import type { NodeId } from '../../model/node.ts';
import type { PeerView, View } from './view.ts';

/** What a node's place in the tree depends on. */
interface TreeNode {
  readonly name: NodeId;
  readonly from?: NodeId | undefined;
  readonly witness?: boolean | undefined;
  readonly delay?: string | undefined;
}

/** Why a node cannot stream from the one that it names; null when it can, or names none. */
export function upstreamProblem(node: TreeNode, nodes: readonly TreeNode[]): string | null {
  const path = [node.name];
  for (let from = node.from; from !== undefined;) {
    const upstream = nodes.find(({ name }) => name === from);
    if (upstream === undefined) return `${node.name} cannot follow ${from}: there is no such node`;
    if (upstream.witness === true || upstream.delay !== undefined)
      return `${node.name} cannot follow ${from}, which has no log to give on: name a follower that keeps up`;
    if (path.includes(from)) return `${[...path, from].join(' follows ')}: that is a circle`;
    if (path.length >= MAX_CHAIN)
      return `${path.join(' follows ')}: more than ${MAX_CHAIN} in a row lag too far`;
    path.push(from);
    from = upstream.from;
  }
  return null;
}

/** Longer chains are none: a node is told what the others do a little later than they do it. */
const MAX_CHAIN = 6;

/** Whom a node is to stream from: the follower that it was given, while that gets the leader's log, else the leader. */
export function chooseUpstream(view: Pick<View, 'self' | 'peers' | 'from'>, holder: PeerView): PeerView {
  const wanted = view.peers.find(({ name }) => name === view.from);
  if (wanted === undefined || wanted.name === holder.name) return holder;
  return isFed(wanted, view, holder) ? wanted : holder;
}

/**
 * Whether the leader's log comes to a node, over whatever others: each of them answers, streams, and is on the leader's
 * timeline. A circle ends nowhere, and a chain over this node itself would begin with what it is asked to give.
 */
function isFed(node: PeerView, { self, peers }: Pick<View, 'self' | 'peers'>, holder: PeerView): boolean {
  let at: PeerView | undefined = node;
  for (let length = 0; at !== undefined && length < MAX_CHAIN; length += 1) {
    if (at.name === holder.name) return true;
    const isStreaming =
      at.isReachable &&
      at.role === 'follower' &&
      at.isReceiving &&
      at.history?.timeline === holder.history?.timeline;
    const next: NodeId | null = at.following ?? null;
    if (!isStreaming || next === self) return false;
    at = peers.find(({ name }) => name === next);
  }
  return false;
}
