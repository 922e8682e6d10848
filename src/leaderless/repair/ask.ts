import type { NodeQueue } from '../nodes/node-queue.ts';
import { NodeFailure } from '../nodes/requests.ts';
import type { NodeReply, NodeRequest } from '../nodes/requests.ts';

/** A node's answer; null when it failed. */
export function ask(node: NodeQueue, request: NodeRequest): Promise<NodeReply | null> {
  return new Promise((resolve) => {
    node.ask(request, (reply) => resolve(reply instanceof NodeFailure ? null : reply));
  });
}
