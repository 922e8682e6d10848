import type { ConsensusReply, SentMessage } from '../../consensus/acceptor.ts';
import type { NodeId } from '../../model/node.ts';
import type { DurableAcceptor } from './acceptor-store.ts';
import type { AgentSeal } from '../agent-seal.ts';
import { askAgent } from '../ask-agent.ts';
import type { AcceptorTransport } from './embedded.ts';

/** Path of the acceptor on an agent's HTTP server. */
export const CONSENSUS_PATH = '/v1/consensus';

/** Sends to the local acceptor directly and to the others as JSON over HTTP, sealed both ways. */
export function createHttpTransport(options: {
  readonly self: NodeId;
  readonly acceptor: Pick<DurableAcceptor, 'handle'>;
  /** Where a voter's agent answers. */
  readonly urlOf: (voter: NodeId) => string;
  readonly seal: AgentSeal;
}): AcceptorTransport {
  return {
    async send(to: NodeId, message: SentMessage, timeoutMs: number): Promise<ConsensusReply> {
      if (to === options.self) return withinTime(options.acceptor.handle(message), timeoutMs);
      return askAgent<ConsensusReply>(options.seal, {
        to,
        url: options.urlOf(to),
        method: 'POST',
        path: CONSENSUS_PATH,
        body: message,
        signal: AbortSignal.timeout(Math.ceil(timeoutMs)),
      });
    },
  };
}

/** A local disk that hangs must not hold a call past its deadline either. */
function withinTime<T>(answer: Promise<T>, timeoutMs: number): Promise<T> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => reject(new Error(`no answer within ${timeoutMs} ms`)), timeoutMs);
    answer.then(resolve, reject).finally(() => clearTimeout(timer));
  });
}
